"""A recording being made: a sink that appends batches to a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from isotrace.errors import IsotraceError
from isotrace.recording import checksum, encode, refusals, schema
from isotrace.recording.asked import Asked
from isotrace.recording.encode import Columns, Piece
from isotrace.recording.output import File
from isotrace.recording.redact import Redactor
from isotrace.recording.schema import End, Head
from isotrace.trace import clock, events
from isotrace.trace.events import Batch

if TYPE_CHECKING:
    from isotrace.enforce import Enforced, Refused
    from isotrace.kernel.procfs import Process

_ROWS = 32768  # of a batch in the file, at most about so many
_BYTES = 16 << 20  # of captures that wait to be written
_AGE = 1.0  # seconds that rows wait at most, if flush is called
_LEVEL = 1  # of zstd: 3 saves 5 % and costs 25 % more


class _Stream:
    """What pyarrow writes to: keeps the bytes until a message is whole."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits anywhere else."""

    def take(self) -> bytes:
        """All since the last time."""
        found = b"".join(self._parts)
        self._parts.clear()
        return found


class _Part:
    """One file: a schema, batches, and an end if it comes to that."""

    def __init__(self, path: str, head: Head, fd: int | None = None) -> None:
        self._file = File(path, fd=fd)
        self._stream = _Stream()
        self._schema = schema.arrow(head.pack())
        options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=_LEVEL), use_threads=False)
        self._arrow = pa.ipc.new_stream(pa.PythonFile(self._stream, mode="w"), self._schema, options=options)
        self.append(Columns())  # with it go the schema and the dictionaries, which Arrow keeps back until then

    def append(self, rows: Columns) -> None:
        """Write them as one batch."""
        self._arrow.write_batch(rows.table(self._schema), checksum.METADATA)
        self._file.append(checksum.sealed(self._stream.take()))

    def exceeds(self, size: int) -> bool:
        """Whether it is a file that can be renamed, of at least that many bytes."""
        return self._file.size >= size and self._file.seekable

    def finish(self) -> None:
        """Write the end of the stream."""
        self._arrow.close()
        self._file.append(self._stream.take())

    def close(self) -> None:
        """Give up the file, whatever it lacks."""
        self._file.close()


class Writer:
    """Writes batches to where they are ``asked`` for. One thread at a time may use it.

    What was given to it is in the file, readable, a second later at most while ``flush`` is called. ``close`` with the
    counts of the run makes the recording complete.
    """

    def __init__(
        self,
        asked: Asked,
        head: Head,
        *,
        fd: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the file, or take the pipe ``fd``, and write its beginning. Raises ``IsotraceError``."""
        self._redactor = Redactor(frozenset(asked.redact))
        self._head = schema.begin(replace(head, redacted=self._redactor.names, checksums=checksum.KIND))
        self._path, self._rotation, self._now = asked.path, asked.rotation, now
        self._waiting = Columns()
        self._since = 0.0
        self._wall = clock.offset()
        self._part: _Part | None = _Part(self._path, self._head, fd)
        self._missing = 0  # rows that wait and could not be written

    # ---- what comes in --------------------------------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        """Take the records of a batch. Raises ``IsotraceError`` when the file cannot be written."""
        if not len(batch):
            return
        self._see_clock(batch.wall, int(batch.events["time"][0]))
        piece = encode.piece_of(batch)
        before = self._waiting.rows
        try:
            self._add(self._redactor.without(piece) if self._redactor.names else piece)
        except IsotraceError:
            self._missing = min(before, self._missing)  # this batch was not taken
            raise

    def flush(self) -> None:
        """Nothing more is waiting: write what has been kept for long enough."""
        if self._waiting.rows and self._now() - self._since >= _AGE:
            self._emit()

    def processes(self, found: Iterable[tuple[Process, int]]) -> None:
        """Processes of the target that ran before, each with its real uid."""
        for process, uid in found:
            who = {"pid": process.pid, "tid": process.pid, "ppid": process.ppid, "uid": uid, "comm": process.comm}
            self._note(schema.PROCESS, **who)

    def refused(self, records: Iterable[Refused], rules: Mapping[int, Enforced]) -> None:
        """Calls that were refused, or under audit noticed; ``rules`` by number."""
        for record in records:
            time = max(0, record.time_ns - self._wall)
            values = refusals.row(record, rules[record.rule])
            self._add(encode.row_of(events.REFUSED, self._wall, time=time, **values))

    def close(self, end: End | None = None) -> None:
        """Write what is left; with ``end`` the recording states that it is complete. Safe to call twice."""
        part, self._part = self._part, None
        if part is None:
            return
        try:
            if end is not None:
                self._waiting.add(encode.row_of(schema.END, self._wall, end.pack(), time=time.monotonic_ns()))
            if self._waiting.rows:
                self._append(part)
            if end is not None:
                part.finish()
        finally:
            part.close()

    def settle(self) -> None:
        """Write what waits. Raises ``IsotraceError``."""
        if self._waiting.rows:
            self._emit()

    def unwritten(self) -> npt.NDArray[np.uint16]:
        """The slots of the calls that were taken and are not in the file."""
        return self._waiting.call_slots(self._missing)

    # ---- what goes out --------------------------------------------------------------------------------------------

    def _see_clock(self, wall: int, moment: int) -> None:
        if wall != self._wall:
            step, self._wall = wall - self._wall, wall
            self._add(encode.row_of(schema.CLOCK, wall, time=moment, result=step))

    def _note(self, kind: int, **values: Any) -> None:
        self._add(encode.row_of(kind, self._wall, time=time.monotonic_ns(), **values))

    def _add(self, piece: Piece) -> None:
        if not self._waiting.rows:
            self._since = self._now()
        self._waiting.add(piece)
        if self._waiting.rows >= _ROWS or self._waiting.bytes >= _BYTES:
            self._emit()

    def _append(self, part: _Part) -> None:
        try:
            part.append(self._waiting)
        except IsotraceError:
            self._missing = self._waiting.rows
            raise
        self._waiting.clear()

    def _emit(self) -> None:
        """Append what waits as one batch, and begin another part where this one is full."""
        if self._part is None:
            return
        try:
            self._append(self._part)
        except IsotraceError:
            self._part.close()
            self._part = None  # what it has can be read; nothing is written behind what is missing
            raise
        if self._rotation and self._part.exceeds(self._rotation.size):
            self.close(End(continued=True))
            self._rotation.shift(self._path)
            self._head = replace(self._head, part=self._head.part + 1)
            self._part = _Part(self._path, self._head)
