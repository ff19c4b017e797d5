"""The process that serves a group of fanotify: whoever opens what is marked waits for it, and for nobody else.

It does nothing else, and has one thread: isotrace itself may open what is marked, in a thread that others wait for. Who is
no target goes on at once, what a rule refuses fails at once, and what is asked about is told to isotrace and waits here.
It opens nothing but /proc. When isotrace is gone, whatever ended it, what waits is denied, and this process ends; where it
is killed itself, the kernel lets all go on that waits.
"""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
import resource
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isotrace.enforce import Verdict
from isotrace.enforce.calls.supervisor import kill_process
from isotrace.enforce.opens.judge import Judge, Judged
from isotrace.enforce.opens.marks import Marks
from isotrace.enforce.opens.opened import opened
from isotrace.enforce.throttle import started
from isotrace.errors import IsotraceError
from isotrace.kernel import fanotify, procfs
from isotrace.kernel.fanotify import Event
from isotrace.process import children, libc
from isotrace.process.priority import go_first

MESSAGE = 65536  # bytes of one, at most
_TICK = 0.1  # seconds between two looks at what is marked, and at who waits no more
_PAUSE = 0.005  # seconds after a read that failed
_SPARE, _MOST = 256, 16384  # descriptors that are not those of calls that wait; and calls that wait at a time
_UNSENT = 65536  # messages of refusals that wait to be read before further ones are given up
_PR_SET_NAME = 15
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE)


@dataclass(frozen=True)
class _Held:
    event: Event
    pid: int
    began: int
    judged: Judged


class Warden:
    """``link`` is a socket of packets to isotrace; ``concerned`` says whether a process is the target's."""

    def __init__(
        self, group: int, link: socket.socket, judge: Judge, marks: Marks, concerned: Callable[[int], bool]
    ) -> None:
        self._group, self._link, self._judge, self._marks, self._concerned = group, link, judge, marks, concerned
        self._held: dict[int, _Held] = {}
        self._unsent: deque[bytes] = deque()
        self._next = 1
        self._looked = 0.0
        self._room = self._lost = 0
        self._poll = select.poll()

    def run(self) -> None:
        """Serve until isotrace says that it is over, or is gone. To be called in a process of its own."""
        try:
            self._prepare()
            self._marks.add()
            self._tell("ready")
            while self._turn():
                pass
        except IsotraceError as error:
            self._tell("failed", error.message, error.hint)
        except Exception as error:
            self._tell("failed", f"the process that serves fanotify failed: {error!r}", "please report this")
        finally:
            self._let_go()
            self._send()

    def _prepare(self) -> None:
        """Out of reach of the terminal, and with nothing open but what it needs."""
        children.outlive()
        os.setsid()
        for one in _ENDING:
            signal.signal(one, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        kept = sorted((self._group, self._link.fileno()))
        for low, high in zip((2, *kept), (*kept, 1 << 20), strict=True):
            os.closerange(low + 1, high)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._room = min(_MOST, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE))
        self._link.setblocking(False)
        self._poll.register(self._group, select.POLLIN)
        libc.error_of("prctl", _PR_SET_NAME, b"isotrace-open", 0, 0, 0)
        go_first()

    def _turn(self) -> bool:
        """Whether there is another."""
        self._poll.register(self._link, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        ready = dict(self._poll.poll(_TICK * 1000))
        said = ready.get(self._link.fileno(), 0)
        if said & select.POLLOUT:
            self._send()
        if said & ~select.POLLOUT and not self._hear():
            return False
        if self._group in ready:
            for event in self._events():
                self._take(event)
        if time.monotonic() - self._looked > _TICK:
            self._looked = time.monotonic()
            self._marks.look()
            self._find_gone()
        return True

    # ---- what is opened -------------------------------------------------------------------------------------------------

    def _events(self) -> list[Event]:
        """Those that have come. One whose file cannot be opened to look at, the kernel has denied: others go on."""
        try:
            return list(fanotify.events(self._group))
        except OSError as error:
            if error.errno == errno.EBADF:
                raise
            time.sleep(_PAUSE)
            return []

    def _take(self, event: Event) -> None:
        """Whatever happens it is answered, or waits where it will be. What fails lets bystanders go on, and nobody else."""
        allow: bool | None = True
        try:
            pid = _process(event.tid)
            if self._is_concerned(pid):
                allow = False
                allow = self._judged(event, pid)
        except Exception:
            allow = bool(allow)
        if allow is not None:
            self._answer(event, allow)

    def _is_concerned(self, pid: int) -> bool:
        try:
            return pid > 0 and self._concerned(pid)
        except IsotraceError:  # the cgroup is gone, and so nobody is in it
            return False

    def _judged(self, event: Event, pid: int) -> bool | None:
        """Whether the call goes on; None of one that waits."""
        call = opened(event.tid, event.mask)
        judged = self._judge.judge(self._marks.names(event.fd), call.access)
        if judged is None:
            return True
        began = started(pid, event.tid)
        comm = (procfs.read(event.tid, "comm") or b"?").removesuffix(b"\n")
        said = (time.time_ns(), pid, event.tid, comm, call.call, call.abi, call.args, judged.rule, judged.what)
        if judged.action.kind == "ask" and len(self._held) < self._room:
            number, self._next = self._next, self._next + 1
            self._held[number] = _Held(event, pid, began, judged)
            self._tell("question", number, began, said, call.access)
            return None
        self._tell("refused", said)
        if judged.action.kills:
            self._kill(event, pid, began)
        return judged.action.kind == "audit"

    @staticmethod
    def _kill(event: Event, pid: int, began: int) -> None:
        kill_process(pid, lambda: bool(began) and started(pid, event.tid) == began)

    def _answer(self, event: Event, allow: bool) -> None:
        with contextlib.suppress(OSError):
            fanotify.answer(self._group, event, allow)

    # ---- what waits -----------------------------------------------------------------------------------------------------

    def _hear(self) -> bool:
        """What isotrace says; False where that is the end."""
        while True:
            try:
                data = self._link.recv(MESSAGE)
            except BlockingIOError:
                return True
            except OSError:
                return False
            word, *more = marshal.loads(data) if data else ("over",)
            if word == "over":
                return False
            if word == "ping":
                self._tell("pong")
            elif word == "answer":
                self._settle(*more)

    def _settle(self, number: int, verdict: Verdict) -> None:
        held = self._held.pop(number, None)
        if held is None:
            return
        if verdict == "kill":
            self._kill(held.event, held.pid, held.began)
        self._answer(held.event, verdict == "allow")

    def _find_gone(self) -> None:
        """Who waits in an open is woken by nothing but its end."""
        for number, held in list(self._held.items()):
            if started(held.pid, held.event.tid) != held.began:
                del self._held[number]
                self._answer(held.event, False)
                self._tell("gone", number)

    def _let_go(self) -> None:
        """It is over: what waits gets the default, and then there is no mark any more."""
        for number, held in list(self._held.items()):
            self._settle(number, held.judged.action.otherwise)
        os.close(self._group)

    # ---- what is told ---------------------------------------------------------------------------------------------------

    def _tell(self, word: str, *more: Any) -> None:
        if word == "refused" and len(self._unsent) >= _UNSENT:
            self._lost += 1
            return
        self._unsent.append(marshal.dumps((word, *more)))
        self._send()

    def _send(self) -> None:
        try:
            while self._unsent:
                self._link.send(self._unsent[0])
                self._unsent.popleft()
                if not self._unsent and self._lost:
                    self._unsent.append(marshal.dumps(("lost", self._lost)))
                    self._lost = 0
        except BlockingIOError:
            return
        except OSError:  # isotrace is gone, which the next look at the socket says
            self._unsent.clear()


def _process(tid: int) -> int:
    """The process of a thread; 0 where it is gone, or nobody here."""
    return (procfs.number(procfs.read(tid, "status") or b"", b"Tgid") or 0) if tid > 0 else 0
