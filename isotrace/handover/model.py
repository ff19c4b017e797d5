"""What became of a policy in another enforcer's form: the text, and for every rule how far it is held there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from isotrace.policy.model import Policy, Rule


class Held(Enum):
    """How far a rule is held; the later is the worse. An exception whose part is refused, too, is ``WIDER``."""

    EXACT = "exactly held"
    WIDER = "held more widely"
    PART = "held in part"
    NOT = "not expressible"

    @property
    def loses(self) -> bool:
        """Whether something that the rule is against is not refused, not reported, or not ended as it says."""
        return self in (Held.PART, Held.NOT)


_ORDER = tuple(Held)


@dataclass(frozen=True)
class Finding:
    """A rule, by its index in ``Policy.rules``, how far it is held, and why, in clauses."""

    number: int
    rule: Rule
    held: Held
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Handed:
    """``text`` is the other form; ``notes`` are what it does beside the rules."""

    text: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def holds_nothing(self) -> bool:
        """Whether no rule that is against something is held in any part."""
        return all(finding.held is Held.NOT for finding in self.findings if not finding.rule.allow)

    @property
    def losses(self) -> tuple[Finding, ...]:
        """The findings of rules that are not wholly held."""
        return tuple(finding for finding in self.findings if finding.held.loses)


@dataclass(frozen=True)
class Setting:
    """What a form has beside the policy: its name, and what is at a path here, None where nothing is."""

    name: str = "isotrace"
    kind: Callable[[str], Literal["file", "directory"] | None] = lambda _: "file"


@dataclass
class Findings:
    """Collects what is found of the rules of a policy: the worst of what is said of a rule counts."""

    policy: Policy
    _said: dict[int, list[tuple[Held, str]]] = field(default_factory=dict)

    def say(self, rule: Rule, held: Held, why: str) -> None:
        """``why`` is a clause; the same one is said once a rule."""
        number = next(at for at, one in enumerate(self.policy.rules) if one is rule)
        entry = (held, why)
        if entry not in self._said.setdefault(number, []):
            self._said[number].append(entry)

    def found(self) -> tuple[Finding, ...]:
        """One finding a rule, in the order of the policy; what nothing was said of is exactly held."""
        return tuple(self._finding(number, rule) for number, rule in enumerate(self.policy.rules))

    def _finding(self, number: int, rule: Rule) -> Finding:
        said = sorted(self._said.get(number, ()), key=lambda entry: -_ORDER.index(entry[0]))
        held = said[0][0] if said else Held.EXACT
        return Finding(number, rule, held, tuple(why for _, why in said if why))


def find_answer(rule: Rule, findings: Findings, answer: str) -> None:
    """What becomes of the action of a rule that refuses, where every refusal is the error ``answer``."""
    kind = rule.action.kind
    if rule.action.kills:
        findings.say(rule, Held.PART, f"the process is not ended: {answer}")
    elif kind == "ask":
        findings.say(rule, Held.WIDER, f"nobody is asked: {answer}")
    elif rule.action.name != answer:
        instead = "" if rule.action.name in answer else f", not {rule.action.name}"
        findings.say(rule, Held.EXACT, f"the error is {answer}{instead}")
