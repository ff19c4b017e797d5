"""isotrace for programs: record a run, read it, ask it in SQL, try a policy on it. What ``import isotrace`` gives.

What the commands do, as functions; every failure is an ``IsotraceError`` with its message and a hint. A run is recorded by
an isotrace of its own, so that no handler, thread or child of the calling program is touched.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from isotrace.errors import IsotraceError, UsageError

if TYPE_CHECKING:
    import pyarrow

    from isotrace.learning.judging import Judged
    from isotrace.learning.sources import Sources
    from isotrace.recording.sql import Database

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that returned. ``None`` is what a call does not have, or what is not known of it.

    ``time_ns``: when it returned, ns since the epoch. ``duration_ns``: ns. ``error``: the name of its errno. ``path``,
    ``path2``: what the caller named; ``file``: what its descriptor was, and ``made`` what it made, in recordings with
    descriptors. ``address``: of a socket. ``text``: the call as strace prints it.
    """

    time_ns: int
    pid: int
    tid: int
    uid: int
    comm: str
    abi: str
    name: str
    result: int
    error: str | None
    duration_ns: int | None
    fd: int | None
    bytes: int | None
    path: str | None
    path2: str | None
    address: str | None
    file: str | None
    made: str | None
    text: str


_CALLS = (
    "SELECT epoch_ns(time) AS time_ns, pid, tid, uid, comm, abi, name, result, error, duration_ns, fd, bytes, path, path2,"
    ' address, file, made, "text" FROM calls'
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Calls of a recording, alike, that a policy is against: ``count`` of ``call`` by ``comm``, about ``what``.

    ``rule``, ``group`` and ``action`` are the policy's; ``action`` is an errno's name, kill, audit or ask. ``rows`` are the
    first of them, as lines of strace's form.
    """

    call: str
    abi: str
    what: str | None
    comm: str
    count: int
    rule: str
    group: str | None
    action: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a policy says of recordings; counts are of calls.

    ``not_judged``: reason → how many. ``incomplete``: the recordings lack something of their runs. After its first refusal
    the program might have gone another way.
    """

    refusals: tuple[Refusal, ...]
    refused: int
    reported: int
    allowed: int
    not_judged: dict[str, int]
    incomplete: bool


class Recording:
    """Recordings that are read as one. Nothing is read before it is asked for; each question reads anew."""

    def __init__(self, *paths: str | os.PathLike[str]) -> None:
        """Files, or patterns of them (``web*.arrow``). Raises ``IsotraceError`` where one is no recording."""
        from isotrace.recording import reader

        if not paths:
            raise UsageError("no recording was named", "name a file that isotrace record has made")
        self.paths = reader.again(reader.found([os.fspath(path) for path in paths]))
        reader.close_all(reader.open_all(self.paths))
        self.status: int | None = None
        self._problems: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"Recording({', '.join(map(repr, self.paths))})"

    @property
    def problems(self) -> tuple[str, ...]:
        """What the recordings lack of their runs, a sentence each; empty for whole ones. Calls that were lost are in the
        table ``losses``.
        """
        if self._problems is None:
            self.table("SELECT max(time) FROM calls")
        return self._problems or ()

    def table(self, query: str) -> pyarrow.Table:
        """The answer to a question in SQL (DuckDB's); ``.to_pandas()`` and ``polars.from_arrow`` take it.

        Tables: calls, processes, losses, refusals, signals (docs/sql.md). Raises ``UsageError``.
        """
        import pyarrow as pa

        from isotrace.recording import results
        from isotrace.recording.sql import Database

        database = Database(self.paths)
        reader = _aside(database, lambda: database.run(query))
        if reader is None:
            raise UsageError("the query has no result", "begin with SELECT")
        found = _aside(database, lambda: pa.Table.from_batches(results.batches(reader), reader.schema))
        self._problems = tuple(database.verdict.lines)
        return found

    def calls(self, where: str = "") -> Iterator[Call]:
        """Calls in the order of the recording, that in which they returned.

        ``where`` is a condition in SQL: ``name = 'openat' AND error IS NOT NULL``. Raises ``UsageError``.
        """
        from isotrace.recording import results
        from isotrace.recording.sql import Database

        database = Database(self.paths)
        # In parentheses, on lines of its own: it is one condition or an error, and may end with a comment.
        query = f"{_CALLS} WHERE (\n{where}\n)" if where else _CALLS
        reader = _aside(database, lambda: database.run(query))
        assert reader is not None
        batches = results.batches(reader)
        while (batch := _aside(database, lambda: next(batches, None))) is not None:
            for row in batch.to_pylist():
                yield Call(**row)
        self._problems = tuple(database.verdict.lines)

    def try_policy(self, policy: str | os.PathLike[str]) -> Trial:
        """What a policy, a file or ``@NAME``, would have refused: what ``isotrace policy test`` says. Raises
        ``IsotraceError``.
        """
        from isotrace.learning import reporting, sources
        from isotrace.learning.folding import FIRST
        from isotrace.learning.judging import Judge
        from isotrace.policy.file import load

        loaded = load(os.fspath(policy))
        read = sources.read(self.paths)
        judged = Judge(loaded).judge(read.calls, FIRST)
        *found, summary = map(json.loads, reporting.objects(read, judged))
        lines = _lines(read, judged)
        return Trial(
            tuple(_refusal(one, lines) for one in found), summary["refused"], summary["reported"], summary["allowed"],
            summary["not_judged"], summary["incomplete"] or bool(summary["lost"]),
        )  # fmt: skip


_LOOK = 0.05  # seconds between two looks at a query: a signal that another thread took shows only between them


def _aside(database: Database, work: Callable[[], _T]) -> _T:
    """What ``work()`` gives in a thread of its own: in this one DuckDB would let Python see no signal before it is done.

    Ctrl-C, or whatever else ends the waiting, ends the query. It may come at any place here: before ``told`` is set the
    thread has not begun to work, and does not if it is told to leave it.
    """
    told, leave, ended = threading.Event(), threading.Event(), threading.Event()
    found: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        told.wait()
        try:
            if not leave.is_set():
                found.append(work())
        except BaseException as error:
            failed.append(error)
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
        told.set()
        while not ended.wait(_LOOK):  # not join(): one that a signal interrupts may take the thread for ended (3.11)
            pass
    except BaseException:
        if told.is_set():
            while not ended.wait(_LOOK):
                database.interrupt()  # again and again: it may not have begun
        leave.set()
        told.set()
        raise
    if failed:
        raise failed[0]
    return found[0]


_FIRST = 3  # rows that a refusal shows


def _lines(read: Sources, judged: Judged) -> dict[tuple[str, int], str]:
    wanted = {at for tally in judged.refused.values() for at in tally.first[:_FIRST]}
    return {(read.recordings[at.recording].path, at.row + 1): line for at, line in read.lines(wanted)}


def _refusal(found: dict[str, Any], lines: dict[tuple[str, int], str]) -> Refusal:
    rows = tuple(lines[key] for row in found["rows"][:_FIRST] if (key := (row["file"], row["row"])) in lines)
    return Refusal(
        found["call"], found["abi"], found["what"], found["comm"], found["count"], found["asked"], found["group"],
        found["action"], rows,
    )  # fmt: skip


def open(*paths: str | os.PathLike[str]) -> Recording:
    """Recordings to be read as one: files, or patterns of them. Raises ``IsotraceError``."""
    return Recording(*paths)


def record(
    output: str | os.PathLike[str],
    command: Sequence[str] = (),
    *,
    pid: int | None = None,
    ppid: int | None = None,
    tree: int | None = None,
    uid: int | str | None = None,
    comm: str | None = None,
    calls: str | None = None,
    seconds: float | None = None,
    options: Sequence[str] = (),
) -> Recording:
    """Record a command, or what runs already, until it has ended or ``seconds`` are over; the file is replaced.

    ``calls``: as ``--calls`` has it. ``options``: more words of ``isotrace record``, ``["-y"]`` for what descriptors are.
    The command has this program's standard streams; ``.status`` is its exit status, 128 + n where signal n ended it. Raises
    ``IsotraceError`` with what isotrace said where nothing was recorded.
    """
    _check(command, options)
    named = {"pid": pid, "ppid": ppid, "tree": tree, "uid": uid, "comm": comm, "calls": calls}
    words = [word for name, value in named.items() if value is not None for word in (f"--{name}", str(value))]
    if seconds is not None:
        words += ["--for", f"{seconds:.9f}s"]
    path = _absolute(output)
    if path.exists() and not path.is_file():
        raise UsageError(
            f"{str(path)!r} is no regular file, so it cannot be read again", "give a file for the recording"
        )
    words = ["record", "-q", "-o", str(path), *options, *words, *(["--", *command] if command else [])]
    _check_words(words)
    before = _identity(path)
    status, said = _run(words)
    if _identity(path) in (None, before):
        message, hint = _said(said)
        raise IsotraceError(message or f"isotrace record ended with status {status}", hint)
    found = Recording(path)
    found.status = status
    return found


def _check(command: Sequence[str], options: Sequence[str]) -> None:
    """Raises ``UsageError`` for words that would be taken for something else, and where no status would come."""
    for name, words in (("command", command), ("options", options)):
        if isinstance(words, str):
            raise UsageError(f"{name}: a string", f"give a list of words: {words.split()}")
    for word in options:
        if word in ("--", "--help") or word.startswith("--out") or re.match(r"-[a-zA-Z]*[oh]", word):
            raise UsageError(f"{word!r} is not for options", "the recording and the command are arguments of their own")
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        hint = "signal.signal(signal.SIGCHLD, signal.SIG_DFL) before"
        raise UsageError("this program ignores SIGCHLD, so the command's status would be lost", hint)


def _check_words(words: Sequence[str]) -> None:
    """Raises ``UsageError`` for what no program can be given."""
    for word in words:
        try:
            held = b"\0" not in os.fsencode(word)
        except UnicodeEncodeError:
            held = False
        if not held:
            raise UsageError(f"{word!r} cannot be a word of a command line", "it has a NUL or half a character in it")


def _absolute(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(os.path.abspath(path))
    except FileNotFoundError as error:
        raise IsotraceError(f"there is no working directory: {error.strerror}", "cd to one that exists") from None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _run(words: Sequence[str]) -> tuple[int, list[str]]:
    """The status of an isotrace, and the lines of its standard error, which are passed on as they come."""
    from isotrace.process import itself

    with itself.start(words, stderr=subprocess.PIPE) as process:
        said: list[str] = []
        assert process.stderr is not None
        thread = threading.Thread(target=_pass_on, args=(process.stderr, said), daemon=True)
        thread.start()
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
        thread.join()
    return status if status >= 0 else 128 - status, said


def _pass_on(stream: IO[bytes], said: list[str]) -> None:
    for line in stream:
        text = line.decode(errors="replace")
        said.append(text.rstrip("\n"))
        del said[:-64]
        sys.stderr.write(text)


def _said(lines: Sequence[str]) -> tuple[str, str]:
    """The error among the lines: its message and its hint."""
    for number, line in enumerate(lines):
        if line.startswith("isotrace: "):
            hints = (one.strip() for one in lines[number + 1 :])
            hint = next((one for one in hints if one.startswith("hint: ")), "")
            return line.removeprefix("isotrace: "), hint.removeprefix("hint: ")
    return "", ""
