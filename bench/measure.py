"""Processes that the bench starts: each in a process group of its own, none outlives the bench, and what each cost."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_LOOK = 0.01
_PATIENCE = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")
#: What a command is run by so that it ends with the bench, however that ends; it becomes the command. A bench that has
#: ended before there was a signal to send is not the parent any more.
_DIE_TOGETHER = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ $PPID = "$0" ] && exec "$@"')


class Trouble(Exception):
    """A tool or a work that did not do what it should, in a line."""


@dataclass
class Cost:
    """Of one process, without those that it started: ``cpu`` in s, ``peak`` resident memory in KiB, ``wall`` in s."""

    cpu: float = 0.0
    peak: int = 0
    wall: float = 0.0


@dataclass
class Started:
    """A process that runs. ``said`` is what it has written to standard output and error, once it ended."""

    child: subprocess.Popen[bytes]
    log: Path
    began: float
    cost: Cost = field(default_factory=Cost)

    @property
    def said(self) -> str:
        """Standard output and error."""
        return self.log.read_text(errors="replace")

    def status(self) -> int | None:
        """Its exit status, or minus the signal, or None; it stays a zombie, and its group is nobody else's."""
        found = os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def ended(self) -> bool:
        """Whether it has ended; notes what it has cost by now."""
        gone = self.status() is not None
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        self.cost.cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        self.cost.peak = max(self.cost.peak, _resident(self.child.pid))
        self.cost.wall = time.monotonic() - self.began
        return gone

    def finish(self, patience: float = _PATIENCE) -> None:
        """Wait for its end. Raises ``Trouble`` when it takes too long or fails."""
        wait_until(self.ended, patience, f"{_short(self.child)} did not end")
        if self.status():
            raise Trouble(f"{_short(self.child)} ended with status {self.status()}: {self.tail()}")

    def tail(self) -> str:
        """What of it a person should read."""
        return reason(self.said)


def reason(said: str) -> str:
    """The line that tells why a program failed: the first that says so, else the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and "RLIMIT_MEMLOCK" not in line]
    telling = [line for line in lines if re.search(r"\b(unable|cannot|error)\b", line, re.IGNORECASE)]
    return (telling or lines[-1:] or ["nothing was said"])[0].partition(". ")[0][:120].rstrip(".")


def _short(child: subprocess.Popen[bytes]) -> str:
    assert isinstance(child.args, list)
    return Path(str(child.args[len(_DIE_TOGETHER) + 1])).name


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/status").read_text().split("\nVmHWM:")[1].split()[0])
    return 0


def wait_until(done: Callable[[], bool], patience: float, otherwise: str, look: float = _LOOK) -> None:
    """Raises ``Trouble(otherwise)`` when ``done()`` does not become true within ``patience`` seconds."""
    end = time.monotonic() + patience
    while not done():
        if time.monotonic() > end:
            raise Trouble(otherwise)
        time.sleep(look)


class Keeper:
    """Starts processes, and ends all that are left of them and of what they started."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._children: list[subprocess.Popen[bytes]] = []
        self._count = 0

    def start(self, command: Sequence[str | Path], **variables: str | Path) -> Started:
        """Run ``command`` with ``variables`` added to the environment."""
        self._count += 1
        log = self.scratch / f"log{self._count}"
        environment = os.environ | {name: str(value) for name, value in variables.items()}
        with log.open("wb") as output:
            child = subprocess.Popen(
                [*_DIE_TOGETHER, str(os.getpid()), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=self.scratch,
                start_new_session=True,
            )
        self._children.append(child)
        return Started(child, log, time.monotonic())

    @contextlib.contextmanager
    def running(self, command: Sequence[str | Path], **variables: str | Path) -> Iterator[Started]:
        """A process that is ended when the block is left."""
        one = self.start(command, **variables)
        try:
            yield one
        finally:
            self.end(one)

    def end(self, one: Started) -> None:
        """End it and its group, gently and then not, and forget it."""
        for number, patience in ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0)):
            if one.status() is None:
                os.killpg(one.child.pid, number)
                with contextlib.suppress(Trouble):
                    wait_until(lambda: one.status() is not None, patience, "")
        self._reap(one.child)
        self._children.remove(one.child)
        one.log.unlink(missing_ok=True)

    def _reap(self, child: subprocess.Popen[bytes]) -> None:
        """The leader has not been waited for, so the group is still ours, whatever became of the rest of it."""
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def close(self) -> None:
        """End whatever is left, at once."""
        while self._children:
            self._reap(self._children.pop())


def compile_program(name: str, where: Path) -> Path:
    """The binary of ``bench/progs/NAME.c``, in ``where``."""
    binary = where / name
    subprocess.run(["gcc", "-O2", "-Wall", "-o", binary, Path(__file__).with_name("progs") / f"{name}.c"], check=True)
    return binary
