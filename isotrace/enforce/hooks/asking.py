"""The enforcers at the security hooks, and rules that ask there: an ``Asking`` of programs that refuse, ask and report.

What waits comes again and again for its verdict (bpf/block_ask.h), so it can be seen whether it still waits: it comes. A
thread of isotrace's own looks after those that wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from isotrace.enforce import Enforced, Enforcer, Question, Refused, Verdict, kept
from isotrace.enforce.hooks import waiting
from isotrace.enforce.hooks.lsm import Hooks
from isotrace.enforce.hooks.questions import Posed, Questions
from isotrace.enforce.hooks.together import Guarding, Together
from isotrace.enforce.throttle import Throttle, activity, go_on, started
from isotrace.policy.model import Rule, asks
from isotrace.process.telling import say
from isotrace.trace.target import Target

_TICK = 0.025  # seconds between two looks at what waits
_IDLE = 0.5  # where nothing waits
_SLOW_AFTER = 0.02
_AGAIN = 0.2  # between two looks at one that is slow already
_ONE_TURN = 0.5
_FORKS = frozenset(("fork", "vfork", "clone", "clone3"))
_AT_ONCE = 128  # that are looked at in one tick
_ELSEWHERE = 5_000_000  # ns that a thread has run without coming: it does something else, and is not to be slow
_GONE = 3.0  # who sleeps for so long has not come back from a handler
_LAST = 1.0  # for those that still wait at the end to come for their denial


@dataclass
class _Waiting:
    """A question that was asked. ``turned`` and ``due``, the next look, are time.monotonic()'s, ``ran`` is in ns."""

    question: Question
    posed: Posed
    began: int
    turns: int = 0
    turned: float = 0.0
    ran: int = 0
    due: float = field(default_factory=lambda: time.monotonic() + _SLOW_AFTER)
    prepared: int | None = None  # the turn when it was
    slowed: bool = False
    stopped: bool = False
    answered: bool = False


def make(enforced: Sequence[Enforced], target: Target) -> Enforcer:
    """The enforcer for the rules, all of which the mechanism "lsm", or all "fmod_ret", enforces."""
    lsm = enforced[0].mechanism == "lsm"
    if any(asks(one.rule) for one in enforced):
        return Waiters(enforced, target, lsm)
    if not _mixed([one.rule for one in enforced]):
        return Hooks(enforced, target, lsm)
    kinds = waiting.split(enforced)
    return Together([Guarding(kinds["refuse"], target, lsm), Hooks(kinds["audit"], target, lsm)])


def _mixed(rules: Sequence[Rule]) -> bool:
    """Whether some rules on files refuse and others report: in one program the first that decides does so for a call."""
    on_files = [rule for rule in rules if waiting.on_files(rule)]
    return len({rule.action.kind == "audit" for rule in on_files}) > 1


class Waiters(Together):
    """An ``Asking``; ``enforced`` has rules that ask."""

    def __init__(self, enforced: Sequence[Enforced], target: Target, lsm: bool) -> None:
        kinds = waiting.split(enforced)
        self._asking = Questions(kinds["ask"], waiting.by_path(enforced), target, lsm)
        before = [Guarding(kinds["refuse"], target, lsm)] if "refuse" in kinds else []
        after = [Hooks(kinds["audit"], target, lsm)] if "audit" in kinds else []
        super().__init__([*before, self._asking, *after])
        self._throttle: Throttle | None = None
        self._place = kept.place() if any(one.rule.action.kept for one in enforced) else None
        self._lock = threading.Lock()
        self._come, self._asked = threading.Event(), threading.Event()
        self._ending = threading.Event()
        self._tending: threading.Thread | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._new: list[Question] = []
        self._gone: list[int] = []
        self._refused: list[Refused] = []
        self._failed, self._lifted = "", False
        self._next = 1

    def open(self, pid: int | None) -> None:
        """Refuse, ask and report from now on. Raises ``IsotraceError``; then nothing of that happens."""
        try:
            self._throttle = Throttle(self._place)
            for part in reversed(self._parts):
                part.open(pid)
            if self._refusing is not None:
                self._refusing.guard(self._parts, [self._throttle.pid])
            if self._place is not None:
                self._keep(self._place)
            for one in kept.take_over(self._asking.pids()):
                say(f"{one.where}: an isotrace that was killed left denials in force, for other processes as well")
        except BaseException:
            self.close()
            raise

    def _keep(self, place: Path) -> None:
        holding = [self._asking, *([self._refusing] if self._refusing else [])]
        kept.pin(place, [fd for part in holding for fd in part._links], self._asking._loaded.maps)

    # ---- those that wait: called by the desk, or by whoever else answers ----------------------------------------------

    def wait_for_questions(self, seconds: float) -> None:
        """Return once one has come, or after ``seconds``."""
        self._tend()
        self._asked.wait(seconds)
        self._asked.clear()

    def questions(self) -> Sequence[Question]:
        """Those that have come since the last look, the oldest first."""
        self._tend()
        with self._lock:
            found, self._new = self._new, []
        return found

    def gone(self) -> Sequence[int]:
        """The ids of those that wait no more although nobody answered."""
        with self._lock:
            found, self._gone = self._gone, []
        return found

    def answer(self, id: int, verdict: Verdict) -> bool:
        """Let the call go on, fail or end its process. False where it waits no more."""
        with self._lock:
            one = self._waiting.get(id)
            if one is None or one.answered or not self._lives(one):
                return False
            self._quicken(one)
            if verdict == "allow" and one.question.call in _FORKS:
                self._let_turn(one)
            self._asking.give(one.posed, verdict)
            one.answered = True
            self._go_on(one)
            return True

    # ---- the thread that looks after them -----------------------------------------------------------------------------

    def _tend(self) -> None:
        if self._tending is None and not self._ending.is_set():
            self._tending = threading.Thread(target=self._look, name="waiting calls", daemon=True)
            self._tending.start()

    def _look(self) -> None:
        try:
            while not self._ending.is_set():
                self._asking.wait(_TICK if self._waiting else _IDLE)
                with self._lock:
                    self._take()
                    self._look_after()
        except Exception as error:  # nothing is allowed for that, but nobody learns of questions any more
            self._failed = f"what waits cannot be looked after ({error!r})"
        finally:
            with self._lock:
                for one in self._waiting.values():
                    self._quicken(one)

    def _take(self) -> None:
        """What has come by the ring."""
        asked, refused = self._asking.arrived()
        self._refused += refused
        for number, question in asked:
            posed, began = self._asking.posed(number), started(question.pid, question.tid)
            if posed is None:
                continue
            if not began:
                self._asking.forget(posed, ended=True)
                continue
            self._asking.watch_returns(not self._lifted)
            question = replace(question, id=self._next)
            self._next += 1
            one = self._waiting[question.id] = _Waiting(question, posed, began, turned=time.monotonic())
            if self._is_stopped(one):
                self._note_stop(one)
            self._new.append(question)
            self._asked.set()
        if asked or refused:
            self._come.set()

    def _look_after(self) -> None:
        """Slow who waits, and find who waits no more; some of them at a time."""
        now = time.monotonic()
        for one in list(islice((one for one in self._waiting.values() if one.due <= now), _AT_ONCE)):
            if not self._lives(one) or self._has_left(one, now):
                self._end(one)
            elif one.answered or self._lifted:
                self._go_on(one)
            elif self._is_stopped(one):
                self._note_stop(one)
            elif not one.slowed and one.turned == now and self._throttle:
                self._slow(one, self._throttle)
            one.due = now + (_AGAIN if one.slowed or one.answered else _TICK)
        if not self._waiting:
            self._asking.watch_returns(False)

    def _lives(self, one: _Waiting) -> bool:
        """Whether the call is under way still."""
        return self._asking.under_way(one.posed) and started(one.question.pid, one.question.tid) == one.began

    def _has_left(self, one: _Waiting, now: float) -> bool:
        """Whether the thread left its call by way of a signal.

        While it does something else it is not to be slow. One that is slow comes seldom, but has not run meanwhile.
        """
        turns, (ran, busy) = self._asking.turns(one.posed), activity(one.question.pid, one.question.tid)
        if turns != one.turns or one.answered:
            one.turns, one.turned, one.ran = turns, now, ran
            return False
        if ran - one.ran > _ELSEWHERE or not busy:
            self._quicken(one)
        return now - one.turned > _GONE and not busy

    def _end(self, one: _Waiting) -> None:
        self._quicken(one)
        if one.stopped and self._throttle:
            self._throttle.leave(one.question.pid, one.question.tid)
        self._asking.forget(one.posed, ended=started(one.question.pid, one.question.tid) != one.began)
        del self._waiting[one.question.id]
        if not one.answered:
            self._gone.append(one.question.id)
            self._come.set()

    def _slow(self, one: _Waiting, throttle: Throttle) -> None:
        """In two steps, with a turn between that has begun after the first: the call that waits may be a fork."""
        who = one.question.pid, one.question.tid
        if one.prepared is None:
            throttle.prepare(*who)
            one.prepared = one.turns
        elif one.turns > one.prepared + 1:
            one.slowed = bool(throttle.slow(*who))

    def _is_stopped(self, one: _Waiting) -> bool:
        """Whether it waits so, or is about to."""
        return self._asking.stops and self._asking.has_stopped(one.posed)

    def _note_stop(self, one: _Waiting) -> None:
        """It is to go on whatever ends isotrace."""
        if not one.stopped and self._throttle:
            self._throttle.stop(one.question.pid, one.question.tid)
            one.stopped = True

    def _go_on(self, one: _Waiting) -> None:
        """Let it come for its verdict; it may stop only after this, and is looked at again."""
        if self._is_stopped(one):
            go_on(one.question.pid, one.question.tid, one.began)

    def _let_turn(self, one: _Waiting) -> None:
        """Until it has come again: what a fork that is under way makes has not the scheduling of its parent."""
        before, until = self._asking.turns(one.posed), time.monotonic() + _ONE_TURN
        while self._asking.turns(one.posed) <= before + 1 and time.monotonic() < until:
            time.sleep(0.001)

    def _quicken(self, one: _Waiting) -> None:
        if one.prepared is not None and self._throttle:
            self._throttle.give_back(one.question.pid, one.question.tid)
        one.prepared, one.slowed = None, False

    # ---- the rest is what its parts are -------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Return when something is waiting to be read, or after ``seconds``."""
        self._tend()
        self._come.wait(seconds)
        self._come.clear()

    def batches(self) -> Iterator[Sequence[Refused]]:
        """All records that have arrived by now."""
        with self._lock:
            self._take()
            refused, self._refused = self._refused, []
        if refused:
            yield refused
        for part in self._parts:
            if part is not self._asking:
                yield from part.batches()

    def broken(self) -> str:
        """Why calls are judged no more, because of somebody else."""
        return self._failed or super().broken()

    def lift(self) -> None:
        """Refuse and ask no more. Who waits still is given the default."""
        self._let_go()
        with self._lock:
            self._lifted = True
            self._asking.end()
            for one in self._waiting.values():
                self._quicken(one)
        until = time.monotonic() + _LAST
        while self._waiting and time.monotonic() < until:
            time.sleep(_TICK)
        self._stop()
        super().lift()
        with self._lock:
            self._take()

    def _let_go(self) -> None:
        if self._place is not None:
            kept.remove(self._place)

    def _stop(self) -> None:
        self._ending.set()
        if self._tending is not None and self._tending.is_alive():
            self._tending.join()

    def close(self) -> None:
        """Give back to threads what they had, detach, and close every descriptor."""
        with ExitStack() as closing:
            closing.callback(super().close)
            if self._throttle is not None:
                closing.callback(self._throttle.close)
            closing.callback(self._stop)
            closing.callback(self._let_go)
