"""Recordings read back: rows of Arrow for queries, batches like the ring's for sinks."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from isotrace.errors import IsotraceError, UsageError
from isotrace.recording import checksum, encode, schema
from isotrace.recording.frames import BATCH, DICTIONARY, SCHEMA, Frame, Frames, cannot
from isotrace.recording.schema import End, Head
from isotrace.trace.events import Batch
from isotrace.units import many

T = TypeVar("T")
_observers: list[Callable[[Recording], object]] = []
#: Makes what takes some of the rows of each batch, in their order.
Chooser = Callable[[], Callable[[pa.RecordBatch], pa.RecordBatch]]
_DICTIONARIES = 64  # messages; a recording has three
_SKIPPED = (pa.ArrowException, OSError, MemoryError, ValueError, LookupError)


@dataclass
class Damage:
    """What of a file could not be read: batches that were skipped, and how many rows they say they had."""

    batches: int = 0
    rows: int = 0


class Recording:
    """One file. ``head`` is what it says of itself, ``end`` its last row once that was read. Raises ``IsotraceError``."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.damage = Damage()
        self.spoilt = False  # its beginning is not as it was written
        self.left = False  # not read to its end, because nothing more was wanted
        self.end: End | None = None
        self.rows = 0
        self.path, self._frames = path, Frames(path)
        self.name = self._frames.name
        first = self._frames.first()
        self._prefix = self._begin(first)
        self._first_batch = self._frames.position
        self.choose(None)
        self._dictionaries: set[int] = set()  # where those begin that the prefix has

    def _begin(self, first: Frame | None) -> bytes:
        if self._frames.empty:
            raise IsotraceError(f"{self.name} is empty", "a recording has a head even before its first call")
        if first is None and self._frames.cut and self._frames.begins_well:
            raise IsotraceError(f"{self.name} is cut off in its head", "record it again: it has no calls")
        if first is None or first.kind != SCHEMA:
            raise IsotraceError(f"{self.name} is not a recording of isotrace", "isotrace record -o FILE makes one")
        data = bytes(self._bytes(first))
        try:
            found = pa.ipc.read_schema(pa.py_buffer(data))
        except _SKIPPED:
            raise IsotraceError(
                f"{self.name} is not a recording of isotrace", "isotrace record -o FILE makes one"
            ) from None
        self.head: Head = schema.head_of(found, self.name)
        wanted = schema.arrow()
        for column in wanted:
            if found.get_field_index(column.name) < 0 or found.field(column.name).type != column.type:
                raise IsotraceError(f"{self.name} has no column {column.name} as it should be", "record again")
        self._fields = {name: found.get_field_index(name) for name in wanted.names}
        return data

    @property
    def complete(self) -> bool:
        """Whether it was ended by isotrace, with its counts."""
        return self.end is not None

    @property
    def damaged(self) -> bool:
        """Whether there was something in it that could not be read."""
        return bool(self.damage.batches or self._frames.torn or self._frames.beyond or self.spoilt)

    def problems(self) -> list[str]:
        """What to say of it once it was read to the end; nothing of a whole one."""
        found = []
        if self.damage.batches or self._frames.torn:
            count = many(max(self.damage.batches, self._frames.torn), "corrupt batch")
            rows = many(self.damage.rows, "row") if self.damage.rows else "an unknown number of rows"
            found.append(f"{self.name}: {count} skipped, {rows} lost")
        if self.spoilt:
            found.append(
                f"{self.name}: its beginning is corrupt: what it says of itself and the names of calls may be wrong"
            )
        if self._frames.beyond:
            found.append(f"{self.name}: {self._frames.beyond} after its end not read")
        if not self.complete and not self.left:
            how = "is cut within a batch" if self._frames.cut else "has no end"
            found.append(f"{self.name} {how}: what came before is here, what came after is lost")
        return found

    def arrow(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All whole batches that there are by now, from where the last call stopped; only these columns."""
        while (frame := self._frames.next()) is not None:
            for see in _observers:
                see(self)
            rows = self._decoded(frame, columns)
            if rows is not None and self._only:
                rows = self.attempt(rows, self._only)
            if rows is not None:
                self.rows += rows.num_rows
                yield rows

    @property
    def done(self) -> float:
        """How much of it has been read, from 0 to 1; of a pipe nobody knows, and it is 0."""
        return self._frames.position / self._frames.size() if self.regular and self._frames.size() else 0.0

    def choose(self, chooser: Chooser | None) -> None:
        """Give from now on, where all columns are read, what ``chooser()`` makes of the rows of each batch."""
        self.chooser = chooser
        self._only = chooser() if chooser else None

    def batches_of(self, rows: pa.RecordBatch) -> list[Batch]:
        """The kernel's records among ``rows``; none, and damage, where they cannot be what isotrace wrote."""
        return self.attempt(rows, lambda rows: list(encode.batches_of(rows))) or []

    def attempt(self, rows: pa.RecordBatch, make: Callable[[pa.RecordBatch], T]) -> T | None:
        """What ``make`` makes of rows; None, and damage, where they cannot be what isotrace wrote."""
        try:
            return make(rows)
        except _SKIPPED:
            self.damage.batches += 1
            self.damage.rows += rows.num_rows
            return None

    @property
    def regular(self) -> bool:
        """Whether it can be read more than once."""
        return self._frames.regular

    def rewind(self) -> None:
        """Read from the first batch on again. Raises ``IsotraceError`` for a pipe."""
        if not self.regular:
            raise IsotraceError(f"{self.name} can be read only once", "write it to a file first")
        self._frames.seek(self._first_batch)
        self.damage, self._frames.torn, self.rows = Damage(), 0, 0
        self.left = self.spoilt = False
        self.choose(self.chooser)

    def grows(self) -> bool:
        """Whether more may come."""
        return not self.complete and not self._frames.complete

    def last(self) -> int:
        """The latest time of the last whole batch, in ns since the epoch; 0 where there is none. It is rewound."""
        frames = [frame for frame in self._frames if frame.kind == DICTIONARY or frame.rows]
        found = 0
        for frame in [one for one in frames if one.kind == DICTIONARY] + frames[-1:]:
            rows = self._decoded(frame, ["time"])
            if rows is not None and rows.num_rows:
                found = int(rows.column("time").view(pa.int64()).to_numpy().max())
        self.rewind()
        return found

    @property
    def seekable(self) -> bool:
        """Whether it can be read more than once."""
        return self._frames.regular

    def copy(self, to: IO[bytes]) -> None:
        """Write all of it to another file, before any batch is read. Raises ``OSError``."""
        to.write(self._prefix)
        for data in self._frames.rest():
            to.write(data)

    def close(self) -> None:
        """Give up the file."""
        self._frames.close()

    def _decoded(self, frame: Frame, columns: Sequence[str] | None) -> pa.RecordBatch | None:
        if frame.kind == DICTIONARY and frame.at not in self._dictionaries and len(self._dictionaries) < _DICTIONARIES:
            self._dictionaries.add(frame.at)
            self._prefix += bytes(self._bytes(frame))
        if frame.kind != BATCH:
            return None
        try:
            rows = self._batch(frame, {*(columns or self._fields), "kind", "note"})
            self._see_end(rows)
            return rows.select(columns or list(self._fields))
        except _SKIPPED:
            self.damage.batches += 1
            self.damage.rows += frame.rows
            return None

    def _see_end(self, rows: pa.RecordBatch) -> None:
        last = rows.num_rows - 1
        if last >= 0 and rows.column("kind")[last].as_py() == schema.KINDS[schema.END]:
            self.end = End.unpack(rows.column("note")[last].as_py() or "")

    def _bytes(self, frame: Frame, before: bytes = b"") -> pa.Buffer:
        """The message, behind ``before``, in memory that Arrow uses again and again."""
        found = pa.allocate_buffer(len(before) + frame.size)
        room = memoryview(found).cast("B")
        room[: len(before)] = before
        self._frames.read_into(frame, room[len(before) :])
        return found

    def _check(self, frame: Frame, message: memoryview) -> None:
        """Raise ``ValueError`` where a batch is not as it was written. With the first one the beginning is looked at."""
        first = frame.at == len(self._prefix)
        if checksum.holds(message, self._prefix if first else b"", needed=self.head.checksums == checksum.KIND):
            return
        self.spoilt = self.spoilt or first
        if frame.rows:
            raise ValueError("a batch that is not as it was written")

    def _batch(self, frame: Frame, columns: Iterable[str]) -> pa.RecordBatch:
        wanted = sorted(self._fields[name] for name in columns)
        # In this thread alone: Arrow 26 has been seen to crash in one of its own where it decompresses in parallel.
        options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
        data = self._bytes(frame, self._prefix)
        self._check(frame, memoryview(data).cast("B")[len(self._prefix) :])
        with pa.ipc.open_stream(data, options=options) as stream:
            rows = stream.read_next_batch()
        rows.validate(full=True)
        return rows


@contextmanager
def observed(see: Callable[[Recording], object]) -> Iterator[None]:
    """While this is open call ``see`` for each batch that is read of any recording, in the thread that reads it."""
    _observers.append(see)
    try:
        yield
    finally:
        _observers.remove(see)


def found(patterns: Sequence[str]) -> list[str]:
    """The files that are meant: names, patterns of the shell's kind, "-". Raises ``UsageError`` where there are none."""
    names: list[str] = []
    for pattern in patterns:
        matches = [pattern] if pattern == "-" or os.path.lexists(pattern) else sorted(glob.glob(pattern))
        if not matches:
            raise UsageError(f"no such recording: {pattern!r}", "isotrace record -o FILE makes one")
        names += [name for name in matches if name not in names]
    return names


def again(names: Iterable[str]) -> list[str]:
    """Names that can be opened more than once: what comes by a pipe is copied into a file without a name first.

    Raises ``IsotraceError``, also for what does not begin as a recording: it may never end.
    """
    found = []
    for name in names:
        recording = Recording(name)
        found.append(name if recording.seekable and name != "-" else _copied(recording))
        recording.close()
    return found


def _copied(recording: Recording) -> str:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open as long as the process
    try:
        recording.copy(file)
        file.flush()
    except OSError as error:
        raise cannot(recording.name, error) from None
    _copies.append(file)
    return f"/proc/self/fd/{file.fileno()}"


_copies: list[IO[bytes]] = []


def not_among(paths: Iterable[str], output: str | None) -> None:
    """Raise ``UsageError`` where the output would destroy a recording."""
    for name in paths:
        if output and name != "-" and os.path.exists(output) and os.path.samefile(output, name):
            raise UsageError(f"-o {output!r} is the recording itself", "write to another file")


def with_stacks(recordings: Iterable[Recording]) -> None:
    """Raise ``UsageError`` where one of them has none."""
    for one in recordings:
        if not one.head.stacks:
            raise UsageError(f"{one.name}: the recording has no stacks", "record it with isotrace record -k")


def open_all(patterns: Sequence[str]) -> list[Recording]:
    """The recordings, the earliest first, parts of one run in their order. Raises ``IsotraceError``."""
    return sorted(map(Recording, found(patterns)), key=lambda one: (one.head.began, one.head.run, one.head.part))


def once_more(recordings: Sequence[Recording]) -> list[Recording]:
    """The same, to be read once more by themselves; none where one of them is a pipe. Raises ``IsotraceError``."""
    found = [Recording(one.path) for one in recordings] if all(one.regular for one in recordings) else []
    for one, other in zip(recordings, found, strict=False):
        other.choose(one.chooser)
    return found


def close_all(recordings: Iterable[Recording]) -> None:
    """Give their files back."""
    for recording in recordings:
        recording.close()


def abbreviated(recordings: Iterable[Recording]) -> list[str]:
    """What to say where nothing is to be abbreviated, and recordings lack what would have to be shown."""
    names = [recording.name for recording in recordings if not recording.head.full]
    lacking = "at most 32 arguments of an execve, and no environment; isotrace record -v keeps all of it"
    return [f"{name} has {lacking}" for name in names]


def counts(recordings: Iterable[Recording]) -> dict[str, int]:
    """Call → how often it was made, as the recordings have them."""
    found: dict[str, int] = {}
    for recording in recordings:
        for rows in recording.arrow(["kind", "name"]):
            names = rows.column("name").filter(pc.equal(rows.column("kind").cast(pa.utf8()), "call"))
            for one in pc.value_counts(names.cast(pa.utf8())).to_pylist():
                found[one["values"]] = found.get(one["values"], 0) + one["counts"]
    return found


def batches(recordings: Iterable[Recording]) -> Iterator[Batch]:
    """The records of all of them, as the ring gave them."""
    for recording in recordings:
        for rows in recording.arrow():
            yield from recording.batches_of(rows)
