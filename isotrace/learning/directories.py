"""Working directories, as records tell them: what -y says of AT_FDCWD, getcwd, chdir, and births.

A *place* is a process between two changes of its directory, by number: all its relative paths begin in one directory,
which may be told by any of its calls, also a later one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from isotrace.decode.descriptors import place as path_of
from isotrace.trace import events, plan

if TYPE_CHECKING:
    from isotrace.learning.folding import Columns
    from isotrace.recording.schema import Head

#: Its low 32 bits.
AT_FDCWD = 0xFFFFFF9C


@dataclass
class _Place:
    """``before`` is the place that it goes on from, ``moved`` by which path, if any; ``path`` is where it is."""

    before: int | None = None
    moved: bytes | None = None
    path: bytes | None = None


@dataclass
class Directories:
    """All places of the recordings."""

    _all: list[_Place] = field(default_factory=list)
    _now: dict[int, int] = field(default_factory=dict)  # process → its place
    _first: dict[int, int] = field(default_factory=dict)  # process → the place that it was met in

    def begin(self, head: Head) -> None:
        """Another recording: its processes are others."""
        self._now.clear()
        self._first.clear()

    def path(self, place: int) -> str | None:
        """The directory, None where it is not known."""
        words: list[bytes] = []
        while place >= 0 and len(words) < 4096:
            here = self._all[place]
            if here.path is not None:
                return _joined(here.path, words)
            if here.moved is not None:
                words.append(here.moved)
                if here.moved.startswith(b"/"):
                    return _joined(b"/", words)
            if here.before is None:
                return None
            place = here.before
        return None

    def places(self, found: Columns) -> npt.NDArray[np.int64]:
        """The place of each row, ``(n,)``."""
        turns = np.flatnonzero((found.succeeded & _turning()[found.slots]) | (found.kinds == events.TASK_EXIT)).tolist()
        result = np.full(len(found.slots), -1, dtype=np.int64)
        begin = 0
        for turn in [*turns, len(result) - 1]:
            if turn >= begin:
                self._stretch(found, result, begin, turn + 1)
                begin = turn + 1
            if turn in turns:
                self._turn(found, turn, int(result[turn]))
        return result

    def _stretch(self, found: Columns, result: npt.NDArray[np.int64], begin: int, end: int) -> None:
        """Rows in which nobody moves."""
        pids, inverse = np.unique(found.pids[begin:end], return_inverse=True)
        numbers = np.array([self._of(pid) for pid in pids.tolist()])
        result[begin:end] = numbers[inverse]
        tells = (found.calls & _beginning()[found.slots])[begin:end] & (
            found.args[0][begin:end] & np.uint64(0xFFFFFFFF) == AT_FDCWD
        )
        unknown = np.array([self._all[number].path is None for number in numbers.tolist()])[inverse]
        rows = np.flatnonzero(tells & unknown)
        _, first = np.unique(result[begin:end][rows], return_index=True)
        for row in rows[first].tolist():
            data = found.one(begin + row, 0, events.PART_FILE)
            if data and (path := path_of(data)):
                self._all[int(result[begin + row])].path = path

    def _of(self, pid: int) -> int:
        if pid not in self._now:
            self._now[pid] = self._first[pid] = self._new(_Place())
        return self._now[pid]

    def _new(self, place: _Place) -> int:
        self._all.append(place)
        return len(self._all) - 1

    def _turn(self, found: Columns, row: int, here: int) -> None:
        """A birth, a move, an end, or getcwd, which tells."""
        pid, slot = int(found.pids[row]), int(found.slots[row])
        if found.kinds[row] == events.TASK_EXIT:
            if pid == int(found.rows.column("tid")[row].as_py()):
                self._now.pop(pid, None)
                self._first.pop(pid, None)
            return
        name = plan.all_calls()[slot].name
        if plan.forks()[slot]:
            self._born(int(found.results[row]), here)
        elif name == "getcwd":
            text = (found.one(row, 0, events.PART_SELF) or b"").rstrip(b"\0")
            if text.startswith(b"/"):
                self._all[here].path = text
        elif name == "chdir":
            text = found.one(row, 0, events.PART_SELF) or b""
            whole = text.partition(b"\0")[0] if b"\0" in text else None
            self._now[pid] = self._new(_Place(here if whole else None, whole))
        elif name == "fchdir":
            data = found.one(row, 0, events.PART_FILE)
            self._now[pid] = self._new(_Place(path=path_of(data) or None if data else None))
        else:  # chroot and its kin: what a path begins with is another directory
            self._now[pid] = self._new(_Place())

    def _born(self, child: int, here: int) -> None:
        if child <= 0:
            return
        if child not in self._first:
            self._now[child] = self._first[child] = self._new(_Place(here))
        elif (first := self._all[self._first[child]]).before is None and first.path is None:
            first.before = here


def _joined(start: bytes, words: list[bytes]) -> str:
    path = start
    for word in reversed(words):
        path = os.path.join(path, word)
    return os.fsdecode(os.path.normpath(path))


@cache
def _turning() -> npt.NDArray[np.bool_]:
    names = ("chdir", "fchdir", "getcwd", "chroot", "pivot_root", "setns")
    return plan.slots(lambda call: call.name in names) | plan.forks()


@cache
def _beginning() -> npt.NDArray[np.bool_]:
    return plan.slots(lambda call: bool(call.args) and call.args[0].kind == "dirfd")
