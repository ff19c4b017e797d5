"""Processes to be refused something, and an ``isotrace block`` beside them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.tracer import PATIENCE, PROGS, environment

FEATURES = os.environ.get("ISOTRACE_VM_FEATURES", "").split(",")
WORKER = Path(__file__).with_name("worker.py")


def library(where: Path) -> Path:
    """tests/progs/rush.c, compiled."""
    built = where / "rush.so"
    subprocess.run(["gcc", "-O1", "-Wall", "-shared", "-fPIC", "-o", built, PROGS / "rush.c"], check=True)
    return built


class Member:
    """One process; ``ask`` an expression of worker.py and get "ok", a value or the name of an errno, "" if it died."""

    def __init__(self, pid: int, sending: int, receiving: int) -> None:
        self.pid, self._sending, self._receiving = pid, sending, receiving

    def ask(self, expression: str) -> str:
        """The answer to one expression."""
        os.write(self._sending, expression.encode())
        while not select.select([self._receiving], [], [], 0.2)[0]:
            if not self.lives:
                return ""
        return os.read(self._receiving, 65536).decode()

    @property
    def lives(self) -> bool:
        """Whether it is more than a zombie."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def leave(self) -> None:
        """Have it end."""
        os.close(self._sending)
        self._sending = -1

    def close(self) -> None:
        """Close this side."""
        if self._sending >= 0:
            os.close(self._sending)
        os.close(self._receiving)


class Family:
    """A parent, ``root``, and who it forks."""

    def __init__(self, rush: Path | None = None, size: int = 6) -> None:
        pipes = [(*os.pipe(), *os.pipe()) for _ in range(size)]
        inner = [(to_read, to_write) for to_read, _, _, to_write in pipes]
        self._ends = [(to_write, to_read) for _, to_write, to_read, _ in pipes]
        words = [f"{receiving},{sending}" for receiving, sending in inner]
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-I", WORKER, rush or "-", *words],
            pass_fds=[fd for pair in inner for fd in pair],
            stdin=subprocess.DEVNULL,
        )
        for pair in inner:
            os.close(pair[0])
            os.close(pair[1])
        self._next = 1
        self._members: list[Member] = []
        self.root = self._member(self.process.pid, 0)
        assert self.root.ask("None") == "ok"

    def _member(self, pid: int, pair: int) -> Member:
        self._members.append(Member(pid, *self._ends[pair]))
        return self._members[-1]

    def fork(self, parent: Member | None = None) -> Member:
        """A child of ``parent``, or of the root."""
        pair, self._next = self._next, self._next + 1
        pid = int((parent or self.root).ask(f"fork({pair})"))
        return self._member(pid, pair)

    def end(self) -> None:
        """End the root and everyone who still listens."""
        for member in self._members:
            member.close()
        self.process.kill()
        self.process.wait()


@contextmanager
def family(rush: Path | None = None, size: int = 6) -> Iterator[Family]:
    """A family that lasts as long as the block."""
    one = Family(rush, size)
    try:
        yield one
    finally:
        one.end()


class Blocking:
    """A running ``isotrace block`` and what it wrote so far."""

    def __init__(self, where: Path, *args: object) -> None:
        self._output, self._errors = where / "out", where / "err"
        self._kept: dict[Path, str] = {}
        with self._output.open("w") as out, self._errors.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "isotrace", "block", *map(str, args)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment(),
            )  # fmt: skip

    def _read(self, path: Path) -> str:
        return self._kept[path] if path in self._kept else path.read_text()

    def keep(self) -> None:
        """Remember what it wrote beyond the files."""
        self._kept = {path: path.read_text() for path in (self._output, self._errors)}

    @property
    def said(self) -> str:
        """Standard error."""
        return self._read(self._errors)

    @property
    def text(self) -> str:
        """Standard output."""
        return self._read(self._output)

    @property
    def objects(self) -> list[dict]:
        """Standard output of ``--format json``."""
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def summary(self) -> dict:
        """The last object."""
        return self.objects[-1]

    def hits(self) -> list[int]:
        """Refusals by rule."""
        return [rule["hits"] for rule in self.summary["rules"]]

    def ready(self, member: Member, expression: str, refused: str) -> None:
        """Wait until it has begun, and ``expression`` fails as ``refused``: that one refusal counts."""
        deadline = time.monotonic() + 3 * PATIENCE
        while "from now on" not in self.said or member.ask(expression) != refused:
            assert self.process.poll() is None and time.monotonic() < deadline, self.said
            time.sleep(0.2)

    def end(self, number: int = signal.SIGINT) -> int:
        """End it and return its status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def block(*args: object) -> Iterator[Blocking]:
    """``isotrace block ARGS`` beside the test."""
    with tempfile.TemporaryDirectory() as directory:
        one = Blocking(Path(directory), *args)
        try:
            yield one
        finally:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()
            one.keep()
