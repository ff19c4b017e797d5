"""What can be refused and asked about here: a rule of each kind, planned for running processes and for a command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isotrace.enforce import Findings, Unsupported, plan
from isotrace.policy import names, nets, paths
from isotrace.policy.model import Action, Group, Policy, Rule
from isotrace.trace.target import Target

_RUNNING, _COMMAND = Target(tree=(1,)), Target(command=("true",))
_TITLES = (
    ("block running processes", "errno", _RUNNING),
    ("block a command", "errno", _COMMAND),
    ("ask about running processes", "ask", _RUNNING),
    ("ask about a command", "ask", _COMMAND),
)


@dataclass(frozen=True)
class Ability:
    """What of calls, files and addresses some mechanism holds, by its name; ``why`` and ``remedy`` of the first that is
    held by none. ``less``: what is held, and how it falls short of a rule, so that it takes --best-effort.
    """

    title: str
    held: dict[str, tuple[str, ...]]
    less: dict[str, tuple[str, ...]]
    missing: tuple[str, ...]
    why: str = ""
    remedy: str = ""


def abilities(findings: Findings) -> Iterator[Ability]:
    """For refusing and asking, in the order of how they are shown."""
    for title, kind, target in _TITLES:
        action = Action("ask") if kind == "ask" else Action()
        held: dict[str, list[str]] = {}
        less: dict[str, list[str]] = {}
        missing: dict[str, Unsupported | None] = {}
        for what, rule in _rules(action):
            policy = Policy((Group("", (rule,)),))
            whole = plan.make(policy, findings, target)
            found = whole if whole.ok else plan.make(policy, findings, target, best_effort=True)
            if found.enforced:
                kinds = held if whole.ok else less
                kinds.setdefault(found.enforced[0].mechanism, []).append(what)
            else:
                missing[what] = next((answer for _, answer in found.unenforceable[0].reasons), None)
        first = next((answer for answer in missing.values() if answer), Unsupported(""))
        yield Ability(
            title,
            {name: tuple(kinds) for name, kinds in held.items()},
            {name: tuple(kinds) for name, kinds in less.items()},
            tuple(missing),
            first.reason,
            first.hint,
        )


def _rules(action: Action) -> Iterator[tuple[str, Rule]]:
    """One that can be held wherever any of its kind can."""
    yield "calls", names.parse("open", action=action)
    yield "files", paths.parse("w:/srv/isotrace/one", allow=False, action=action)
    yield "addresses", nets.parse("tcp:*:80", allow=False, action=action)
