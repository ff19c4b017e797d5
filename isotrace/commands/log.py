"""``isotrace log``: every system call of the target, decoded."""

from __future__ import annotations

from typing import Any

import click

from isotrace import units
from isotrace.backends.loader import Loader
from isotrace.catalog import expr
from isotrace.commands.options import Parsed, take_target, target_options
from isotrace.kernel.backend import choose
from isotrace.process.interrupts import one_thread
from isotrace.process.launch import Command
from isotrace.sinks import formats
from isotrace.sinks.output import Output

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
What was seen and cannot be written at once waits in memory, then in a file without a name in $TMPDIR. Ctrl-C stops tracing;
what waits is still written, and a second Ctrl-C drops it.

\b
At the end, on standard error: how many calls the kernel program met, how many were delivered, how many were lost.
"""


@click.command(epilog=_EPILOG)
@target_options
@click.option("--failed", is_flag=True, help="Only calls that returned an error.")
@click.option("--format", "style", type=click.Choice(formats.NAMES), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to standard output.")
@click.option(
    "--for", "seconds", type=Parsed("duration", units.duration), metavar="TIME", help="End after 10s, 5m, 1h30m …"
)
@click.option("-T", "--durations", is_flag=True, help="Show the time spent in each call.")
@click.option("-t", "--clock", is_flag=True, help="Show the time of day of each call.")
@click.option("-q", "--quiet", is_flag=True, help="No signals and no summary, unless something was lost.")
@click.option(
    "--string-limit",
    type=click.IntRange(1, 4096),
    default=256,
    show_default=True,
    help="Bytes of strings and buffers; paths are whole.",
)
@click.option(
    "--ring",
    type=Parsed("size", units.size),
    default="64m",
    show_default=True,
    help="Size of the ring buffer, a power of two.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "bpf", "lkm"]),
    default="auto",
    show_default=True,
    help="BPF, or the kernel module: by itself only where BPF cannot, and when it is loaded.",
)
@click.option("--strict", is_flag=True, help="Exit with status 1 if anything was lost.")
def log(**choices: Any) -> int:
    """Log every system call of the target: a process's children, a tree, a user, a command.

    Each call is a line when it returns, as strace prints it: who, the call with its arguments decoded, its result.
    """
    target = take_target(choices)
    calls = expr.parse(choices["calls"]) if choices["calls"] is not None else None
    by_module = choose(choices["backend"]) == "lkm"
    output = Output(choices["output"])
    command = Command(target.command) if target.command else None
    loader = None if by_module else Loader()
    # Only now what takes time to import: both children are forked small and have their work to do.
    one_thread()
    from isotrace.run.lifecycle import Run
    from isotrace.run.records import Records, planned
    from isotrace.sinks.failed import Failed
    from isotrace.trace.plan import Options

    def parts() -> list[Records]:
        notices = not choices["quiet"]
        options = Options(target, calls, choices["string_limit"], choices["ring"], choices["durations"], notices)
        plan, backend = planned(options, loader)
        sinks = formats.make(choices["style"], output, plan.calls, choices["durations"], choices["clock"])
        shown = [Failed(sink) for sink in sinks] if choices["failed"] else sinks
        return [Records(plan, backend, shown, choices["quiet"], choices["strict"])]

    return Run(target, parts, command, choices["seconds"], quiet=choices["quiet"]).go()
