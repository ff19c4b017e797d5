"""Running isotrace for a test, and reading back what it wrote."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROGS = ROOT / "tests" / "progs"

#: Seconds; a guest without KVM is some twenty times slower than the machine under it.
PATIENCE = float(os.environ.get("ISOTRACE_TEST_PATIENCE", "120"))

_LINE = re.compile(r'(?P<tid>\d+)(?: \([^()]*\))? (?P<comm>"(?:[^"\\]|\\.)*"(?:\.\.\.)?|\S+)  (?P<text>.*)')
_CALL = re.compile(r"(?P<name>[\w:]+)\((?P<args>.*)\)\s+= (?P<result>.*)")
_SUMMARY = re.compile(r"isotrace: (\d+) calls, (\d+) delivered, (-?\d+) lost")


@dataclass(frozen=True)
class Line:
    """One line of the text format. ``name``, ``args`` and ``result`` are empty where it is no finished call."""

    tid: int
    comm: str
    text: str
    name: str = ""
    args: str = ""
    result: str = ""

    @property
    def call(self) -> str:
        """The call as strace would print it, without the padding before the equals sign."""
        return f"{self.name}({self.args}) = {self.result}" if self.name else self.text


def parse(text: str) -> list[Line]:
    """The lines of a trace; one that has another shape is an error."""
    found = []
    for raw in text.splitlines():
        match = _LINE.fullmatch(raw)
        assert match, f"not a line of the text format: {raw!r}"
        call = _CALL.fullmatch(match["text"])
        parts = call.groupdict() if call else {}
        found.append(Line(int(match["tid"]), match["comm"], match["text"], **parts))
    return found


@dataclass(frozen=True)
class Run:
    """What a finished isotrace left: its status and both outputs."""

    status: int
    out: str
    err: str
    file: str = ""

    @property
    def lines(self) -> list[Line]:
        """The text trace, from ``-o`` where that was given."""
        return parse(self.file or self.out)

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON trace."""
        return [json.loads(line) for line in (self.file or self.out).splitlines()]

    @property
    def counts(self) -> tuple[int, int, int]:
        """(calls, delivered, lost) of the summary."""
        found = _SUMMARY.search(self.err)
        assert found, f"no summary in {self.err!r}"
        return int(found[1]), int(found[2]), int(found[3])

    def named(self, *names: str) -> list[Line]:
        """The calls of these names."""
        return [line for line in self.lines if line.name in names]


def environment(**extra: str) -> dict[str, str]:
    """The variables for isotrace and what it starts: this checkout's package, English messages, no one's sudo."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SUDO_", "PYTEST_", "COV_"))}
    return kept | {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONHASHSEED": "0"} | extra


#: What ``argv`` asks for: set by the fixture ``backend`` of conftest.py.
BACKEND = "bpf"


def argv(*args: object) -> list[str]:
    """The command line of ``isotrace log``."""
    return [sys.executable, "-m", "isotrace", "log", "--backend", BACKEND, *map(str, args)]


def log(*args: object, env: dict[str, str] | None = None, cwd: Path | None = None, **options: Any) -> Run:
    """Run ``isotrace log ARGS`` to its end, with the trace in a file of its own."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "trace")
        done = subprocess.run(
            argv("-o", output, *args), capture_output=True, text=True, timeout=PATIENCE, cwd=cwd,
            env=environment(**(env or {})), stdin=subprocess.DEVNULL, **options,
        )  # fmt: skip
        return Run(done.returncode, done.stdout, done.stderr, output.read_text() if output.exists() else "")


def replay(recording: Path, *args: object) -> bytes:
    """What ``isotrace log --from`` shows."""
    command = [sys.executable, "-m", "isotrace", "log", "--from", str(recording), *map(str, args)]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Live:
    """An isotrace that is running; ``stop`` ends it as Ctrl-C does and gives what it left."""

    process: subprocess.Popen[str]
    output: Path
    errors: Path
    run: Run | None = field(default=None)

    def text(self) -> str:
        """What it has written so far."""
        return self.output.read_text() if self.output.exists() else ""

    def wait(self) -> Run:
        """Wait for its end."""
        if self.run is None:
            self.process.wait(PATIENCE)
            self.run = Run(self.process.returncode, "", self.errors.read_text(), self.text())
        return self.run

    def stop(self, number: int = signal.SIGINT) -> Run:
        """End it with a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()


@contextmanager
def attached(*args: object, ready: Callable[[], object], **options: Any) -> Iterator[Live]:
    """``isotrace log ARGS`` beside the test, entered once it shows what ``ready`` (a call of the target) provokes."""
    with tempfile.TemporaryDirectory() as directory:
        output, errors = Path(directory, "trace"), Path(directory, "errors")
        with errors.open("w") as stream:
            process = subprocess.Popen(
                argv("-o", output, *args), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                env=environment(**options.pop("env", {})), text=True, **options,
            )  # fmt: skip
        live = Live(process, output, errors)
        try:
            until(lambda: ready() or live.text() or process.poll() is not None, "isotrace shows the target's calls")
            yield live
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


@contextmanager
def started(command: Sequence[object], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process of the test's own, ended by its pid at the end; its input and output are pipes."""
    options = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.DEVNULL,
        "text": True,
    } | options
    process = subprocess.Popen([str(word) for word in command], **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
