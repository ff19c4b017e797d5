"""``isotrace top``: a table that moves, or a summary."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from isotrace import units
from isotrace.backends.loader import Loader
from isotrace.catalog import expr
from isotrace.commands.keeping import NAMES, record_options, take_beside
from isotrace.commands.options import CONTAINER, FOR, Parsed, shown_by_root, take_target, target_options
from isotrace.commands.recorded import from_option, take_recorded
from isotrace.errors import IsotraceError, UsageError
from isotrace.kernel.features import require_log
from isotrace.process import forkserver
from isotrace.process.console import capable
from isotrace.process.interrupts import one_thread
from isotrace.process.launch import Command
from isotrace.process.telling import say

_EPILOG = """\b
Counts are kept in the kernel: ten calls a second and a million cost the same.

\b
Keys: 1 to 5 views, arrows and Enter to look closer, < > sort, / filter,
p pause, z zero, f one process, ? help, q quit.
d denies the call of a row (EPERM) to the target, or to a process and its
descendants, after you confirm the mechanism shown. D lists these rules with
their hits, u lifts one. No rule outlives isotrace top, however it ends.

\b
Without a terminal, or with --once, isotrace top prints a summary when the
target ends, the time is up, or you press Ctrl-C. It ends a command that it
started (SIGTERM).

\b
Examples:
  isotrace top --uid www-data             a web server's processes, live
  isotrace top -- make -j4                a build; its output goes nowhere, or
                                          to --output FILE
  isotrace top --once -- ls -lR /usr/share
                                          the summary that strace -c -w gives
  isotrace top --once --for 5s --tree 1234 --by process
  isotrace top --once --for 5s --comm nginx --format json
  isotrace top --from t.arrow             play a recording: ← → seek,
                                          p pause, + - speed
"""


def _open_output(path: str | None) -> int:
    try:
        return os.open(path or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise IsotraceError(f"cannot write to {path!r}: {error.strerror}", "give another --output") from None


@click.command(epilog=_EPILOG)
@target_options
@from_option
@click.option("--once", is_flag=True, help="No live table: one summary at the end.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json"]),
    default=None,
    help="Format of the summary.  [default: text]",
)
@FOR
@click.option(
    "--by",
    "view",
    type=click.Choice(["call", "process", "file", "error", "container"]),
    default="call",
    show_default=True,
    help="What the rows are; for the live table, the first view.",
)
@click.option(
    "--interval",
    type=Parsed("duration", units.duration),
    default="500ms",
    show_default=True,
    help="Time between two updates, at least 250ms; longer if the table is so large that an update costs too much.",
)
@click.option(
    "--no-files",
    is_flag=True,
    help="Do not collect files and addresses: the BPF programs then read no memory of the target.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="File for the command's output while the table has the screen.  [default: none]",
)
@record_options
def top(**choices: Any) -> int:
    """Show the target's system calls as a live table: by call, process, file, error or container.

    The table has rates, totals, errors, latencies and bytes, and the last minute as a curve.
    """
    if choices["sources"]:
        return _recorded(choices)
    shown_by_root(choices)
    target = take_target(choices)
    calls = expr.parse(text) if (text := choices["calls"]) is not None else None
    style, seconds = choices["style"], choices["seconds"]
    once = choices["once"] or style is not None or not _draws()
    if choices["interval"] < 0.25:
        raise UsageError("--interval is below 250ms", "the table is drawn at most four times a second")
    if choices["view"] == "file" and choices["no_files"]:
        raise UsageError("--by file and --no-files exclude each other", "leave one of them out")
    if once and choices["output"]:
        raise UsageError("--output is for the live table", "redirect the command's output: -- sh -c 'CMD >FILE'")
    asked = take_beside(choices, choices["output"], "the table's")
    require_log()
    if not once:
        forkserver.use(
            forkserver.ForkServer()
        )  # first of all, to be small and to have no descriptors; for the loaders of refusals
    output = None if once else _open_output(choices["output"])
    command = Command(target.command, output=output) if target.command else None
    loader, second = Loader(), Loader() if asked else None
    # Only now what takes time to import: both children are forked small and have their work to do.
    one_thread()
    from isotrace.backends import counts
    from isotrace.run import rings
    from isotrace.run.lifecycle import Part, Run
    from isotrace.run.recorder import Recorder
    from isotrace.run.records import recording
    from isotrace.top.counting import LiveTable, Summary

    # A summary notes places only if they are asked for: each costs a read of the target's memory.
    view, places = choices["view"], not choices["no_files"] and (not once or choices["view"] == "file")

    def parts() -> list[Part]:
        layout, interval = rings.asked(calls), choices["interval"]
        if not asked:  # the part that records says it
            rings.say_untold(target, calls, told=layout is not None)
        backend = counts.planned(target, calls, loader, places, layout)
        recorded = (
            [recording(target, calls, second, Recorder(asked, choices["calls"]), target.container is not None)]
            if asked and second
            else []
        )
        if once:
            return [Summary(backend, view, style or "text", interval), *recorded]
        return [LiveTable(backend, target, command, view, interval, choices["output"]), *recorded]

    return Run(target, parts, command, seconds, ends_command=True).go()


def _draws() -> bool:
    """Whether there is a terminal for the live table; one that cannot draw is said."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    if not capable():
        say(f"TERM is {os.environ.get('TERM', '')!r}, a terminal that cannot draw the live table: a summary follows")
        return False
    return True


def _recorded(choices: dict[str, Any]) -> int:
    """The same of what was recorded."""
    files, target = take_recorded(choices, ("cgroup", *CONTAINER, *NAMES, "output", "interval", "no_files"))
    calls = expr.parse(text) if (text := choices["calls"]) is not None else None
    style, view = choices["style"], choices["view"]
    once = choices["once"] or style is not None or not _draws()
    from isotrace.recording import reader
    from isotrace.recording.choose import Chosen
    from isotrace.top import player

    paths = reader.again(reader.found(files))
    recordings = reader.open_all(paths)
    until = recordings[0].head.began + round(choices["seconds"] * 1e9) if choices["seconds"] else None
    if once:
        return player.summary(recordings, Chosen(target, calls, until=until), view, style or "text")
    if len({recording.head.run for recording in recordings}) > 1:
        raise UsageError("recordings of several runs cannot be played together", "name one, or --once for all")
    from isotrace.top import replay_app

    tape = player.Tape([recording.path for recording in recordings], lambda: Chosen(target, calls, until=until))
    replay_app.run(player.Player(tape), str(target) or recordings[0].head.target, view)
    return tape.verdict().say()
