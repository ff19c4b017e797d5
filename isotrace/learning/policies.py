"""What a policy allows that another does not, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isotrace import catalog
from isotrace.catalog import refuse
from isotrace.policy import CallRequest, NetRule, PathRequest, PathRule, Policy, Rule, decide
from isotrace.policy.names import words_of


@dataclass(frozen=True)
class Change:
    """A difference. ``wider``: the later policy allows what the earlier one does not. ``kind`` is as in ``comparing``."""

    wider: bool
    kind: str
    what: str


_ORDER = ("network", "exec", "writes", "reads", "calls", "actions")


def compare(before: Policy, after: Policy) -> list[Change]:
    """Every difference: what is allowed now first, the most alarming before the others."""
    found = {*_calls(before, after), *_rules(before, after), *_actions(before, after)}
    return sorted(found, key=lambda one: (not one.wider, _ORDER.index(one.kind), one.what))


def _calls(before: Policy, after: Policy) -> Iterator[Change]:
    """Calls that one refuses and the other does not, by the words that cover them."""
    refused = [{call for call in catalog.names() if decide(one, CallRequest(call)).denied} for one in (before, after)]
    for wider, calls in ((True, refused[0] - refused[1]), (False, refused[1] - refused[0])):
        for call in calls - set(refuse.NEVER):
            words = words_of(call)
            yield Change(wider, "calls", words[0] if words else call)


def _rules(before: Policy, after: Policy) -> Iterator[Change]:
    old, new = {rule.title: rule for rule in before.rules}, {rule.title: rule for rule in after.rules}
    for mine, other, policy, added in ((new, old, before, True), (old, new, after, False)):
        for title, rule in mine.items():
            kind = _kind(rule)
            if title not in other and kind and not _says_so_already(policy, rule):
                yield Change(rule.allow == added, kind, f"{'' if added else 'no longer '}{title}")


def _kind(rule: Rule) -> str:
    if isinstance(rule, NetRule):
        return "network"
    if isinstance(rule, PathRule):
        return "exec" if "x" in rule.access else "writes" if "w" in rule.access else "reads"
    return ""


def _says_so_already(policy: Policy, rule: Rule) -> bool:
    """Whether the other policy decides so about the one file that a rule is on."""
    exact = rule.pattern.exact if isinstance(rule, PathRule) else None
    if exact is None or not isinstance(rule, PathRule):
        return False
    return all(decide(policy, PathRequest(exact, frozenset(one))).denied != rule.allow for one in rule.access)


def _actions(before: Policy, after: Policy) -> Iterator[Change]:
    """Rules that both have and that do something else: reporting is wider than refusing."""
    weight = {"audit": 0, "ask": 1, "errno": 2, "kill": 3}
    old = {rule.title.partition(" ")[2]: rule for rule in before.rules if not rule.allow}
    for rule in after.rules:
        was = old.get(rule.title.partition(" ")[2])
        if rule.allow or was is None or was.action == rule.action:
            continue
        wider = weight[rule.action.kind] < weight[was.action.kind]
        yield Change(wider, "actions", f"{rule.title}: {rule.action.name} instead of {was.action.name}")
