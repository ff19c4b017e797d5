"""``isotrace log``: every system call of the target, decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from isotrace.backends.loader import Loader
from isotrace.catalog import expr
from isotrace.catalog.model import Syscall
from isotrace.commands.keeping import record_options, take_beside
from isotrace.commands.options import (
    BACKEND,
    DESCRIPTORS,
    FOR,
    HOST_PATHS,
    LOSSLESS,
    ONCE,
    PATHS,
    RESOLVE,
    RING,
    SHOW_CONTAINERS,
    STACKS,
    STRICT,
    STRING_LIMIT,
    containers_to_show,
    take_target,
    target_options,
    trace_options,
)
from isotrace.commands.recorded import from_options, not_alone, take_recorded
from isotrace.commands.showing import QUALIFIERS, showing_options, take_view
from isotrace.errors import UsageError
from isotrace.kernel.backend import choose
from isotrace.process.interrupts import one_thread
from isotrace.process.launch import Command
from isotrace.process.telling import tell
from isotrace.render.view import View
from isotrace.sinks import Sink, endings, formats, sets
from isotrace.sinks.output import Output

_EPILOG = """\b
Conditions on the target combine with AND. Of several --ppid, --pid, --tree
or --comm one must match. -f adds the descendants of what matches.

\b
EXPR is names and families of calls, left to right; ! takes away:
  --calls openat,connect        --calls '!read,!write'
  --calls %network,@file-system
  --calls %io_uring             operations of io_uring: io_uring:openat, …
  --calls open@i386             the call of one ABI
  --calls '?landlock_create_ruleset'    no error if there is no such call
  see: isotrace calls

\b
Examples:
  isotrace log -- ls -l                a command and all its descendants
  isotrace log --ppid $$               children of this shell, seen from
                                       another terminal
  isotrace log -f --pid 1234 -o t.txt  a process and what it starts later
  isotrace log --tree 1234 --calls %file --failed
                                       file accesses that fail below 1234
  isotrace log --uid www-data --status EPERM,EACCES
                                       calls that were not permitted
  isotrace log --tree 1234 -P '/etc/*' -P '*.conf'
                                       calls that name these files
  isotrace log --pid 1234 --fd 0,1,2 --signals none
                                       calls on its standard input and output
  isotrace log --container web         a container, with docker exec
  isotrace log --container web --wait  one that is started later, or again
  isotrace log --uid www-data --for 10s --format json
  isotrace log --comm nginx --format none
                                       count only
  isotrace log -yy --pid 1234          what descriptors are: 3</etc/passwd>
  isotrace log -k --calls fsync --pid 1234
                                       the functions that call it
  isotrace log -k --format folded -o t.folded -- make
                                       for flamegraph.pl
  isotrace log --comm 'php*' --comm nginx
                                       names and patterns of names
  isotrace log --from t.arrow --failed
                                       a recording, filtered the same way
  isotrace log --format strace -ttt -T -o t.strace -- make
                                       what strace -f -ttt -T writes

\b
Calls that cannot be written at once wait in memory, then in an unnamed file
in $TMPDIR. Ctrl-C stops tracing and writes what waits; a second Ctrl-C drops
it.

\b
At the end, standard error says how many calls were seen in the kernel, how
many were delivered, and how many were lost.
"""


@click.command(epilog=_EPILOG)
@target_options
@from_options
@click.option("--failed", is_flag=True, help="Only calls that returned an error: --status failed.")
@click.option(
    "--status",
    metavar="EXPR",
    **ONCE,
    help="Only calls with this result: failed, successful, or names of errors; ! takes away.",
)
@PATHS
@click.option(
    "--fd",
    metavar="N,...",
    **ONCE,
    help="Only calls that have one of these descriptors as an argument; '!0,1,2': any other descriptor. With -P, calls"
    " that match either.",
)
@click.option(
    "--signals",
    metavar="SET",
    **ONCE,
    help="Only these signals: names, all, none; ! takes away.  [default: all]",
)
@click.option("--format", "style", type=click.Choice(formats.NAMES), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to standard output.")
@FOR
@click.option("-T", "--durations", is_flag=True, help="Show the time spent in each call.")
@click.option(
    "-t",
    "--clock",
    count=True,
    help="Show the time of each call; -ttt: in seconds since the epoch. With --format strace -t shows seconds, -tt"
    " microseconds.",
)
@click.option("-r", "--relative", is_flag=True, help="With --format strace: show the time since the previous line.")
@click.option("-q", "--quiet", is_flag=True, help="No signals and no summary, unless something was lost.")
@DESCRIPTORS
@RESOLVE
@HOST_PATHS
@STACKS
@SHOW_CONTAINERS
@click.option(
    "-Y",
    "pids",
    flag_value="comm",
    help="Same as --decode-pids=comm.",
)
@click.option(
    "--decode-pids",
    "pids",
    type=click.Choice(["comm"]),
    help="Show the names of processes: 12<bash>. A pid has a name if it was traced itself, and is not a container's.",
)
@showing_options
@QUALIFIERS
@STRING_LIMIT
@RING
@BACKEND
@STRICT
@LOSSLESS
@record_options
def log(**choices: Any) -> int:
    """Log every system call of the target: a process's children, a tree, a user, a command.

    Each call is one line when it returns, as strace prints it: the process, the call with decoded arguments, the result.
    """
    not_alone(choices)
    view = take_view(choices)
    containers = containers_to_show(choices)
    beside, choice = _beside(choices, view, containers), _choice(choices)
    if choices["sources"]:
        return _recorded(choices, beside, choice)
    target = take_target(choices)
    calls = expr.parse(choices["calls"]) if choices["calls"] is not None else None
    by_module = choose(choices["backend"]) == "lkm"
    containers = containers and (choices["show_containers"] or not by_module)
    shown = choices["output"] is None and choices["style"] != "none"
    asked = take_beside(choices, choices["output"], "the command's" if target.command else "the log's" if shown else "")
    output = Output(choices["output"])
    command = Command(target.command) if target.command else None
    loader = None if by_module else Loader()
    # Only now what takes time to import: both children are forked small and have their work to do.
    one_thread()
    from isotrace.run.lifecycle import Run
    from isotrace.run.recorder import Recorder
    from isotrace.run.records import Records

    def sinks(known: Mapping[int, Syscall]) -> list[Sink]:
        return _sinks(choices, beside, choice, output, known)

    def parts() -> list[Records]:
        durations = beside.durations or bool(asked) or choices["style"] in formats.ORDERED
        full = beside.view.abbreviated is not None
        options = trace_options(choices, target, calls, durations, full, containers)
        recorder = Recorder(asked, choices["calls"]) if asked else None
        announce = choices["style"] in formats.ORDERED and not choice.status
        return [Records(options, loader, sinks, recorder, choices["quiet"], choices["strict"], announce)]

    return Run(target, parts, command, choices["seconds"], quiet=choices["quiet"]).go()


@dataclass(frozen=True)
class _Choice:
    """What is shown: calls by what they end with (nothing: all), paths and descriptors; signals."""

    status: frozenset[int]
    paths: tuple[str, ...]
    descriptors: sets.Numbers | None
    signals: frozenset[int] | None


def _choice(choices: dict[str, Any]) -> _Choice:
    """Raises ``UsageError``."""
    fd, signals = choices["fd"], choices["signals"]
    return _Choice(
        _status(choices),
        choices["path"],
        sets.descriptors(fd) if fd is not None else None,
        sets.signals(signals) if signals is not None else None,
    )


def _status(choices: dict[str, Any]) -> frozenset[int]:
    """What calls are shown end with; nothing where all are. Raises ``UsageError``."""
    if choices["failed"] and choices["status"] is not None:
        raise UsageError("--failed and --status exclude each other", "give --status alone")
    asked = "failed" if choices["failed"] else choices["status"]
    return frozenset() if asked is None else endings.parse(asked)


def _beside(choices: dict[str, Any], view: View, containers: bool) -> formats.Beside:
    """What is to stand beside calls. Raises ``UsageError``."""
    if choices["relative"] and choices["style"] != "strace":
        raise UsageError("-r needs --format strace", "give --format strace as well")
    if choices["style"] == "folded" and not choices["stack_trace"]:
        raise UsageError("--format folded counts calls by their stacks", "give -k as well")
    return formats.Beside(
        choices["clock"],
        choices["relative"],
        choices["durations"],
        max(choices["descriptors"], choices["host_paths"]),
        choices["stack_trace"],
        view,
        bool(choices["pids"]),
        choices["resolve"],
        containers,
        choices["host_paths"],
    )


def _sinks(
    choices: dict[str, Any],
    beside: formats.Beside,
    choice: _Choice,
    output: Output,
    known: Mapping[int, Syscall],
) -> list[Sink]:
    """What shows the calls, behind what chooses among them."""
    from isotrace.sinks.calls_on import CallsOn
    from isotrace.sinks.passing import Choice, Chooser
    from isotrace.sinks.paths import Paths
    from isotrace.sinks.signals import Signals
    from isotrace.sinks.status import Status
    from isotrace.trace.events import SIGNAL, TASK_EXIT

    sinks = formats.make(choices["style"], output, known, beside)
    choosers: list[Chooser] = [Paths(choice.paths)] if choice.paths else []
    choosers += [CallsOn(choice.descriptors)] if choice.descriptors else []
    # strace shows signals and ends whatever calls it shows
    always = (SIGNAL, TASK_EXIT) if choices["style"] in formats.ORDERED else ()
    if choosers:
        sinks = [Choice(sink, choosers, always) for sink in sinks]
    if choice.signals is not None:
        sinks = [Signals(sink, choice.signals) for sink in sinks]
    return [Status(sink, choice.status, always) for sink in sinks] if choice.status else sinks


def _recorded(choices: dict[str, Any], beside: formats.Beside, choice: _Choice) -> int:
    """The same of what was recorded."""
    files, target = take_recorded(choices)
    calls = expr.parse(choices["calls"]) if choices["calls"] is not None else None
    from isotrace.recording import reader
    from isotrace.recording.choose import Chosen
    from isotrace.run import replay
    from isotrace.trace.plan import all_calls

    paths = reader.found(files)
    reader.not_among(paths, choices["output"])
    recordings = reader.open_all(paths)
    if choices["descriptors"] and (lacking := [one.name for one in recordings if not one.head.descriptors]):
        raise UsageError(
            f"{lacking[0]}: the recording does not say what descriptors are", "record it with isotrace record -y"
        )
    if choices["stack_trace"]:
        reader.with_stacks(recordings)
    if beside.view.abbreviated is not None:
        tell(reader.abbreviated(recordings))
    if choices["pids"]:
        raise UsageError("recordings have no names for pids", "--decode-pids is for live runs")
    if choices["host_paths"]:
        raise UsageError("recordings do not say where files are on the host", "--host-paths is for live runs")
    if choices["resolve"] and (lacking := [one.name for one in recordings if not one.head.resolve]):
        raise UsageError(
            f"{lacking[0]}: the recording does not say where relative paths begin",
            "record it with isotrace record --resolve",
        )
    if beside.containers and (lacking := [one.name for one in recordings if not one.head.containers]):
        raise UsageError(
            f"{lacking[0]}: the recording does not say which containers processes are in",
            "record it with isotrace record --show-containers",
        )
    output = Output(choices["output"])
    until = recordings[0].head.began + round(choices["seconds"] * 1e9) if choices["seconds"] else None
    chosen, again = (Chosen(target, calls, quiet=choices["quiet"], until=until) for _ in range(2))
    sinks = _sinks(choices, beside, choice, output, all_calls())
    if choices["style"] in formats.ORDERED and not choices["follow_file"]:
        from isotrace.sinks.ahead import Ahead

        twice = reader.once_more(recordings)
        sinks = [Ahead(sink, filter(None, replay.chosen(twice, again))) for sink in sinks]
        reader.close_all(twice)
    wait, quiet, strict = choices["follow_file"], choices["quiet"], choices["strict"]
    return replay.show(recordings, chosen, sinks, grow=wait, quiet=quiet, strict=strict)
