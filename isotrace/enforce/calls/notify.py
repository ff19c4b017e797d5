"""seccomp(2) and its user notifications: installing a filter, taking its listener from a child, receiving and answering.

Structures and ioctl numbers: include/uapi/linux/seccomp.h. User notification came with 5.0, CONTINUE with 5.5,
pidfd_getfd(2) with 5.6, WAIT_KILLABLE_RECV with 5.19.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from isotrace import catalog
from isotrace.kernel.answer import Answer, conclusive, refusal, unknown, yes
from isotrace.process import children, libc

_MODE_FILTER = 1
_SPEC_ALLOW, _NEW_LISTENER, _WAIT_KILLABLE = 1 << 2, 1 << 3, 1 << 5
_RECV, _SEND, _ID_VALID = 0xC0502100, 0xC0182101, 0x40082102
_CONTINUE = 1

_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_ALLOW_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
_PATIENCE = 0.0005  # seconds between two looks whether a child has its filter


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


@dataclass(frozen=True)
class Notification:
    """A call that waits for an answer. ``pid`` is the thread's, in our pid namespace."""

    id: int
    pid: int
    number: int
    arch: int
    args: tuple[int, ...]


def call(name: str, *args: object) -> int:
    """A system call by name, with ctypes values. Raises ``OSError``."""
    abi = "x86_64" if os.uname().machine == "x86_64" else "arm64"
    return libc.syscall(catalog.by_name(abi)[name].number, *args)


def install(code: bytes, listener: bool) -> int:
    """Put the filter on this thread for good; returns the listener's descriptor, or 0. Raises ``OSError``."""
    program = _Program(len(code) // 8, code)
    if not listener:  # until 5.16 a filter cost a mitigation that makes all memory slower, unless it was asked not to
        return call("seccomp", _MODE_FILTER, _SPEC_ALLOW, ctypes.byref(program))
    try:
        return call("seccomp", _MODE_FILTER, _NEW_LISTENER | _WAIT_KILLABLE, ctypes.byref(program))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return call("seccomp", _MODE_FILTER, _NEW_LISTENER, ctypes.byref(program))


def take(pidfd: int, descriptor: int, ended: Callable[[], bool]) -> int | None:
    """The listener that a child is about to have under ``descriptor``, or None once it has ``ended`` without.

    Raises ``OSError`` when this process may not take it.
    """
    while True:
        over = ended()
        try:
            return call("pidfd_getfd", pidfd, descriptor, 0)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ESRCH):
                raise
        if over:
            return None
        time.sleep(_PATIENCE)


def receive(listener: int) -> Notification | None:
    """The next notification; None when its task has gone meanwhile. Raises ``OSError``."""
    buffer = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECV, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    number, pid, _flags, nr, arch, _ip, *args = _NOTIFICATION.unpack(buffer)
    return Notification(number, pid, nr, arch, tuple(args))


def answer(listener: int, number: int, error: int | None) -> bool:
    """Let the call go on (None), or make it fail with ``error``. False when its task has gone."""
    response = _RESPONSE.pack(number, 0, -(error or 0), _CONTINUE if error is None else 0)
    try:
        fcntl.ioctl(listener, _SEND, bytearray(response))
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.EINPROGRESS, errno.EINTR):
            return False
        raise
    return True


def valid(listener: int, number: int) -> bool:
    """Whether the task still waits: then what was read of /proc under its pid was its own."""
    try:
        fcntl.ioctl(listener, _ID_VALID, bytearray(struct.pack("=Q", number)))
    except OSError:
        return False
    return True


def free_descriptor(some: int) -> int:
    """The number that the next descriptor of this process gets; ``some`` is one that it has."""
    descriptor = os.dup(some)
    os.close(descriptor)
    return descriptor


@conclusive
def listens() -> Answer:
    """Whether a listener can be had here: tried with a child that does nothing else."""
    try:
        return _try_listener()
    except OSError as error:
        return refusal("taking a child's listener", error.errno or 0, True)


def _try_listener() -> Answer:
    told, tell = os.pipe()
    child = children.fork()
    if child == 0:
        _listen(tell)
    os.close(tell)
    pidfd = -1
    try:
        pidfd = os.pidfd_open(child)
        with os.fdopen(told, "rb") as answer_pipe:
            verb, _, text = answer_pipe.readline().decode().strip().partition(" ")
        if verb == "errno":
            return refusal("user notification", int(text), True)
        if verb != "listener":
            return unknown("the trial ended early")
        os.close(call("pidfd_getfd", pidfd, int(text), 0))
        return yes("tried")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        if pidfd >= 0:
            os.close(pidfd)


def _listen(tell: int) -> None:
    try:
        children.dumpable(True)
        libc.no_new_privs()
        listener = install(_ALLOW_ALL, True)
        os.write(tell, b"listener %d\n" % listener)
        time.sleep(60)
    except OSError as error:
        os.write(tell, b"errno %d\n" % (error.errno or 0))
    finally:
        os._exit(0)
