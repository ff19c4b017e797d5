"""One policy from the words of the command line and a policy file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from isotrace.errors import UsageError
from isotrace.policy import names, nets, paths, presets
from isotrace.policy.model import Action, Group, Policy, Rule, asks
from isotrace.policy.settle import settled

_PARSERS: tuple[tuple[str, Callable[..., Rule]], ...] = (
    ("deny_path", paths.parse),
    ("ask_path", paths.parse),
    ("allow_path", paths.parse),
    ("deny_net", nets.parse),
    ("ask_net", nets.parse),
    ("allow_net", nets.parse),
)


def action(errno: str | None, kill: bool, audit: bool) -> Action:
    """What ``--errno NAME``, ``--kill`` or ``--audit`` asks for. Raises ``UsageError``."""
    if kill or audit:
        return Action("kill" if kill else "audit")
    return Action(errno=names.parse_errno(errno)) if errno is not None else Action()


def policy(words: Mapping[str, Sequence[str]], chosen: Action, path: str | None) -> Policy:
    """The rules of the command line, in a group without a name, then those of the file.

    ``words`` are the option values by option: deny, deny_path, allow_path, deny_net, allow_net, and where it may ask ask,
    ask_path, ask_read, ask_net. A denial has the action ``chosen``. With ``chosen`` audit the file's rules are audited.
    Raises ``UsageError`` when nothing is denied or asked about.
    """
    asking = Action("ask", chosen.errno)
    rules: list[Rule] = [names.parse(word, action=chosen) for word in words["deny"]]
    rules += [names.parse(word, action=asking) for word in words.get("ask", ())]
    rules += [paths.parse_read(word, action=asking) for word in words.get("ask_read", ())]
    for option, parse in _PARSERS:
        allow, action = option.startswith("allow"), asking if option.startswith("ask") else chosen
        rules += [parse(word, allow=allow, action=action) for word in words.get(option, ())]
    groups = [Group("", tuple(rules))] if rules else []
    groups += _from_file(path, chosen) if path is not None else []
    if all(rule.allow for group in groups for rule in group.rules):
        raise UsageError("no rule was given", "give --deny, --deny-path, --deny-net or --policy FILE")
    return settled(Policy(tuple(groups)))


def questions(
    words: Mapping[str, Sequence[str]],
    chosen: Action,
    path: str | None,
    otherwise: Literal["deny", "kill"],
    kept: bool = False,
    stops: bool = False,
) -> Policy:
    """The same for ``isotrace ask``: what nobody answers gets ``otherwise``, and the file may not exist yet.

    ``kept``: so does all that a rule asks about when isotrace has been killed. ``stops``: see ``Action``.
    """
    there = path if path is not None and (presets.is_preset(path) or os.path.lexists(path)) else None
    made = policy(words, chosen, there)

    def asking(rule: Rule) -> Rule:
        action = replace(rule.action, otherwise=otherwise, kept=kept, stops=stops)
        return replace(rule, action=action) if asks(rule) else rule

    return Policy(tuple(replace(group, rules=tuple(map(asking, group.rules))) for group in made.groups))


def _from_file(path: str, chosen: Action) -> Sequence[Group]:
    from isotrace.policy.file import load  # pydantic takes a while to import

    groups = load(path).groups
    if chosen.kind != "audit":
        return groups
    return [replace(group, rules=tuple(replace(rule, action=chosen) for rule in group.rules)) for group in groups]
