"""fanotify(7)'s permission events: opening and executing of marked files and directories waits for an answer.

Structures and numbers: include/uapi/linux/fanotify.h. Execution has events of its own since 5.0, threads are named since
4.20. All of it ends with the group's descriptor: what waits goes on.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from isotrace.kernel.answer import Answer, conclusive, refusal, yes
from isotrace.kernel.probe_system import privileged
from isotrace.process import libc

OPEN, EXEC = 0x10000, 0x40000  # FAN_OPEN_PERM, FAN_OPEN_EXEC_PERM
DIRECTORIES, CHILDREN = 0x40000000, 0x08000000  # FAN_ONDIR, FAN_EVENT_ON_CHILD

_CLASS_CONTENT, _CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE, _REPORT_TID = 4, 1, 2, 0x10, 0x100
_MARK_ADD = 1
_ALLOW, _DENY = 1, 2
_AT_FDCWD = -100
_O_LARGEFILE = 0o100000 if os.uname().machine == "x86_64" else 0o400000
_EVENT, _RESPONSE = struct.Struct("=IBBHQii"), struct.Struct("=iI")
_READ = 4096


@dataclass(frozen=True, slots=True)
class Event:
    """A thread waits to open what ``fd``, which is the reader's to close, is a descriptor of; ``mask`` is OPEN or EXEC.

    ``tid`` is 0 for a thread outside of the reader's pid namespace. The answer is for the number ``fd``: until it is given
    that must stay open.
    """

    tid: int
    mask: int
    fd: int


def group() -> int:
    """The descriptor of a new group without marks. Raises ``OSError``.

    Its queue has no limit: an event that a full one has no room for would be allowed. The descriptors of events never wait
    for anybody, and leave no time of access.
    """
    flags = _CLASS_CONTENT | _CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE | _REPORT_TID
    return libc.call("fanotify_init", flags, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME | _O_LARGEFILE)


def mark(fd: int, mask: int, path: str | int) -> None:
    """Have the group told of ``mask`` on one file or directory, by its path or a descriptor; never on a mount.

    Raises ``OSError``.
    """
    at, name = (_AT_FDCWD, os.fsencode(path)) if isinstance(path, str) else (path, None)
    libc.call("fanotify_mark", fd, _MARK_ADD, ctypes.c_uint64(mask), at, name)


def events(fd: int) -> Iterator[Event]:
    """Those that wait, some at a time; all of them have to be answered. Raises ``OSError``."""
    try:
        data = os.read(fd, _READ)
    except BlockingIOError:
        return
    at = 0
    while at < len(data):
        length, _version, _reserved, _size, mask, descriptor, tid = _EVENT.unpack_from(data, at)
        at += length
        yield Event(tid, mask, descriptor)


def answer(fd: int, event: Event, allow: bool) -> None:
    """Let the thread go on, or have its call fail with EPERM; closes the event's descriptor."""
    try:
        os.write(fd, _RESPONSE.pack(event.fd, _ALLOW if allow else _DENY))
    except FileNotFoundError:  # it was answered by the kernel: the group is being closed
        pass
    finally:
        os.close(event.fd)


@conclusive
def permissions() -> Answer:
    """Whether opens can be made to wait: tried on a file that nobody else has."""
    attempt = "a group of fanotify"
    descriptor = memory = -1
    try:
        descriptor = group()
        attempt = "a mark of fanotify for permission"
        memory = os.memfd_create("isotrace")
        mark(descriptor, OPEN | EXEC, memory)
        return yes("tried")
    except OSError as error:
        return refusal(attempt, error.errno or 0, privileged())
    finally:
        for one in (descriptor, memory):
            if one >= 0:
                os.close(one)
