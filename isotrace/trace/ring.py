"""Reading a BPF ring buffer in numpy batches, without a Python call per record.

The layout is the kernel's (kernel/bpf/ringbuf.c, 5.8): a page with the consumer's position, writable; a page with the
producer's; then the data. A record is a u32 length whose top bits say BUSY and DISCARD, a u32, and the payload,
rounded up to 8. isotrace's programs pad records to multiples of 32 bytes, so every record begins in a row of a
``(rows, 8)`` array of u32; "where does the next record begin" is then one vector for all rows, and squaring that
map log2(n) times finds every record of the chunk.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from isotrace.trace.events import EVENT, Batch

ROW = 32
HEADER = 8
BUSY, DISCARD = np.uint32(1 << 31), np.uint32(1 << 30)
_LENGTH = np.uint32((1 << 30) - 1)
_EVENT_ROWS = (HEADER + EVENT.itemsize) // ROW

#: The most that is copied out at once, in bytes: several times the largest record, small enough for the cache.
CHUNK = 1 << 18


def walk(heads: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Rows at which complete, finished records begin; ``heads`` is the first u32 of each row, row 0 begins a record.

    Stops before the first record that is still being written or that runs past the end.
    """
    rows = len(heads)
    step = ((heads & _LENGTH).astype(np.int64) + (HEADER + ROW - 1)) // ROW
    following = np.arange(rows) + step
    jump = np.append(np.minimum(following, rows), rows)
    found = np.zeros(1, dtype=np.int64)
    while True:
        more = jump[found]
        end = int(np.searchsorted(more, rows))
        found = np.concatenate((found, more[:end]))
        if end < len(more):
            break
        jump = jump[jump]
    if following[found[-1]] > rows:
        found = found[:-1]
    busy = np.flatnonzero(heads[found] & BUSY)
    return found[: busy[0]] if len(busy) else found


def batch_of(data: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> Batch:
    """The batch of the records that begin at ``rows`` of ``data`` (``(bytes,)`` uint8, a multiple of 32 long)."""
    table = data.reshape(-1, ROW)
    picked = table[rows[:, None] + np.arange(_EVENT_ROWS)]
    events = picked.reshape(len(rows), _EVENT_ROWS * ROW)[:, HEADER:]
    return Batch(np.ascontiguousarray(events).view(EVENT)[:, 0], rows * ROW + HEADER, data)


class Ring:
    """A mapped ring buffer. ``size`` is the data area's, in bytes: a power of two and a multiple of the page size."""

    def __init__(self, fd: int, size: int) -> None:
        page = mmap.PAGESIZE
        self.fd = fd
        self._size = size
        self._own = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        # The kernel maps the data twice in a row; once is enough for a reader that copies, and counts once in RSS.
        self._theirs = mmap.mmap(fd, page + size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumer = np.frombuffer(self._own, dtype=np.uint64, count=1)
        self._producer = np.frombuffer(self._theirs, dtype=np.uint64, count=1)
        self._data = np.frombuffer(self._theirs, dtype=np.uint8, offset=page)

    def waiting(self) -> int:
        """Bytes that have been written and not yet been read."""
        return int(self._producer[0]) - int(self._consumer[0])

    def _copy(self, start: int, length: int) -> npt.NDArray[np.uint8]:
        begin = start % self._size
        first = min(length, self._size - begin)
        if first == length:
            return self._data[begin : begin + length].copy()
        return np.concatenate((self._data[begin:], self._data[: length - first]))

    def read(self) -> Batch | None:
        """The next records, at most CHUNK bytes of them, or None when there is none that is finished."""
        consumer = int(self._consumer[0])
        length = min(int(self._producer[0]) - consumer, CHUNK)
        if length <= 0:
            return None
        data = self._copy(consumer, length)
        heads = data.view(np.uint32)[:: ROW // 4]
        rows = walk(heads)
        if not len(rows):
            return None
        last = rows[-1]
        end = last + (int(heads[last] & _LENGTH) + HEADER + ROW - 1) // ROW
        self._consumer[0] = consumer + int(end) * ROW
        kept = rows[(heads[rows] & DISCARD) == 0]
        return batch_of(data, kept)

    def batches(self) -> Iterator[Batch]:
        """All that has been written by now: a steady writer cannot hold the caller here for ever."""
        left = self.waiting()
        while left > 0 and (batch := self.read()) is not None:
            left -= int(batch.starts[-1]) if len(batch) else ROW
            yield batch

    def close(self) -> None:
        """Unmap and close the descriptor."""
        self._consumer = self._producer = self._data = np.empty(0)  # type: ignore[assignment]
        self._theirs.close()
        self._own.close()
        os.close(self.fd)
