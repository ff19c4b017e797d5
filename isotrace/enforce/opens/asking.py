"""Rules that ask about files by fanotify: an ``Asking`` whose calls wait in a process of its own (``warden``)."""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isotrace.backends import pids
from isotrace.backends.pids import Pids
from isotrace.enforce import Counts, Enforced, Question, Refused, Verdict, programs
from isotrace.enforce.opens import opened
from isotrace.enforce.opens.judge import Judge
from isotrace.enforce.opens.marks import Marks
from isotrace.enforce.opens.warden import MESSAGE, Warden
from isotrace.enforce.programs import Programs, Refusing
from isotrace.enforce.tables import RuleTable
from isotrace.enforce.throttle import started
from isotrace.errors import IsotraceError, KernelError
from isotrace.kernel import fanotify
from isotrace.kernel.facts import facts
from isotrace.policy.model import PathRule
from isotrace.process import children
from isotrace.process.launch import Execute
from isotrace.trace import target as targets
from isotrace.trace.target import Target

_TICK = 0.25
_SILENT = 10.0  # seconds without an answer after which the warden is taken for stuck, and ended: others wait for it
_READY = 30.0
_END = 3.0
_PARENTS = 32


def make(enforced: Sequence[Enforced], target: Target) -> Opens:
    """The enforcer for the rules."""
    return Opens(enforced, target)


class Concerned:
    """Whether a process is the target's; ``states`` are the kernel's maps of followed pids, as they are at any moment."""

    def __init__(self, target: Target, states: Mapping[str, Pids], own: int) -> None:
        self._target, self._own = target, own
        self._tree, self._followed = states.get("tree"), states.get("followed")

    def __call__(self, pid: int) -> bool:
        """Not isotrace itself, nor what it runs beside a command."""
        if pid in (self._own, os.getpid()) or pid in self._target.spared:
            return False
        return self._matches(pid) and (bool(self._target.command) or not self._is_own(pid))

    def _matches(self, pid: int) -> bool:
        if self._followed and self._followed.state(pid) >= pids.ACTIVE:
            return True
        if self._tree and self._tree.state(pid) < pids.ACTIVE:
            return False
        process = targets.read_process(pid)
        if process is None or not targets.meets(self._target, process):
            return False
        if self._followed:
            self._followed.add(pid, pids.ACTIVE)
        return True

    def _is_own(self, pid: int) -> bool:
        for _ in range(_PARENTS):
            process = targets.read_process(pid)
            if process is None or process.ppid <= 1:
                return False
            if (pid := process.ppid) == self._own:
                return True
        return False


@dataclass(frozen=True)
class _Waiting:
    question: Question
    began: int


class Opens:
    """An ``Asking``."""

    def __init__(self, enforced: Sequence[Enforced], target: Target) -> None:
        self._enforced, self._target = tuple(enforced), target
        self._members: Refusing | None = None
        if target.mapped:
            known = facts()
            wanted = Programs("block_override.c", programs.constants(target, RuleTable(), known), {}, (), ())
            self._members = Refusing(target, wanted, known)  # which refuses nothing, and knows who is the target
        self._link: socket.socket | None = None
        self._warden = -1
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._new: deque[Question] = deque()
        self._gone: deque[int] = deque()
        self._refused: deque[Refused] = deque()
        self._hits: Counter[int] = Counter()
        self._lost = 0
        self._come, self._asked = threading.Event(), threading.Event()
        self._lifted = False
        self._failed = ""

    def starter(self) -> Execute | None:
        """The command starts by execve alone."""
        return None

    def open(self, pid: int | None) -> None:
        """Have the warden make its marks. Raises ``IsotraceError``; then there are none."""
        opened.prepare()
        if self._members:
            self._members.open(pid)
        try:
            group = fanotify.group()
        except OSError as error:
            raise KernelError(f"cannot use fanotify: {error.strerror}", "see: isotrace doctor") from None
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        marks = Marks(group, [one.rule for one in self._enforced if isinstance(one.rule, PathRule)])
        concerned = Concerned(self._target, self._members.states if self._members else {}, os.getpid())
        self._warden = children.fork()
        if self._warden == 0:
            try:
                Warden(group, theirs, Judge(self._enforced), marks, concerned).run()
            finally:
                os._exit(0)
        os.close(group)
        theirs.close()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._link is not None, "open makes it first"
        ready = select.select([self._link], [], [], _READY)[0]
        word, *more = marshal.loads(self._link.recv(MESSAGE) or marshal.dumps(("",))) if ready else ("",)
        if word == "ready":
            return
        self.close()
        raise (
            IsotraceError(*more) if word == "failed" else KernelError("the process that serves fanotify does not start")
        )

    # ---- what the warden says, in a thread of its own ------------------------------------------------------------------

    def _listen(self) -> None:
        """Start to; once isotrace may have threads."""
        if self._reader is None and self._link is not None:
            self._reader = threading.Thread(target=self._read, args=(self._link,), name="opens", daemon=True)
            self._reader.start()

    def _read(self, link: socket.socket) -> None:
        asked = heard = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if now - asked > _SILENT / 2:  # isotrace itself did not run
                    heard = now
                asked = now
                self._say("ping")
                while select.select([link], [], [], _TICK)[0]:
                    data = link.recv(MESSAGE)
                    if not data:
                        return
                    heard = asked = time.monotonic()
                    self._hear(*marshal.loads(data))
                if time.monotonic() - heard > _SILENT and not self._lifted:
                    self._failed = "the process that serves fanotify was stopped, or hangs: isotrace ends it"
                    os.kill(self._warden, signal.SIGKILL)
        except OSError:
            return
        finally:
            if not self._lifted:
                self._failed = self._failed or "the process that serves fanotify has ended: nothing is asked any more"
            self._come.set()
            self._asked.set()

    def _hear(self, word: str, *more: Any) -> None:
        if word in ("question", "refused"):
            getattr(self, f"_hear_{word}")(*more)
        elif word == "gone":
            self._hear_gone(*more)
        elif word == "lost":
            self._lost += more[0]
        elif word == "failed":
            self._failed = more[0]

    def _hear_question(self, number: int, began: int, said: tuple[Any, ...], access: str) -> None:
        refused = Refused(*said)
        question = Question.of(refused, number, access)
        with self._lock:
            self._hits[refused.rule] += 1
            self._waiting[number] = _Waiting(question, began)
            self._new.append(question)
        self._asked.set()
        self._come.set()

    def _hear_refused(self, said: tuple[Any, ...]) -> None:
        refused = Refused(*said)
        with self._lock:
            self._hits[refused.rule] += 1
            self._refused.append(refused)
        self._come.set()

    def _hear_gone(self, number: int) -> None:
        with self._lock:
            if self._waiting.pop(number, None):
                self._gone.append(number)

    def _say(self, *parts: int | str) -> bool:
        """Whether it could be."""
        if self._link is None:
            return False
        try:
            self._link.send(marshal.dumps(parts))
            return True
        except OSError:
            return False

    # ---- questions ------------------------------------------------------------------------------------------------------

    def wait_for_questions(self, seconds: float) -> None:
        """Return once one has come, or after ``seconds``."""
        self._listen()
        self._asked.wait(seconds)
        self._asked.clear()

    def questions(self) -> Sequence[Question]:
        """Those that have come since the last look."""
        return [self._new.popleft() for _ in range(len(self._new))]

    def gone(self) -> Sequence[int]:
        """Those that wait no more although nobody answered."""
        return [self._gone.popleft() for _ in range(len(self._gone))]

    def answer(self, id: int, verdict: Verdict) -> bool:
        """Whether it still waited."""
        with self._lock:
            held = self._waiting.pop(id, None)
        if held is None:
            return False
        waits = bool(held.began) and started(held.question.pid, held.question.tid) == held.began
        return self._say("answer", id, verdict) and waits

    # ---- the rest -------------------------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Return when something has come, or after ``seconds``."""
        self._listen()
        self._come.wait(seconds)
        self._come.clear()

    def batches(self) -> Iterator[Sequence[Refused]]:
        """All records that have arrived by now."""
        if found := [self._refused.popleft() for _ in range(len(self._refused))]:
            yield found

    def broken(self) -> str:
        """Why nothing is asked any more."""
        return self._failed or (self._members.broken() if self._members else "")

    def alive(self) -> bool:
        """Whether a process is left in the map of followed pids; True for a target that has none."""
        return self._members.alive() if self._members else True

    def lift(self) -> None:
        """No mark is left then; what waits still gets the default."""
        self._lifted = True
        if self._link is None:
            return
        self._listen()
        self._say("over")
        assert self._reader is not None, "it was started just now"
        self._reader.join(_END)
        self._end()

    def _end(self) -> None:
        if self._warden <= 0:
            return
        deadline = time.monotonic() + _END
        while os.waitpid(self._warden, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._warden, signal.SIGKILL)
                os.waitpid(self._warden, 0)
                break
            time.sleep(0.01)
        self._warden = -1

    def counts(self) -> Counts:
        """Of what was asked about and what was refused."""
        hits = dict(self._hits)
        unseen = self._members.counts().not_followed if self._members else 0
        return Counts(hits, hits, lost=self._lost, not_followed=unseen)

    def close(self) -> None:
        """Give everything back."""
        self._lifted = True
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.shutdown(socket.SHUT_RDWR)
            self._end()
            if self._reader is not None:
                self._reader.join(_END)
            self._link.close()
            self._link = None
        if self._members:
            self._members.close()
