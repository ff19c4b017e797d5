"""Forking children that end with isotrace, whatever ends that and whatever they are doing.

A child has a copy of every descriptor, and what refuses or counts in the kernel hangs on these: one that went on would
keep it in force with nobody in charge.
"""

from __future__ import annotations

import os
import signal

from isotrace.process import libc

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4


def _inherited() -> frozenset[int]:
    try:
        with open("/proc/thread-self/children", "rb") as file:
            return frozenset(map(int, file.read().split()))
    except OSError:  # no /proc, or CONFIG_PROC_CHILDREN is not set
        return frozenset(pid for pid in map(_pid, os.listdir("/proc")) if pid and _parent(pid) == os.getpid())


def _pid(name: str) -> int:
    return int(name) if name.isdecimal() else 0


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


#: Children that isotrace had when it began: of the shell that became it (``worker & exec isotrace …``).
INHERITED = _inherited()


def fork() -> int:
    """``os.fork()``; the kernel kills the child when the thread that forked it ends. Raises ``OSError``.

    The process should have one thread: of locks that others hold at that moment the child has copies that nobody opens.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        end_with(parent)
    return pid


def end_with(parent: int) -> None:
    """In a child: be killed when the thread that forked it ends."""
    libc.error_of("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before there was a signal to send
        os._exit(1)


def outlive() -> None:
    """In a child that ends by itself when isotrace does: not be killed then, but woken, should it be stopped."""
    libc.error_of("prctl", _PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)


def live_on() -> None:
    """In a child: do not end with isotrace after all."""
    libc.error_of("prctl", _PR_SET_PDEATHSIG, 0, 0, 0, 0)


def dumpable(yes: bool) -> None:
    """Whether processes of the same user may trace this one, read and write its memory and take its descriptors.

    One with CAP_SYS_PTRACE may in any case. Children inherit it; execve of a readable program makes it yes again.
    """
    libc.error_of("prctl", _PR_SET_DUMPABLE, int(yes), 0, 0, 0)
