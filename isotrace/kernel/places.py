"""Where files are for isotrace itself: a path of its own that leads to a file, whatever another process calls that."""

from __future__ import annotations

import os
import re
import select
import struct
import threading
from collections.abc import Sequence

from isotrace.errors import KernelError
from isotrace.kernel import procfs
from isotrace.kernel.procfs import Mount
from isotrace.process.libc import syscall

_OPENAT2 = 437
_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS, _CACHED = 0x04 | 0x02, 0x20  # RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS; RESOLVE_CACHED
_TRIED = 16  # paths of a file by as many mounts
_FDINFO = re.compile(rb"^(mnt_id|ino):\t(\d+)$", re.MULTILINE)


class Table:
    """The mounts at one time."""

    def __init__(self, mounts: Sequence[Mount]) -> None:
        self.devices = {mount.id: mount.device for mount in mounts}
        self._by_device: dict[int, list[Mount]] = {}
        for mount in mounts:
            self._by_device.setdefault(mount.device, []).append(mount)

    def paths(self, device: int, path: str) -> list[str]:
        """Where what has ``path`` in the file system may be, the shortest first: something may be mounted over it."""
        by_mount = (mount.shown(path) for mount in self._by_device.get(device, ()))
        return sorted((one for one in by_mount if one is not None), key=len)[:_TRIED]


class Places:
    """Finds such paths among isotrace's own mounts, and believes none that it has not followed.

    It follows them in the kernel's cache alone, so that no file system has it wait (RESOLVE_CACHED is of 5.12, commit
    99668f618062), and asks for the number of the inode that it came to (fdinfo has it since 5.14, commit 3845f256a8b5).
    Raises ``KernelError`` where the kernel has not both of them.
    """

    def __init__(self) -> None:
        self._file = open(procfs.PROC / "self/mountinfo", "rb", buffering=0)  # noqa: SIM115
        self._reading = threading.Lock()
        self._table, self._came, self._fresh = Table([]), dict[int, int](), True
        self._read()
        self._came.clear()  # of those that are there from the start on
        self._at: dict[bytes, tuple[int, int] | None] = {}
        if self._led_to(b"/") is None:
            raise KernelError(
                "this kernel cannot follow a path without waiting for file systems", "--host-paths: Linux 5.14 or later"
            )
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        """Note when mounts come, for as long as isotrace runs."""
        changes = select.poll()
        changes.register(self._file, select.POLLPRI)
        while True:
            changes.poll()
            self._read()

    def _read(self) -> None:
        with self._reading:
            try:
                self._file.seek(0)
                found, now = Table(procfs.mounts(self._file.readall())), procfs.monotonic()
            except (OSError, KernelError):  # nothing is known then
                found, now = Table([]), procfs.monotonic()
            before = set(self._table.devices.items()) & set(found.devices.items())
            for device in {*found.devices.values()} - {device for _, device in before}:
                self._came[device] = now
            self._table = found

    def look(self) -> None:
        """What is found from now on is how things are now."""
        self._at.clear()
        self._fresh = False

    def path(self, own: bytes | None, device: int, path: bytes, inode: int, at: int) -> bytes | None:
        """A path that leads to the file with that inode number which has ``path`` in the file system ``device``: ``own`` if
        that does, else the shortest; None where none is found. ``device`` is major × 2²⁰ + minor.

        None as well where that file system has been mounted since the time ``at`` (ns, the kernel's monotonic clock): the
        number may have been that of another one.
        """
        wanted = device, inode
        if at <= self._came.get(device, 0):
            return None
        if own is not None and self._leads(own) == wanted:
            return own
        if (found := self._among(wanted, path)) is None and not self._fresh:  # renamed directories change no mount
            self._fresh = True
            self._read()
            found = self._among(wanted, path)
        return None if at <= self._came.get(device, 0) else found

    def _among(self, wanted: tuple[int, int], path: bytes) -> bytes | None:
        paths = map(os.fsencode, self._table.paths(wanted[0], os.fsdecode(path)))
        return next((one for one in paths if self._leads(one) == wanted), None)

    def _leads(self, path: bytes) -> tuple[int, int] | None:
        if path not in self._at:
            self._at[path] = self._led_to(path)
        return self._at[path]

    def _led_to(self, path: bytes) -> tuple[int, int] | None:
        """The device and the number of the inode that the path leads to; None where that is not known at once."""
        how = struct.pack("=QQQ", _FLAGS, 0, _NO_LINKS | _CACHED)
        try:
            file = syscall(_OPENAT2, -1, path, how, len(how))
        except OSError:
            return None
        try:
            with open(procfs.PROC / f"self/fdinfo/{file}", "rb") as info:
                found = {name: int(value) for name, value in _FDINFO.findall(info.read())}
        finally:
            os.close(file)
        if b"ino" not in found:
            return None
        mount = found.get(b"mnt_id", -1)
        if mount not in self._table.devices:
            self._read()
        device = self._table.devices.get(mount)
        return None if device is None else (device, found[b"ino"])
