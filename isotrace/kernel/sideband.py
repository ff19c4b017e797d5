"""What perf tells of processes beside what it counts: what they map to execute, that they execute, fork and end.

One ring a CPU, of all processes: which will be of interest is not known before they begin. Times are
CLOCK_MONOTONIC's, as those of records.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from isotrace.kernel.perf import DUMMY, TYPE_SOFTWARE, open_event

_PAGES = 256  # of each ring: a few thousand events
_SAMPLE_TIME = 4
_MONOTONIC = 1
_IOC_ENABLE = 0x2400
#: Bits of struct perf_event_attr.
_DISABLED, _MMAP, _COMM, _TASK, _ID_ALL, _MMAP2, _COMM_EXEC, _CLOCK, _BUILD_ID = (
    1 << bit for bit in (0, 8, 9, 13, 18, 23, 24, 25, 34)
)
_LOST, _COMM_RECORD, _EXIT, _FORK, _MMAP2_RECORD = 2, 3, 4, 7, 10
_IS_EXEC, _HAS_BUILD_ID = 1 << 13, 1 << 14
_HEAD_AT, _TAIL_AT, _OFFSET_AT = 1024, 1032, 1040
_HEAD = struct.Struct("=IHH")
_MAPPED = struct.Struct("=IIQQQ")  # behind the head: pid, tid, address, length, offset in the file
_INODE = struct.Struct("=IIQ")
_TASKS = struct.Struct("=IIII")
_TIME = struct.Struct("=Q")
_NAME_AT = 8 + 32 + 24 + 8


class Mapped(NamedTuple):
    """Something that may be executed was mapped. ``build_id`` is b"" where the file has none; then device and inode say
    which it is, both 0 of what is no file."""

    time: int
    pid: int
    start: int
    size: int
    offset: int
    path: bytes
    build_id: bytes
    device: int
    inode: int


class Executed(NamedTuple):
    """A process has another program from now on."""

    time: int
    pid: int


class Forked(NamedTuple):
    """A process, or a thread where ``pid`` is ``parent``, was made."""

    time: int
    pid: int
    parent: int


class Ended(NamedTuple):
    """The first thread of a process has ended."""

    time: int
    pid: int


class Lost(NamedTuple):
    """``events`` after ``time`` were lost."""

    time: int
    events: int


Told = Mapped | Executed | Forked | Ended | Lost


def _attributes(build_ids: bool) -> bytes:
    flags = _DISABLED | _MMAP | _COMM | _TASK | _ID_ALL | _MMAP2 | _COMM_EXEC | _CLOCK | (_BUILD_ID if build_ids else 0)
    head = struct.pack("=IIQQQQQ", TYPE_SOFTWARE, 112, DUMMY, 0, _SAMPLE_TIME, 0, flags)
    return head.ljust(92, b"\0") + struct.pack("=i", _MONOTONIC) + bytes(16)


class Sideband:
    """All that is told, from when it was made on. Raises ``OSError``."""

    def __init__(self) -> None:
        self._rings: list[_Ring] = []
        try:
            for cpu in _online():
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has just gone
                    self._rings.append(_Ring(_opened(cpu)))
        except OSError:
            self.close()
            raise

    def read(self) -> list[Told]:
        """What has come, in the order of times."""
        found = [one for ring in self._rings for one in ring.read()]
        found.sort(key=lambda one: one.time)
        return found

    def close(self) -> None:
        """Let go."""
        while self._rings:
            self._rings.pop().close()


def _online() -> Iterator[int]:
    with open("/sys/devices/system/cpu/online") as file:
        for part in file.read().strip().split(","):
            first, _, last = part.partition("-")
            yield from range(int(first), int(last or first) + 1)


def _opened(cpu: int) -> int:
    try:
        return open_event(_attributes(True), cpu)
    except OSError:
        return open_event(_attributes(False), cpu)  # before 5.12: by inodes


class _Ring:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = _PAGES * mmap.PAGESIZE
        try:
            self._map = mmap.mmap(fd, self._size + mmap.PAGESIZE)
            fcntl.ioctl(fd, _IOC_ENABLE, 0)
        except BaseException:
            os.close(fd)
            raise
        self._head = ctypes.c_uint64.from_buffer(self._map, _HEAD_AT)
        self._tail = ctypes.c_uint64.from_buffer(self._map, _TAIL_AT)
        self._begin = _TIME.unpack_from(self._map, _OFFSET_AT)[0] or mmap.PAGESIZE
        self._latest = 0  # time of the last event

    def read(self) -> Iterator[Told]:
        head, tail = self._head.value, self._tail.value
        if head == tail:
            return
        at, end = tail % self._size, head - tail + tail % self._size
        begin = self._begin
        data = self._map[begin + at : begin + min(end, self._size)]
        if end > self._size:
            data += self._map[begin : begin + end - self._size]
        self._tail.value = head
        yield from self._events(data)

    def _events(self, data: bytes) -> Iterator[Told]:
        at = 0
        while at + _HEAD.size <= len(data):
            kind, misc, size = _HEAD.unpack_from(data, at)
            if size < _HEAD.size:
                return
            one = data[at : at + size]
            at += size
            if kind == _LOST:
                yield Lost(self._latest, struct.unpack_from("=QQ", one, _HEAD.size)[1])
            if found := _event(kind, misc, one):
                self._latest = found.time
                yield found

    def close(self) -> None:
        del self._head, self._tail
        self._map.close()
        os.close(self._fd)


def _event(kind: int, misc: int, data: bytes) -> Told | None:
    (time,) = _TIME.unpack_from(data, len(data) - _TIME.size)
    if kind == _MMAP2_RECORD:
        pid, _, start, size, offset = _MAPPED.unpack_from(data, _HEAD.size)
        build_id, device, inode = b"", 0, 0
        at = _HEAD.size + _MAPPED.size
        if misc & _HAS_BUILD_ID:
            build_id = data[at + 4 : at + 4 + min(data[at], 20)]
        else:
            major, minor, inode = _INODE.unpack_from(data, at)
            device = os.makedev(major & 0xFFF, minor & 0xFFFFF)
        path = data[_NAME_AT : -_TIME.size].partition(b"\0")[0]
        return Mapped(time, pid, start, size, offset, path, build_id, device, inode)
    if kind == _COMM_RECORD and misc & _IS_EXEC:
        return Executed(time, struct.unpack_from("=I", data, _HEAD.size)[0])
    if kind in (_FORK, _EXIT):
        pid, parent, tid, _ = _TASKS.unpack_from(data, _HEAD.size)
        if kind == _FORK:
            return Forked(time, pid, parent)
        return Ended(time, pid) if tid == pid else None
    return None
