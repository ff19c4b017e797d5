"""Refusals as lines, for people and as JSON. Repeated ones are folded: the first is shown at once, the rest as a count."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import orjson

from isotrace.catalog import multiplexed
from isotrace.containers.whose import whose
from isotrace.decode.quote import as_written, bare_comm, comm, escape_text, quote
from isotrace.enforce import Answered, Counts, Enforced, Question, Refused
from isotrace.enforce.describe import plain
from isotrace.policy.model import Action, StandingRule
from isotrace.render.stamps import stamp
from isotrace.render.whereabouts import inside, where_object
from isotrace.sinks.output import Output
from isotrace.trace import whereabouts
from isotrace.trace.whereabouts import Whereabouts

_FOLD = 1.0  # seconds for which equal refusals become one line
_KINDS_MAX = 4096  # different refusals that are kept apart at a time

_Key = tuple[int, bytes, str, str, int, str, tuple[str, str, str], Whereabouts | None]


class Style(Protocol):
    """How lines look; ``count`` is how many refusals a line stands for."""

    def line(self, record: Refused, enforced: Enforced, count: int, repeated: bool) -> bytes:
        """One line. ``repeated``: it counts ``count`` more like one that was shown before."""

    def summary(self, enforced: Sequence[Enforced], counts: Mapping[str, Counts]) -> bytes:
        """The end of the output."""


@dataclass
class _Seen:
    record: Refused
    since: float
    more: int = 0


class RefusalSink:
    """Writes records in ``style``. What happened between two lines about the same thing is in the second one's count.

    ``containers``: with where the threads are when their records come.
    """

    def __init__(self, output: Output, enforced: Iterable[Enforced], style: Style, containers: bool = False) -> None:
        self._output, self._style, self._containers = output, style, containers
        self.rules = {one.number: one for one in enforced}
        self._seen: dict[_Key, _Seen] = {}
        if containers:
            whose()  # what is there before is no container's that is started later

    def write(self, records: Sequence[Refused]) -> None:
        """Take records as they come."""
        lines = []
        for record in records:
            if self._containers:
                record = replace(record, where=whereabouts.now(record.pid, record.tid))
            ended = (record.answer.verdict, record.answer.by, record.answer.who) if record.answer else ("", "", "")
            key = (record.pid, record.comm, record.call, record.abi, record.rule, record.what, ended, record.where)
            if seen := self._seen.get(key):
                seen.record, seen.more = record, seen.more + 1
            else:
                self._seen[key] = _Seen(record, time.monotonic())
                lines.append(self._line(record, 1, False))
        self._output.write(b"".join(lines))
        self.tick(everything=len(self._seen) > _KINDS_MAX)

    def tick(self, everything: bool = False) -> None:
        """Show what was folded for long enough, or ``everything``."""
        due = time.monotonic() - _FOLD
        lines = []
        for key, seen in list(self._seen.items()):
            if everything or seen.since <= due:
                if seen.more:
                    lines.append(self._line(seen.record, seen.more, True))
                    self._seen[key] = _Seen(seen.record, time.monotonic())
                if everything or not seen.more:
                    del self._seen[key]
        if lines:
            self._output.write(b"".join(lines))

    def finish(self, counts: Mapping[str, Counts]) -> None:
        """Show what is left, and the end."""
        self.tick(everything=True)
        self._output.write(self._style.summary(list(self.rules.values()), counts))

    def _line(self, record: Refused, count: int, repeated: bool) -> bytes:
        return self._style.line(record, self.rules[record.rule], count, repeated)


def arguments(record: Refused | Question) -> list[tuple[str, int]]:
    """The registers that the call uses, by name."""
    known = multiplexed.known(record.call, record.abi)
    return [(arg.name, value) for arg, value in zip(known.args if known else (), record.args, strict=False)]


class Lines:
    """``12:00:01.123456 1234 cat  openat(dfd=0xffffff9c, …) = -1 EPERM  (deny open)``. ``containers``: with where
    threads are.
    """

    def __init__(self, containers: bool = False) -> None:
        self._containers = containers

    def line(self, record: Refused, enforced: Enforced, count: int, repeated: bool) -> bytes:
        """One line of plain ASCII."""
        more = f"  {count} more" if repeated else ""
        who = f"{record.tid}{inside(record.where) if self._containers else ''} {comm(record.comm)}"
        text = f"{stamp(record.time_ns)} {who}  {self.said(record, enforced)}{more}\n"
        return text.encode("ascii", "backslashreplace")

    def said(self, record: Refused, enforced: Enforced) -> str:
        """Such a line without who and when."""
        shown = quote(as_written(record.what)) if record.what else self._registers(record)
        call = record.call if record.abi in ("x86_64", "arm64") else f"{record.call}@{record.abi}"
        rule = plain(f"{enforced.rule.group}: {enforced.rule.title}" if enforced.rule.group else enforced.rule.title)
        said = f": {answered(record.answer)}" if enforced.action.kind == "ask" else ""
        return f"{call}({shown}) {_outcome(record, enforced)}  ({rule}{said})"

    @staticmethod
    def _registers(record: Refused) -> str:
        return ", ".join(f"{name}={value:#x}" for name, value in arguments(record))

    def summary(self, enforced: Sequence[Enforced], counts: Mapping[str, Counts]) -> bytes:
        """Nothing: people read the counts on standard error."""
        del enforced, counts
        return b""


def _outcome(record: Refused, enforced: Enforced) -> str:
    action, kind = enforced.action, str(enforced.action.kind)
    if kind == "ask":
        kind = record.answer.verdict if record.answer else action.otherwise
    done = {"kill": "killed", "audit": "allowed", "allow": "allowed"}
    return done.get(kind) or f"= -1 {Action(errno=action.errno).name}"


def answered(answer: Answered | None) -> str:
    """How a question ended: ``allowed by root after 2.1 s, for this process``, or why nobody was asked."""
    if answer is None:
        return "could not wait for an answer"
    if answer.by in UNANSWERED:
        return UNANSWERED[answer.by].format(seconds=answer.waited_ns / 1e9)
    by = f" by {plain(answer.who)}" if answer.who else ""
    scope = {"once": "", "process": ", for the process", "program": ", for the program"}.get(
        answer.scope, f", {'' if answer.scope == 'always' else 'for '}{answer.scope}"
    )
    done = {"allow": "allowed", "deny": "denied", "kill": "killed"}[answer.verdict]
    if answer.by == "earlier":
        return f"{done} by an earlier answer{f' of {plain(answer.who)}' if answer.who else ''}{scope}"
    return f"{done}{by} after {answer.waited_ns / 1e9:.1f} s{scope}"


#: What is said of questions that nobody has answered.
UNANSWERED: dict[str, str] = {
    "nobody": "not answered in {seconds:.1f} s",
    "limit": "not asked: too many questions wait",
    "end": "not answered before isotrace ended",
}


class Json:
    """One object a line: ``refused``, ``repeated`` (``count`` more like it), and at the end ``summary``.

    ``containers``: with where threads are, null what is not known.
    """

    def __init__(self, containers: bool = False) -> None:
        self._containers = containers

    def line(self, record: Refused, enforced: Enforced, count: int, repeated: bool) -> bytes:
        """One object."""
        found = {
            "type": "repeated" if repeated else "refused",
            "time_ns": record.time_ns,
            "pid": record.pid,
            "tid": record.tid,
            "comm": bare_comm(record.comm),
            **(where_object(record.where, record.pid, record.tid) if self._containers else {}),
            "abi": record.abi,
            "call": record.call,
            "args": [{"name": name, "raw": value} for name, value in arguments(record)],
            "what": escape_text(record.what) or None,
            **_rule(enforced),
            **({"answer": _answer(record.answer)} if enforced.action.kind == "ask" else {}),
            "count": count,
        }
        return orjson.dumps(found) + b"\n"

    def summary(self, enforced: Sequence[Enforced], counts: Mapping[str, Counts]) -> bytes:
        """The counts by rule."""
        rules = [_sums(one, counts) for one in enforced if not isinstance(one.rule, StandingRule)]
        beside = [_sums(one, counts) for one in enforced if isinstance(one.rule, StandingRule)]
        names = ("lost", "missed", "not_followed")
        sums = {name: sum(getattr(each, name) for each in counts.values()) for name in names}
        return orjson.dumps({"type": "summary", "rules": rules, "standing": beside, **sums}) + b"\n"


def _answer(answer: Answered | None) -> dict[str, object] | None:
    """None where the call could not wait."""
    if answer is None:
        return None
    return {
        "verdict": answer.verdict,
        "by": answer.by,
        "who": escape_text(answer.who) or None,
        "waited_ns": answer.waited_ns,
        "scope": answer.scope or None,
    }


def _sums(enforced: Enforced, counts: Mapping[str, Counts]) -> dict[str, object]:
    """A rule and what came of it."""
    found = counts[enforced.mechanism]
    unknown = 0 if found.counted else None
    tries, hits = found.tries.get(enforced.number, unknown), found.hits.get(enforced.number, unknown)
    return {**_rule(enforced), "mechanism": enforced.mechanism, "tries": tries, "hits": hits}


def _rule(enforced: Enforced) -> dict[str, object]:
    return {
        "rule": enforced.number,
        "asked": escape_text(enforced.rule.title),
        "group": enforced.rule.group or None,
        "action": enforced.action.name,
    }
