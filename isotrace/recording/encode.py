"""Batches of the ring as batches of Arrow, and back, without a Python call a record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
#: Fields of an event that are columns as they are, and those of which a column is made.
_AS_THEY_ARE = (*_PLAIN, "time", "size", "kind", "blobs", "abi", "comm")
_COLUMNS: dict[str, npt.DTypeLike] = {
    **{name: EVENT[name] for name in _AS_THEY_ARE},
    **{f"arg{i}": np.uint64 for i in range(schema.ARGS)},
    **{"time": np.int64, "wall_offset": np.int64, "size": np.int32},
}
_NO_BYTES = np.zeros(0, dtype=np.uint8)
_UNKNOWN = 255
_OF_CALL = np.zeros(256, dtype=bool)  # kinds of rows
_OF_CALL[[events.CALL, events.EXEC_ENTER, events.UNFINISHED, events.REFUSED, events.LOST]] = True
_SIZE_AT = np.array([4, 5])  # of BLOB["size"] in its head
_STATE_AT = BLOB.fields["state"][1]  # type: ignore[index]


@dataclass(frozen=True)
class Piece:
    """Some rows on their way into a file: events (``(n,)`` EVENT), the bytes of their captures one behind another, which
    their sizes tell apart, and notes by index.
    """

    events: npt.NDArray[np.void]
    memory: npt.NDArray[np.uint8]
    wall: int
    notes: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.events)


def piece_of(batch: Batch) -> Piece:
    """The rows of a batch."""
    sizes = batch.events["size"].astype(np.int64) - EVENT.itemsize
    has = np.flatnonzero(sizes)
    if not len(has):
        return Piece(batch.events, _NO_BYTES, batch.wall)
    begins, sizes = batch.starts[has] + EVENT.itemsize, sizes[has]
    words = not ((begins | sizes) & 7).any() and not len(batch.data) & 7  # as in the ring
    begins, sizes, data = (
        (begins >> 3, sizes >> 3, batch.data.view(np.uint64)) if words else (begins, sizes, batch.data)
    )
    ends = np.cumsum(sizes)
    index = np.arange(ends[-1]) + np.repeat(begins - (ends - sizes), sizes)
    return Piece(batch.events, data.take(index, mode="clip").view(np.uint8), batch.wall)


def row_of(kind: int, wall: int, note: str = "", memory: bytes = b"", **values: Any) -> Piece:
    """One row that is isotrace's own."""
    event = np.zeros(1, dtype=EVENT)
    event["kind"], event["size"] = kind, EVENT.itemsize + len(memory)
    for name, value in values.items():
        event[name] = value
    return Piece(event, np.frombuffer(memory, np.uint8), wall, {0: note} if note else {})


class Columns:
    """Rows that wait to be written, by column, so that Arrow takes them as they lie here. ``rows`` and ``bytes`` (of
    captures) say how many. The arrays are used again: what ``table`` gave is good until the next ``add``.
    """

    def __init__(self) -> None:
        self.rows = self.bytes = 0
        self._arrays = {name: np.zeros(0, kind) for name, kind in _COLUMNS.items()}
        self._memory: list[npt.NDArray[np.uint8]] = []
        self._notes: dict[int, str] = {}

    def add(self, piece: Piece) -> None:
        """Take the rows of ``piece``: they come after those that are here."""
        begin, end = self.rows, self.rows + len(piece)
        if end > len(self._arrays["kind"]):
            self._arrays = {name: np.resize(array, 2 * end) for name, array in self._arrays.items()}
        into = {name: array[begin:end] for name, array in self._arrays.items()}
        for name in _AS_THEY_ARE:
            into[name][:] = piece.events[name]
        for i in range(schema.ARGS):
            into[f"arg{i}"][:] = piece.events["args"][:, i]
        into["wall_offset"][:] = piece.wall
        into["time"] += piece.wall
        into["size"] -= EVENT.itemsize
        self._memory.append(piece.memory)
        self._notes.update({begin + index: note for index, note in piece.notes.items()})
        self.rows, self.bytes = end, self.bytes + piece.memory.nbytes

    def clear(self) -> None:
        """They have been written."""
        self.rows = self.bytes = 0
        self._memory.clear()
        self._notes.clear()

    def call_slots(self, rows: int) -> npt.NDArray[np.uint16]:
        """The slots of the calls among the first ``rows`` rows."""
        found: npt.NDArray[np.uint16] = self._arrays["slot"][:rows][self._arrays["kind"][:rows] == events.CALL]
        return found

    def table(self, into: pa.Schema) -> pa.RecordBatch:
        """The rows."""
        arrays = {name: array[: self.rows] for name, array in self._arrays.items()}
        columns: dict[str, pa.Array] = {name: pa.array(arrays[name]) for name in (*_PLAIN, "wall_offset")}
        columns |= {f"arg{i}": pa.array(arrays[f"arg{i}"]) for i in range(schema.ARGS)}
        columns |= {
            "kind": _words(arrays["kind"], schema.KINDS),
            "name": _words(_named(arrays["kind"], arrays["slot"]), schema.names()),
            "time": pa.array(arrays["time"]).view(pa.timestamp("ns", "UTC")),
            "comm": _fixed(arrays["comm"]),
            "abi": _words(arrays["abi"], events.ABI_NAMES),
            "errno": pa.array(_errnos(arrays["kind"], arrays["result"])),
            "captures": pa.array(arrays["blobs"]),
            "memory": self._captures(arrays["size"]),
            "note": self._noted(),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in into.names], schema=into)

    def _captures(self, sizes: npt.NDArray[np.int32]) -> pa.BinaryArray:
        bounds = np.zeros(len(sizes) + 1, dtype=np.int32)
        np.cumsum(sizes, out=bounds[1:])
        data = np.concatenate(self._memory) if self._memory else _NO_BYTES
        return pa.Array.from_buffers(pa.binary(), len(sizes), [None, pa.py_buffer(bounds), pa.py_buffer(data)])

    def _noted(self) -> pa.StringArray:
        """Null where a row has none, which is nearly everywhere."""
        if not self._notes:
            return pa.nulls(self.rows, pa.utf8())
        found: list[str | None] = [None] * self.rows
        for index, note in self._notes.items():
            found[index] = note
        return pa.array(found, pa.utf8())


def _named(kinds: npt.NDArray[np.uint8], slots: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Index in ``schema.names()``; the last where a row is of no call, which has slot 0 then."""
    found = schema.name_of_slot()[slots]
    found[~_OF_CALL[kinds]] = len(schema.names()) - 1
    return found


def _errnos(kinds: npt.NDArray[np.uint8], results: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """The errors of calls that failed, else 0."""
    found = np.zeros(len(results), dtype=np.uint16)
    failed = events.failed_among(kinds, results)
    found[failed] = -results[failed]
    return found


def batches_of(rows: pa.RecordBatch) -> Iterator[Batch]:
    """The kernel's records among ``rows``, a batch for each stretch that one offset of the wall clock holds for."""
    found = records(rows)
    of_kernel = found["kind"] <= events.LOST
    found["blobs"][~of_kernel] = 0
    walls, families = rows.column("wall_offset").to_numpy(), schema.families_of(rows.schema)
    data, starts = _payload(rows.column("memory"))
    _check(found, starts, data)
    notes = rows.column("note")
    said = {index: notes[index].as_py() for index in np.flatnonzero(found["kind"] == events.REFUSED).tolist()}
    for begin, end in _stretches(walls):
        inside = slice(begin, end)
        whole = Batch(found[inside], starts[inside], data, int(walls[begin]), families=families)
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
    """Mark which arguments were read later. Raise ``ValueError`` unless all captures lie within their rows, and every
    slot is one: the file may be anybody's."""
    if (found["slot"] >= events.SLOTS).any():
        raise ValueError("a call slot that there cannot be")
    at = starts + EVENT.itemsize
    end = at + (found["size"] - EVENT.itemsize)
    left = found["blobs"].astype(np.int64)
    rows = np.flatnonzero(left)
    head = BLOB.itemsize
    found["later"] = 0
    while len(rows):
        begin = at[rows]
        if (begin + head > end[rows]).any():
            raise ValueError("a capture that begins behind its row's end")
        sizes = data[begin[:, None] + _SIZE_AT].view("<u2")[:, 0].astype(np.int64)
        if (begin + head + sizes > end[rows]).any():
            raise ValueError("a capture that ends behind its row's end")
        later = (data[begin + _STATE_AT] & events.LATER) // events.LATER
        found["later"][rows] |= later << np.minimum(data[begin], 7)
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
