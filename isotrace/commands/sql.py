"""``isotrace sql``: questions to recordings."""

from __future__ import annotations

import signal
import sys

import click

from isotrace.errors import UsageError
from isotrace.process.interrupts import ALL_ENDING

_EPILOG = """\b
Tables: calls, processes, losses, refusals, signals. A query reads only the
columns that it uses. Without QUERY there is a prompt on a terminal; otherwise
the query is read from standard input.

\b
Examples:
  isotrace sql t.arrow "SELECT name, count(*) FROM calls GROUP BY name"
  isotrace sql t.arrow "SELECT path, max(duration_ns) FROM calls
      WHERE name = 'openat' GROUP BY 1 ORDER BY 2 DESC LIMIT 10"
  isotrace sql 'web*.arrow' "SELECT host, count(*) FROM calls GROUP BY host" \\
      --format json
  isotrace sql t.arrow

\b
Ten more queries: docs/sql.md
"""


@click.command(epilog=_EPILOG)
@click.argument("files", metavar="FILE... [QUERY]", nargs=-1, required=True)
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json"]), help="[default: table on a terminal, else csv]"
)
def sql(files: tuple[str, ...], form: str | None) -> int:
    """Query recordings in SQL (DuckDB's)."""
    from isotrace.recording import progress, reader

    names, query = split(files)
    paths = reader.again(reader.found(names))
    from isotrace.recording.sql import Database

    database = Database(paths)
    if query is None and sys.stdin.isatty() and "-" not in names:
        from isotrace.recording import prompt

        prompt.run(database, form)
        return 0
    if query is None and "-" in names:
        raise UsageError(
            "standard input is a recording, so the query cannot come from there", "give the query as an argument"
        )
    for number in ALL_ENDING:
        signal.signal(number, signal.SIG_DFL)  # DuckDB would not let Python see a signal before it is done
    question = sys.stdin.read() if query is None else query
    with progress.shown():
        result = database.run(question)
    if result is None:
        return 0
    from isotrace.recording import results

    results.write(result, form)
    return database.verdict.say()


def split(words: tuple[str, ...]) -> tuple[list[str], str | None]:
    """Files and the query: the last word, where that is one. Raises ``UsageError``."""
    *names, last = words
    if not last.strip():
        raise UsageError("the query is empty", "begin with SELECT; without a query there is a prompt on a terminal")
    if not _is_query(last):
        return [*words], None
    if not names:
        raise UsageError("no recording was named", "isotrace sql FILE QUERY")
    if any(map(_is_query, names)):
        raise UsageError("more than one query was given", "ask one after the other, or join them with UNION")
    return names, last


def _is_query(word: str) -> bool:
    """Whether it is no file, and has a space, as every query has."""
    import glob
    import os

    return " " in word.strip() and not os.path.lexists(word) and not glob.glob(word)
