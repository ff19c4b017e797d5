"""Threads that wait by beginning a call anew are slowed meanwhile, and get back the scheduling that they had.

Such a thread would take a whole processor. What slows it is a deadline policy with next to no runtime; the kernel has that
only for threads that may run on every processor, and not for any number: the others get the idle policy, which gives way
to all other work. A process of its own does that, so that all is given back whatever ends isotrace; it ends then.
Processes that are stopped while they wait (``--stop-catchers``) it has go on then, too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NoReturn

from isotrace.enforce import kept
from isotrace.kernel import procfs
from isotrace.process import children, libc

_SETATTR, _GETATTR = 314, 315  # x86-64
_NORMAL, _BATCH, _IDLE, _DEADLINE = 0, 3, 5, 6
_FAIR = (_NORMAL, _BATCH, _IDLE)
_RESET_ON_FORK = 1  # SCHED_FLAG_…: without it a thread with a deadline cannot fork, nor be asked about that again
_RUNTIME, _PERIOD = 100_000, 50_000_000  # ns
_ATTR = struct.Struct("=IIQiIQQQ")  # struct sched_attr, its first version
_REQUEST, _ANSWERS = struct.Struct("=cii"), {b"d": "deadline", b"i": "idle", b"-": ""}
_ENDED, _AWAKE, _STOPPED = "ZX", "RTt", "T"  # states of a thread
_LOOKS, _BETWEEN = 40, 0.05  # at those that were stopped: the programs may stop them once more as isotrace goes

How = Literal["deadline", "idle", ""]


@dataclass(frozen=True)
class Scheduling:
    """``struct sched_attr``: policy, flags, nice, priority; runtime, deadline, period in ns."""

    policy: int
    flags: int = 0
    nice: int = 0
    priority: int = 0
    runtime: int = 0
    deadline: int = 0
    period: int = 0


_SLOW = Scheduling(_DEADLINE, _RESET_ON_FORK, runtime=_RUNTIME, deadline=_PERIOD, period=_PERIOD)


def scheduling(tid: int) -> Scheduling:
    """What a thread has. Raises ``OSError``."""
    raw = ctypes.create_string_buffer(_ATTR.size)
    libc.syscall(_GETATTR, tid, raw, _ATTR.size, 0)
    return Scheduling(*_ATTR.unpack(raw.raw)[1:])


def schedule(tid: int, wanted: Scheduling) -> None:
    """Give it to a thread. Raises ``OSError``."""
    fields = (getattr(wanted, name) for name in wanted.__dataclass_fields__)
    raw = _ATTR.pack(_ATTR.size, *fields)
    libc.syscall(_SETATTR, tid, raw, 0)


def started(pid: int, tid: int) -> int:
    """When the thread began, in ticks since boot: with its number, who it is. 0 when it is gone."""
    thread = _thread(pid, tid)
    return thread.started if thread and thread.state not in _ENDED else 0


def activity(pid: int, tid: int) -> tuple[int, bool]:
    """How long the thread has run, in ns, and whether it would if it could, or is stopped: it does not sleep."""
    thread = _thread(pid, tid)
    if thread is None:
        return 0, False
    ran = procfs.read(pid, "task", tid, "schedstat")  # None on a kernel without CONFIG_SCHED_INFO
    return int(ran.split()[0]) if ran else 0, thread.state in _AWAKE


def go_on(pid: int, tid: int, began: int) -> bool:
    """Have the thread's process go on if it is stopped; False where the thread is gone.

    It is if what ``began`` is not when the thread with that number began.
    """
    with suppress(OSError):
        process = os.pidfd_open(pid)
        try:
            thread = _thread(pid, tid)
            if thread is None or thread.started != began or thread.state in _ENDED:
                return False
            if thread.state == _STOPPED:
                signal.pidfd_send_signal(process, signal.SIGCONT)
            return True
        finally:
            os.close(process)
    return False


def _thread(pid: int, tid: int) -> procfs.Process | None:
    return procfs.stat(procfs.read(pid, "task", tid, "stat") or b"")


class _Slowed:
    """Those that are slowed now: thread → its process, when it began, what it had."""

    def __init__(self) -> None:
        self._had: dict[int, tuple[int, int, Scheduling]] = {}
        self._stopped: dict[int, tuple[int, int]] = {}  # thread → its process, when it began

    def stop(self, pid: int, tid: int) -> None:
        """Note that it is stopped."""
        self._stopped[tid] = pid, started(pid, tid)

    def leave(self, tid: int) -> None:
        """Note that it goes on."""
        self._stopped.pop(tid, None)

    def prepare(self, pid: int, tid: int) -> None:
        """Have what it forks not inherit a deadline."""
        if had := self._known(pid, tid):
            with suppress(OSError):
                schedule(tid, replace(_without_slice(had), flags=had.flags | _RESET_ON_FORK))

    def slow(self, pid: int, tid: int) -> bytes:
        """The key of ``_ANSWERS`` that says how."""
        had = self._known(pid, tid)
        if had is None:
            return b"-"
        for wanted, answer in ((_SLOW, b"d"), (Scheduling(_IDLE, had.flags & _RESET_ON_FORK, had.nice), b"i")):
            with suppress(OSError):
                schedule(tid, wanted)
                return answer
        return b"-"

    def _known(self, pid: int, tid: int) -> Scheduling | None:
        """What the thread had, noted before it is changed: whatever comes, it is given back."""
        began = started(pid, tid)
        known = self._had.get(tid)
        if not began:
            return None
        if known is None or known[:2] != (pid, began):
            try:
                self._had[tid] = (pid, began, scheduling(tid))
            except OSError:
                return None
        return self._had[tid][2]

    def give_back(self, tid: int) -> None:
        """What it had, or has been given by somebody else meanwhile; who has its number by now is left alone."""
        pid, began, had = self._had.pop(tid, (0, 0, _SLOW))
        if not pid or started(pid, tid) != began:
            return
        with suppress(OSError):
            if scheduling(tid).policy not in (had.policy, _DEADLINE, _IDLE):
                return
            had = replace(had, nice=os.getpriority(os.PRIO_PROCESS, tid))
            schedule(tid, _without_slice(had))
            if scheduling(tid) != had:
                schedule(tid, had)

    def end(self) -> None:
        """Give back all, and have those go on that were stopped."""
        stopped = [(pid, tid, began) for tid, (pid, began) in self._stopped.items()]
        for tid in [*self._had]:
            self.give_back(tid)
        for _ in range(_LOOKS if stopped else 0):
            for one in stopped:
                go_on(*one)
            time.sleep(_BETWEEN)


def _without_slice(had: Scheduling) -> Scheduling:
    """A slice that is the kernel's own choice (6.12) is to stay that."""
    return Scheduling(had.policy, had.flags, had.nice) if had.policy in _FAIR else had


class Throttle:
    """The process that slows threads; fork it while isotrace has one thread.

    ``kept_at``: what isotrace keeps in force there beyond its own end (``kept``) this process ends with the target.
    """

    def __init__(self, kept_at: Path | None = None) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = children.fork()
        if self.pid == 0:
            _serve(theirs.detach(), kept_at)
        theirs.close()

    def prepare(self, pid: int, tid: int) -> None:
        """Before it is slowed: a fork that was under way before this would fail with EAGAIN then."""
        self._ask(b"p", pid, tid)

    def slow(self, pid: int, tid: int) -> How:
        """Slow the thread; returns how, "" where it could not be."""
        return _ANSWERS[self._ask(b"s", pid, tid)]  # type: ignore[return-value]

    def stop(self, pid: int, tid: int) -> None:
        """Have the thread's process go on, which is stopped, whatever ends isotrace, but for what is left before."""
        self._ask(b"t", pid, tid)

    def leave(self, pid: int, tid: int) -> None:
        """The thread's process goes on."""
        self._ask(b"l", pid, tid)

    def give_back(self, pid: int, tid: int) -> None:
        """Give the thread back what it had."""
        self._ask(b"g", pid, tid)

    def _ask(self, what: bytes, pid: int, tid: int) -> bytes:
        try:
            self._socket.send(_REQUEST.pack(what, pid, tid))
            return self._socket.recv(1) or b"-"
        except OSError:
            return b"-"

    def close(self) -> None:
        """Give all back; returns when that is done."""
        if self._socket.fileno() < 0:
            return
        self._socket.close()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _serve(requests: int, kept_at: Path | None) -> NoReturn:
    slowed = _Slowed()
    try:
        children.live_on()
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        _let_go_of_all_but(requests)
        while request := os.read(requests, _REQUEST.size):
            what, pid, tid = _REQUEST.unpack(request)
            if what == b"g":
                slowed.give_back(tid)
            elif what == b"p":
                slowed.prepare(pid, tid)
            elif what == b"t":
                slowed.stop(pid, tid)
            elif what == b"l":
                slowed.leave(tid)
            os.write(requests, slowed.slow(pid, tid) if what == b"s" else b"-")
    finally:
        slowed.end()
        if kept_at is not None:
            kept.outlive(kept_at)
        os._exit(0)


def _let_go_of_all_but(fd: int) -> None:
    """What refuses in the kernel hangs on descriptors: a copy would keep it in force."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        if number != fd:
            os.dup2(null, number)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number != fd:
            with suppress(OSError):
                os.close(number)
