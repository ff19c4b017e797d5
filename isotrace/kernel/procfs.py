"""What /proc says, as bytes: a line ends at a newline, a field at a space, and nothing else ends either.

Processes choose their names, and any user can make a cgroup or a mount with a name of any bytes: of these the kernel keeps
newlines (and, of mounts, spaces) out of a line, and nothing more. Text is given as ``os.fsdecode`` does.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from isotrace.errors import KernelError

PROC = Path("/proc")
_NS_GET_OWNER_UID = 0xB704  # include/uapi/linux/nsfs.h, since 4.11


def lines(data: bytes) -> list[bytes]:
    """Without their newlines."""
    return data.removesuffix(b"\n").split(b"\n") if data else []


def words(line: bytes) -> list[bytes]:
    """The fields of a line; several spaces are one."""
    return [word for word in line.split(b" ") if word]


def read(*parts: int | str) -> bytes | None:
    """The file below /proc that ``parts`` lead to; None when it is gone or closed to this user."""
    try:
        return PROC.joinpath(*map(str, parts)).read_bytes()
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Process:
    """/proc/PID/stat: ``comm`` has any bytes but NUL; ``state``, one letter, is the leading thread's, Z for a zombie.

    ``started``, in ticks since boot, tells it from others of its number.
    """

    pid: int
    ppid: int
    comm: bytes
    state: str
    threads: int = 0
    started: int = 0

    @property
    def lives(self) -> bool:
        """Whether a thread is left, leading or not. One that has ended counts among ``threads`` until it is reaped, and
        where the kernel does not tell their number (a process that is just going, or changes its leader) it is 0."""
        return self.state not in "ZX" or self.threads != 1


def stat(data: bytes) -> Process | None:
    """A process from /proc/PID/stat; None for what is none. A name may have parentheses, spaces and newlines."""
    head, _, tail = data.rpartition(b")")
    pid, _, comm = head.partition(b" (")
    fields = words(tail.removesuffix(b"\n"))
    if not (pid.isdigit() and len(fields) > 1 and len(fields[0]) == 1 and fields[1].isdigit()):
        return None
    threads, started = (int(fields[at]) if len(fields) > at and fields[at].isdigit() else 0 for at in (17, 19))
    return Process(int(pid), int(fields[1]), comm, os.fsdecode(fields[0]), threads, started)


def started(pid: int, tid: int | None = None) -> int:
    """When the process, or a thread of it, began, in ticks since boot: with its number, who it is. 0 when it is gone."""
    found = stat((read(pid, "stat") if tid is None else read(pid, "task", tid, "stat")) or b"")
    return found.started if found else 0


def number(data: bytes, name: bytes) -> int | None:
    """The first number behind ``NAME:`` in /proc/PID/status, where the kernel escapes a process's name."""
    for line in lines(data):
        field, colon, rest = line.partition(b":")
        if colon and field == name:
            first = rest.split(None, 1)[:1]
            return int(first[0]) if first and first[0].isdigit() else None
    return None


def cgroup(data: bytes) -> bytes:
    """The path in the unified hierarchy, from /proc/PID/cgroup; "" where there is none."""
    return next((line[3:] for line in lines(data) if line.startswith(b"0::")), b"")


def cgroup_directory(pid: int | str) -> str | None:
    """Where the process's cgroup of version 2 is; None where that cannot be told."""
    mount, path = mounted("cgroup2"), os.fsdecode(cgroup(read(pid, "cgroup") or b""))
    return None if mount is None or not path or ".." in path.split("/") else f"{mount}/{path.strip('/')}".rstrip("/")


def cgroup_number(directory: str) -> int | None:
    """The number of the cgroup that has this directory; None where there is none."""
    try:
        return os.stat(directory).st_ino
    except (OSError, ValueError):  # gone; or a name with a NUL, which none has
        return None


def is_of_user(pid: int, uid: int) -> bool:
    """Whether a process is a user's: by all its user ids, or because its user namespace is one that the user made."""
    data = read(pid, "status")
    ids = next((words(line[4:].replace(b"\t", b" ")) for line in lines(data or b"") if line.startswith(b"Uid:")), [])
    return bool(ids) and (set(ids) == {b"%d" % uid} or user_namespace_owner(pid) == uid)


def user_namespace_owner(pid: int) -> int | None:
    """The user who made the process's user namespace, None where that cannot be told; of the initial one 0."""
    try:
        fd = os.open(PROC / str(pid) / "ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    found = bytearray(4)
    try:
        fcntl.ioctl(fd, _NS_GET_OWNER_UID, found)
    except OSError:
        return None
    finally:
        os.close(fd)
    return int.from_bytes(found, sys.byteorder)


def own_number(pid: int, tid: int | None = None) -> int | None:
    """The number of a process, or a thread of it, in the pid namespace below /proc's: 0 where it is in /proc's, None if
    gone.
    """
    data = read(pid, "status") if tid is None else read(pid, "task", tid, "status")
    found = next((line.split()[1:] for line in lines(data or b"") if line.startswith(b"NSpid:")), [])
    return (int(found[1]) if len(found) > 1 else 0) if found else None


def monotonic() -> int:
    """Nanoseconds by the kernel's own monotonic clock, which programs read; a time namespace has another (5.6)."""
    data = read("self", "timens_offsets") or b""
    fields = next((line.split() for line in lines(data) if line.startswith(b"monotonic")), [])
    offset = int(fields[1]) * 10**9 + int(fields[2]) if len(fields) == 3 else 0
    return time.monotonic_ns() - offset


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo: ``root`` is the directory of the file system that is mounted, ``kind`` its type, ``id`` what
    fdinfo calls ``mnt_id``.
    """

    device: int
    root: str
    point: str
    kind: str = ""
    id: int = 0

    def shown(self, inside: str) -> str | None:
        """The path here of what has the path ``inside`` in the file system; None where this mount does not show it."""
        return joined(self.point, inside[len(self.root.rstrip("/")) :]) if is_below(inside, self.root) else None


def is_below(path: str, directory: str) -> bool:
    """Whether a path is the directory, or below it."""
    return f"{path.rstrip('/')}/".startswith(f"{directory.rstrip('/')}/")


def joined(directory: str, rest: str) -> str:
    """The path of ``rest`` in the directory, which it is itself where there is no rest."""
    return f"{directory.rstrip('/')}/{rest.strip('/')}".rstrip("/") or "/"


def mounts(data: bytes | None = None) -> list[Mount]:
    """The mounts that mountinfo lists, this process's own by default. Raises ``KernelError`` for what is no mountinfo."""
    return list(_parsed((PROC / "self/mountinfo").read_bytes() if data is None else data))


@lru_cache(maxsize=2)  # who looks for a container again and again has the same ones each time
def _parsed(data: bytes) -> tuple[Mount, ...]:
    return tuple(_mounts(data))


def _mounts(data: bytes) -> Iterator[Mount]:
    for line in lines(data):
        places, _, rest = line.partition(b" - ")
        fields = places.split(b" ")
        device = re.fullmatch(rb"([0-9]{1,9}):([0-9]{1,9})", fields[2]) if len(fields) >= 6 else None
        if not device:
            raise KernelError(f"/proc/self/mountinfo has a line that is not understood: {line[:200]!r}")
        root, point = (os.fsdecode(unescape(field)) for field in fields[3:5])
        number = int(device[1]) << 20 | int(device[2])
        id = int(fields[0]) if fields[0].isdigit() else 0
        yield Mount(number, root, point, os.fsdecode(rest.split(b" ")[0]), id)


def unescape(field: bytes) -> bytes:
    """A field of mountinfo as it was: the kernel writes space, tab, newline, backslash and # as three octal digits."""
    return re.sub(rb"\\([0-3][0-7]{2})", lambda match: bytes([int(match[1], 8)]), field)


def mounted(kind: str) -> str | None:
    """Where a file system of that type is mounted; None where it is not, or /proc does not tell."""
    try:
        return next((mount.point for mount in mounts() if mount.kind == kind), None)
    except OSError:
        return None
