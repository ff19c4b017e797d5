"""iovec arrays and message headers: their layouts, and reading them from a process as bpf/trace_captures.h copies them."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from isotrace.trace import memory
from isotrace.trace.captures import IOVEC, MESSAGES, MSGHDR, Capture, count_in
from isotrace.trace.events import BLOB, FAULT, PART_CONTROL, PART_DATA, PART_IOV, PART_NAME, PART_SELF

#: Captures that are put together from several blobs.
VECTORS = frozenset({IOVEC, MSGHDR, MESSAGES})
#: The parts of an argument that such a capture has.
PARTS = frozenset({PART_SELF, PART_IOV, PART_DATA, PART_NAME, PART_CONTROL})

# As in bpf/trace_record.h and trace_captures.h.
_IOVECS, _MESSAGES, _NAME, _CONTROL = 8, 4, 128, 256
_ROOM = 20 << 10  # bytes of blobs; a record of the kernel's ends at some more


@dataclass(frozen=True)
class Width:
    """The layouts of a caller's word size, ``word`` bytes."""

    word: int
    iovec: struct.Struct
    msghdr: struct.Struct

    @property
    def mmsghdr(self) -> int:
        """Bytes of a ``struct mmsghdr``: a msghdr and a length behind it."""
        return -(-(self.msghdr.size + 4) // self.word) * self.word


WIDE = Width(8, struct.Struct("<QQ"), struct.Struct("<QIxxxxQQQQIxxxx"))
NARROW = Width(4, struct.Struct("<II"), struct.Struct("<IIIIIII"))


def read(
    pid: int, args: Sequence[int], wanted: Capture, width: Width, given: Iterable[bytes] = (), later: bool = False
) -> list[bytes]:
    """The blobs of an argument that is one of VECTORS. ``given``: those that there are, which are not read again."""
    count = count_in(args, wanted.length)
    if count is None or not args[wanted.arg]:
        return list(given)
    reading = _Reading(pid, wanted, width, deque(given), later)
    if wanted.op == IOVEC:
        reading.iovec(args[wanted.arg], count)
    elif wanted.op == MSGHDR:
        reading.message(args[wanted.arg], width.msghdr.size)
    else:
        for number in range(min(count, _MESSAGES)):
            reading.message(args[wanted.arg] + number * width.mmsghdr, width.mmsghdr)
    return reading.found


class _Reading:
    """Goes the way of the program in the kernel, which left out what lies behind something that it could not read."""

    def __init__(self, pid: int, wanted: Capture, width: Width, given: deque[bytes], later: bool) -> None:
        self._pid, self._wanted, self._width, self._given, self._later = pid, wanted, width, given, later
        self._used = 0
        self.found: list[bytes] = []

    def iovec(self, address: int, count: int) -> None:
        """The array, and what its first elements point to."""
        layout = self._width.iovec
        data = self._take(PART_IOV, address, count * layout.size, _IOVECS * layout.size)
        for base, size in layout.iter_unpack(data[: len(data) // layout.size * layout.size]):
            self._take(PART_DATA, base, size, self._wanted.limit)

    def message(self, address: int, size: int) -> None:
        """A msghdr, or the mmsghdr of ``size`` bytes that begins with one, with what it points to."""
        head = self._take(PART_SELF, address, size, size)
        if len(head) < self._width.msghdr.size:
            return
        name, name_size, iov, count, control, control_size, _ = self._width.msghdr.unpack_from(head)
        self._take(PART_NAME, name, name_size, _NAME)
        self._take(PART_CONTROL, control, control_size, _CONTROL)
        self.iovec(iov, count)

    def _take(self, part: int, address: int, full: int, limit: int) -> bytes:
        """The bytes of the next blob, which is the given one where that has any."""
        if not address or self._used > _ROOM:
            return b""
        blob, head = b"", None
        if self._given and self._given[0][BLOB.fields["part"][1]] == part:  # type: ignore[index]
            blob = self._given.popleft()
            head = np.frombuffer(blob, BLOB, 1)[0]
        if head is None or head["state"] == FAULT:
            blob = memory.copied(self._pid, (self._wanted.arg, part), address, full, limit, self._later)
            head = np.frombuffer(blob, BLOB, 1)[0]
        self.found.append(blob)
        self._used += len(blob)
        return blob[BLOB.itemsize :][: int(head["size"])]
