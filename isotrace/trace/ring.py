"""Reading a BPF ring buffer in numpy chunks, without a Python call per record.

The layout is the kernel's (kernel/bpf/ringbuf.c, 5.8): a page with the consumer's position, writable; a page with the
producer's; then the data. A record is a u32 length whose top bits say BUSY and DISCARD, a u32, and the payload,
rounded up to 8. isotrace's programs pad records to multiples of 32 bytes, so every record begins in a row of a
``(rows, 8)`` array of u32; "where does the next record begin" is then one vector for all rows, and squaring that
map log2(n) times finds every record of the chunk.

**The contract.** The kernel writes a record, and only then takes BUSY off its length (a store-release). So the lengths are
read first, and only of the records that they say are finished the data is copied, by loads that come later. On x86-64,
the one machine that isotrace traces on, no load overtakes an earlier one.
"""

from __future__ import annotations

import mmap
import os
import select
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from isotrace.trace import clock
from isotrace.trace.events import CALL, EVENT, Batch

ROW = 32
HEADER = 8
BUSY, DISCARD = np.uint32(1 << 31), np.uint32(1 << 30)
_LENGTH = np.uint32((1 << 30) - 1)
_EVENT_ROWS = (HEADER + EVENT.itemsize) // ROW
_HEADED = np.dtype({"names": ["event"], "formats": [EVENT], "offsets": [HEADER], "itemsize": _EVENT_ROWS * ROW})
_KIND, _SLOT = (HEADER + EVENT.fields[name][1] for name in ("kind", "slot"))  # type: ignore[index]
_RAW = np.dtype(f"V{_HEADED.itemsize}")  # numpy copies the fields of each item otherwise

#: What is copied out at once, in bytes: several times the largest record, small enough for the cache.
CHUNK = 1 << 18
#: The most, where much is waiting: each copy gives other threads of Python their turn, and fewer turns are due then.
_LARGE = 1 << 22


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


def framed(record: bytes) -> bytes:
    """A record as it lies in the ring: behind a header, up to the end of a row."""
    return (bytes(HEADER) + record).ljust(-(-(HEADER + len(record)) // ROW) * ROW, b"\0")


def batch_of(data: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], wall: int | None = None) -> Batch:
    """The batch of the records that begin at ``rows`` of ``data`` (``(bytes,)`` uint8, a multiple of 32 long).

    ``wall`` is what the clock says beside theirs: see ``Batch``; by default it is asked.
    """
    wall = clock.offset() if wall is None else wall
    count = max(0, len(data) // ROW - _EVENT_ROWS + 1) if len(rows) else 0
    # An item for each row that a record can begin at, overlapping; what is taken of them is copied whole.
    picked = np.ndarray(count, _RAW, data.data, strides=ROW)[rows] if count else np.zeros(0, _RAW)
    return Batch(picked.view(_HEADED)["event"], rows * ROW + HEADER, data, wall)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Records as they lay in the ring: ``data`` is ``(bytes,)`` uint8; each begins at one of ``rows`` times 32.

    ``wall`` is as in ``Batch``, when they were read.
    """

    data: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    wall: int = field(default_factory=clock.offset)

    def __len__(self) -> int:
        return len(self.rows)

    def slots(self) -> npt.NDArray[np.uint16]:
        """Those of the calls among the records."""
        begin = self.rows * ROW
        calls = begin[self.data[begin + _KIND] == CALL]
        found: npt.NDArray[np.uint16] = self.data.view(np.uint16)[(calls + _SLOT) // 2]
        return found

    def batch(self) -> Batch:
        """The records."""
        return batch_of(self.data, self.rows, self.wall)


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
        # Edge-triggered: woken when the kernel's side wakes the reader, not for as long as there is anything to be read.
        self._epoll = select.epoll()
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)

    def wait(self, seconds: float) -> bool:
        """Return when the reader has been woken since the last time, or after ``seconds``; whether it has."""
        return bool(self._epoll.poll(seconds))

    def waiting(self) -> int:
        """Bytes that have been written and not yet been read."""
        return int(self._producer[0]) - int(self._consumer[0])

    @property
    def taken(self) -> int:
        """Bytes that have been read since the ring was made."""
        return int(self._consumer[0])

    def _parts(self, start: int, length: int) -> list[npt.NDArray[np.uint8]]:
        begin = start % self._size
        first = min(length, self._size - begin)
        return [self._data[begin : begin + first], self._data[: length - first]]

    def _heads(self, start: int, length: int) -> npt.NDArray[np.uint32]:
        return np.concatenate([part.view(np.uint32)[:: ROW // 4] for part in self._parts(start, length)])

    def _copy(self, start: int, length: int) -> npt.NDArray[np.uint8]:
        first, second = self._parts(start, length)
        return np.concatenate((first, second)) if len(second) else first.copy()

    def read(self) -> Chunk | None:
        """The next records, some CHUNK bytes of them, more where much is waiting; None when none is finished."""
        consumer = int(self._consumer[0])
        waiting = int(self._producer[0]) - consumer
        length = min(waiting, max(CHUNK, min(waiting // 8, _LARGE) // ROW * ROW))
        if length <= 0:
            return None
        heads = self._heads(consumer, length)
        rows = walk(heads)
        if not len(rows):
            return None
        last = rows[-1]
        end = int(last + (int(heads[last] & _LENGTH) + HEADER + ROW - 1) // ROW) * ROW
        data = self._copy(consumer, end)
        self._consumer[0] = consumer + end
        return Chunk(data, rows[(heads[rows] & DISCARD) == 0])

    def chunks(self) -> Iterator[Chunk]:
        """All that has been written by now: a steady writer cannot hold the caller here for ever."""
        left = self.waiting()
        while left > 0 and (chunk := self.read()) is not None:
            left -= len(chunk.data)
            yield chunk

    def batches(self) -> Iterator[Batch]:
        """The same as batches."""
        return (chunk.batch() for chunk in self.chunks())

    def close(self) -> None:
        """Unmap and close the descriptor."""
        self._epoll.close()
        self._consumer = self._producer = self._data = np.empty(0)  # type: ignore[assignment]
        self._theirs.close()
        self._own.close()
        os.close(self.fd)
