"""The prompt of ``isotrace sql``: a query ends with a semicolon, Tab completes, the arrows bring earlier ones back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer

from isotrace.errors import IsotraceError
from isotrace.process.console import capable
from isotrace.process.telling import folded, say_raw, tell
from isotrace.recording import progress, results
from isotrace.recording.sql import VIEWS, Database

_CONTINUED = "   ...> "
_LOOK = 0.1  # seconds between two looks at a query that was interrupted
_WORDS = (
    *(
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP BY",
        "ORDER BY",
        "DESC",
        "LIMIT",
        "HAVING",
        "JOIN",
        "ASOF JOIN",
        "USING",
        "WITH",
    ),
    *("count(*)", "sum", "avg", "max", "min", "quantile_cont", "DISTINCT", "IS NULL", "IS NOT NULL", "LIKE", "BETWEEN"),
)
_HELP = """\
A query ends with a semicolon. Tab completes, the arrows bring earlier queries back.
  .tables          the tables
  .columns NAME    the columns of a table
  .quit            or Ctrl-D
"""


def _history() -> History:
    """Earlier queries, in a file of the user's alone; for this prompt only where there can be none."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "isotrace"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = state / "sql_history"
        file.touch(mode=0o600)
        return FileHistory(str(file))
    except OSError:
        return InMemoryHistory()


def _keys() -> KeyBindings:
    """Enter ends what is whole, and otherwise begins another line."""
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if whole(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    return keys


def whole(text: str) -> bool:
    """Whether there is nothing more to be typed."""
    stripped = text.strip()
    return not stripped or stripped.endswith(";") or stripped.startswith(".") or stripped in ("help", "quit", "exit")


def words(database: Database) -> list[str]:
    """What Tab completes: tables, their columns, words of SQL."""
    columns = {column for table in VIEWS for column in database.columns(table)}
    return [*VIEWS, *sorted(columns), *_WORDS, ".tables", ".columns", ".quit", ".help"]


def _reader(database: Database) -> Callable[[str], str]:
    """Reads one entry, behind a prompt. Where the terminal cannot draw lines are taken as they come."""
    if not capable():
        return _lines
    session: PromptSession[str] = PromptSession(
        history=_history(),
        completer=WordCompleter(words(database), ignore_case=True),
        lexer=None if os.environ.get("NO_COLOR") else PygmentsLexer(SqlLexer),
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation=_CONTINUED,
    )
    return session.prompt


def _lines(prompt: str) -> str:
    text = input(prompt)
    while not whole(text):
        text += "\n" + input(_CONTINUED)
    return text


def run(database: Database, form: str | None) -> None:
    """Ask until the user has had enough."""
    read = _reader(database)
    say_raw(f"tables: {', '.join(VIEWS)}; .help says more\n")
    while True:
        try:
            text = read("isotrace> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text in (".quit", ".exit", "quit", "exit", "quit;", "exit;"):
            return
        answer(database, text, form)


def answer(database: Database, text: str, form: str | None) -> None:
    """Do what one entry asks; an error is a line, and Ctrl-C ends it.

    DuckDB does not let Python see a signal before it is done, so it works in a thread.
    """
    stopped, done = threading.Event(), threading.Event()

    def ask() -> None:
        try:
            _answer(database, text, form, stopped)
        finally:
            done.set()

    before = signal.signal(signal.SIGINT, lambda *_: stopped.set())  # an exception might come while the thread starts
    try:
        threading.Thread(target=ask, name="query").start()
        while not done.wait(_LOOK):
            if stopped.is_set():
                database.interrupt()  # again and again: it may not have begun
    finally:
        signal.signal(signal.SIGINT, before)


def _answer(database: Database, text: str, form: str | None, stopped: threading.Event) -> None:
    word, _, rest = text.partition(" ")
    try:
        if word in (".help", "help", "help;"):
            say_raw(_HELP)
        elif word == ".tables":
            say_raw("".join(f"{name:12}{what}\n" for name, (what, _) in VIEWS.items()))
        elif word == ".columns":
            say_raw("\n".join(database.columns(rest.strip() or "calls")) + "\n")
        elif text:
            with progress.shown():
                result = database.run(text)
            if result is not None:
                results.write(result, form)
                database.verdict.say()
    except IsotraceError as error:
        tell(["interrupted" if stopped.is_set() else error.message])
        say_raw(f"{folded(f'  hint: {error.hint}')}\n" if error.hint and not stopped.is_set() else "")
    except OSError as error:
        tell([f"cannot write the answer: {(error.strerror or str(error)).lower()}"])
