"""What has been read from the ring and is not yet written: a queue in memory, and beyond a limit in files without a name.

Nothing that renders, writes or waits stands between the ring and the next read of it.
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


class Spool:
    """Items in the order in which they were put. One thread puts, another gets.

    ``memory`` bytes are kept in memory, what is beyond goes to $TMPDIR in files of ``segment`` bytes.
    """

    def __init__(self, memory: int = MEMORY, segment: int = SEGMENT) -> None:
        self._memory, self._segment = memory, segment
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
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
        """Whether nothing more should be put until something has been taken: memory is full, and so is the disk."""
        return bool(self.failure) and self._used >= self._memory

    def put(self, item: Chunk | Made) -> None:
        """Keep it; never waits for who takes."""
        kept: Item = item
        if isinstance(item, Chunk) and self._used >= self._memory and not self.failure:
            kept = self._store(item)
        with self._changed:
            if kept is item:
                self._used += _size(kept)
            self._items.append(kept)
            self._records += len(kept)
            self._changed.notify()

    def _store(self, chunk: Chunk) -> Item:
        try:
            if self._file is None or self._at >= self._segment:
                self._file, self._at = tempfile.TemporaryFile(prefix="isotrace-"), 0  # noqa: SIM115 - its items keep it
            stored = _Stored(self._file, self._at, chunk)
            parts = [chunk.data.data, chunk.rows.data]
            if os.pwritev(self._file.fileno(), parts, self._at) != chunk.data.nbytes + chunk.rows.nbytes:
                raise OSError(28, os.strerror(28))
        except OSError as error:
            self.failure = f"{tempfile.gettempdir()}: {(error.strerror or str(error)).lower()}"
            return chunk
        self._at += chunk.data.nbytes + chunk.rows.nbytes
        return stored

    def get(self, seconds: float) -> Item | None:
        """The next item, waited for so long; None where none has come, or none will."""
        with self._changed:
            if not self._items and not self._over:
                self._changed.wait(seconds)
            if not self._items:
                return None
            item = self._items.popleft()
            self._records -= len(item)
            self._used -= _size(item)
            return item

    def end(self) -> None:
        """Nothing more will be put."""
        with self._changed:
            self._over = True
            self._changed.notify()

    @property
    def over(self) -> bool:
        """Whether all has been put and taken."""
        return self._over and not self._items


def _size(item: Item) -> int:
    return item.data.nbytes + item.rows.nbytes if isinstance(item, Chunk) else 0
