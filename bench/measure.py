"""One run of a program under a tracer, and what it cost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROGS = Path(__file__).parent / "progs"
ISOTRACE = (sys.executable, "-m", "isotrace", "log")
STRACE = ("strace", "-f", "-o", "/dev/null")


@dataclass(frozen=True)
class Run:
    """``printed`` is the program's standard output, ``said`` the tracer's standard error.

    ``wall`` and ``cpu`` are the tracer's seconds (the traced program not included), ``peak`` its resident memory in KiB.
    """

    printed: str
    said: str
    wall: float
    cpu: float
    peak: int

    @property
    def nanoseconds(self) -> float:
        """Per round, as the program measured it."""
        return float(self.printed)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Calls, delivered, lost, as isotrace said at its end."""
        found = re.search(r"(\d+) calls, (\d+) delivered, (\d+) lost", self.said)
        if not found:
            raise RuntimeError(f"no summary in: {self.said!r}")
        return int(found[1]), int(found[2]), int(found[3])


def compile_program(name: str, where: Path) -> Path:
    """The binary of ``bench/progs/NAME.c``, in ``where``."""
    binary = where / name
    subprocess.run(["gcc", "-O2", "-o", binary, PROGS / f"{name}.c"], check=True)
    return binary


def run(command: Sequence[str | Path]) -> Run:
    """Run to the end; raises ``CalledProcessError`` when the command fails."""
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        peak = 0
        while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            peak = max(peak, _resident(child.pid))
            time.sleep(0.01)
        wall = time.monotonic() - start
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        printed, said = child.communicate()
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command, printed, said)
    return Run(printed, said, wall, cpu, peak)


def _resident(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0
