"""Whose a process is, by the number of its cgroup: the name of the container, as its runtime's user calls it.

Nothing is said to be in no container unless that is known: a runtime may write its files a moment after a container's
first call, a file may be closed to isotrace, and a container's processes may be where everybody is. What was found is
believed for some seconds: containers are renamed, and a cgroup that there is may become a container's.
"""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from isotrace.containers import find
from isotrace.containers.find import Found, Named
from isotrace.containers.states import Again
from isotrace.kernel import namespaces, procfs
from isotrace.process.telling import tell

_KNOWN = 1 << 16  # cgroups that are remembered
_HOLDS = 5.0  # seconds that a name is believed
_YOUNG = 2.0  # seconds from when a cgroup was met first in which a runtime may not have told of it yet
_AGAIN = 0.2  # seconds between two looks for what is not known
_SHARE = 20  # of which one is what looking may take of the time
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_LINES = 3  # of files that cannot be read
_STANDS = 1.0  # seconds after which that is said: a file may just be being written


@dataclass
class _Looked:
    """When something was looked at last, and how long that took, in seconds."""

    at: float = 0.0
    took: float = 0.0

    def is_due(self, now: float, after: float) -> bool:
        return not self.at or now - self.at >= max(after, _SHARE * self.took)

    def begin(self) -> float:
        self.at = time.monotonic()
        return self.at

    def end(self) -> None:
        now = time.monotonic()
        self.at, self.took = now, now - self.at


class Whose:
    """Names of containers by numbers of cgroups, for any thread."""

    def __init__(self) -> None:
        self._states = Again(Path("/"))
        self._mount = procfs.mounted("cgroup2")
        self._own = procfs.cgroup_directory("self") if _on_the_host() else None
        self._names: dict[int, tuple[str | None, float]] = {}  # and until when that is believed
        self._met: dict[int, float] = {}  # cgroups that came after this began
        self._told: dict[str, str] = {}
        self._named = Named()
        self._read, self._walked = _Looked(), _Looked()
        self._troubles: dict[str, float] = {}  # since when
        self._said: set[str] = set()
        self._lock = threading.RLock()
        self._paths = self._walk()
        self._old = frozenset(self._paths)
        self._walked = _Looked()

    def look_in(self, root: str) -> None:
        """The runtimes' directories are below ``root``, as --container-root says. Raises ``IsotraceError``."""
        with self._lock:
            self._states, self._read = Again(find.checked(root)), _Looked()
            self._names.clear()

    def tell(self, found: Found) -> None:
        """Believe what was found by a container's name."""
        if found.name:
            with self._lock:
                self._told[str(found.cgroup)] = found.name
                self._names.clear()

    def name(self, cgroup: int, pid: int) -> str | None:
        """What the container of the cgroup is called that process ``pid`` was in; "" if it is none's, None if unknown."""
        now = time.monotonic()
        known = self._names.get(cgroup)
        if known and now < known[1]:
            return known[0]
        with self._lock:
            if len(self._names) >= _KNOWN:
                self._names.clear()
                self._met.clear()
            path = self._path(cgroup, pid, now)
            name = None if path is None else self._of(path, cgroup, now)
            self._names[cgroup] = name, now + (_AGAIN if name is None else _HOLDS)
            return name

    def _path(self, cgroup: int, pid: int, now: float) -> str | None:
        """The directory of a cgroup; None where there is none of that number, or none that can be seen."""
        if (path := self._known_path(cgroup)) is None:
            path = procfs.cgroup_directory(pid)
            if path is not None and procfs.cgroup_number(path) == cgroup:
                self._paths[cgroup] = path
            elif self._walked.is_due(now, _AGAIN):
                self._paths = self._walk()
            path = self._known_path(cgroup)
        return path

    def _known_path(self, cgroup: int) -> str | None:
        """The directory that it was seen to have, where it has that still."""
        path = self._paths.get(cgroup)
        return path if path is not None and procfs.cgroup_number(path) == cgroup else None

    def _walk(self) -> dict[int, str]:
        """The directories of all cgroups, by their numbers."""
        if self._mount is None:
            return {}
        self._walked.begin()
        found = {
            number: path for path, _, _ in os.walk(self._mount) if (number := procfs.cgroup_number(path)) is not None
        }
        self._walked.end()
        return found

    def _of(self, path: str, cgroup: int, now: float) -> str | None:
        """The topmost container that a directory is in or below: one within another is not the host's to name."""
        self._ask(now, _AGAIN if cgroup not in self._names or self._names[cgroup][0] is None else _HOLDS)
        named = self._named
        whole = Path(path)
        for place in map(str, (*reversed(whole.parents), whole)):
            if name := self._told.get(place) or named.running.get(place):
                return name
            if by_id := _ID.search(os.path.basename(place)):
                return self._by_id(by_id[0], place)
        if path == self._own:
            return ""
        young = cgroup not in self._old and now - self._met.setdefault(cgroup, now) < _YOUNG
        return None if young or self._is_doubted(path) or self._states.troubles else ""

    def _is_doubted(self, path: str) -> bool:
        """Whether a container may have processes there whose cgroup is not known; the root is everybody's."""
        places = self._named.doubted
        return places is None or any(
            path == place or (place != self._mount and path.startswith(f"{place}/")) for place in places
        )

    def _by_id(self, id: str, place: str) -> str | None:
        """Of a cgroup with a container's id in its name, which is not the cgroup that it has now: it has just ended, or
        somebody who may make cgroups has chosen the name.
        """
        named = self._named
        if id in named.others:
            return named.others[id] if _owner(place) == 0 else None
        return None if id in named.known else id[:12]

    def _ask(self, now: float, after: float) -> None:
        """Read what runtimes say, unless that was done lately; say what cannot be read."""
        if not self._read.is_due(now, after):
            return
        self._read.begin()
        self._states.begin()
        self._named = find.named(self._states)
        self._read.end()
        self._troubles = {line: self._troubles.get(line, now) for line in self._states.troubles}
        stand = [line for line, since in self._troubles.items() if now - since >= _STANDS and line not in self._said]
        new = stand[: _LINES - len(self._said)]
        self._said.update(new)
        tell(f"not readable, may have names of containers: {line}" for line in new)


def _owner(path: str) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def _on_the_host() -> bool:
    """Whether isotrace is in no container that it could see."""
    try:
        return all(map(namespaces.is_initial, ("pid", "cgroup", "user")))
    except OSError:
        return False


@cache
def whose() -> Whose:
    """That of this process."""
    return Whose()
