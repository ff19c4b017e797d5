"""Learning again: what further runs need is added to a policy file, whose comments, order and other rules stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tomlkit
from tomlkit.items import Array, Table
from tomlkit.toml_document import TOMLDocument

from isotrace.errors import UsageError
from isotrace.learning.folding import Tally
from isotrace.learning.judging import Judge, Refusal
from isotrace.learning.requests import Asked
from isotrace.learning.rules import Learned, Lesson, Wish, allows, learn
from isotrace.learning.writing import Where, comments, every_call_but, later, said
from isotrace.policy import CallRule, NetRule, PathRule, Policy, Rule
from isotrace.policy.file import read
from isotrace.policy.patterns import EVERYTHING


@dataclass
class Merged:
    """The new text of the file; what was ``added``, and what was ``left``: another rule of the file is against it."""

    text: str
    added: list[Learned] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    left: list[Refusal] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Origin:
    """Where calls come from: ``where`` names their rows; ``about`` and ``coverage`` are lines for the head, as it has them
    of the first run.
    """

    where: Where
    about: Sequence[str]
    coverage: Sequence[str] = ()


def merge(text: str, path: str, calls: Mapping[Asked, Tally], wish: Wish, origin: Origin) -> Merged:
    """The policy that also allows ``calls``, and says in its head where they come from. Raises ``PolicyError`` or
    ``UsageError``.
    """
    where = origin.where
    policy = read(text, path)
    catching = {kind: rule for rule in policy.rules if (kind := _catches(rule))}
    lacking, left = _lacking(policy, calls, set(catching.values()))
    lesson = learn(lacking, replace(wish, known=tuple(_exact(policy)), code=True, again=True))
    document = tomlkit.parse(text)
    merged = Merged(text, left=left, said=lesson.said)
    _add_words(document, merged, lesson, catching, where)
    for kind, rules in (("path", lesson.files), ("net", lesson.addresses)):
        new = [one for one in rules if one.kind == f"allow-{kind}" and _is_new(policy, one)]
        if new and (rule := catching.get(kind)) is not None:
            merged.added += new
            _add_rules(_group(document, rule), f"allow-{kind}", new, where)
    merged.text = tomlkit.dumps(document)
    if merged.added or merged.words:
        merged.text = later(merged.text, origin.about, origin.coverage, merged.said)
    read(merged.text, path)
    return merged


def _catches(rule: Rule) -> str:
    """Of a rule that refuses all that others do not allow, what it is about; "" of any other."""
    if rule.allow:
        return ""
    if isinstance(rule, CallRule):
        return "calls" if rule.asked.startswith("!") else ""
    if isinstance(rule, PathRule):
        return "path" if rule.pattern == EVERYTHING else ""
    if isinstance(rule, NetRule) and rule.network is None and rule.ports is None:
        whole = rule.protocol != "unix" or (rule.abstract in (None, "*") and rule.path in (None, EVERYTHING))
        return "net" if whole else ""
    return ""


def _lacking(
    policy: Policy, calls: Mapping[Asked, Tally], catching: set[Rule]
) -> tuple[dict[Asked, Tally], list[Refusal]]:
    """The calls that only a rule which catches all is against, and those that another is against."""
    judge, found, left = Judge(policy), {}, []
    every = {rule for rule in policy.rules if _catches(rule)} | catching
    for asked, tally in calls.items():
        refusal = judge.refusal(asked)
        if refusal is not None and refusal.rule not in every:
            left.append(refusal)
        elif (refusal is not None and not _is_closed(refusal)) or any(
            not allows(policy, one) for one in asked.requests
        ):
            found[asked] = tally
    return found, left


def _is_closed(refusal: Refusal) -> bool:
    """Whether it is of an operation of io_uring, for a rule on calls: what that one is about may be allowed."""
    return refusal.closed and refusal.asked.act != refusal.asked.call


def _exact(policy: Policy) -> Iterator[tuple[str, frozenset[str]]]:
    """The single files that it allows: with new ones beside them they may be several."""
    for rule in policy.rules:
        if isinstance(rule, PathRule) and rule.allow and rule.pattern.exact is not None:
            yield rule.pattern.exact, rule.access


def _is_new(policy: Policy, rule: Learned) -> bool:
    return all(one.title != rule.title for one in policy.rules)


def _add_words(
    document: TOMLDocument, merged: Merged, lesson: Lesson, catching: Mapping[str, Rule], where: Where
) -> None:
    rule = catching.get("calls")
    if not isinstance(rule, CallRule):
        return
    needed = [
        word for word, evidence in lesson.words.items() if any(call in rule.calls for call in evidence.calls)
    ]  # of calls that the file's own rule still refuses
    if not needed:
        return
    merged.words = needed
    group = _group(document, rule)
    terms = [term.strip().removeprefix("!") for term in rule.asked.split(",")]
    if any(not term.strip().startswith("!") for term in rule.asked.split(",")):
        raise UsageError(
            "the rule on calls is no list of words to leave alone", "add to it by hand: " + ",".join(needed)
        )
    new = tomlkit.parse(f"deny = {every_call_but([*needed, *terms])}\n")["deny"]
    _replace_word(group, rule.asked, new)
    for word in needed:
        group.add(tomlkit.comment(f"learned later: {word}: {said(where, lesson.words[word])}"))


def _replace_word(group: Table, asked: str, new: Any) -> None:
    listed = group["deny"]
    if isinstance(listed, Array):
        for at, one in enumerate(listed):
            if one == asked:
                listed[at] = new
    else:
        group["deny"] = new


def _add_rules(group: Table, key: str, rules: Iterable[Learned], where: Where) -> None:
    listed = group.get(key)
    if not isinstance(listed, Array):
        made = tomlkit.array()
        if listed is not None:
            made.append(listed)
        group[key] = made
        listed = group[key]
    for rule in rules:
        for line in comments(where, rule):
            listed.add_line(comment=line)
        listed.add_line(rule.word)
    listed.add_line(indent="")


def _group(document: TOMLDocument, rule: Rule) -> Table:
    found = document["groups"][rule.group]
    assert isinstance(found, Table)
    return found


def difference(merged: Merged, where: Where) -> Iterator[str]:
    """What was added, a line each."""
    for word in merged.words:
        yield f"+ calls: {word}"
    for rule in merged.added:
        yield f"+ {rule.title}  ({said(where, rule.evidence)})" if rule.evidence.comms else f"+ {rule.title}"
