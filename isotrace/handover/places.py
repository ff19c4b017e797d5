"""What rules on paths say, for enforcers that know paths by names: which wins where, and what is one place. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from isotrace.policy.decide import PathRequest, decide, strictness
from isotrace.policy.model import NetRule, PathRule, Policy, Rule
from isotrace.policy.patterns import EVERYTHING, Component, Pattern

#: What hidden paths hide; a rule on them is in this order of letters everywhere.
LETTERS = "rwx"


@dataclass(frozen=True)
class Place:
    """One path by plain names; ``below``: with all that is below it."""

    path: str
    below: bool

    def has(self, other: Place) -> bool:
        """Whether the other is this one, or below it where that counts."""
        inside = self.path == "/" or other.path == self.path or other.path.startswith(self.path + "/")
        return inside if self.below else other.path == self.path and not other.below


def place(pattern: Pattern) -> Place | None:
    """The place that a pattern is, None where it has stars in it."""
    if pattern.exact is not None:
        return Place(pattern.exact, False)
    return Place(pattern.subtree, True) if pattern.subtree is not None else None


def pattern_of(where: Place) -> Pattern:
    """The pattern that is this place."""
    names = tuple(Component((name,)) for name in where.path.split("/") if name)
    return Pattern((*names, Component(anything=True)) if where.below else names)


def refuses(rule: Rule) -> bool:
    """Whether it refuses: one that only reports does not, one that asks does where nobody can be asked."""
    return not rule.allow and rule.action.kind != "audit"


def about(policy: Policy, letter: str) -> tuple[PathRule, ...]:
    """The rules on paths that are about the access ``letter``."""
    return tuple(rule for rule in policy.rules if isinstance(rule, PathRule) and letter in rule.access)


def beats(one: PathRule, other: PathRule) -> bool:
    """Whether ``one`` decides where both match."""
    mine, yours = one.pattern.specificity, other.pattern.specificity
    return mine > yours or (mine == yours and strictness(one) < strictness(other))


def refused_by_default(policy: Policy, letter: str) -> bool:
    """Whether everything that no other rule is on is refused: by a rule on ``/**``."""
    whole = [rule for rule in about(policy, letter) if rule.pattern == EVERYTHING]
    return bool(whole) and refuses(min(whole, key=strictness))


def writable(policy: Policy, where: Place) -> bool:
    """Whether the place may be written, but for what rules on places inside of it refuse."""
    probes = [where.path, where.path.rstrip("/") + "/\N{REPLACEMENT CHARACTER}"][: 1 + where.below]
    rules = (decide(policy, PathRequest(probe, frozenset("w"))).rule for probe in probes)
    return not any(rule is not None and refuses(rule) for rule in rules)


def excepted_from(rule: PathRule, letter: str, policy: Policy) -> list[PathRule]:
    """The rules that let through a part of what ``rule`` refuses."""
    return [
        one
        for one in about(policy, letter)
        if not refuses(one) and beats(one, rule) and overlap(one.pattern, rule.pattern)
    ]


def overlap(one: Pattern, other: Pattern) -> bool:
    """Whether there may be a path that both match; yes, where that is hard to tell."""
    return _overlap(one.components, other.components)


@cache
def _overlap(one: tuple[Component, ...], other: tuple[Component, ...]) -> bool:
    if not one or not other:
        return all(component.anything for component in (*one, *other))
    first, second = one[0], other[0]
    if first.anything:
        return _overlap(one[1:], other) or _overlap(one, other[1:])
    if second.anything:
        return _overlap(one, other[1:]) or _overlap(one[1:], other)
    return _alike(first, second) and _overlap(one[1:], other[1:])


def _alike(one: Component, other: Component) -> bool:
    if one.literal and other.literal:
        return one.pieces == other.pieces
    if one.literal or other.literal:
        plain, starred = (one, other) if one.literal else (other, one)
        return re.fullmatch("[^/]*".join(map(re.escape, starred.pieces)), plain.pieces[0], re.DOTALL) is not None
    return True


def unix_places(rules: Iterable[Rule]) -> Sequence[tuple[NetRule, Place]]:
    """The rules that refuse unix sockets at one place, which is not all of them."""
    found = []
    for rule in rules:
        if isinstance(rule, NetRule) and refuses(rule) and rule.path is not None:
            where = place(rule.path)
            if where is not None and where.path != "/":
                found.append((rule, where))
    return found


def is_every_unix(rule: NetRule) -> bool:
    """Whether it is about every unix socket, or every one at a path, or every abstract one."""
    if rule.protocol != "unix":
        return False
    return rule.path == EVERYTHING if rule.path is not None else rule.abstract in (None, "*")
