"""``make bench-quick``: in less than two minutes what a change has done to isotrace's cost, beside strace, as one table.

Each figure is a ratio within one round, or isotrace's own CPU without its start. One round says something of large
differences only: ``make bench`` measures for the page.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import recording
from bench.measure import Keeper, compile_program
from bench.runs import Bench, Budget, Table, progress
from bench.tools import ISOTRACE, TOOLS, Tool
from bench.works import WORKS, Place, Work, own

MIXED = 100_000  # rounds of five calls
_SECONDS = 60.0
_TEXT, _NONE, _TOP, _STRACE = "isotrace log", "isotrace log --format none", "isotrace top --once", "strace -f"
_RECORD = Tool("isotrace record", "records", (*ISOTRACE, "record", "-o", "OUT", "--"), "isotrace", TOOLS[0].lost)
_LOOP, _FILES = "getppid", "open, fstat, read, close, getppid"
_SERVERS = ("redis-server, GET", "nginx, a small page")
#: What isotrace takes of user CPU: the command, and the goal in µs a call.
_WAYS = {
    "user CPU a call, `--format none`": (("log", "--format", "none"), 0.35),
    "user CPU a call, recording": (("record", "-o", "{}/out"), 0.5),
    "user CPU a line, text": (("log", "-o", "{}/out"), 0.7),
    "user CPU a line, JSON": (("log", "--format", "json", "-o", "{}/out"), 1.2),
}
#: Of a server's requests, in per cent, what is to be left.
_KEEPS = {_TEXT: (75, 65), _RECORD.name: (92, 75), _TOP: (None, 88)}

Row = tuple[str, str, str]


def works() -> list[Work]:
    """Loops, and the servers that are installed."""
    loops = [Work(_LOOP, own("getppid", 200_000, 1)), Work(_FILES, own("mixed", MIXED // 2, 5))]
    return loops + [work for work in WORKS if work.name in _SERVERS]


def tools() -> list[Tool]:
    """What is compared: strace and isotrace in its uses."""
    return [*(tool for tool in TOOLS if tool.name in (_TEXT, _NONE, _TOP, _STRACE)), _RECORD]


def cpu(binary: Path, scratch: Path) -> list[Row]:
    """User CPU of isotrace a call, without its start."""
    found = []
    for name, (words, goal) in _WAYS.items():
        progress(name)
        command = [word.format(scratch) for word in words]
        start = min(recording.attached(command, binary, 1) for _ in range(2))  # the first may compile its programs
        spent = recording.attached(command, binary, MIXED) - start
        found.append((name, f"{spent / (5 * MIXED) * 1e6:.2f} µs", f"≤ {goal} µs"))
    return found


def against_strace(table: Table) -> list[Row]:
    """By how much more strace slows a loop down."""
    found = []
    for name in (_LOOP, _FILES):
        cells = table[name]
        if why := cells[_STRACE].why or cells[_TEXT].why:
            found.append((f"{name}: {why}", "", ""))
            continue
        strace, text = cells[_STRACE].ratio - 1, max(cells[_TEXT].ratio - 1, 0.001)
        lost = sum(cells[_TEXT].lost)
        found.append((f"strace's added time ÷ isotrace's, {name}", f"{strace / text:.0f}", "≥ 60"))
        found.append((f"lost, text, {name}", f"{lost:,}", "0"))
    return found


def servers(table: Table, missing: dict[str, str]) -> list[Row]:
    """What servers keep of their requests."""
    found = []
    for place, name in enumerate(_SERVERS):
        if name in missing:
            found.append((f"{name}: {missing[name]}", "", ""))
            continue
        for tool in (_TEXT, _RECORD.name, _NONE, _TOP, _STRACE):
            cell, goal = table[name][tool], _KEEPS.get(tool, (None, None))[place]
            kept = cell.why or f"{100 / cell.ratio:.0f} %"
            found.append((f"{name}: keeps under {tool}", kept, f"≥ {goal} %" if goal else ""))
    return found


def rows(bench: Bench, binary: Path, scratch: Path) -> list[Row]:
    """All of the table."""
    chosen, table, missing = works(), Table(), {}
    for work in chosen:
        if why := work.missing():
            missing[work.name] = why
        else:
            table[work.name] = bench.slowdown(work)
    first = bench.start_up()[_TEXT]
    said = first.why or f"{min(first.times):.2f} s"
    return [*cpu(binary, scratch), *against_strace(table), *servers(table, missing), ("first line", said, "≤ 0.25 s")]


def lines(found: Sequence[Row]) -> list[str]:
    """The table as it is printed."""
    widths = [max(len(row[i]) for row in (*found, ("", "here", "goal"))) for i in range(3)]
    every = [("", "here", "goal"), *found]
    return ["  ".join((a.ljust(widths[0]), b.rjust(widths[1]), c.rjust(widths[2]))).rstrip() for a, b, c in every]


def main() -> int:
    """Measure and print."""
    if os.geteuid():
        print("bench: tracing needs root", file=sys.stderr)
        return 3
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="isotrace-bench") as directory:
        scratch = Path(directory)
        keeper = Keeper(scratch)
        try:
            place = Place(keeper, scratch, compile_program("work", scratch))
            unable = {tool.name: why for tool in tools() if (why := tool.missing())}
            bench = Bench(place, Budget(1, _SECONDS, 5), tools(), unable)
            print("\n".join(lines(rows(bench, place.binary, scratch))))
        finally:
            keeper.close()
    progress(f"{time.monotonic() - began:.0f} s, with a load of {os.getloadavg()[0]:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
