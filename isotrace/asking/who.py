"""Who asks: the process behind a question, from /proc. All of it was written by others: it is quoted before it is shown."""

from __future__ import annotations

import os
import pwd
from collections.abc import Container
from dataclasses import dataclass

from isotrace.kernel import procfs

_PARENTS, _ARGV_MAX = 8, 4096


@dataclass(frozen=True, slots=True)
class Who:
    """A process: ``started`` (in the kernel's ticks) tells it from later ones of its number; ``program`` is its file.

    ``program`` is "" where it cannot be read, and then no answer is remembered for it. ``file`` (device, inode number)
    tells it from another that comes to stand there.
    """

    pid: int
    started: int
    program: str
    file: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Details:
    """What a person is shown: ``argv`` as bytes, ``user`` by name or number, ``parents`` (pid, comm), the nearest first."""

    argv: tuple[bytes, ...] = ()
    user: str = "?"
    parents: tuple[tuple[int, bytes], ...] = ()


def who(pid: int) -> Who:
    """The process that runs under the number now."""
    return Who(pid, procfs.started(pid), *_program(pid))


def details(pid: int, until: Container[int] = ()) -> Details:
    """More of it; parents up to one of ``until``, which is shown, too."""
    words = (procfs.read(pid, "cmdline") or b"")[:_ARGV_MAX].removesuffix(b"\0")
    uid = procfs.number(procfs.read(pid, "status") or b"", b"Uid")
    return Details(tuple(words.split(b"\0")) if words else (), _user(uid), tuple(_parents(pid, until)))


def caller_name() -> str:
    """Who answers at isotrace's terminal: whoever called sudo, else whose isotrace is."""
    return os.environ.get("SUDO_USER") or _user(os.getuid())


def _program(pid: int) -> tuple[str, tuple[int, int]]:
    try:
        found = os.stat(f"/proc/{pid}/exe")
        return os.readlink(f"/proc/{pid}/exe"), (found.st_dev, found.st_ino)
    except OSError:
        return "", (0, 0)


def _user(uid: int | None) -> str:
    if uid is None:
        return "?"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _parents(pid: int, until: Container[int]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while pid not in until and len(found) < _PARENTS:
        process = procfs.stat(procfs.read(pid, "stat") or b"")
        parent = procfs.stat(procfs.read(process.ppid, "stat") or b"") if process and process.ppid else None
        if parent is None:
            break
        found.append((parent.pid, parent.comm))
        pid = parent.pid
    return found
