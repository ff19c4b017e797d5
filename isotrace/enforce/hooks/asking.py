"""Rules that ask, at the security hooks: an ``Asking`` made of enforcers that refuse, ask and report, in this order.

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

from isotrace.enforce import Counts, Enforced, Enforcer, Execute, Question, Refused, Verdict
from isotrace.enforce.hooks import guard, waiting
from isotrace.enforce.hooks.lsm import Hooks
from isotrace.enforce.hooks.questions import Posed, Questions
from isotrace.enforce.throttle import Throttle, activity, started
from isotrace.policy.model import asks
from isotrace.trace.target import Target

_TICK = 0.025  # seconds between two looks at what waits
_IDLE = 0.5  # where nothing waits
_SLOW_AFTER = 0.02
_AGAIN = 0.2  # between two looks at one that is slow already
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
    slowed: bool = False
    answered: bool = False


def make(enforced: Sequence[Enforced], target: Target) -> Enforcer:
    """The enforcer for the rules, all of which the mechanism "lsm", or all "fmod_ret", enforces."""
    lsm = enforced[0].mechanism == "lsm"
    return Waiters(enforced, target, lsm) if any(asks(one.rule) for one in enforced) else Hooks(enforced, target, lsm)


class Guarding(Hooks):
    """What refuses: the programs beside its own are isotrace's as well, and protected."""

    def _freeze(self) -> None:
        """Not before all are known."""

    def guard(self, parts: Sequence[Hooks]) -> None:
        """Protect the programs and maps of ``parts`` too."""
        for part in parts:
            guard.enter(self._loaded, part._loaded, part._links)
        super()._freeze()


class Waiters:
    """An ``Asking``; ``enforced`` has rules that ask."""

    def __init__(self, enforced: Sequence[Enforced], target: Target, lsm: bool) -> None:
        kinds = waiting.split(enforced)
        self._asking = Questions(kinds["ask"], waiting.by_path(enforced), target, lsm)
        self._refusing = Guarding(kinds["refuse"], target, lsm) if "refuse" in kinds else None
        reporting = Hooks(kinds["audit"], target, lsm) if "audit" in kinds else None
        self._parts: list[Hooks] = [part for part in (self._refusing, self._asking, reporting) if part is not None]
        self._throttle: Throttle | None = None
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

    def starter(self) -> Execute | None:
        """The command starts by execve alone."""
        return None

    def open(self, pid: int | None) -> None:
        """Refuse, ask and report from now on. Raises ``IsotraceError``; then nothing of that happens."""
        try:
            self._throttle = Throttle()
            for part in self._parts:
                part.open(pid)
            if self._refusing is not None:
                self._refusing.guard(self._parts)
        except BaseException:
            self.close()
            raise

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
            self._quicken(one)  # first: a thread with a deadline must not fork
            self._asking.give(one.posed, verdict)
            one.answered = True
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
            self._waiting[question.id] = _Waiting(question, posed, began, turned=time.monotonic())
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
            elif not one.slowed and not one.answered and one.turned == now and not self._lifted and self._throttle:
                one.slowed = bool(self._throttle.slow(one.question.pid, one.question.tid))
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
        self._asking.forget(one.posed, ended=started(one.question.pid, one.question.tid) != one.began)
        del self._waiting[one.question.id]
        if not one.answered:
            self._gone.append(one.question.id)
            self._come.set()

    def _quicken(self, one: _Waiting) -> None:
        if one.slowed and self._throttle:
            self._throttle.give_back(one.question.pid, one.question.tid)
        one.slowed = False

    # ---- the rest is what its parts are -------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Return when something is waiting to be read, or after ``seconds``."""
        self._tend()
        self._come.wait(seconds)
        self._come.clear()

    def batches(self) -> Iterator[Sequence[Refused]]:
        """All records that have arrived by now."""
        with self._lock:
            refused, self._refused = self._refused, []
        if refused:
            yield refused
        for part in self._parts:
            if part is not self._asking:
                yield from part.batches()

    def broken(self) -> str:
        """Why calls are judged no more, because of somebody else."""
        return self._failed or next((why for part in self._parts if (why := part.broken())), "")

    def alive(self) -> bool:
        """Whether a process is left that a rule is for."""
        return self._asking.alive()

    def lift(self) -> None:
        """Refuse and ask no more. Who waits still is given the default."""
        with self._lock:
            self._lifted = True
            self._asking.end()
            for one in self._waiting.values():
                self._quicken(one)
        until = time.monotonic() + _LAST
        while self._waiting and time.monotonic() < until:
            time.sleep(_TICK)
        self._stop()
        for part in reversed(self._parts):
            part.lift()
        with self._lock:
            self._take()

    def _stop(self) -> None:
        self._ending.set()
        if self._tending is not None and self._tending.is_alive():
            self._tending.join()

    def counts(self) -> Counts:
        """Of all parts; a rule has its counts in one of them."""
        found = [part.counts() for part in self._parts]
        hits = {
            number: sum(one.hits.get(number, 0) for one in found) for number in {n for one in found for n in one.hits}
        }
        return Counts(
            hits,
            hits,
            lost=sum(one.lost for one in found),
            missed=sum(one.missed for one in found),
            not_followed=sum(one.not_followed for one in found),
        )

    def close(self) -> None:
        """Give back to threads what they had, detach, and close every descriptor."""
        with ExitStack() as closing:
            for part in self._parts:
                closing.callback(part.close)
            if self._throttle is not None:
                closing.callback(self._throttle.close)
            closing.callback(self._stop)
