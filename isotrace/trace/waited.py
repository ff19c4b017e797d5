"""A cgroup that is waited for: nobody's at first, that of a container while it runs, another one when it is started again.

Whoever looks for it calls ``switch``; programs in the kernel have it in a map (bpf/filter.h), what compares in user space
asks ``place``, also in a process that was forked.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from isotrace.containers.cgroups import populated

if TYPE_CHECKING:  # importing it takes time that only --container has to spend
    from isotrace.containers.find import Found

_HEAD = struct.Struct("=II")  # how often it was written, odd while it is; the path's length
_PATH_MAX = 4096
_TURNS = 1000  # who writes takes no time, unless it is killed at that


class Search(Protocol):
    """What looks for it."""

    def __call__(self) -> Found:
        """Where it is. Raises ``NotThere`` while it is not, other ``IsotraceError`` where that cannot be told."""

    @property
    def places(self) -> Mapping[str, bool]:
        """Directories to be watched meanwhile, as ``kernel.inotify`` takes them."""


@dataclass(frozen=True)
class Place:
    """A cgroup as it is now: another one may have its path later, and has another ``id`` then."""

    path: Path
    id: int
    level: int

    @property
    def packed(self) -> bytes:
        """``struct waited`` of bpf/filter.h."""
        return struct.pack("=QQ", self.id, self.level)

    def stands(self) -> bool:
        """Whether it is there still."""
        try:
            return os.stat(self.path).st_ino == self.id
        except OSError:
            return False


#: ``struct waited`` where nobody is watched.
NOBODY = bytes(16)


class Waited:
    """``name`` is what the user calls it, such as ``container web``. ``ends``: it has ended where no process is left in it;
    otherwise where its directory is gone.
    """

    def __init__(self, name: str, search: Search, ends: bool) -> None:
        self.name, self.search, self.ends = name, search, ends
        self.now: Place | None = None
        self._shared = mmap.mmap(-1, _HEAD.size + _PATH_MAX)
        self._listeners: list[Callable[[Place | None], None]] = []
        self._lock = threading.RLock()

    def runs(self) -> bool:
        """Whether the cgroup that is watched is the same still, and has not ended."""
        return self.now is not None and self.now.stands() and (not self.ends or populated(self.now.path))

    def place(self) -> Path | None:
        """The directory, None while there is none; also in a child of the process that switches."""
        for _ in range(_TURNS):
            count, length = _HEAD.unpack_from(self._shared)
            path = self._shared[_HEAD.size : _HEAD.size + length]
            if not count & 1 and _HEAD.unpack_from(self._shared)[0] == count:
                return Path(os.fsdecode(path)) if length else None
            time.sleep(0.0001)
        return None

    def switch(self, to: Place | None) -> None:
        """Watch another cgroup from now on, or none. Where a listener fails the others are told all the same, and it is not
        taken for watched; raises what failed.
        """
        failed: list[Exception] = []
        with self._lock:
            self._share(os.fsencode(to.path) if to else b"")
            for listener in self._listeners:
                try:
                    listener(to)
                except Exception as error:
                    failed.append(error)
            self.now = None if failed else to
        if failed:
            raise failed[0]

    def _share(self, path: bytes) -> None:
        count = _HEAD.unpack_from(self._shared)[0]
        _HEAD.pack_into(self._shared, 0, count + 1 & 0xFFFFFFFF, 0)
        self._shared[_HEAD.size : _HEAD.size + len(path)] = path
        _HEAD.pack_into(self._shared, 0, count + 2 & 0xFFFFFFFF, len(path))

    def join(self, listener: Callable[[Place | None], None]) -> None:
        """Tell of it now, and whenever it is another one: from then on the listener has what is watched."""
        with self._lock:
            self._listeners.append(listener)
            listener(self.now)

    def leave(self, listener: Callable[[Place | None], None]) -> None:
        """Tell no more: it is not being told then. Nothing happens where it never was."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
