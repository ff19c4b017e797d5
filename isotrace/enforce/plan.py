"""From rules and a kernel to one mechanism a rule, or why there is none. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from isotrace.enforce import Enforced, Findings, Guarantees, Mechanism, Note, Unsupported
from isotrace.enforce.hooks import standing
from isotrace.enforce.landlock import beside as landlock_beside
from isotrace.enforce.landlock.mechanism import Landlock
from isotrace.enforce.mechanisms import Seccomp
from isotrace.enforce.opens.mechanism import Fanotify
from isotrace.enforce.registry import BACKENDS, BUILT, MECHANISMS
from isotrace.policy.model import CallRule, PathRule, Policy, Rule, asks
from isotrace.trace.target import Target

_LOG = logging.getLogger(__package__)
NEEDS_COMMAND = Unsupported(
    "works only in a command that isotrace starts",
    "give -- CMD, without --uid, --comm and the like",
)
_SET_ONCE = Unsupported("cannot wait for a container: its target is set when a run begins", "leave --wait out")
_NOT_BUILT = Unsupported("not built into this version of isotrace")
BEST_EFFORT = "--best-effort accepts that"
_NAMES = Note(
    "--comm: a program executed under another is not concerned (-f keeps it)",
    "--comm: a process found under the name (at the start, by an execve or by what it does itself) stays a "
    "target under any other name, with its threads, io_uring's workers and the children that it forks, until "
    "an execve under another name: a program executed under another is not concerned (-f keeps it)",
)


_WAITS = "--wait: what the container does before isotrace finds it is not denied"


@dataclass(frozen=True)
class Unenforceable:
    """A rule that nothing enforces, and what each admitted mechanism says to it."""

    number: int
    rule: Rule
    reasons: tuple[tuple[str, Unsupported], ...]


@dataclass(frozen=True)
class EnforcementPlan:
    """What will be enforced, in the order of the rules, and what will not.

    ``ok`` says whether a run may start: every rule is enforced, or the user accepted less and something is enforced.
    ``standing`` are the rules that come with the mechanisms (``enforce.hooks.standing``), ``left_out`` what to say of
    those that the user does not want.
    """

    enforced: tuple[Enforced, ...]
    unenforceable: tuple[Unenforceable, ...]
    ok: bool
    standing: tuple[Enforced, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def all_enforced(self) -> tuple[Enforced, ...]:
        """The user's rules that are enforced, and the standing ones."""
        return (*self.enforced, *self.standing)

    def by_mechanism(self) -> dict[str, tuple[Enforced, ...]]:
        """The rules that each mechanism in use enforces."""
        used = dict.fromkeys(one.mechanism for one in self.all_enforced)
        return {name: tuple(one for one in self.all_enforced if one.mechanism == name) for name in used}


def make(
    policy: Policy, findings: Findings, target: Target, backend: str = "auto", best_effort: bool = False
) -> EnforcementPlan:
    """The plan. Call rules are placed one by one; path rules together, and net rules together, as they decide together."""
    admitted = [mechanism for mechanism in _mechanisms(policy) if mechanism.name in BACKENDS[backend]]
    chooser = _Chooser(admitted, findings, target, best_effort)
    placed: dict[int, Enforced | Unenforceable] = {}
    for rules in _units(policy.rules):
        placed |= chooser.place(rules)
    enforced = tuple(entry for _, entry in sorted(placed.items()) if isinstance(entry, Enforced))
    unenforceable = tuple(entry for _, entry in sorted(placed.items()) if isinstance(entry, Unenforceable))
    beside, left_out = standing.enforced(enforced, findings, len(policy.rules), best_effort)
    beside = (*beside, *landlock_beside.enforced(enforced, len(policy.rules) + len(beside)))
    return EnforcementPlan(
        enforced, unenforceable, bool(enforced) and (best_effort or not unenforceable), beside, left_out
    )


def _mechanisms(policy: Policy) -> Iterator[Mechanism]:
    """All there are; seccomp shows what it asks about, and so can have more rules where one asks; fanotify only asks.

    Where one asks exceptions say what is not asked about: they are for who asks, and Landlock has no part in it.
    """
    for one in MECHANISMS:
        if isinstance(one, Landlock):
            if not policy.asks:
                yield one.for_policy(policy)
        elif isinstance(one, Seccomp):
            yield replace(one, asking=policy.asks)
        elif policy.asks or not isinstance(one, Fanotify):
            yield one


def _units(rules: Sequence[Rule]) -> Iterable[list[tuple[int, Rule]]]:
    """Numbered rules that must go to one mechanism."""
    numbered = list(enumerate(rules))
    yield from ([entry] for entry in numbered if isinstance(entry[1], CallRule))
    yield [entry for entry in numbered if isinstance(entry[1], PathRule)]
    yield [entry for entry in numbered if not isinstance(entry[1], CallRule | PathRule)]


def concerned(target: Target) -> tuple[str, ...]:
    """What a user should know of the conditions that a process may come to meet no more, or to escape from."""
    waits = (_WAITS,) if target.waited else ()
    if target.follow:
        return waits
    cgroup = f"--{target.container.partition(' ')[0]}" if target.container else "--cgroup"
    said = (
        ("comm", _NAMES),
        ("ppid", "--ppid: a child stays a target when its parent ends; its own children are no targets (-f adds them)"),
        ("pid", "--pid: the processes that it forks are no targets (-f adds them)"),
        (
            "uid",
            "--uid: a process that changes its real user id, as sudo and su do, is no target any more (-f keeps it)",
        ),
        ("cgroup", f"{cgroup}: a process that is moved out of it is no target any more (-f keeps it)"),
    )
    return (*waits, *(text for name, text in said if name in target.conditions))


@dataclass(frozen=True)
class _Chooser:
    admitted: Sequence[Mechanism]
    findings: Findings
    target: Target
    best_effort: bool

    def place(self, rules: Sequence[tuple[int, Rule]]) -> dict[int, Enforced | Unenforceable]:
        """The first mechanism that enforces most of the denials, an exception counting as much as it can."""
        answers = {m.name: [self._answer(m, rule) for _, rule in rules] for m in self.admitted}
        best = max(answers, key=lambda name: _score(rules, answers[name]), default="")
        if _LOG.isEnabledFor(logging.DEBUG):
            _say_chosen(rules, answers, best)
        placed: dict[int, Enforced | Unenforceable] = {}
        for position, (number, rule) in enumerate(rules):
            answer = answers[best][position] if best else _NOT_BUILT
            if isinstance(answer, Guarantees):
                placed[number] = Enforced(number, rule, best, answer)
            else:
                reasons = [(name, given[position]) for name, given in answers.items()]
                placed[number] = Unenforceable(
                    number, rule, tuple((n, r) for n, r in reasons if isinstance(r, Unsupported))
                )
        return placed

    def _answer(self, mechanism: Mechanism, rule: Rule) -> Guarantees | Unsupported:
        """What the mechanism says, made stricter by the target, by what is built, and by what the user accepts."""
        answer = mechanism.guarantees(rule, self.findings)
        if isinstance(answer, Unsupported):
            out_of_place = mechanism.commands_only and not self._only_command
            return Unsupported(answer.reason) if out_of_place else answer  # what would help elsewhere does not here
        if self.target.waited and mechanism.name == "lkm":
            return _SET_ONCE
        if asks(rule) and mechanism.cannot_ask:
            return Unsupported(f"cannot ask: {mechanism.cannot_ask}")
        if mechanism.commands_only and not self._only_command:
            return NEEDS_COMMAND
        if BUILT[mechanism.name] is None:
            return _NOT_BUILT
        if answer.short and not self.best_effort:
            return Unsupported("; ".join(answer.short), BEST_EFFORT)
        return replace(answer, notes=(*answer.notes, *concerned(self.target)))

    @property
    def _only_command(self) -> bool:
        """A command, with no condition that would leave some of its processes out."""
        return bool(self.target.command) and not self.target.conditions


def _say_chosen(
    rules: Sequence[tuple[int, Rule]], answers: Mapping[str, Sequence[Guarantees | Unsupported]], best: str
) -> None:
    for name, given in answers.items():
        for (_, rule), answer in zip(rules, given, strict=True):
            if isinstance(answer, Unsupported):
                _LOG.debug("%s: %s cannot: %s", rule.title, name, answer.reason)
            else:
                how = "chosen" if name == best else f"could enforce it, {best} is chosen"
                _LOG.debug("%s: %s: %s (%s)", rule.title, name, how, answer.text)


def _score(rules: Sequence[tuple[int, Rule]], answers: Sequence[Guarantees | Unsupported]) -> tuple[int, int, int]:
    """How many denials are enforced, how many exceptions, and how much is enforced in full."""
    pairs = list(zip(rules, answers, strict=True))
    enforced = [(rule, answer) for (_, rule), answer in pairs if isinstance(answer, Guarantees)]
    denials = sum(not rule.allow for rule, _ in enforced)
    return denials, len(enforced) - denials, sum(not answer.short for _, answer in enforced)
