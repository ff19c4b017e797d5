"""``make bench``: writes docs/benchmarks.md. Ratios come from runs that alternate, so a busy machine slows both sides."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.measure import ISOTRACE, STRACE, Run, compile_program, run

REPORT = Path(__file__).parents[1] / "docs/benchmarks.md"
ROUNDS = 5

Row = tuple[str, str, str]


def _median(values: Sequence[float]) -> str:
    spread = f"{min(values):.0f}…{max(values):.0f}"
    return f"{statistics.median(values):.0f} ({spread})"


def per_call(program: Path) -> list[Row]:
    """What each tracer adds to one getppid, in ns: bare, isotrace and strace in turn."""
    counts = {"bare": 2_000_000, "isotrace": 1_000_000, "strace": 20_000}
    wrap = {"bare": (), "isotrace": (*ISOTRACE, "--format", "none", "--"), "strace": STRACE}
    times: dict[str, list[float]] = {name: [] for name in counts}
    for _ in range(ROUNDS):
        for name, count in counts.items():
            times[name].append(run([*wrap[name], program, "getppid", str(count)]).nanoseconds)
    bare, ours, theirs = (statistics.median(times[name]) for name in ("bare", "isotrace", "strace"))
    return [
        ("getppid, bare, ns", _median(times["bare"]), ""),
        ("added by isotrace, full record, ns", f"{ours - bare:.0f}", _median(times["isotrace"]) + " in all"),
        ("added by strace -f -o /dev/null, ns", f"{theirs - bare:.0f}", _median(times["strace"]) + " in all"),
        (
            "strace adds this many times more",
            f"{(theirs - bare) / (ours - bare):.0f}",
            "asked for: at least 40",
        ),
    ]


def _memory(one: Run) -> str:
    return f"{one.peak / 1024:.0f} MiB"


def no_loss(program: Path) -> list[Row]:
    """Five million calls in a tight loop with the default ring."""
    none = run([*ISOTRACE, "--format", "none", "--", program, "getppid", "5000000"])
    json = run([*ISOTRACE, "--format", "json", "-o", "/dev/null", "--", program, "getppid", "5000000"])
    calls, delivered, lost = none.counts
    return [
        ("5,000,000 calls, --format none: lost", str(lost), f"{calls} calls, {delivered} delivered"),
        ("tracer's CPU per million calls, none", f"{none.cpu / calls * 1e6:.2f} s", ""),
        ("resident memory, none", _memory(none), "asked for: under 150 MB"),
        (
            "5,000,000 calls, --format json: lost",
            str(json.counts[2]),
            "a loop faster than any writer; the count is exact",
        ),
        ("resident memory, json", _memory(json), ""),
    ]


def text_speed(program: Path) -> list[Row]:
    """Lines of text a second of the tracer's CPU, for open, fstat, read, close, getppid in turn."""
    one = run([*ISOTRACE, "--ring", "512m", "-o", "/dev/null", "--", program, "mixed", "60000"])
    _calls, delivered, lost = one.counts
    return [
        (
            "text, lines per second of one core",
            f"{delivered / one.cpu:.0f}",
            f"{delivered} lines, {lost} lost; start-up included",
        )
    ]


def start_up() -> list[Row]:
    """`true` under each tracer, from start to end."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(run([*ISOTRACE, "-o", "/dev/null", "--", "true"]).wall)
        theirs.append(run([*STRACE, "true"]).wall)
    return [
        ("isotrace log -- true, s", f"{statistics.median(ours):.2f}", f"{min(ours):.2f}…{max(ours):.2f}"),
        ("strace -f true, s", f"{statistics.median(theirs):.2f}", f"{min(theirs):.2f}…{max(theirs):.2f}"),
    ]


def _machine() -> str:
    strace = subprocess.run(["strace", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {strace}"


def report(rows: Sequence[Row]) -> str:
    """The page as Markdown."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; the machine is shared, so read ratios, not nanoseconds.",
        "",
        _machine(),
        "",
    ]
    lines += ["| what | figure | |", "|---|---:|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure everything, then write the report in one go: an interrupted run leaves the old one."""
    with tempfile.TemporaryDirectory() as scratch:
        program = compile_program("calls", Path(scratch))
        rows = [*per_call(program), *no_loss(program), *text_speed(program), *start_up()]
    text = report(rows)
    REPORT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
