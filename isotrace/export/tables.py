"""Friendly columns as Parquet, CSV and JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as ds

from isotrace.errors import IsotraceError
from isotrace.export.files import Target, closed_to_others
from isotrace.recording import friendly
from isotrace.recording.reader import Recording

_COLUMNS = [name for name in friendly.COLUMNS if name not in ("program", "what", "note")]
_KINDS = pa.array(["call"])


def _calls(recordings: Sequence[Recording]) -> Iterator[tuple[Recording, pa.RecordBatch]]:
    """The friendly columns of all calls, with text as plain strings."""
    into = pa.schema([(name, friendly.COLUMNS[name].type) for name in _COLUMNS])
    for recording in recordings:
        state = friendly.State.of(recording.head)
        for rows in recording.arrow():
            found = friendly.made(rows, _COLUMNS, state, into)
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
    count = 0
    if os.path.exists(to) and not os.path.isdir(to):
        raise IsotraceError(f"cannot write {to!r}: it is no directory", "parquet is a directory; give another -o")
    schema = _dated(_empty()).schema
    for recording in recordings:
        counted = _Counted(_dated(rows) for _, rows in _calls([recording]))
        with closed_to_others():
            try:
                ds.write_dataset(
                    counted, to, schema=schema, format="parquet",
                    basename_template=f"{recording.head.run or 'run'}-{recording.head.part}-{{i}}.parquet",
                    partitioning=ds.partitioning(pa.schema([("host", pa.utf8()), ("date", pa.utf8())]), flavor="hive"),
                    existing_data_behavior="overwrite_or_ignore",
                )  # fmt: skip
            except OSError as error:
                why = (error.strerror or str(error)).lower()
                raise IsotraceError(f"cannot write {to!r}: {why}", "give another -o") from None
        count += counted.rows
    return count


class _Counted:
    """Batches, and how many rows they had."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch


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
