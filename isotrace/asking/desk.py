"""The desk: every question comes here, and nothing is allowed but by it.

It has a thread of its own that waits for enforcers and for nobody else: no terminal, file or program. Whoever is asked
takes ``cases`` and gives a ``Reply`` in a thread of theirs; that they are slow, wrong, gone or have never been there ends
in what the rule says of an answer that nobody gives.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from isotrace.asking import lasting, things
from isotrace.asking.background import Background
from isotrace.asking.lasting import Written
from isotrace.asking.things import Key, Thing
from isotrace.asking.who import Who, who
from isotrace.enforce import Answered, Asking, By, Enforced, Question, Refused, Verdict
from isotrace.policy import Policy

#: Questions that wait at a time; what comes beyond gets the default.
LIMIT = 4096
_RECORDS = 65536  # answers that wait to be shown before further ones are given up
_REMEMBERED = 4096  # answers for a process, a program or a time
_TICK = 0.05  # seconds between two looks at who waits no more, and whose time is up
_GONE_EVERY = 4  # ticks


@dataclass(frozen=True)
class Scope:
    """For what an answer is: this once, the process, its program, a time, or always.

    ``time`` is for the program as well, ``seconds`` long; ``always`` is what ``rule`` says.
    """

    kind: str = "once"
    seconds: float = 0.0
    rule: Written | None = None

    def __str__(self) -> str:
        return f"{self.seconds:g}s" if self.kind == "time" else self.kind


@dataclass(frozen=True)
class Case:
    """Questions that are one to a person, as they are now: what is shown, and what a reply to it is about.

    ``question`` is the oldest. ``upto`` counts those that had come: a reply that is for this once is for these alone.
    ``thing`` is what an answer for longer covers. ``until`` (monotonic seconds) is when the oldest gets the default.
    """

    number: int
    question: Question
    asker: Who
    thing: Thing
    rule: Enforced
    waiting: int
    processes: int
    upto: int
    until: float
    objects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """An answer to ``case``, as it was shown; ``by`` and ``who`` say whose."""

    case: Case
    verdict: Verdict
    scope: Scope
    by: By
    who: str = ""


@dataclass
class _Member:
    enforcer: str
    question: Question
    asker: Who
    since: float
    turn: int


@dataclass
class _Open:
    number: int
    members: dict[tuple[str, int], _Member] = field(default_factory=dict)


@dataclass(frozen=True)
class _Remembered:
    thing: Thing
    rule: int
    verdict: Verdict
    scope: Scope
    asker: Who
    until: float
    by: str

    def covers(self, question: Question, asker: Who) -> bool:
        program = asker.program == self.asker.program != "" and asker.file == self.asker.file
        same = asker == self.asker if self.scope.kind == "process" else program
        return same and question.rule == self.rule and self.thing.covers(question)


class Desk:
    """``rules`` are by number, ``policy`` all of them. ``news`` is set when something has changed that is shown.

    ``asker`` tells who has a pid. ``seconds`` is how long a question waits.
    """

    def __init__(
        self,
        enforcers: Mapping[str, Asking],
        rules: Mapping[int, Enforced],
        policy: Policy,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        asker: Callable[[int], Who] = who,
        limit: int = LIMIT,
    ) -> None:
        self.news = threading.Event()
        self.counts: Counter[tuple[int, Verdict, By]] = Counter()
        self.lost = 0
        self.trouble = ""
        self._enforcers, self._rules, self._policy, self._asked_policy = dict(enforcers), rules, policy, policy
        self._seconds, self._clock, self._asker, self._limit = seconds, clock, asker, limit
        self._lock = threading.RLock()
        self._open: dict[Key, _Open] = {}
        self._where: dict[tuple[str, int], Key] = {}
        self._remembered: deque[_Remembered] = deque(maxlen=_REMEMBERED)
        self._records: deque[Refused] = deque()
        self._numbers = self._turns = self._ticks = 0
        self._background = Background("desk", self._run)

    def start(self) -> None:
        """Begin to answer."""
        self._background.start()

    def end(self) -> None:
        """Nobody is asked any more: what waits gets the default."""
        self._background.end()
        self.turn()
        with self._lock:
            for name, number in list(self._where):
                self._default(name, number, "end")

    @property
    def seconds(self) -> float:
        """How long a question waits."""
        return self._seconds

    def cases(self) -> tuple[Case, ...]:
        """All that is asked now, the oldest first."""
        with self._lock:
            return tuple(sorted((self._case(key, one) for key, one in self._open.items()), key=lambda case: case.until))

    def choices(self, case: Case, verdict: Verdict) -> tuple[Written, ...]:
        """The rules that would answer it for good, the narrowest first."""
        denial = replace(case.rule.action, kind="errno", otherwise="deny")
        with self._lock:
            policy = self._policy
        return lasting.choices(policy, case.question, case.thing, verdict, denial)

    def reply(self, reply: Reply) -> int:
        """Answer what was shown. Returns how many calls that was; 0 where none of them waits any more: it was no answer."""
        with self._lock:
            one = next((one for one in self._open.values() if one.number == reply.case.number), None)
            members = [member for member in one.members.values() if member.turn <= reply.case.upto] if one else []
            if not members:
                return 0
            done = sum(self._answer(member, reply.verdict, reply.by, reply.who, reply.scope) for member in members)
            if done and reply.scope.kind != "once":
                self._remember(reply)
                self._again()
        self.news.set()
        return done

    def give_up(self, case: Case) -> int:
        """Nobody will answer what was shown: it gets the default now. Returns how many calls that was."""
        with self._lock:
            one = next((one for one in self._open.values() if one.number == case.number), None)
            which = [key for key, member in one.members.items() if member.turn <= case.upto] if one else []
            for name, number in which:
                self._default(name, number, "nobody")
        return len(which)

    def drain(self) -> list[Refused]:
        """The answers that were given since the last look."""
        return [self._records.popleft() for _ in range(len(self._records))]

    def turn(self) -> None:
        """Take what has come, and what has become of it."""
        with self._lock:
            for name, enforcer in self._enforcers.items():
                for question in enforcer.questions():
                    try:
                        self._take(name, question)
                    except Exception as error:
                        self.trouble = repr(error)
                        enforcer.answer(question.id, self._otherwise(question))
            self._ticks += 1
            if self._ticks % _GONE_EVERY == 0:
                self._tidy()

    def _run(self) -> None:
        first = next(iter(self._enforcers.values()))
        while not self._background.over.is_set():
            first.wait_for_questions(_TICK)
            try:
                self.turn()
            except Exception as error:  # what was not answered waits, and is never allowed
                self.trouble = repr(error)
                time.sleep(_TICK)

    def _tidy(self) -> None:
        for name, enforcer in self._enforcers.items():
            for number in enforcer.gone():
                self._close((name, number))
        now = self._clock()
        for key, member in [(key, one) for case in self._open.values() for key, one in case.members.items()]:
            if member.since + self._seconds <= now:
                self._default(*key, "nobody")
        live = [one for one in self._remembered if one.until > now]
        if len(live) < len(self._remembered):
            self._remembered = deque(live, maxlen=_REMEMBERED)

    def _take(self, name: str, question: Question) -> None:
        member = _Member(name, question, self._asker(question.pid), self._clock(), 0)
        if self._settled(member):
            return
        if len(self._where) >= self._limit:
            self._answer(member, self._otherwise(question), "limit", "", Scope(""))
            return
        key = things.key(question, member.asker.program or f"\0{question.comm!r}")
        if key not in self._open:
            self._numbers += 1
            self._open[key] = _Open(self._numbers)
        self._turns += 1
        member.turn = self._turns
        self._open[key].members[name, question.id] = member
        self._where[name, question.id] = key
        self.news.set()

    def _settled(self, member: _Member) -> bool:
        """Whether an answer that was given before is one to this, too."""
        question = member.question
        now, found = self._clock(), list[tuple[Verdict, str, Scope]]()
        if self._policy is not self._asked_policy and (verdict := lasting.says(self._policy, question)):
            found.append((verdict, "", Scope("always")))
        for one in self._remembered:
            if one.until > now and one.covers(question, member.asker):
                found.append((one.verdict, one.by, one.scope))
        if not found:
            return False
        verdict, by, scope = min(found, key=lambda entry: ("kill", "deny", "allow").index(entry[0]))
        self._answer(member, verdict, "earlier", by, scope)
        return True

    def _again(self) -> None:
        """What waits may be answered by what has just been said."""
        for member in [one for case in self._open.values() for one in case.members.values()]:
            self._settled(member)

    def _remember(self, reply: Reply) -> None:
        case, scope = reply.case, reply.scope
        if scope.kind == "always" and scope.rule:
            self._policy = lasting.with_answers(self._policy, [scope.rule])
        elif scope.kind in ("process", "program", "time") and (case.asker.program or scope.kind == "process"):
            until = self._clock() + scope.seconds if scope.kind == "time" else float("inf")
            self._remembered.append(
                _Remembered(case.thing, case.question.rule, reply.verdict, scope, case.asker, until, reply.who)
            )

    def _otherwise(self, question: Question) -> Verdict:
        return self._rules[question.rule].action.otherwise

    def _default(self, name: str, number: int, by: By) -> None:
        member = self._open[self._where[name, number]].members[name, number]
        self._answer(member, self._otherwise(member.question), by, "", Scope(""))

    def _answer(self, member: _Member, verdict: Verdict, by: By, name: str, scope: Scope) -> bool:
        """Whether it still waited. What is not counted as answered was not answered."""
        question = member.question
        done = self._enforcers[member.enforcer].answer(question.id, verdict)
        self._close((member.enforcer, question.id))
        if not done:
            return False
        waited = max(0, int((self._clock() - member.since) * 1e9))
        self.counts[question.rule, verdict, by] += 1
        if len(self._records) >= _RECORDS:
            self.lost += 1
            return True
        self._records.append(_record(question, Answered(verdict, by, name, waited, str(scope))))
        return True

    def _close(self, which: tuple[str, int]) -> None:
        key = self._where.pop(which, None)
        if key is None:
            return
        self._open[key].members.pop(which, None)
        if not self._open[key].members:
            del self._open[key]
        self.news.set()

    def _case(self, key: Key, one: _Open) -> Case:
        members = list(one.members.values())
        first = members[0]
        objects = tuple(dict.fromkeys(member.question.what for member in members))
        thing = things.single(first.question) if len(objects) == 1 else key[2]
        assert isinstance(thing, Thing)
        return Case(
            one.number,
            first.question,
            first.asker,
            thing,
            self._rules[first.question.rule],
            len(members),
            len({member.question.pid for member in members}),
            members[-1].turn,
            first.since + self._seconds,
            objects[:8],
        )


def _record(question: Question, answer: Answered) -> Refused:
    return Refused(
        time.time_ns(),
        question.pid,
        question.tid,
        question.comm,
        question.call,
        question.abi,
        question.args,
        question.rule,
        question.what,
        answer,
    )


def everyone(cases: Sequence[Case]) -> int:
    """How many calls wait."""
    return sum(case.waiting for case in cases)
