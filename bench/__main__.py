"""``make bench``: isotrace beside its peers, in one run, into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Keeper, compile_program
from bench.report import Results, block_of, page, with_block
from bench.runs import Bench, Budget, Table, progress, unable
from bench.tools import TOOLS, Tool
from bench.works import WORKS, Place, Work, write_project

HERE = Path(__file__).parent
REPORT = HERE.parent / "docs/benchmarks.md"
_TRACEFS = Path("/sys/kernel/tracing")
_AGAIN = "BENCH_HAS_TRACEFS"

_REPEAT = """
Written by `make bench`, which took {minutes} minutes here. `python -m bench --help` lists options.

* Each round runs the bare work, and then each tool in turn. A ratio compares two runs of one round, so that other work on
  the machine slows both. Look at the ratios; absolute times mean little.
* Tools that are very slow get less work.
* CPU is that of the tool's own process, without what a traced `true` costs it. Memory is its peak.
"""


def own_tracefs() -> None:
    """perf and bpftrace want tracefs: where it is not mounted, begin again in a mount namespace that has it."""
    if (_TRACEFS / "events").exists() or _AGAIN in os.environ or not shutil.which("unshare"):
        return
    mount = f'mount -t tracefs none {_TRACEFS}; exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"]
    os.environ[_AGAIN] = "1"
    os.execvp("unshare", [*command, sys.executable, "-m", "bench", *sys.argv[1:]])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each tool on each work (default 5)")
    parser.add_argument(
        "--only", default="", metavar="WORD", help="only works, and tools, whose name contains WORD,WORD"
    )
    parser.add_argument("--minutes", type=float, default=24, help="fewer rounds when it would take longer (default 24)")
    parser.add_argument("--output", type=Path, default=REPORT, help=f"default {REPORT.name}")
    return parser.parse_args()


def chosen(only: str) -> tuple[list[Work], list[Tool]]:
    """Works and tools with one of the words in their names; all where no name of that sort has one."""
    words = [word for word in only.split(",") if word]
    works = [work for work in WORKS if any(word in work.name for word in words)]
    tools = [tool for tool in TOOLS if any(word in tool.name for word in words)]
    return works or list(WORKS), tools or list(TOOLS)


def machine(tools: Sequence[Tool]) -> str:
    """The kernel, the processor, and the versions of what was run."""
    found = [f"Linux {platform.release()}, {os.cpu_count()} CPUs ({_processor()}), Python {platform.python_version()}"]
    for program, option in (("strace", "-V"), ("perf", "--version"), ("bpftrace", "--version")):
        if any(tool.command[0] == program for tool in tools) and shutil.which(program):
            said = subprocess.run([program, option], capture_output=True, text=True, check=False).stdout
            found.append(said.splitlines()[0].replace(" -- version", ""))
    return ", ".join(found)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()


def measure(bench: Bench, works: Sequence[Work]) -> Results:
    """Everything; takes minutes."""
    start_up, bystander = bench.start_up(), bench.bystander()
    table: Table = {}
    missing = {}
    for work in works:
        if why := work.missing():
            missing[work.name] = why
        else:
            table[work.name] = bench.slowdown(work)
    served = frozenset(work.name for work in works if work.served)
    return Results(table, bystander, start_up, served, missing, bench.budget.short)


def write(path: Path, text: str) -> None:
    """At once whole, or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _interrupt(*_signal: object) -> None:
    raise KeyboardInterrupt


def _bench(arguments: argparse.Namespace, scratch: Path, keeper: Keeper) -> str:
    place = Place(keeper, scratch, compile_program("work", scratch))
    write_project(scratch)
    works, tools = chosen(arguments.only)
    began = time.monotonic()
    budget = Budget(arguments.rounds, arguments.minutes * 60, len(works) + 2)
    bench = Bench(place, budget, tools, unable(tools, place))
    results = measure(bench, works)
    minutes = max(1, round((time.monotonic() - began) / 60))
    return page(results, tools, machine(tools), _REPEAT.format(minutes=minutes), (HERE / "notes.md").read_text())


def main() -> int:
    """Measure, then write in one go: a run that is interrupted leaves nothing behind and the old results as they were."""
    arguments = _arguments()
    if os.geteuid():
        print("bench: tracing needs root", file=sys.stderr)
        return 3
    own_tracefs()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # isotrace as it is installed, with its bytecode
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _interrupt)
    with tempfile.TemporaryDirectory(prefix="isotrace-bench") as scratch:
        keeper = Keeper(Path(scratch))
        try:
            text = _bench(arguments, Path(scratch), keeper)
        except KeyboardInterrupt:
            progress("interrupted: nothing was written")
            return 130
        finally:
            keeper.close()
    if arguments.output.exists():  # bench.block measures apart
        text = with_block(text, block_of(arguments.output.read_text()))
    write(arguments.output, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
