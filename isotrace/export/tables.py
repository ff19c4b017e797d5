"""Friendly columns as Parquet, CSV and JSON."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from urllib.parse import quote

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from isotrace.errors import IsotraceError
from isotrace.export.files import Target, Tree, closed_to_others
from isotrace.recording import friendly
from isotrace.recording.reader import Recording

_COLUMNS = [name for name in friendly.COLUMNS if name not in ("program", "what", "note")]
_KINDS = pa.array(["call"])
_NOBODY = "__HIVE_DEFAULT_PARTITION__"  # Hive's word for a directory of what has no value


def _calls(recordings: Sequence[Recording]) -> Iterator[tuple[Recording, pa.RecordBatch]]:
    """The friendly columns of all calls, with text as plain strings."""
    into = pa.schema([(name, friendly.COLUMNS[name].type) for name in _COLUMNS])
    for recording in recordings:
        state = friendly.State.of(recording.head)
        for rows in recording.arrow():
            found = recording.attempt(rows, partial(friendly.made, names=_COLUMNS, state=state, into=into))
            if found is None:
                continue
            found = found.filter(pc.is_in(found.column("kind").cast(pa.utf8()), _KINDS)).drop_columns(["kind"])
            if found.num_rows:
                yield recording, _undictionary(found)


def _undictionary(rows: pa.RecordBatch) -> pa.RecordBatch:
    columns = [column.cast(pa.utf8()) if pa.types.is_dictionary(column.type) else column for column in rows.columns]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def parquet(recordings: Sequence[Recording], to: str | None) -> int:
    """A directory of files by host and date (UTC): ``TO/host=web1/date=2026-11-28/….parquet``.

    ``time`` has microseconds, which every reader of Parquet has; ``time_ns`` is exact.
    """
    assert to is not None
    if os.path.exists(to) and not os.path.isdir(to):
        raise IsotraceError(f"cannot write {to!r}: it is no directory", "parquet is a directory; give another -o")
    with closed_to_others(), Tree(to) as tree:
        try:
            return sum(_partitioned(recording, tree) for recording in recordings)
        except (OSError, pa.ArrowException) as error:
            why = ((error.strerror if isinstance(error, OSError) else None) or str(error)).lower()
            raise IsotraceError(f"cannot write {to!r}: {why}", "give another -o") from None


def _partitioned(recording: Recording, tree: Tree) -> int:
    """The calls of one recording, in a file a date; returns how many."""
    count, writers = 0, dict[str, pq.ParquetWriter]()
    name = f"{recording.head.run or 'run'}-{recording.head.part}-0.parquet"
    host = f"host={quote(friendly.readable(recording.head.host.encode()), safe=' ') or _NOBODY}"
    schema = _dated(_empty()).schema
    schema = schema.remove(schema.get_field_index("date")).remove(schema.get_field_index("host"))
    with contextlib.ExitStack() as closing:
        for _, rows in _calls([recording]):
            found = _dated(rows)
            for date in found.column("date").unique().to_pylist():
                if date not in writers:
                    path = tree.file(host, f"date={date}", name)
                    writers[date] = closing.enter_context(pq.ParquetWriter(path, schema))
                of_date = found.filter(pc.equal(found.column("date"), date))
                writers[date].write_batch(of_date.select(schema.names))
            count += found.num_rows
    return count


def _empty() -> pa.RecordBatch:
    into = pa.schema([(name, friendly.COLUMNS[name].type) for name in _COLUMNS if name != "kind"])
    return _undictionary(pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in into], schema=into))


def _dated(rows: pa.RecordBatch) -> pa.RecordBatch:
    times = rows.column("time")
    micros = times.cast(pa.timestamp("us"), safe=False)
    place = rows.schema.get_field_index("time")
    found = rows.set_column(place, "time", micros.cast(pa.timestamp("us", "UTC")))
    found = found.append_column("time_ns", times.cast(pa.int64()))
    return found.append_column("date", pc.strftime(micros, "%Y-%m-%d"))


def csv(recordings: Sequence[Recording], to: str | None) -> int:
    """With a line of names."""
    count = 0
    with Target(to) as target, pacsv.CSVWriter(target, _empty().schema) as out:
        for _, rows in _calls(recordings):
            out.write_batch(rows)
            count += rows.num_rows
    return count


def json(recordings: Sequence[Recording], to: str | None) -> int:
    """One object a line; ``time`` is text with nanoseconds, in UTC."""
    count = 0
    with Target(to) as target:
        for _, rows in _calls(recordings):
            times = rows.column("time").cast(pa.utf8())
            plain = rows.set_column(rows.schema.get_field_index("time"), "time", times)
            target.write(b"".join(orjson.dumps(row) + b"\n" for row in plain.to_pylist()))
            count += rows.num_rows
    return count
