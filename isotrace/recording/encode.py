"""Batches of the ring as batches of Arrow, and back, without a Python call a record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from isotrace.recording import captures, refusals, schema
from isotrace.trace import events
from isotrace.trace.events import BLOB, EVENT, Batch

_PLAIN = ("duration", "pid", "tid", "ppid", "uid", "number", "slot", "result")
_RAW = f"V{EVENT.itemsize}"  # numpy compares the fields of each array otherwise
_UNKNOWN = 255
_OF_CALL = np.zeros(256, dtype=bool)  # kinds of rows
_OF_CALL[[events.CALL, events.EXEC_ENTER, events.UNFINISHED, events.REFUSED, events.LOST]] = True
_SIZE_AT = np.array([4, 5])  # of BLOB["size"] in its head


@dataclass(frozen=True)
class Piece:
    """Some rows on their way into a file: events, their captures as they lay in the ring, and notes by index."""

    events: npt.NDArray[np.void]
    memory: pa.BinaryArray
    wall: int
    notes: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.events)


def piece_of(batch: Batch) -> Piece:
    """The rows of a batch. Captures of several records are taken out of the ring's bytes by Arrow, in one call."""
    count = len(batch)
    begins = batch.starts + EVENT.itemsize
    sizes = batch.events["size"].astype(np.int64) - EVENT.itemsize
    if not count or not sizes.any():
        return Piece(batch.events, _nothing(count), batch.wall)
    return Piece(batch.events, captures.slices(pa.py_buffer(batch.data), begins, begins + sizes), batch.wall)


def row_of(kind: int, wall: int, note: str = "", memory: bytes = b"", **values: Any) -> Piece:
    """One row that is isotrace's own."""
    event = np.zeros(1, dtype=EVENT)
    event["kind"] = kind
    for name, value in values.items():
        event[name] = value
    return Piece(event, pa.array([memory], pa.binary()), wall, {0: note} if note else {})


def table(pieces: Sequence[Piece], into: pa.Schema) -> pa.RecordBatch:
    """The rows of ``pieces``, one after another."""
    rows = np.concatenate([np.ascontiguousarray(piece.events).view(_RAW) for piece in pieces]).view(EVENT)
    walls = np.repeat(np.array([piece.wall for piece in pieces], dtype=np.int64), [len(piece) for piece in pieces])
    times = rows["time"].astype(np.int64) + walls
    columns: dict[str, pa.Array] = {name: pa.array(rows[name]) for name in _PLAIN}
    columns |= {
        "kind": _words(rows["kind"], schema.KINDS),
        "name": _words(_named(rows), schema.names()),
        "time": pa.array(times).view(pa.timestamp("ns", "UTC")),
        "wall_offset": pa.array(walls),
        "comm": _fixed(rows["comm"]),
        "abi": _words(rows["abi"], events.ABI_NAMES),
        "errno": pa.array(np.where(events.failed(rows), -rows["result"], 0).astype(np.uint16)),
        "captures": pa.array(rows["blobs"]),
        "memory": pa.concat_arrays([piece.memory for piece in pieces]),
        "note": _notes(pieces, len(rows)),
    }
    registers = rows["args"]
    columns |= {f"arg{i}": pa.array(np.ascontiguousarray(registers[:, i])) for i in range(schema.ARGS)}
    return pa.RecordBatch.from_arrays([columns[name] for name in into.names], schema=into)


def _named(rows: npt.NDArray[np.void]) -> npt.NDArray[np.uint16]:
    """Index in ``schema.names()``; the last where a row is of no call, which has slot 0 then."""
    of_call = _OF_CALL[rows["kind"]]
    return np.where(of_call, schema.name_of_slot()[rows["slot"]], np.uint16(len(schema.names()) - 1))


def none(into: pa.Schema) -> pa.RecordBatch:
    """No rows."""
    return table([Piece(np.zeros(0, dtype=EVENT), _nothing(0), 0)], into)


def batches_of(rows: pa.RecordBatch) -> Iterator[Batch]:
    """The kernel's records among ``rows``, a batch for each stretch that one offset of the wall clock holds for."""
    found = records(rows)
    of_kernel = found["kind"] <= events.LOST
    found["blobs"][~of_kernel] = 0
    walls = rows.column("wall_offset").to_numpy()
    data, starts = _payload(rows.column("memory"))
    _check(found, starts, data)
    notes = rows.column("note")
    said = {index: notes[index].as_py() for index in np.flatnonzero(found["kind"] == events.REFUSED).tolist()}
    for begin, end in _stretches(walls):
        inside = slice(begin, end)
        whole = Batch(found[inside], starts[inside], data, int(walls[begin]))
        refused = {
            index - begin: refusals.back(whole, index - begin, said[index]) for index in said if begin <= index < end
        }
        kept = of_kernel[inside]
        if kept.any():
            batch = replace(whole, refused=refused)
            yield batch if kept.all() else batch.select(kept)


def records(rows: pa.RecordBatch) -> npt.NDArray[np.void]:
    """``(n,)`` EVENT of every row, whatever its kind."""
    found = np.zeros(rows.num_rows, dtype=EVENT)
    for name in _PLAIN:
        found[name] = rows.column(name).to_numpy()
    found["kind"] = kinds(rows)
    found["abi"] = _numbers(rows.column("abi"), events.ABI_NAMES)
    found["blobs"] = rows.column("captures").to_numpy()
    times = rows.column("time").view(pa.int64()).to_numpy()
    found["time"] = (times - rows.column("wall_offset").to_numpy()).view(np.uint64)
    found["comm"] = _fixed_numpy(rows.column("comm"))
    for i in range(schema.ARGS):
        found["args"][:, i] = rows.column(f"arg{i}").to_numpy()
    sizes = offsets(rows.column("memory"))
    found["size"] = EVENT.itemsize + np.diff(sizes)
    return found


def kinds(rows: pa.RecordBatch) -> npt.NDArray[np.uint8]:
    """The number of each row's kind; 255 for one that is not known."""
    return _numbers(rows.column("kind"), schema.KINDS)


def content(column: pa.BinaryArray) -> npt.NDArray[np.uint8]:
    """The bytes of all rows of a column, one behind another."""
    return captures.content(column.buffers()[2])


def _payload(memory: pa.BinaryArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The captures of all rows, and where each row's event would begin, had it stood before them."""
    return content(memory), offsets(memory)[:-1] - EVENT.itemsize


def _check(found: npt.NDArray[np.void], starts: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]) -> None:
    """Raise ``ValueError`` unless all captures lie within their rows, and every slot is one: the file may be anybody's."""
    if (found["slot"] >= events.SLOTS).any():
        raise ValueError("a call slot that there cannot be")
    at = starts + EVENT.itemsize
    end = at + (found["size"] - EVENT.itemsize)
    left = found["blobs"].astype(np.int64)
    rows = np.flatnonzero(left)
    head = BLOB.itemsize
    while len(rows):
        begin = at[rows]
        if (begin + head > end[rows]).any():
            raise ValueError("a capture that begins behind its row's end")
        sizes = data[begin[:, None] + _SIZE_AT].view("<u2")[:, 0].astype(np.int64)
        if (begin + head + sizes > end[rows]).any():
            raise ValueError("a capture that ends behind its row's end")
        at[rows] = begin + head + ((sizes + 7) & ~7)
        left[rows] -= 1
        rows = rows[left[rows] > 0]


def _stretches(walls: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """(begin, end) of the runs of equal values."""
    if not len(walls):
        return
    bounds = [0, *(np.flatnonzero(np.diff(walls)) + 1).tolist(), len(walls)]
    yield from pairwise(bounds)


# ---- columns that are no plain numbers ----------------------------------------------------------------------------------


def _nothing(count: int) -> pa.BinaryArray:
    return pa.Array.from_buffers(
        pa.binary(), count, [None, pa.py_buffer(np.zeros(count + 1, np.int32)), pa.py_buffer(b"")]
    )


@cache
def _dictionary(words: tuple[str, ...]) -> pa.StringArray:
    return pa.array(words, pa.utf8())  # one object: the writer knows by that that it has been written


def _words(index: npt.NDArray[Any], words: tuple[str, ...]) -> pa.DictionaryArray:
    """A column of words by number."""
    return pa.DictionaryArray.from_arrays(pa.array(index), _dictionary(words), safe=False)


def _numbers(column: pa.DictionaryArray, words: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """The numbers that the words have here, wherever they stand in the file's dictionary; 255 for one that is not known."""
    known = {word: number for number, word in enumerate(words)}
    table = np.array(
        [known.get(word, _UNKNOWN) for word in column.dictionary.to_pylist()] or [_UNKNOWN], dtype=np.uint8
    )
    found: npt.NDArray[np.uint8] = table[column.indices.to_numpy()]
    return found


def _fixed(names: npt.NDArray[np.bytes_]) -> pa.FixedSizeBinaryArray:
    """Process names, with their NULs."""
    return pa.Array.from_buffers(pa.binary(16), len(names), [None, pa.py_buffer(np.ascontiguousarray(names))])


def _fixed_numpy(column: pa.FixedSizeBinaryArray) -> npt.NDArray[np.bytes_]:
    found: npt.NDArray[np.bytes_] = np.frombuffer(
        column.buffers()[1], dtype="S16", count=len(column), offset=16 * column.offset
    )
    return found


def offsets(column: pa.BinaryArray) -> npt.NDArray[np.int64]:
    """``(n + 1,)``: where each row's bytes begin and end."""
    raw = np.frombuffer(column.buffers()[1], dtype=np.int32, count=len(column) + 1, offset=4 * column.offset)
    return raw.astype(np.int64)


def _notes(pieces: Sequence[Piece], count: int) -> pa.StringArray:
    """Null where a row has none, which is nearly everywhere."""
    if not any(piece.notes for piece in pieces):
        return pa.nulls(count, pa.utf8())
    found: list[str | None] = [None] * count
    at = 0
    for piece in pieces:
        for index, note in piece.notes.items():
            found[at + index] = note
        at += len(piece)
    return pa.array(found, pa.utf8())
