"""``isotrace export``: recordings in forms that other programs read."""

from __future__ import annotations

import signal
from typing import Any

import click

from isotrace.commands.options import PATHS
from isotrace.commands.showing import not_asked, showing_options, take_view
from isotrace.process.interrupts import ALL_ENDING
from isotrace.process.telling import tell

_FORMS = ("parquet", "csv", "json", "strace", "folded", "perfetto", "chrome")

_EPILOG = """\b
parquet    a directory by host and date, which Spark, Trino, ClickHouse and
           DuckDB read as one table
csv, json  every call with the columns of isotrace sql; json is one object a
           line
strace     the file that strace -f -ttt -T -o FILE writes; for other times use
           isotrace log --from FILE --format strace
folded     calls counted by user stack (isotrace record -k), one stack a line,
           for flame graphs
perfetto   for https://ui.perfetto.dev: a track a thread, a slice a call,
           flows from fork to child
chrome     the same as JSON, for chrome://tracing and others

\b
Without -o, csv, json, strace and folded go to standard output, the others to
a file beside the recording.

\b
Examples:
  isotrace export t.arrow --to perfetto
  isotrace export 'web*.arrow' --to parquet -o traces
  isotrace export t.arrow --to strace | strace-analyzer
  isotrace export t.arrow --to folded | flamegraph.pl >t.svg
  isotrace export t.arrow --to csv -P '/etc/*'
"""


@click.command(epilog=_EPILOG)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--to", "form", type=click.Choice(_FORMS), required=True, help="The format.")
@click.option("-o", "--output", metavar="PATH", help="The file or directory to write.")
@PATHS
@showing_options
def export(files: tuple[str, ...], form: str, output: str | None, path: tuple[str, ...], **choices: Any) -> int:
    """Write recordings as Parquet, CSV, JSON, strace's lines, folded stacks, a Perfetto or Chrome trace."""
    for number in ALL_ENDING & {signal.SIGTERM, signal.SIGHUP}:
        signal.signal(number, _interrupt)
    if form != "strace":
        not_asked(choices, f"--to {form}")
    view = take_view(choices)
    from isotrace.export import forms

    said, verdict = forms.export(files, form, output, view, path)
    tell(said)
    return verdict.say()


def _interrupt(_number: int, _frame: object) -> None:
    """Like Ctrl-C: what is not finished is removed."""
    raise KeyboardInterrupt
