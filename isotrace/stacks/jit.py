"""Names of code that programs have made: from their perf maps, while these are certainly theirs."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from isotrace.kernel import procfs
from isotrace.stacks.images import Reader
from isotrace.stacks.perfmap import PerfMap
from isotrace.trace import clock

_MOST = 256 << 20  # bytes of a file
_KNOWN_MAX = 256


@dataclass(eq=False)
class _Known:
    """What was read of one file, which ``inode`` tells."""

    path: str
    inode: tuple[int, int]
    map: PerfMap


class PerfMaps:
    """By process and program: ``key`` is whatever tells one program of a process from the next."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[tuple[int, object], _Known] = {}

    def at(self, pid: int, uid: int, key: object, since: int, address: int) -> tuple[str, str, int] | None:
        """The file, the name in it of what is at ``address``, and where that begins. The program runs since ``since``."""
        place = pid, key
        for _ in range(2):
            if (known := self._known.get(place)) and (found := known.map.at(address)):
                return known.path, *found
            if not self._reader.ask(lambda: self._read(pid, uid, place, since)):
                break
        return None

    def _read(self, pid: int, uid: int, place: tuple[int, object], since: int) -> bool:
        """Read what is new; whether there was something."""
        inside = _inside(pid)
        path = f"/proc/{pid}/root/tmp/perf-{inside}.map" if inside else f"/tmp/perf-{pid}.map"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != uid or found.st_size > _MOST:
                return False
            if found.st_mtime_ns < since + clock.offset():  # an earlier process's of that number
                return False
            known = self._known.get(place)
            if not known or known.inode != (found.st_dev, found.st_ino) or found.st_size < known.map.size:
                if len(self._known) >= _KNOWN_MAX:
                    self._known.pop(next(iter(self._known)))
                known = self._known[place] = _Known(
                    f"/tmp/perf-{inside or pid}.map", (found.st_dev, found.st_ino), PerfMap()
                )
            before = known.map.size
            known.map.add(_content(fd, before))
            return known.map.size > before
        except OSError:
            return False
        finally:
            os.close(fd)


def _content(fd: int, at: int) -> bytes:
    parts = []
    while at < _MOST and (part := os.pread(fd, 1 << 20, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _inside(pid: int) -> int:
    """The process's number in its own namespace; 0 where it is gone."""
    for line in procfs.lines(procfs.read(pid, "status") or b""):
        if line.startswith(b"NSpid:"):
            return int(line.split()[-1])
    return 0
