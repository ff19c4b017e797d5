"""``python -m bench.keepup [CALLS]``: whether isotrace loses anything of a program that makes nothing but calls, and what
it costs to count, record and show them.

User CPU is that of isotrace with the program, and stands beside that of ``--format none`` in the same run: a table of
ratios. It may take minutes, most of which isotrace writes what it has seen.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.measure import compile_program

CALLS = 5_000_000
_WAYS = {
    "counted (--format none)": ("log", "--format", "none"),
    "recorded (--no-durations)": ("record", "--no-durations", "-o", "{}/t.arrow"),
    "recorded": ("record", "-o", "{}/t.arrow"),
    "text to a file": ("log", "-o", "{}/t.txt"),
    "JSON to a file": ("log", "--format", "json", "-o", "{}/t.json"),
}
_SUMMARY = re.compile(r"isotrace: (\d+) calls, (\d+) delivered, (-?\d+) lost")


@dataclass(frozen=True)
class Row:
    """What came of one way: calls, those lost, seconds of user CPU and of the clock, bytes a call in the file."""

    calls: int
    lost: int
    cpu: float
    wall: float
    size: float


def run(way: tuple[str, ...], program: Path, calls: int, scratch: Path) -> Row:
    """Trace the program in one way. Raises ``RuntimeError`` where isotrace does not come to its summary."""
    words = [word.format(scratch) for word in way]
    began, before = time.monotonic(), os.times()
    done = subprocess.run(
        [sys.executable, "-m", "isotrace", *words, "--", program, str(calls)],
        capture_output=True,
        text=True,
        check=False,
    )
    after = os.times()
    if not (found := _SUMMARY.search(done.stderr)):
        raise RuntimeError(done.stderr)
    files = list(scratch.iterdir())
    size = sum(file.stat().st_size for file in files if file != program)
    for file in files:
        if file != program:
            file.unlink()
    seen, cpu = int(found[1]), after.children_user - before.children_user
    return Row(seen, int(found[3]), cpu, time.monotonic() - began, size / max(1, seen))


def table(rows: dict[str, Row]) -> list[str]:
    """The lines, with CPU as a multiple of the first row's."""
    base = next(iter(rows.values())).cpu
    lines = ["| way | calls | lost | user CPU, ×counted | seconds | bytes a call |", "|---|---:|---:|---:|---:|---:|"]
    return lines + [
        f"| {name} | {row.calls:,} | {row.lost:,} | {row.cpu / base:.2f} | {row.wall:.0f} | {row.size:.1f} |"
        for name, row in rows.items()
    ]


def main() -> int:
    """Measure and print."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        program = compile_program("openreadclose", scratch)
        print("\n".join(table({name: run(way, program, calls, scratch) for name, way in _WAYS.items()})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
