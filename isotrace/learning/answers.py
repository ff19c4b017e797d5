"""What people answered to isotrace ask, in recordings: what they allowed is evidence, what they denied stays denied."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping

from isotrace.decode.quote import escape_text
from isotrace.errors import UsageError
from isotrace.learning import shapes
from isotrace.learning.folding import Folded, Tally
from isotrace.learning.raising import Evidence
from isotrace.learning.requests import Asked, shown
from isotrace.learning.rules import Learned, Lesson
from isotrace.policy import NetRequest, PathRequest, Request, nets, paths
from isotrace.policy.accesses import ADDRESSED

_BY_PERSON = ("person", "earlier")


def apply(lesson: Lesson, folded: Folded, calls: Mapping[Asked, Tally]) -> None:
    """Note answers at the rules that they are evidence of, and add rules for denials, but of what went on all the same."""
    went_on = {thing for asked in calls for request in asked.objects for thing in _things(request)}
    for (note, what), tally in folded.answers.items():
        said = _answer(note)
        if said is None or not what:
            continue
        call, verdict, who = said
        rule = _rule(call, os.fsdecode(what))
        if verdict == "allow":
            for one in _about(lesson, rule):
                one.evidence.notes.append(f"allowed by {who} when asked")
        elif (rule.kind, rule.word) in went_on:
            lesson.said.append(f"denied by {who}, and allowed at another time: {escape_text(rule.word)}")
        else:
            rule.evidence.add(Evidence(tally.count, first=list(tally.first), notes=[f"denied by {who} when asked"]))
            _deny(lesson, rule)


def _answer(note: str) -> tuple[str, str, str] | None:
    """Call, verdict and person of an answer; None of anybody else's, and of what is none."""
    try:
        said = json.loads(note)
        answer = said["answer"]
        if answer["by"] not in _BY_PERSON:
            return None
        return str(said["call"]), str(answer["verdict"]), escape_text(str(answer["who"])) or "a person"
    except (ValueError, KeyError, TypeError):
        return None


def _rule(call: str, what: str) -> Learned:
    """The rule against a thing, as ``isotrace ask`` shows it."""
    if what.startswith("/") and call not in ADDRESSED:
        return Learned("deny-path", str(shapes.exact(what)), Evidence())
    if what.startswith(("/", "@")):
        return Learned("deny-net", f"unix:{what if what.startswith('@') else shapes.exact(what)}", Evidence())
    return Learned("deny-net", what, Evidence())


def _things(request: Request) -> Iterator[tuple[str, str]]:
    """The rules against what a request is about."""
    if isinstance(request, PathRequest):
        yield "deny-path", str(shapes.exact(request.path))
    elif isinstance(request, NetRequest):
        word = shown(request)
        kind, _, where = word.partition(" ")
        yield "deny-net", f"unix:{where}" if kind == "unix" else where


def _about(lesson: Lesson, rule: Learned) -> Iterator[Learned]:
    """The rules that allow what another is against."""
    for one in lesson.rules:
        if one.kind == "allow-path" and rule.kind == "deny-path":
            exact = paths.parse(rule.word, allow=False).pattern.exact
            if exact is not None and paths.parse(one.word, allow=True).pattern.matches(exact):
                yield one
        elif one.kind == "allow-net" and (rule.kind, rule.word) == (
            "deny-net",
            re.sub("^(tcp|udp|any):", "", one.word),
        ):
            yield one


def _deny(lesson: Lesson, rule: Learned) -> None:
    """Add it where there are rules of its kind; say so where rules have no words for it."""
    is_path = rule.kind == "deny-path"
    into = lesson.files if is_path else lesson.addresses
    try:
        (paths if is_path else nets).parse(rule.word, allow=False)
    except UsageError:
        lesson.said.append(f"a denial cannot be written as a rule: {escape_text(rule.word)}")
        return
    if into and all(one.word != rule.word for one in into):
        into.append(rule)
