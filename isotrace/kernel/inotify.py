"""inotify(7): being woken when something comes into directories, or goes, without looking at them all the time.

It is only a reason to look: what was seen is never taken from it. Where there is none, or no more watches, whoever waits
looks now and then all the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import struct
from collections.abc import Mapping

from isotrace.process import libc

_MODIFY, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _IGNORED, _OVERFLOW, _ONLYDIR = 0x400, 0x800, 0x8000, 0x4000, 0x1000000
_MASK_ADD = 0x20000000
_ALL = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR | _MASK_ADD
_EVENT = struct.Struct("=iIII")
_READ = 1 << 16
_MOST = 1024  # watches: the user's others need some, too


class Directories:
    """Watches on directories, and on what is above those that are not there yet. ``fd`` can be read when one has news."""

    def __init__(self) -> None:
        try:
            self.fd = libc.call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self.fd = -1
        self._numbers: dict[str, int] = {}
        #: Number → the names in the directory that count: None for all of them.
        self._names: dict[int, set[str] | None] = {}

    @property
    def works(self) -> bool:
        """Whether there is such a thing, and room in it."""
        return self.fd >= 0 and len(self._numbers) < _MOST

    def watch(self, paths: Mapping[str, bool]) -> bool:
        """Watch these from now on, where the value is True also for what is written into files there.

        Returns whether a watch is new: something may have come just before it. Those that are not named stay.
        """
        return sum(self._watch(path, written) for path, written in paths.items()) > 0

    def _watch(self, path: str, written: bool) -> bool:
        name = ""
        while not (path in self._numbers or self._add(path, written)):
            above, _, name = path.rstrip("/").rpartition("/")
            if not above and not name:
                return False
            path, written = above or "/", False
        return self._note(self._numbers[path], name)

    def _add(self, path: str, written: bool) -> bool:
        """Whether that directory is watched now."""
        if not self.works:
            return False
        try:
            number = libc.call("inotify_add_watch", self.fd, os.fsencode(path), _ALL | (_MODIFY if written else 0))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM):
                self.close()
            return False
        self._numbers[path] = number
        self._names.setdefault(number, set())
        return True

    def _note(self, number: int, name: str) -> bool:
        """Have a name count, "" for all. Returns whether it did not before."""
        names = self._names[number]
        if names is None or name in names:
            return False
        if name:
            names.add(name)
        else:
            self._names[number] = None
        return True

    def _forget(self, number: int) -> None:
        self._names.pop(number, None)
        self._numbers = {path: other for path, other in self._numbers.items() if other != number}

    def wait(self, seconds: float, other: int) -> None:
        """Until there is news, ``seconds`` have passed, or the descriptor ``other`` can be read."""
        with contextlib.suppress(InterruptedError):
            select.select([other, *([self.fd] if self.fd >= 0 else [])], [], [], seconds)

    def news(self) -> bool:
        """Whether something has come or gone that counts, since the last time."""
        found = False
        while self.fd >= 0:
            try:
                data = os.read(self.fd, _READ)
            except OSError:
                break
            at = 0
            while at + _EVENT.size <= len(data):
                number, mask, _cookie, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
                at += length
                found = self._counts(number, mask, name) or found
        return found

    def _counts(self, number: int, mask: int, name: str) -> bool:
        if mask & _OVERFLOW:
            return True
        names = self._names.get(number, set())
        if mask & (_IGNORED | _MOVE_SELF):
            self._forget(number)
            return True
        return names is None or not name or name in names

    def close(self) -> None:
        """Watch nothing any more."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
        self._numbers.clear()
        self._names.clear()
