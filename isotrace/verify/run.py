"""Trying the ways under the rules, in a child of isotrace that is the target of a run of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from isotrace.enforce import Enforced, Findings, registry
from isotrace.enforce import plan as planning
from isotrace.enforce.calls import notify
from isotrace.enforce.calls.seccomp import Seccomp
from isotrace.enforce.plan import EnforcementPlan
from isotrace.enforce.selftest import child
from isotrace.enforce.selftest.child import errno_of
from isotrace.errors import KernelError
from isotrace.policy.model import Action, CallRule, Group, NetRule, PathRule, Policy, Rule
from isotrace.process import libc
from isotrace.process.interrupts import one_thread
from isotrace.process.telling import tell
from isotrace.trace.target import Target
from isotrace.verify import ways
from isotrace.verify.by_call import for_calls
from isotrace.verify.scratch import Scratch, scratch
from isotrace.verify.ways import Way

_ACTION = Action("errno", child.REFUSED)


@dataclass
class Verdict:
    """What became of the ways, by their names.

    ``absent``: they do not work here without a rule either. ``announced``: they are 32-bit calls, which the guarantees of a
    rule leave out.
    """

    refused: list[str] = field(default_factory=list)
    through: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Take in another."""
        self.refused += other.refused
        self.through += other.through
        self.absent += other.absent
        self.announced += other.announced

    def lines(self) -> list[str]:
        """For a person."""
        titles = (
            ("denied", self.refused),
            ("no way on this kernel", self.absent),
            ("gets through, as announced", self.announced),
            ("NOT DENIED", self.through),
        )
        lines = [f"verify: {title}: {', '.join(dict.fromkeys(names))}" for title, names in titles if names]
        return lines or ["verify: no way of the table is against these rules: nothing was tried"]


def must_hold(plan: EnforcementPlan, findings: Findings, backend: str, best_effort: bool) -> None:
    """``verify``, and say what came of it. Raises ``KernelError`` where a way leads round the rules."""
    found = verify(plan, findings, backend, best_effort)
    tell(found.lines())
    if found.through:
        raise KernelError(
            f"the rules can be got round ({len(found.through)} ways): nothing was started, nothing is denied",
            "docs/threat-model.md lists the limits; without --verify it starts all the same",
        )


def verify(plan: EnforcementPlan, findings: Findings, backend: str, best_effort: bool) -> Verdict:
    """Attack what the plan would enforce. Raises ``KernelError`` where that cannot be tried.

    Call it before isotrace has threads: it forks. Nothing is left of it when it returns.
    """
    one_thread()
    if "landlock" in plan.by_mechanism():
        raise KernelError("--verify does not attack what Landlock holds, which begins with a command", "leave it out")
    found = Verdict()
    kinds = _kinds(one.rule for one in plan.enforced)
    if kinds:
        rules = [one.rule for one in plan.enforced if not isinstance(one.rule, CallRule)]
        chosen = [way for way in ways.ALL if way.kind in kinds]
        found.add(_tried(chosen, lambda on: _enforced_on([*rules, *on.rules(kinds)], findings, backend, best_effort)))
    for mechanism in plan.by_mechanism():
        enforced = [one for one in plan.by_mechanism()[mechanism] if isinstance(one.rule, CallRule)]
        if enforced and mechanism != "signal":  # it kills
            chosen = for_calls(frozenset().union(*(_calls(one.rule) for one in enforced)))
            found.add(_tried(chosen, lambda _on, enforced=enforced: [_refusing(one) for one in enforced]))  # type: ignore[misc]
    return found


def _kinds(rules: Iterable[Rule]) -> frozenset[str]:
    """What the rules are on: path, net, unix."""
    found = set()
    for rule in rules:
        if isinstance(rule, PathRule):
            found.add("path")
        elif isinstance(rule, NetRule):
            found.add("unix" if rule.protocol == "unix" else "net")
    return frozenset(found)


def _calls(rule: Rule) -> frozenset[str]:
    return rule.calls if isinstance(rule, CallRule) else frozenset()


def _refusing(enforced: Enforced) -> Enforced:
    """The same, with the error that tells a refusal."""
    return replace(enforced, rule=enforced.rule if enforced.rule.allow else replace(enforced.rule, action=_ACTION))


def _enforced_on(rules: Sequence[Rule], findings: Findings, backend: str, best_effort: bool) -> list[Enforced]:
    policy = Policy((Group("", tuple(rules)),))
    plan = planning.make(policy, findings, Target(tree=(1,)), backend, best_effort)
    if plan.unenforceable:
        raise KernelError("the rules that --verify tries cannot be enforced together with those asked for")
    return [*map(_refusing, plan.enforced), *plan.standing]


def _tried(chosen: Sequence[Way], enforcing: Callable[[Scratch], Sequence[Enforced]]) -> Verdict:
    """Each way without a rule, and those that get through then under the rules."""
    with scratch() as on:
        free = child.ask([_trial(way, on) for way in chosen], lambda _pid: None)
    found = Verdict(absent=[way.name for way, result in zip(chosen, free, strict=True) if result])
    open_ = [way for way, result in zip(chosen, free, strict=True) if not result]
    with scratch() as on, ExitStack() as stack:
        enforced = enforcing(on)
        if not all(one.guarantees.compat for one in enforced):
            found.announced = [way.name for way in open_ if way.compat]
            open_ = [way for way in open_ if not way.compat]
        results = _under(enforced, [_trial(way, on) for way in open_], stack)
    for way, result in zip(open_, results, strict=True):
        if result == child.UNKNOWN:
            raise KernelError(f"the child that attacks did not come to an end with: {way.name}", "see: isotrace doctor")
        (found.refused if result else found.through).append(way.name)
    return found


def _trial(way: Way, on: Scratch) -> child.Trial:
    return partial(errno_of, partial(way.tried, on))


def _under(enforced: Sequence[Enforced], trials: Sequence[child.Trial], stack: ExitStack) -> list[int]:
    """What the trials return under the rules. Of seccomp the child has the filter, of all else it is the target."""
    if enforced[0].mechanism == "seccomp":
        filtering = Seccomp(enforced, reporting=False)
        stack.callback(filtering.close)
        return child.ask(trials, lambda _pid: None, lambda: _filtered(filtering.code))

    return child.ask(trials, partial(_arm, enforced, stack))


def _arm(enforced: Sequence[Enforced], stack: ExitStack, pid: int) -> None:
    """Make ``pid`` the target of enforcers, which 0 closes. It is stopped until then: it would keep a processor busy."""
    if not pid:
        stack.close()
        return
    os.kill(pid, signal.SIGSTOP)
    try:
        for name in dict.fromkeys(one.mechanism for one in enforced):
            enforcer = registry.make(name, [one for one in enforced if one.mechanism == name], Target(tree=(pid,)))
            stack.callback(enforcer.close)
            enforcer.open(None)
    finally:
        os.kill(pid, signal.SIGCONT)


def _filtered(code: bytes) -> None:
    libc.no_new_privs()
    notify.install(code, False)
