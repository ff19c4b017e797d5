"""Whose a process is, by the number of its cgroup: the name of the container, as its runtime's user calls it.

The kernel gives a cgroup's number to no other one later, so what was found out once holds. A number has a path while the
cgroup is there: it is asked of a process that is in it, or else looked for among all directories.
"""

from __future__ import annotations

import os
import re
import time
from functools import cache
from pathlib import Path

from isotrace.containers import find
from isotrace.containers.find import Found
from isotrace.containers.states import States
from isotrace.kernel import procfs

_KNOWN = 1 << 16  # cgroups that are remembered
_YOUNG, _AGAIN = 2.0, 0.2  # seconds in which what is in no container is looked for again, and between two such looks
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class Whose:
    """Names of containers by numbers of cgroups, for any thread."""

    def __init__(self) -> None:
        self._root = Path("/")
        self._mount = procfs.mounted("cgroup2")
        self._names: dict[int, str | None] = {}
        self._told: dict[Path, str] = {}
        self._doubted: dict[int, tuple[float, float]] = {}  # in none so far: when it was looked for first, and last

    def look_in(self, root: str) -> None:
        """The runtimes' directories are below ``root``, as --container-root says."""
        self._root = Path(root)

    def tell(self, found: Found) -> None:
        """Believe what was found by a container's name."""
        if found.name:
            self._told[found.cgroup] = found.name

    def name(self, cgroup: int, pid: int) -> str | None:
        """What the container of the cgroup is called that process ``pid`` was in; "" if it is none's, None if unknown."""
        if self._is_settled(cgroup):
            return self._names[cgroup]
        if len(self._names) >= _KNOWN:
            self._names.clear()
            self._doubted.clear()
        path = self._path(cgroup, pid)
        name = self._names[cgroup] = None if path is None else self._of(path)
        if name == "":
            now = time.monotonic()
            self._doubted[cgroup] = self._doubted.get(cgroup, (now, now))[0], now
        return name

    def _is_settled(self, cgroup: int) -> bool:
        """Whether the name is known: a runtime may write its files a moment after a container's first call."""
        if cgroup not in self._names or self._names[cgroup] != "":
            return cgroup in self._names
        first, last = self._doubted.get(cgroup, (0.0, 0.0))
        return time.monotonic() < last + _AGAIN or last > first + _YOUNG

    def _path(self, cgroup: int, pid: int) -> str | None:
        """The directory of a cgroup; None where there is none of that number, or none that can be seen."""
        if self._mount is None:
            return None
        own = os.fsdecode(procfs.cgroup(procfs.read(pid, "cgroup") or b"")).strip("/")
        for path in (f"{self._mount}/{own}".rstrip("/"), *_below(self._mount)):
            try:
                if os.stat(path).st_ino == cgroup:
                    return path
            except (OSError, ValueError):  # gone; or a name with a NUL, which none has
                continue
        return None

    def _of(self, path: str) -> str:
        """The topmost container that a directory is in or below: one within another is not the host's to name."""
        if path == self._mount:
            return ""
        running, others = find.named(States(self._root))
        whole = Path(path)
        for place in (*reversed(whole.parents), whole):
            if place in self._told or place in running:
                return self._told.get(place) or running[place]
        by_id = _ID.search(path)
        return others.get(by_id[0], by_id[0][:12]) if by_id else ""


def _below(mount: str) -> list[str]:
    return [path for path, _, _ in os.walk(mount)]


@cache
def whose() -> Whose:
    """That of this process."""
    return Whose()
