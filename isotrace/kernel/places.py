"""Where files are for isotrace itself, by where they are in their file system and by its own mounts."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence

from isotrace.kernel import procfs
from isotrace.kernel.procfs import Mount

_MEMO = 4096


class Table:
    """The mounts at one time."""

    def __init__(self, mounts: Sequence[Mount]) -> None:
        self._by_device: dict[int, list[Mount]] = {}
        self._on: dict[int, list[Mount]] = {}
        for mount in mounts:
            self._by_device.setdefault(mount.device, []).append(mount)
            self._on.setdefault(mount.parent, []).append(mount)
        listed = {mount.id for mount in mounts}
        self._root = next((one for one in mounts if one.point == "/" and one.parent not in listed - {one.id}), None)
        self._known: dict[tuple[int, bytes], bytes | None] = {}

    def path(self, device: int, path: bytes) -> bytes | None:
        """The shortest path of what has ``path`` in the file system; b"" where no mount shows it, None if unknown."""
        key = device, path
        if key not in self._known:
            if len(self._known) >= _MEMO:
                self._known.clear()
            self._known[key] = self._found(device, os.fsdecode(path))
        return self._known[key]

    def _found(self, device: int, path: str) -> bytes | None:
        if self._root is None:  # in a directory that chroot made the root, and nothing is mounted at
            return None
        found = []
        for mount in self._by_device.get(device, ()):
            if _is_below(path, mount.root):
                beyond = "" if path == mount.root else path[len(mount.root.rstrip("/")) :]
                whole = mount.point.rstrip("/") + beyond or "/"
                found += [os.fsencode(whole)] if self._at(self._root, whole) is mount else []
        return min(found, key=len, default=b"")

    def _at(self, mount: Mount, path: str) -> Mount:
        """The mount that ``path`` leads to from ``mount`` on: what is mounted on a directory hides what is below it."""
        while on_the_way := [
            one for one in self._on.get(mount.id, ()) if one is not mount and _is_below(path, one.point)
        ]:
            mount = min(on_the_way, key=lambda one: len(one.point))
        return mount


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


class Places:
    """The mounts as they are, and as they were until they changed the last time. Raises ``KernelError``, ``OSError``."""

    def __init__(self) -> None:
        self._file = open(procfs.PROC / "self/mountinfo", "rb", buffering=0)  # noqa: SIM115
        self._changes = select.poll()
        self._changes.register(self._file, select.POLLPRI)
        self._now, self._since = self._read(), 0
        self._former: Table | None = None

    def _read(self) -> Table:
        self._file.seek(0)
        return Table(procfs.mounts(self._file.readall()))

    def look(self) -> None:
        """See whether mounts have changed."""
        if self._changes.poll(0):
            self._former, self._now, self._since = self._now, self._read(), time.monotonic_ns()

    def path(self, device: int, path: bytes, at: int) -> bytes | None:
        """The path of what had ``path`` in the file system ``device`` (as st_dev, major × 2²⁰ + minor) at the time ``at``
        (ns, monotonic); b"" where no mount shows it, None where that is not known.

        The number of a device is used again: where a change may have come before or after ``at``, both are looked at.
        """
        now = self._now.path(device, path)
        if self._former is None or at > self._since:
            return now
        former = self._former.path(device, path)
        if now == former or former == b"":
            return now
        return former if now == b"" else None
