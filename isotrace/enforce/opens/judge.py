"""What rules say of a file that somebody waits to open. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isotrace.enforce import Enforced
from isotrace.enforce.opens.marks import Names
from isotrace.policy import Group, PathRequest, Policy, decide
from isotrace.policy.decide import strictness
from isotrace.policy.model import Action, PathRule, Rule


@dataclass(frozen=True)
class Judged:
    """The number of the rule that decides, its action, and the name of the file that it decides by."""

    rule: int
    action: Action
    what: str


class Judge:
    """The rules."""

    def __init__(self, enforced: Sequence[Enforced]) -> None:
        self._policy = Policy((Group("", tuple(one.rule for one in enforced)),))
        self._numbers = {id(one.rule): one.number for one in enforced}

    def judge(self, names: Names, access: str) -> Judged | None:
        """None where it is not against it. A file of several names is judged by the strictest rule on any of them.

        One whose name is not known meets every rule on what is done to it.
        """
        if not access:
            return None
        found = [(decide(self._policy, PathRequest(path, frozenset(access))).rule, path) for path in names.paths]
        rules = [(rule, path) for rule, path in found if rule]
        if not names.certain and not rules:
            rules = [(rule, names.paths[0]) for rule in self._policy.rules if _may_meet(rule, access)]
        rule, path = min(rules, key=lambda entry: strictness(entry[0]), default=(None, ""))
        return None if rule is None or rule.allow else Judged(self._numbers[id(rule)], rule.action, path)


def _may_meet(rule: Rule, access: str) -> bool:
    return isinstance(rule, PathRule) and not rule.allow and bool(rule.access & set(access))
