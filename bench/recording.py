"""``python -m bench.recording``: what a recording costs, on disk and in CPU, and the section on it in docs/recording.md."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.measure import compile_program, wait_until
from isotrace.recording import reader, schema
from isotrace.recording.asked import Asked
from isotrace.recording.reader import Recording
from isotrace.recording.sql import Database
from isotrace.recording.writer import Writer

PAGE = Path(__file__).parents[1] / "docs/recording.md"
HEADING = "## What it costs"
MIXED = 200_000  # rounds of five calls
ROUNDS = 3
ROWS = 10_000_000
QUERY = "SELECT name, count(*), avg(duration_ns) FROM calls GROUP BY name"
_ISOTRACE = [sys.executable, "-m", "isotrace"]


def attached(arguments: Sequence[str], program: Path, rounds: int) -> float:
    """Seconds of user CPU that isotrace takes on ``rounds`` of a process that is not its child."""
    work = subprocess.Popen(
        ["sh", "-c", 'read go; exec "$0" mixed "$1"', program, str(rounds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    tracer = subprocess.Popen([*_ISOTRACE, *arguments, "--pid", str(work.pid)], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: _attached(tracer), 120, "isotrace does not attach")
    work.communicate("go\n")
    assert tracer.stderr
    said = tracer.stderr.read()
    _, status, usage = os.wait4(tracer.pid, 0)
    tracer.returncode = os.waitstatus_to_exitcode(status)
    if " 0 lost" not in said:
        print(f"bench: {' '.join(arguments)}: {said.strip()}", file=sys.stderr)
    return usage.ru_utime


def _attached(tracer: subprocess.Popen[str]) -> bool:
    """Whether it has programs at tracepoints."""
    links = 0
    for name in os.listdir(f"/proc/{tracer.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            links += os.readlink(f"/proc/{tracer.pid}/fd/{name}") == "anon_inode:bpf_link"
    return links > 2


def per_call(arguments: Sequence[str], program: Path) -> float:
    """Microseconds of user CPU a call, without what starting takes: the median of some rounds."""
    found = [attached(arguments, program, MIXED) - attached(arguments, program, 1) for _ in range(ROUNDS)]
    return statistics.median(found) / (5 * MIXED) * 1e6


def size_of(file: Path, work: Sequence[str]) -> tuple[int, float]:
    """Calls, and bytes a call of the recording of a command."""
    subprocess.run([*_ISOTRACE, "record", "-q", "-o", file, "--", *work], stdout=subprocess.DEVNULL, check=True)
    calls = sum(reader.counts([Recording(str(file))]).values())
    return calls, file.stat().st_size / calls


def repeated(source: Path, to: Path) -> int:
    """A recording of some ROWS rows from one that is smaller; returns how many it has."""
    batches = list(reader.batches([Recording(str(source))]))
    rows = sum(map(len, batches))
    out, count = Writer(Asked(str(to)), schema.Head()), 0
    while count < ROWS:
        for batch in batches:
            out.write(batch)
        count += rows
    out.close(schema.End())
    return count


def query(file: Path) -> float:
    """Seconds that the query takes, at best."""
    database, found = Database([str(file)]), []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        result = database.run(QUERY)
        assert result is not None
        result.read_all()
        found.append(time.perf_counter() - began)
    return min(found)


def section(scratch: Path) -> str:
    """The section as it is measured here."""
    program = compile_program("work", scratch)
    calls, bytes_a_call = size_of(scratch / "find", ["find", "/usr/share"])
    costs = {
        "log --format none": per_call(["log", "--format", "none"], program),
        "record": per_call(["record", "-o", str(scratch / "r")], program),
        "record --no-durations": per_call(["record", "--no-durations", "-o", str(scratch / "r")], program),
        "log -o FILE": per_call(["log", "-o", str(scratch / "text")], program),
    }
    rows = repeated(scratch / "find", scratch / "large")
    seconds = query(scratch / "large")
    lines = [f"| `isotrace {name}` | {cost:.2f} µs |" for name, cost in costs.items()]
    return "\n".join(
        [
            HEADING,
            "",
            f"Measured by `python -m bench.recording` on Linux {platform.release()}, {os.cpu_count()} CPUs, "
            f"{platform.machine()}, with a load of {os.getloadavg()[0]:.0f} by others.",
            "",
            f"`find /usr/share`: {calls:,} calls, **{bytes_a_call:.1f} bytes a call** on disk.",
            "",
            "| user CPU of isotrace a call, of a loop of open, fstat, read, close, getppid | |",
            "|---|---|",
            *lines,
            "",
            f"`isotrace sql`: a GROUP BY over {rows:,} rows (`{QUERY}`) takes **{seconds:.2f} s**.",
            "",
        ]
    )


def main() -> None:
    """Measure, and write the section."""
    with tempfile.TemporaryDirectory() as directory:
        found = section(Path(directory))
    page = re.sub(rf"^{HEADING}\n.*?(?=^## |\Z)", "", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    PAGE.write_text(page.rstrip() + "\n\n" + found)
    print(found)


if __name__ == "__main__":
    main()
