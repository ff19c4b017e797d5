"""What a policy says of recordings, as text for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from isotrace.decode.quote import comm, escape, escape_text
from isotrace.learning.expected import thing_of
from isotrace.learning.folding import Tally
from isotrace.learning.judging import Judged, Refusal
from isotrace.learning.sources import Sources
from isotrace.units import many


def folded(sources: Sources, judged: Judged) -> Iterator[str]:
    """A line for refusals that are alike to a reader: how many, the call and what it is about, who, the rule, a row."""
    found: dict[tuple[str, str], Tally] = {}
    for refusal, tally in _ordered(judged):
        about = thing_of(refusal)
        what = f"{refusal.asked.call}{about and ' '}{about}  by {comm(refusal.asked.comm)}"
        key = (what, f"→ {_outcome(refusal)}  {_rule(refusal)}")
        found.setdefault(key, Tally()).add(tally.count, tally.first)
    for (what, outcome), tally in found.items():
        yield f"{tally.count:7,}  {what} {outcome}  (first {sources.name(tally.first[0])})"


def row_by_row(sources: Sources, judged: Judged) -> Iterator[str]:
    """A line for each row: where it is, the call as the text format has it, the rule."""
    which = {at: refusal for refusal, tally in judged.refused.items() for at in tally.first}
    for at, line in sources.lines(which):
        yield f"{sources.name(at)}  {line} → {_outcome(which[at])}  {_rule(which[at])}"


def objects(sources: Sources, judged: Judged) -> Iterator[bytes]:
    """The same as JSON: ``refused`` objects, one for refusals that are alike, and a ``summary``."""
    for refusal, tally in _ordered(judged):
        rule = refusal.rule
        yield orjson.dumps(
            {
                "type": "refused",
                "count": tally.count,
                "call": refusal.asked.call,
                "abi": refusal.asked.abi,
                "what": thing_of(refusal) or None,
                "comm": escape(refusal.asked.comm),
                "asked": escape_text(rule.title),
                "group": rule.group or None,
                "action": rule.action.name,
                "closes_io_uring": refusal.closed,
                "rows": [{"file": sources.recordings[at.recording].path, "row": at.row + 1} for at in tally.first],
            }
        )
    yield orjson.dumps(
        {
            "type": "summary",
            "refused": judged.refusals,
            "reported": judged.reported,
            "allowed": judged.allowed,
            "not_judged": judged.unknown,
            "by_words": judged.words,
            "by_links_of_now": judged.here,
            "failed_all_the_same": judged.failed,
            "lost": lost(sources),
            "incomplete": sources.verdict.incomplete or sources.verdict.damaged,
        }
    )


def summary(sources: Sources, judged: Judged) -> Iterator[str]:
    """What to say at the end, on standard error."""
    seen = f"{many(judged.allowed, 'call')} allowed"
    if judged.reported:
        seen += f", {many(judged.reported, 'call')} reported"
    yield f"{many(judged.refusals, 'call')} would have been denied, {seen}"
    for why, count in sorted(judged.unknown.items()):
        yield f"not judged: {many(count, 'call')}: {why}"
    if judged.words:
        yield f"{many(judged.words, 'call')} judged by the caller's words: links on the way are not known"
    if judged.here:
        yield f"{many(judged.here, 'call')} judged by links as they are on this machine now"
    if judged.failed:
        yield f"{many(judged.failed, 'call')} failed before anything could be denied, and would not be allowed"
    if count := lost(sources):
        yield f"{many(count, 'call')} lost when it was recorded: not judged"
    if any("descriptors" in why or "directory" in why or "not known" in why for why in judged.unknown) and not all(
        head.descriptors for head in sources.heads
    ):
        yield "more is known of a recording that is made with isotrace record -y"
    if judged.refusals:
        yield "after its first denial the program might have gone another way"


def lost(sources: Sources) -> int:
    """Calls that the recordings lack, as they were counted."""
    return sum(count for _, count in sources.lost())


def _ordered(judged: Judged) -> list[tuple[Refusal, Tally]]:
    return sorted(judged.refused.items(), key=lambda pair: pair[1].first[:1])


def _outcome(refusal: Refusal) -> str:
    action = refusal.rule.action
    return {"kill": "killed", "audit": "reported", "ask": "asked"}.get(action.kind, action.name)


def _rule(refusal: Refusal) -> str:
    group = f"{refusal.rule.group}: " if refusal.rule.group else ""
    return f"{group}{escape_text(refusal.rule.title)}{', which closes io_uring' if refusal.closed else ''}"
