"""The kernel programs' maps of followed pids (bpf/filter.h): the state of every process there can be, a byte each."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

ARMED, ACTIVE, ENDED = 1, 2, 3  # MEMBER_…
LIMIT = 4 << 20  # PID_MAX_LIMIT on 64 bits


class Pids:
    """One of these maps, in memory that the kernel programs share. ``fd`` stays the caller's."""

    def __init__(self, fd: int) -> None:
        self._states = mmap.mmap(fd, LIMIT, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def add(self, pid: int, state: int) -> None:
        """Enter a process."""
        self._states[pid] = state

    def state(self, pid: int) -> int:
        """Of one process; 0 where it is no member."""
        return self._states[pid]

    def members(self) -> Iterator[int]:
        """The processes that have not ended, as they are found."""
        for state in (ACTIVE, ARMED):
            at = -1
            while (at := self._states.find(bytes([state]), at + 1)) >= 0:
                yield at

    def close(self) -> None:
        """Unmap; nothing is left to be asked then."""
        self._states.close()
