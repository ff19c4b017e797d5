"""SQL over recordings, by DuckDB: views of one table of rows, of which a query reads only the columns that it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa

from isotrace.errors import IsotraceError, UsageError
from isotrace.recording import friendly, parts
from isotrace.recording.parts import Verdict
from isotrace.recording.reader import Recording

_CALL_COLUMNS = [name for name in friendly.COLUMNS if name not in ("kind", "program", "what", "note")]
_ROWS = 4096  # of a result, at a time
#: A query is about the recordings: it reads and writes no other file, loads nothing, and cannot undo this.
_CLOSED = "SET enable_external_access = false; SET lock_configuration = true"

#: Name → (what it has, in a sentence; the query that it is).
VIEWS: dict[str, tuple[str, str]] = {
    "calls": (
        "every call that returned",
        f"SELECT {', '.join(_CALL_COLUMNS)} FROM rows WHERE kind = 'call'",
    ),
    "processes": (
        "every process: when it was first and last seen, its parent, name, program, calls, time in calls, end",
        """
        SELECT host, pid, arg_min(ppid, time) AS ppid, arg_max(comm, time) AS comm, min(uid) AS uid,
            arg_max(program, time) AS program,
            min(time) AS first_seen, max(time) AS last_seen, bool_or(kind = 'process') AS ran_before,
            count(*) FILTER (kind = 'call') AS calls,
            count(*) FILTER (kind = 'call' AND error IS NOT NULL) AS errors,
            sum(duration_ns) FILTER (kind = 'call') AS time_ns,
            arg_max(CASE WHEN result & 127 = 0 THEN result >> 8 & 255 END, time)
                FILTER (kind = 'exit' AND pid = tid) AS status,
            arg_max(nullif(result & 127, 0), time) FILTER (kind = 'exit' AND pid = tid) AS killed_by
        FROM rows WHERE kind NOT IN ('lost', 'clock', 'end') GROUP BY host, pid
        """,
    ),
    "losses": (
        "records that are missing, where they are missing; without a time: counted by the kernel at the end",
        """
        WITH here AS (SELECT host, time, pid, name, result AS count FROM rows WHERE kind = 'lost'),
        counted AS (
            SELECT host, name, sum(count) AS count FROM (
                SELECT host, unnest(json_keys(note, '$.lost_by_call')) AS name,
                    unnest(json_extract(note, '$.lost_by_call.*'))::BIGINT AS count
                FROM rows WHERE kind = 'end')
            GROUP BY host, name)
        SELECT * FROM here UNION ALL
        SELECT host, NULL, NULL, name, count - known FROM (
            SELECT *, coalesce(
                (SELECT sum(here.count) FROM here WHERE here.host = counted.host AND here.name = counted.name), 0
            ) AS known FROM counted)
        WHERE count > known
        """,
    ),
    "refusals": (
        "calls that isotrace block denied, or isotrace ask asked about",
        """
        SELECT time, host, pid, tid, comm, abi, note ->> '$.call' AS name, what, note ->> '$.asked' AS rule,
            note ->> '$.group' AS "group", note ->> '$.action' AS action, note ->> '$.mechanism' AS mechanism,
            note ->> '$.answer.verdict' AS answer, note ->> '$.answer.by' AS answered_by,
            note ->> '$.answer.who' AS answered_who, (note ->> '$.answer.waited_ns')::BIGINT AS waited_ns
        FROM rows WHERE kind = 'refused'
        """,
    ),
    "signals": (
        "signals that were delivered",
        "SELECT time, host, pid, tid, comm, result AS signal FROM rows WHERE kind = 'signal'",
    ),
}


class _Rows:
    """The table ``rows`` as DuckDB scans it: read anew for each scan, with the columns that the query needs."""

    def __init__(self, paths: Sequence[str], columns: Sequence[str]) -> None:
        self._paths, self._columns = paths, columns
        self.verdict = Verdict()
        self.failed: IsotraceError | None = None

    def __arrow_c_schema__(self) -> object:
        return friendly.arrow().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pa.RecordBatchReader.from_batches(friendly.arrow(), self._read()).__arrow_c_stream__()

    def _read(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._made()
        except IsotraceError as error:  # of which DuckDB would make a traceback
            self.failed = error
            raise

    def _made(self) -> Iterator[pa.RecordBatch]:
        into, needs = friendly.arrow(), friendly.needs(self._columns)
        read = []
        for path in self._paths:
            recording = Recording(path)
            read.append(recording)
            state = friendly.State.of(recording.head)
            for rows in recording.arrow(needs):
                made = recording.attempt(rows, partial(friendly.made, names=self._columns, state=state, into=into))
                if made is not None:
                    yield made
            recording.close()
        self.verdict = parts.verdict(read)


class Database:
    """Recordings as tables. ``verdict`` says what the latest query could not read."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Raises ``IsotraceError`` for what cannot be read."""
        self._paths = list(paths)
        for path in self._paths:
            Recording(path).close()
        self._connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        self._rows = _Rows([], ())
        self._connection.register("rows", self._rows)
        for name, (_, query) in VIEWS.items():
            self._connection.execute(f"CREATE VIEW {name} AS {query}")
        self._draw_nothing()
        self._connection.execute(_CLOSED)

    def _draw_nothing(self) -> None:
        """No progress bar of DuckDB's, as at a prompt and in a notebook. In one without ipywidgets DuckDB has none, and
        raises an error where this is set.
        """
        (draws,) = self._connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() or (False,)
        if draws:
            self._connection.execute("SET enable_progress_bar = false")

    @property
    def verdict(self) -> Verdict:
        """What could not be read."""
        return self._rows.verdict

    def interrupt(self) -> None:
        """End the query that runs in another thread: it raises there."""
        self._connection.interrupt()

    def columns(self, table: str) -> list[str]:
        """The columns of a table."""
        found = self._connection.execute(f"SELECT column_name FROM (DESCRIBE {table})").fetchall()
        return [str(name) for (name,) in found]

    def run(self, query: str) -> pa.RecordBatchReader | None:
        """The result of the last statement of ``query``; None where there is none. Raises ``UsageError``."""
        try:
            found = None
            for statement in self._statements(query):
                found = None  # a result that is not read to its end stands in the way of the next
                found = self._run(statement)
            return found and pa.RecordBatchReader.from_batches(found.schema, self._batches(found))
        except duckdb.Error as error:
            raise self._rows.failed or wrong(error) from None

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """Those of the reader; what fails below it is told as it was."""
        try:
            yield from reader
        except (pa.ArrowException, OSError):
            if self._rows.failed:
                raise self._rows.failed from None
            raise

    def _statements(self, query: str) -> list[Any]:
        try:
            query.encode()
        except UnicodeEncodeError:
            raise UsageError("the query is not in UTF-8", "write other bytes as chr(N)") from None
        return self._connection.extract_statements(query)

    def _run(self, statement: Any) -> pa.RecordBatchReader | None:
        self._use(self._columns(statement.query))
        relation = self._connection.sql(statement.query)
        return relation.to_arrow_reader(_ROWS) if relation is not None else None

    def _use(self, columns: Sequence[str]) -> None:
        self._rows = _Rows(self._paths if columns else [], columns)
        self._connection.register("rows", self._rows)

    def _columns(self, query: str) -> list[str]:
        """The columns of ``rows`` that a statement needs, by DuckDB's own plan of it; none for one that has no plan."""
        self._use(())
        try:
            plan = self._connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
        except duckdb.ParserException:
            return []
        found: set[str] = set()
        for node in _nodes(json.loads(plan[-1][1])):
            if "ARROW_SCAN" in node.get("name", ""):
                found |= _named(node.get("extra_info", {}))
        return [name for name in friendly.COLUMNS if name in found]


def _nodes(plan: Any) -> Iterator[dict[str, Any]]:
    for node in plan if isinstance(plan, list) else [plan]:
        yield node
        yield from _nodes(node.get("children", []))


def _named(scan: dict[str, Any]) -> set[str]:
    """The columns that a scan gives and those that it filters by; all where it does not say."""
    given = scan.get("Projections", list(friendly.COLUMNS))
    names = {given} if isinstance(given, str) else set(given)
    return names | {name for name in friendly.COLUMNS if re.search(rf"\b{name}\b", str(scan.get("Filters", "")))}


def wrong(error: duckdb.Error) -> IsotraceError:
    """DuckDB's message, in one line; what it proposes is the hint."""
    text = str(error).partition("\nLINE")[0]
    message, *proposal = re.split(r"(?=Candidate bindings: |Did you mean )", " ".join(text.split()), maxsplit=1)
    return UsageError(message.strip(), proposal[0] if proposal else f"the tables are {', '.join(VIEWS)}")
