"""``isotrace log``: every system call of the target, decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from isotrace import units
from isotrace.backends.loader import Loader
from isotrace.catalog import expr
from isotrace.launch import Command
from isotrace.sinks.output import Output
from isotrace.target import Target, parse_uid

_EPILOG = """\b
Conditions on the target combine with AND; -f adds the descendants of what matches.

\b
Calls are names and families, left to right; ! takes away:
  --calls openat,connect    --calls %network,@file-system    --calls '!read,!write'
  see: isotrace calls

\b
Examples:
  isotrace log -- ls -l                            a command and all its descendants
  isotrace log --ppid $$                           children of this shell (from another terminal)
  isotrace log -f --pid 1234 -o trace.txt          a process and what it starts from now on
  isotrace log --tree 1234 --calls %file --failed  file accesses that fail, anywhere below 1234
  isotrace log --uid www-data --for 10s --format json
  isotrace log --comm nginx --format none          count only

\b
At the end, on standard error: how many calls the kernel program met, how many were delivered, how many were lost.
"""


class Parsed(click.ParamType[float]):
    """A value that a function of isotrace.units parses; its errors are shown as they are."""

    def __init__(self, name: str, parse: Callable[[str], float | int]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: object, param: object, ctx: object) -> float | int:
        return self._parse(value) if isinstance(value, str) else value  # type: ignore[return-value]


PID = click.IntRange(1, (1 << 22) - 1)


@click.command(epilog=_EPILOG)
@click.option("--ppid", type=PID, help="Children of this process: whose parent is N at the time of the call.")
@click.option("--pid", type=PID, help="This process, with all its threads.")
@click.option("--tree", type=PID, help="This process and all its descendants, also those that get another parent.")
@click.option("--uid", type=Parsed("user", parse_uid), help="Processes of this user, by name or number (real uid).")
@click.option("--comm", help="Processes of this name (the kernel's: at most 15 bytes).")
@click.option("--cgroup", metavar="PATH", help="Processes in this cgroup (version 2) or below it.")
@click.option("-f", "--follow", is_flag=True, help="Descendants of what matches, too.")
@click.option("--calls", metavar="EXPR", help="Only these calls.  [default: all]")
@click.option("--failed", is_flag=True, help="Only calls that returned an error.")
@click.option("--format", "style", type=click.Choice(["text", "json", "isolates", "none"]), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to standard output.")
@click.option("--for", "seconds", type=Parsed("duration", units.duration), metavar="TIME", help="End after 10s, 5m, 1h30m …")
@click.option("-T", "--durations", is_flag=True, help="Show the time spent in each call.")
@click.option("-t", "--clock", is_flag=True, help="Show the time of day of each call.")
@click.option("-q", "--quiet", is_flag=True, help="No signals and no summary, unless something was lost.")
@click.option("--string-limit", type=click.IntRange(1, 4096), default=256, show_default=True, help="Bytes of strings and buffers; paths are whole.")
@click.option("--ring", type=Parsed("size", units.size), default="16m", show_default=True, help="Size of the ring buffer, a power of two.")
@click.option("--strict", is_flag=True, help="Exit with status 1 if anything was lost.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def log(
    ppid: int | None,
    pid: int | None,
    tree: int | None,
    uid: int | None,
    comm: str | None,
    cgroup: str | None,
    follow: bool,
    command: tuple[str, ...],
    **choices: Any,
) -> int:
    """Log every system call of the target: a process's children, a tree, a user, a command.

    Each call is a line when it returns, as strace prints it: who, the call with its arguments decoded, its result.
    """
    target = Target(ppid, pid, tree, uid, comm, cgroup, follow, command)
    target.check()
    calls = expr.parse(choices["calls"]) if choices["calls"] is not None else None
    output = Output(choices["output"])
    started = Command(command) if command else None
    loader = Loader()
    # Only now what takes time to import: both children are forked small and have their work to do.
    from isotrace.recording import Choices, run

    return run(target, calls, output, started, loader, Choices(**{k: choices[k] for k in Choices.__dataclass_fields__}))
