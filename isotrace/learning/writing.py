"""A learned policy as a file: TOML with the evidence of each rule above it. What programs wrote is quoted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from isotrace.decode.quote import comm, escape_text
from isotrace.learning.base import base
from isotrace.learning.folding import At
from isotrace.learning.raising import Evidence
from isotrace.learning.rules import Learned, Lesson
from isotrace.learning.sources import Sources
from isotrace.policy.file import string
from isotrace.units import many

#: Names a row for people.
Where = Callable[[At], str]

_WIDTH, _NAMES, _SHOWN = 100, 3, 4
_DESCRIPTIONS = {
    "calls": "calls that the recorded runs did not make",
    "files": "files that the recorded runs did not use",
    "network": "addresses that the recorded runs did not reach or have",
}


def text(sources: Sources, lesson: Lesson, coverage: Sequence[str], about: Iterable[str]) -> str:
    """The file. ``about`` are lines on where it comes from, ``coverage`` what is not known."""
    lines = ["# Learned by isotrace learn from", *_known(about, coverage, lesson.said), "version = 1"]
    if lesson.calls:
        lines += ["", *_head("calls"), *_calls(sources, lesson)]
    if lesson.files:
        lines += ["", *_head("files"), *_listed(sources, lesson.files)]
    if lesson.addresses:
        lines += ["", *_head("network"), *_listed(sources, lesson.addresses)]
    return "\n".join(lines) + "\n"


def _known(about: Iterable[str], coverage: Sequence[str], notes: Iterable[str]) -> Iterator[str]:
    yield from (f"#   {one}" for one in about)
    if coverage:
        yield "# What that could not know:"
        yield from (f"#   {one}" for one in coverage)
    yield from (f"# {one}" for one in notes)


#: What is said where a file has been added to, once.
_OF_WHICH = "# What stands above a rule is of the run that it was added for."


def later(text: str, about: Sequence[str], coverage: Sequence[str], notes: Iterable[str]) -> str:
    """The file with what it was added to for in its head, below what that says of earlier runs."""
    new = [line for line in about if f"#   {line}" not in text.splitlines()]
    block = ["# Learned later from", *_known(new, coverage, notes)] if new else []
    if block and _OF_WHICH not in text.splitlines():
        block.append(_OF_WHICH)
    lines = text.splitlines(keepends=True)
    at = next((number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    return "".join([*lines[:at], *(f"{line}\n" for line in block), *lines[at:]])


def _head(group: str) -> list[str]:
    return [f"[groups.{group}]", f"description = {string(_DESCRIPTIONS[group])}"]


def _calls(sources: Sources, lesson: Lesson) -> Iterator[str]:
    yield f"# always: {base().why_calls}"
    yield from (f"# {word}: {said(sources.name, evidence)}" for word, evidence in lesson.words.items())
    yield f"deny = {every_call_but([*lesson.words, *base().words])}"


def every_call_but(words: Iterable[str]) -> str:
    """The rule on every other call, as a string of several lines."""
    rows: list[str] = []
    row = ""
    for word in words:
        term = f"!{word},"
        if len(row) + len(term) > _WIDTH:
            rows, row = [*rows, row], ""
        row += term
    rows.append(row.rstrip(","))
    return '"""\\\n' + "\\\n".join(f"    {one}" for one in rows) + '"""'


def _listed(sources: Sources, rules: Sequence[Learned]) -> Iterator[str]:
    """The arrays of a group, those that refuse first."""
    for kind in ("deny-path", "allow-path", "deny-net", "allow-net"):
        found = [one for one in rules if one.kind == kind]
        if not found:
            continue
        yield f"{kind} = ["
        for one in found:
            yield from (f"    # {line}" for line in comments(sources.name, one))
            yield f"    {string(one.word)},"
        yield "]"


def comments(where: Where, rule: Learned) -> Iterator[str]:
    """What stands above a rule: why it is there, and what it was raised from."""
    if rule.why:
        yield rule.why
    if rule.evidence.comms:
        yield said(where, rule.evidence)
    yield from rule.evidence.notes
    names = sorted(rule.evidence.names)
    if rule.kind == "allow-path" and "*" in re.sub(r"\\.", "", rule.word) and names:
        ends = ", ".join(escape_text(os.path.basename(name)) for name in names[:_NAMES])
        yield f"raised from {many(len(names), 'path')}: {ends}{', ...' if len(names) > _NAMES else ''}"


def said(where: Where, evidence: Evidence) -> str:
    """``1,234 calls by git, sh: openat, mmap; first t.arrow:12``."""
    words = f"{evidence.count:,} call{'s' * (evidence.count != 1)} by {_most(evidence.comms, comm)}"
    calls = _most({name.encode(): count for name, count in evidence.calls.items()}, lambda name: name.decode())
    first = f"; first {where(evidence.first[0])}" if evidence.first else ""
    return f"{words}: {calls}{first}"


def _most(counts: dict[bytes, int], text: object) -> str:
    assert callable(text)
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    return ", ".join(text(name) for name in ordered[:_SHOWN]) + (", ..." if len(ordered) > _SHOWN else "")
