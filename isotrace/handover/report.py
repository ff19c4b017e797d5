"""The loss report: what became of each rule, as a table for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from isotrace.decode.quote import escape_text
from isotrace.handover.model import Finding, Handed, Held
from isotrace.units import many

_WORDS = {Held.EXACT: "exact", Held.WIDER: "wider", Held.PART: "part", Held.NOT: "not"}


def lines(handed: Handed, target: str) -> Iterator[str]:
    """A line a rule: how far it is held, the rule, why. Exactly held ones that are alike are one line."""
    width = max(len(held.value) for held in Held)
    for held, titles, why in _alike(handed.findings):
        head, said = f"{held.value:{width}}  ", f": {'; '.join(why)}" if why else ""
        if held is Held.EXACT:
            yield f"{head}{titles[0]}{f' and {len(titles) - 1} more' if titles[1:] else ''}{said}"
        else:
            yield f"{head}{titles[0]}{said}"
            yield from (f"{head}{title}: the same" for title in titles[1:])
    yield from (f"beside the rules: {note}" for note in handed.notes)
    counts = ((held, sum(finding.held is held for finding in handed.findings)) for held in Held)
    said = ", ".join(f"{count} {held.value}" for held, count in counts if count)
    yield f"{target}: {many(len(handed.findings), 'rule')}: {said}"


def objects(handed: Handed, target: str) -> Iterator[bytes]:
    """The same as JSON: ``rule`` objects and a ``summary``."""
    for finding in handed.findings:
        yield orjson.dumps(
            {
                "type": "rule",
                "rule": finding.number,
                "asked": _title(finding),
                "group": finding.rule.group or None,
                "action": None if finding.rule.allow else finding.rule.action.name,
                "held": _WORDS[finding.held],
                "why": list(finding.why),
            }
        )
    counts = {word: sum(finding.held is held for finding in handed.findings) for held, word in _WORDS.items()}
    yield orjson.dumps({"type": "summary", "target": target, **counts, "notes": list(handed.notes)})


def _alike(findings: tuple[Finding, ...]) -> Iterator[tuple[Held, list[str], tuple[str, ...]]]:
    found: dict[tuple[Held, tuple[str, ...], bool], list[str]] = {}
    for finding in findings:
        found.setdefault((finding.held, finding.why, finding.rule.allow), []).append(_title(finding))
    yield from ((held, titles, why) for (held, why, _), titles in found.items())


def _title(finding: Finding) -> str:
    return escape_text(finding.rule.title)
