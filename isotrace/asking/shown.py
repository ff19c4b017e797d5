"""A question as it is shown: in words, with the call as strace would print it; and as an object for programs.

Names, paths and arguments were written by those who ask: they are quoted.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from isotrace import catalog
from isotrace.asking.desk import Case
from isotrace.asking.lasting import Written
from isotrace.asking.things import Thing
from isotrace.asking.who import Details, details
from isotrace.decode.quote import as_written, bare_comm, comm, escape, quote
from isotrace.enforce import Question, Verdict
from isotrace.enforce.describe import plain
from isotrace.render.lines import Decoder
from isotrace.render.whereabouts import inside, where_object
from isotrace.sinks.refusals import arguments
from isotrace.trace import plan, unfinished, whereabouts
from isotrace.trace.plan import Slot
from isotrace.units import many

_STRINGS = 256  # bytes of a string or buffer that are shown
_DOING = {"r": "reads", "w": "writes or changes", "x": "executes"}
_KINDS = {
    "file": "{access} {name}",
    "files": "{access} files in {name}",
    "tree": "{access} what is below {name}",
    "address": "reaches {name}",
    "own address": "gives a socket the address {name}",
    "call": "calls {name}",
}


@dataclass(frozen=True)
class Words:
    """What a person reads: ``who``, the ``call``, ``what`` an answer covers, and ``rule``; each is a line of ASCII."""

    who: str
    call: str
    what: str
    rule: str
    family: str


def words(case: Case, target: Container[int] = ()) -> Words:
    """``target`` are the processes that parents are shown up to."""
    found, question = details(case.question.pid, target), case.question
    where = whereabouts.now(question.pid, question.pid)
    place = inside(where) if where else ""
    thread = f" thread {question.tid}" if question.tid != question.pid else ""
    argv = " ".join(comm(word) for word in found.argv[:32]) or "(no arguments)"
    who = f"{comm(question.comm)}  process {question.pid}{place}{thread} of {found.user}: {argv}"
    family = " < ".join(f"{comm(name)} {pid}" for pid, name in found.parents)
    program = escape(as_written(case.asker.program))
    if found.argv and program and program != comm(found.argv[0]):
        who += f" ({program})"  # what it calls itself is its own choice
    return Words(_cut(who), _cut(call(question)), _about(case), plain(case.rule.rule.title), family)


def doing(thing: Thing) -> str:
    """``reads /etc/passwd``: what an answer for longer than once covers."""
    access = " and ".join(_DOING[letter] for letter in thing.access)
    name = thing.name if thing.kind == "call" else quote(as_written(thing.name))
    return _KINDS[thing.kind].format(access=access, name=name)


def _about(case: Case) -> str:
    """What the question is about, all of it."""
    others = [quote(as_written(what)) if what else "what is not known" for what, _ in case.question.more]
    return " and ".join([doing(case.thing), *others[:3], *([f"{len(others) - 3} more"] if len(others) > 3 else [])])


def more(case: Case) -> str:
    """``and 49 more, of 3 processes``; "" where it is one call."""
    if case.waiting < 2:
        return ""
    return f"and {case.waiting - 1} more" + (f", of {many(case.processes, 'process')}" if case.processes > 1 else "")


def call(question: Question) -> str:
    """The call as strace would print it; where the thread is not in it any more, what was noted of it."""
    try:
        line = _as_strace(question)
    except (OSError, ValueError, LookupError):
        line = ""
    if line:
        return line
    name = question.call if question.abi in ("x86_64", "arm64") else f"{question.call}@{question.abi}"
    registers = ", ".join(f"{key}={value:#x}" for key, value in arguments(question))
    return f"{name}({quote(as_written(question.what)) if question.what else registers})"


def _as_strace(question: Question) -> str:
    known = catalog.by_name(question.abi).get(question.call)
    slot = plan.slot_of(question.abi, known.number) if known else -1
    if slot not in _slots():
        return ""
    batch = unfinished.batch([question.pid], {slot: _slots()[slot]}, {question.tid})
    found = [text for decoded in Decoder(plan.all_calls()).decode(batch) for text in decoded.texts()]
    same = len(found) == 1 and batch.events[0]["args"].tolist()[: len(question.args)] == list(question.args)
    return found[0] if same else ""


@cache
def _slots() -> dict[int, Slot]:
    return plan.slots_for(None, _STRINGS)


def as_object(case: Case, choices: Mapping[Verdict, Sequence[Written]], target: Container[int]) -> dict[str, Any]:
    """The question for a program, but for the time that is left."""
    question, found = case.question, details(case.question.pid, target)
    return {
        "question": case.number,
        "time_ns": question.time_ns,
        "pid": question.pid,
        "tid": question.tid,
        "comm": bare_comm(question.comm),
        "program": escape(as_written(case.asker.program)) or None,
        **_described(found),
        **where_object(whereabouts.now(question.pid, question.tid), question.pid, question.tid),
        "call": question.call,
        "abi": question.abi,
        "args": [{"name": name, "raw": value} for name, value in arguments(question)],
        "line": call(question),
        "what": escape(as_written(question.what)) or None,
        "access": question.access or None,
        "rule": escape(as_written(case.rule.rule.title)),
        "group": case.rule.rule.group or None,
        "waiting": case.waiting,
        "processes": case.processes,
        "objects": [escape(as_written(one)) for one in case.objects],
        "also": [escape(as_written(what)) for what, _ in question.more],
        "covers": doing(case.thing),
        "always": {verdict: [one.text for one in found] for verdict, found in choices.items()},
        "default": case.rule.action.otherwise,
    }


def _described(found: Details) -> dict[str, Any]:
    parents = [{"pid": pid, "comm": escape(name)} for pid, name in found.parents]
    return {"argv": [escape(word) for word in found.argv], "user": found.user, "parents": parents}


def _cut(line: str) -> str:
    return line if len(line) <= 2000 else line[:2000] + "..."
