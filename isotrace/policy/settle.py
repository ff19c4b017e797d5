"""What answers take away from the rules that asked: what is allowed in so many words is not asked about. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from isotrace.policy.model import HELD, CallRule, NetRule, PathRule, Policy, Rule, asks, is_answer


def settled(policy: Policy) -> Policy:
    """The policy without questions that it answers itself.

    A rule on calls does not ask about those that a group of its policy has under ``allow``; one on paths or addresses
    does not ask about just what an answer allows. A rule that has nothing left to ask about is left out.
    """
    unasked = frozenset[str]().union(*(group.unasked for group in policy.groups))
    answers = [rule for rule in policy.rules if rule.allow and is_answer(rule)]
    groups = (replace(group, rules=tuple(_left(group.rules, unasked, answers))) for group in policy.groups)
    return Policy(tuple(group for group in groups if group.rules or group.unasked))


def _left(rules: Sequence[Rule], unasked: frozenset[str], answers: Sequence[Rule]) -> Iterator[Rule]:
    for rule in rules:
        if not asks(rule):
            yield rule
        elif isinstance(rule, CallRule):
            if calls := rule.calls - unasked:
                yield replace(rule, calls=calls, addressed=rule.addressed & calls)
        elif isinstance(rule, PathRule):
            same = (one.access for one in answers if isinstance(one, PathRule) and one.pattern == rule.pattern)
            access = rule.access.difference(*same)
            if access - {HELD}:
                yield replace(rule, access=access)
        elif not (isinstance(rule, NetRule) and any(_same(rule, one) for one in answers)):
            yield rule


def _same(rule: NetRule, answer: Rule) -> bool:
    return isinstance(answer, NetRule) and _condition(rule) == _condition(answer)


def _condition(rule: NetRule) -> tuple[object, ...]:
    return rule.protocol, rule.network, rule.ports, rule.path, rule.abstract
