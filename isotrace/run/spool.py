"""What has been read from the ring and is not yet written: a queue in memory, and beyond a limit in files without a name.

Nothing that renders, writes or waits stands between the ring and the next read of it: a write to a file takes seconds where
the disk is busy, so one thread puts, another gets, and a third writes what memory has no room for.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from typing import IO, Protocol

import numpy as np

from isotrace.trace.events import Batch
from isotrace.trace.ring import Chunk

MEMORY = 64 << 20  # bytes that are kept in memory
MOST = 512 << 20  # bytes in memory while the disk takes no more, where that is an eighth of the machine's or less
SEGMENT = 64 << 20  # bytes of one file: it is gone once all that was in it has been taken


class Item(Protocol):
    """What a spool keeps: records, in a form that is cheap to keep."""

    def __len__(self) -> int:
        """How many records."""

    def batch(self) -> Batch:
        """The records. Raises ``OSError``."""


class Made:
    """A batch that isotrace made itself."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return len(self._batch)

    def batch(self) -> Batch:
        """The records."""
        return self._batch


class _Stored:
    """A chunk in a file."""

    def __init__(self, file: IO[bytes], at: int, chunk: Chunk) -> None:
        self._file, self._at = file, at
        self._bytes, self._rows, self._wall = chunk.data.nbytes, len(chunk), chunk.wall

    def __len__(self) -> int:
        return self._rows

    def batch(self) -> Batch:
        """The records. Raises ``OSError``."""
        data, rows = np.empty(self._bytes, dtype=np.uint8), np.empty(self._rows, dtype=np.int64)
        if os.preadv(self._file.fileno(), [data.data, rows.data], self._at) != data.nbytes + rows.nbytes:
            raise OSError("what was kept in a file without a name is not there any more")
        return Chunk(data, rows, self._wall).batch()


class _Kept:
    """A place in the queue: what stands there is in memory, or by now in a file."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.taken = False


def most() -> int:
    """Bytes that may wait in memory for a slow disk on this machine."""
    return max(MEMORY, min(MOST, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8))


class Spool:
    """Items in the order in which they were put. Any thread puts, one gets, another ``spill``s.

    ``memory`` bytes are kept in memory, what is beyond goes to $TMPDIR in files of ``segment`` bytes; ``most`` is what
    memory has at most while these are written.
    """

    def __init__(self, memory: int = MEMORY, segment: int = SEGMENT, most: int = MOST) -> None:
        self._memory, self._segment, self._most = memory, segment, most
        self._items: deque[_Kept] = deque()
        self._late: deque[_Kept] = deque()  # those that memory had no room for when they came
        lock = threading.Lock()
        self._came, self._crowded = threading.Condition(lock), threading.Condition(lock)
        self._used = self._records = 0  # bytes in memory; records in all
        self._file: IO[bytes] | None = None
        self._at = 0
        self._over = False
        #: Why nothing can be kept in files any more; "" while it can.
        self.failure = ""

    def __len__(self) -> int:
        """Records that have not been taken."""
        return self._records

    @property
    def full(self) -> bool:
        """Whether nothing more should be put until something has been taken or written: memory is full, and the disk is
        full or slow."""
        return self._used >= (self._memory if self.failure else self._most)

    @property
    def trouble(self) -> str:
        """Why what comes may find no room, in words; "" while it does."""
        if self.failure:
            return f"what is not yet written cannot be kept in {self.failure}: calls may be lost"
        where = tempfile.gettempdir()
        return f"what is not yet written comes faster than {where} takes it: calls may be lost" if self.full else ""

    def put(self, item: Item) -> None:
        """Keep it; waits for nobody who takes or writes."""
        kept = _Kept(item)
        with self._came:
            self._items.append(kept)
            self._records += len(item)
            self._used += _size(item)
            if self._used > self._memory and isinstance(item, Chunk) and not self.failure:
                self._late.append(kept)
                self._crowded.notify()
            self._came.notify()

    def spill(self, seconds: float) -> bool:
        """Move to a file one item that memory has no room for, waited for so long; False once there will be none."""
        with self._crowded:
            if not self._late and not self._over:
                self._crowded.wait(seconds)
            while self._late and (self._late[0].taken or self._used <= self._memory):
                self._late.popleft()
            if not self._late:
                return not self._over
            kept = self._late.popleft()
            chunk = kept.item
        stored = self._store(chunk) if isinstance(chunk, Chunk) else None
        with self._crowded:
            if stored is None:
                self._late.clear()
            elif not kept.taken:
                kept.item = stored
                self._used -= _size(chunk)
        return True

    def _store(self, chunk: Chunk) -> _Stored | None:
        try:
            if self._file is None or self._at >= self._segment:
                self._file, self._at = tempfile.TemporaryFile(prefix="isotrace-"), 0  # noqa: SIM115 - its items keep it
            stored = _Stored(self._file, self._at, chunk)
            parts = [chunk.data.data, chunk.rows.data]
            if os.pwritev(self._file.fileno(), parts, self._at) != chunk.data.nbytes + chunk.rows.nbytes:
                raise OSError(28, os.strerror(28))
        except OSError as error:
            self.failure = f"{tempfile.gettempdir()}: {(error.strerror or str(error)).lower()}"
            return None
        self._at += chunk.data.nbytes + chunk.rows.nbytes
        return stored

    def get(self, seconds: float) -> Item | None:
        """The next item, waited for so long; None where none has come, or none will."""
        with self._came:
            if not self._items and not self._over:
                self._came.wait(seconds)
            if not self._items:
                return None
            kept = self._items.popleft()
            kept.taken = True
            self._records -= len(kept.item)
            self._used -= _size(kept.item)
            return kept.item

    def end(self) -> None:
        """Nothing more will be put."""
        with self._came:
            self._over = True
            self._came.notify()
            self._crowded.notify()

    @property
    def over(self) -> bool:
        """Whether all has been put and taken."""
        return self._over and not self._items


def _size(item: Item) -> int:  # of what can be written to a file
    return item.data.nbytes + item.rows.nbytes if isinstance(item, Chunk) else 0
