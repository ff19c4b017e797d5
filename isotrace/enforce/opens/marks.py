"""The marks of a group, and what the files that are met through them are called."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from isotrace.enforce.opens.places import Place, place
from isotrace.errors import IsotraceError
from isotrace.kernel import fanotify
from isotrace.policy.model import PathRule

_LOG = logging.getLogger(__package__)
_DELETED = " (deleted)"
_REMEMBERED = 4096  # files that have been at a place: so many are told apart from others

_Object = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class Names:
    """What a file is called: as /proc says, and as rules that it was marked for name it.

    Without ``certain`` it may be called something else, too.
    """

    paths: tuple[str, ...]
    certain: bool


@dataclass
class _Marked:
    place: Place
    mask: int
    directory: int = -1  # a descriptor of it, where what is in it is marked
    now: _Object | None = None
    ever: dict[_Object, None] = field(default_factory=dict)


class Marks:
    """What ``rules`` name, marked for the group ``fd``. A mark is on an object: it goes where that is moved."""

    def __init__(self, fd: int, rules: Iterable[PathRule]) -> None:
        self._fd = fd
        masks: dict[Place, int] = {}
        for rule in rules:
            if not rule.allow and (where := place(rule.pattern)):
                wanted = (fanotify.OPEN if rule.access & {"r", "w"} else 0) | (
                    fanotify.EXEC if "x" in rule.access else 0
                )
                masks[where] = masks.get(where, 0) | wanted
        self._marked = [_Marked(where, mask) for where, mask in masks.items()]
        for where, mask in masks.items():
            _LOG.debug("mark: events %#x %s %s", mask, "in" if where.children else "of", where.path)

    def add(self) -> None:
        """Make all marks. Raises ``IsotraceError`` where there is nothing to mark, or it must not be."""
        for one in self._marked:
            path = one.place.path
            try:
                _check(path, one.place.children)
                self._mark(one)
            except OSError as error:
                raise IsotraceError(
                    f"cannot ask about {path!r}: {error.strerror}",
                    "fanotify asks only about what exists: create it first",
                ) from None

    def look(self) -> None:
        """Mark what has taken the place of something that was marked. What cannot be looked at stays as it was."""
        for one in self._marked:
            try:
                found = os.stat(one.place.path)
                if (found.st_dev, found.st_ino) != one.now:
                    _check(one.place.path, one.place.children)
                    self._mark(one)
            except (OSError, IsotraceError):
                continue

    def _mark(self, one: _Marked) -> None:
        descriptor = os.open(one.place.path, os.O_PATH | os.O_CLOEXEC)
        try:
            flags = fanotify.DIRECTORIES | (fanotify.CHILDREN if one.place.children else 0)
            fanotify.mark(self._fd, one.mask | flags, f"/proc/self/fd/{descriptor}")
            found = os.fstat(descriptor)
            one.now = (found.st_dev, found.st_ino)
            one.ever[one.now] = None
            while len(one.ever) > _REMEMBERED:
                del one.ever[next(iter(one.ever))]
            if one.place.children:
                one.directory, descriptor = descriptor, one.directory
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def names(self, fd: int) -> Names:
        """What the open file is called."""
        found = os.fstat(fd)
        key = found.st_dev, found.st_ino
        shown = os.readlink(f"/proc/self/fd/{fd}")
        name = shown.removesuffix(_DELETED).rpartition("/")[2] if not found.st_nlink else shown.rpartition("/")[2]
        paths = [shown] if _is(shown, key, None) else []
        for one in self._marked:
            if key in one.ever:
                paths.append(one.place.path)
            elif one.directory >= 0 and _is(name, key, one.directory):
                paths.append(f"{one.place.path.rstrip('/')}/{name}")
        return Names(tuple(dict.fromkeys(paths or [shown])), bool(paths))


def _is(path: str, key: _Object, directory: int | None) -> bool:
    """Whether that is its name now."""
    if not path or (directory is None and not path.startswith("/")):
        return False
    try:
        found = os.stat(path, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == key


def _check(path: str, children: bool) -> None:
    """Raises ``IsotraceError``, or ``OSError`` where there is nothing."""
    found = os.stat(path)
    if children and not os.path.isdir(path):
        raise IsotraceError(f"cannot ask about what is in {path!r}: it is no directory", f"ask about {path}")
    if found.st_dev == os.stat("/proc").st_dev:
        raise IsotraceError(f"cannot ask about {path!r} by fanotify: isotrace reads /proc itself", "leave the rule out")
