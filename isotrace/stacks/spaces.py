"""What is mapped where, in every process and at every time since tracing began: from the events of the kernel. Pure.

An address means nothing without a time: a process executes another program, or maps another file there. So everything is
kept with when it came (ns, monotonic), and looked up for a moment. What is not known is None.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from isotrace.kernel.sideband import Ended, Executed, Forked, Lost, Mapped, Told

_MAPPINGS_MAX = 8192  # of a process; beyond it those go that others have covered
_PROCESSES_MAX = 16384
_FILES_MAX = 65536
_CHAIN_MAX = 64  # forks without execve that are followed back


class File(NamedTuple):
    """What is mapped: ``path`` as the process that mapped it would say it; which file that is says the build id, or, where
    that is b"", the device and the inode, neither of which anything anonymous has.
    """

    path: bytes
    build_id: bytes = b""
    device: int = 0
    inode: int = 0

    @property
    def anonymous(self) -> bool:
        """Whether there is no file behind it: what a program has made itself, and may run."""
        return not self.build_id and not self.inode


class Mapping(NamedTuple):
    """``file`` from ``offset`` on lies at ``start`` up to ``end``, since ``time``."""

    time: int
    start: int
    end: int
    offset: int
    file: File


@dataclass(eq=False)
class Space:
    """What a process has mapped from ``since`` on: ``mappings`` sorted by time, over what its ``parent`` had then.

    ``whole``: nothing is missing below them. ``known``: from when it is known, ``until``: until when, as events are
    missing.
    """

    since: int
    parent: Space | None = None
    whole: bool = False
    known: int = 0
    until: int | None = None
    mappings: list[Mapping] = field(default_factory=list)
    latest: dict[int, Mapping] = field(default_factory=dict)  # page → what is there now
    #: For whoever looks things up: what an address is now. Empty once something changes.
    memo: dict[Any, Any] = field(default_factory=dict)

    def is_now(self, time: int) -> bool:
        """Whether nothing has changed since ``time``, for all that is known."""
        return (not self.mappings or time >= self.mappings[-1].time) and self.until is None

    def _changed(self) -> None:
        self.latest.clear()
        self.memo.clear()

    def add(self, one: Mapping) -> None:
        """Map something."""
        self._changed()
        if not self.mappings or self.mappings[-1].time <= one.time:
            self.mappings.append(one)
        else:
            bisect.insort(self.mappings, one, key=lambda mapping: mapping.time)
        if len(self.mappings) > _MAPPINGS_MAX:
            self._forget()

    def _forget(self) -> None:
        """Drop what others have covered. What was before is not known any more, nor what may have been below it."""
        kept: dict[tuple[int, int], Mapping] = {}
        for one in reversed(self.mappings):
            kept.setdefault((one.start, one.end), one)
        found = list(kept.values())
        self.known = found[0].time
        if len(found) > _MAPPINGS_MAX // 2:
            self.parent, self.whole = None, False
        self.mappings = found[: _MAPPINGS_MAX // 2][::-1]

    def find(self, address: int, time: int) -> Mapping | None:
        """What lay at an address at that time."""
        space: Space | None = self
        for _ in range(_CHAIN_MAX):
            if space is None or time < space.known or (space.until is not None and time >= space.until):
                return None
            if found := space._own(address, time):
                return found
            if space.whole:
                return None
            time, space = min(time, space.since), space.parent
        return None

    def _own(self, address: int, time: int) -> Mapping | None:
        mappings = self.mappings
        now = bool(mappings) and time >= mappings[-1].time
        if now and (found := self.latest.get(address >> 12)):
            return found
        for one in reversed(mappings):
            if one.start <= address < one.end and one.time <= time:
                if now:
                    self.latest[address >> 12] = one
                return one
        return None

    @property
    def lacking(self) -> bool:
        """Whether what is at the bottom, from before tracing began, is not known, and nothing else is missing."""
        space: Space | None = self
        for _ in range(_CHAIN_MAX):
            if space is None:
                return True
            if space.whole or space.until is not None:
                return False
            space = space.parent
        return False

    def seed(self, mappings: Iterable[Mapping]) -> None:
        """What is at the bottom."""
        self.mappings[:0] = [one._replace(time=self.since) for one in mappings]
        self.whole = True
        self._changed()


class Spaces:
    """All processes. Events of one process may come in any order."""

    def __init__(self) -> None:
        self._spaces: dict[int, list[Space]] = {}  # the programs that a process has run, the latest last
        self._ended: dict[int, None] = {}
        self._files: dict[File, File] = {}
        self.missed = 0  # events that were lost

    def take(self, events: Iterable[Told]) -> None:
        """Take events."""
        for one in events:
            if isinstance(one, Mapped):
                file = self._file(File(one.path, one.build_id, one.device, one.inode))
                mapping = Mapping(one.time, one.start, one.start + one.size, one.offset, file)
                self.at(one.pid, one.time).add(mapping)
            elif isinstance(one, Executed):
                self._begin(one.pid, Space(one.time, whole=True))
            elif isinstance(one, Forked):
                if one.pid != one.parent:
                    parent = self.at(one.parent, one.time)
                    self._begin(one.pid, Space(one.time, parent, until=parent.until))
            elif isinstance(one, Ended):
                self._ended[one.pid] = None
                self._make_room()
            else:
                self._miss(one)

    def _file(self, one: File) -> File:
        """The same, once in memory."""
        if len(self._files) >= _FILES_MAX:
            self._files.clear()
        return self._files.setdefault(one, one)

    def at(self, pid: int, time: int) -> Space:
        """What the process has mapped, in the program that it ran at that time."""
        found = self._spaces.setdefault(pid, [])
        for space in reversed(found):
            if space.since <= time:
                return space
        found.insert(0, Space(0))
        return found[0]

    def is_latest(self, pid: int, space: Space) -> bool:
        """Whether the process runs that program still, for all that is known."""
        found = self._spaces.get(pid, ())
        return len(found) > 0 and found[-1] is space

    def _begin(self, pid: int, space: Space) -> None:
        bisect.insort(self._spaces.setdefault(pid, []), space, key=lambda one: one.since)
        self._ended.pop(pid, None)

    def _miss(self, lost: Lost) -> None:
        self.missed += lost.events
        for space in chain.from_iterable(self._spaces.values()):
            if space.until is None or lost.time < space.until:
                space.until = lost.time

    def _make_room(self) -> None:
        while len(self._spaces) > _PROCESSES_MAX and self._ended:
            pid = next(iter(self._ended))
            del self._ended[pid]
            self._spaces.pop(pid, None)
