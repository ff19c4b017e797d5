"""What recordings could not know: the head of a learned policy says it, and so does whoever learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from isotrace import catalog
from isotrace.catalog import expr, rings
from isotrace.decode.errnos import errno_name
from isotrace.decode.quote import escape_text
from isotrace.errors import UsageError
from isotrace.learning.folding import Tally
from isotrace.learning.requests import NO_FILE, PROTECTED, Asked
from isotrace.learning.rules import Wish
from isotrace.learning.sources import Sources
from isotrace.policy.accesses import ADDRESSED, LETTERS
from isotrace.policy.model import IO_URING
from isotrace.recording.schema import Head
from isotrace.units import many

_SHOWN = 4  # errors and paths by name


def sources_of(sources: Sources) -> Iterator[str]:
    """A line for each recording: which, when, where, what."""
    for one in sources.recordings:
        when = datetime.fromtimestamp(one.head.began / 1e9, UTC).strftime("%Y-%m-%d %H:%M UTC")
        what = " ".join(one.head.command) or one.head.target
        yield f"{escape_text(one.name)}: {when}, on {escape_text(one.head.host)}: {escape_text(what)}"


def wish_for(sources: Sources, never: tuple[str, ...]) -> Wish:
    """What can be learned of these recordings: not what they were told not to record."""
    return Wish(
        never=never,
        momentary=sources.momentary,
        calls=all(_has(head, catalog.names()) for head in sources.heads),
        files=all(_has(head, frozenset(LETTERS)) for head in sources.heads),
        code=all(head.descriptors and _has(head, frozenset(("mmap",))) for head in sources.heads),
        addresses=all(_has(head, ADDRESSED | {"socket", "listen"}) for head in sources.heads),
    )


def _has(head: Head, calls: frozenset[str]) -> bool:
    return head.calls is None or {call for call in calls if call in catalog.names()} <= _recorded(head.calls)


def _has_operations(head: Head) -> bool:
    """Whether it was asked for what is asked of io_uring: without --calls a recording has none of it."""
    return head.calls is not None and rings.names() <= _recorded(head.calls)


def _recorded(calls: str) -> frozenset[str]:
    try:
        return expr.parse(calls)
    except UsageError:
        return frozenset()


def lines(sources: Sources, wish: Wish) -> Iterator[str]:
    """What is not known, a sentence each."""
    yield from sources.verdict.lines
    ends = [one.end for one in sources.recordings if one.end and not one.end.continued]
    if lost := sum(end.lost for end in ends):
        yield f"{many(lost, 'call')} lost while it was recorded"
    if missed := sum(end.missed for end in ends):
        yield f"the kernel skipped isotrace's programs {many(missed, 'time')}"
    if births := sum(end.not_followed for end in ends):
        yield f"{many(births, 'birth')} of processes missed: what these did is not here"
    kinds = sources.folded.kinds
    if before := kinds.get("process", 0):
        yield f"{many(before, 'process')} ran before: what they had open and where they were is not here"
    if under_way := kinds.get("unfinished", 0):
        yield f"{many(under_way, 'call')} under way at the beginning or the end: how they ended is not here"
    yield from _rings(sources)
    yield from _not_recorded(sources, wish)
    yield from _unknown(sources.calls)
    yield from _failed(sources.calls)
    yield from _words(sources.calls)


def _rings(sources: Sources) -> Iterator[str]:
    """What is known of io_uring. Only recordings that were asked for its operations have them."""
    operations = sum(tally.count for asked, tally in sources.calls.items() if asked.act != asked.call)
    if operations:
        what = "files and addresses are learned, and rules on calls close io_uring"
        yield f"{many(operations, 'operation')} of io_uring: their {what}"
    used = any(asked.call in IO_URING for asked in sources.calls)
    if used and not all(map(_has_operations, sources.heads)):
        yield (
            "io_uring was used and what was asked of it was not recorded (--calls all,%io_uring): "
            "that is not learned, and rules on calls close it"
        )


def _not_recorded(sources: Sources, wish: Wish) -> Iterator[str]:
    if not all(head.descriptors for head in sources.heads):
        yield "it was recorded without -y: files are known by the words of callers, and protocols are not"
    if not wish.calls:
        yield "some calls were not recorded (--calls): there is no rule on calls"
    if not wish.files:
        yield "calls on files were not recorded: there is no rule on files"
    elif not wish.code:
        yield "which files were mapped as code is not known: there is no rule on executing"
    if not wish.addresses:
        yield "calls on sockets were not recorded: there is no rule on addresses"


def _unknown(calls: Mapping[Asked, Tally]) -> Iterator[str]:
    found: dict[str, int] = {}
    for asked, tally in calls.items():
        for why in asked.unknown:
            if why not in (NO_FILE, PROTECTED):
                found[why] = found.get(why, 0) + tally.count
    yield from (f"{many(count, 'call')} left out: {why}" for why, count in sorted(found.items()))


def _failed(calls: Mapping[Asked, Tally]) -> Iterator[str]:
    errors: dict[str, int] = {}
    for asked, tally in calls.items():
        if asked.missed:
            name = errno_name(asked.errno) or str(asked.errno)
            errors[name] = errors.get(name, 0) + tally.count
    if errors:
        named = ", ".join(
            f"{name} {count:,}" for name, count in sorted(errors.items(), key=lambda pair: -pair[1])[:_SHOWN]
        )
        yield f"{many(sum(errors.values()), 'call')} failed ({named}): what they were for is not allowed by that"


def _words(calls: Mapping[Asked, Tally]) -> Iterator[str]:
    words = sum(tally.count for asked, tally in calls.items() if asked.sure == "words")
    here = sum(tally.count for asked, tally in calls.items() if asked.sure == "here")
    if words:
        yield f"{many(words, 'call')} known by the caller's words: where links lead is not here"
    if here:
        yield f"{many(here, 'call')} known by links as they are on this machine now"
