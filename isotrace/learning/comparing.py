"""What a run did that another did not: what is new, by how alarming it is. Noise is taken away as in learning."""

from __future__ import annotations

import os
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field

import orjson

from isotrace.decode.errnos import errno_name
from isotrace.decode.quote import comm, escape, escape_text
from isotrace.learning import shapes
from isotrace.learning.base import base
from isotrace.learning.folding import At, Tally
from isotrace.learning.requests import Asked, shown
from isotrace.learning.rules import address_word
from isotrace.learning.sources import Sources
from isotrace.policy import CallRequest, NetRequest, PathRequest
from isotrace.policy.decide import Request, SocketRequest

#: What can be new, the most alarming first → its heading.
KINDS = {
    "secrets": "files that keep secrets, read or looked for",
    "network": "addresses",
    "exec": "programs",
    "writes": "files written, made, removed or changed",
    "code": "files mapped as code",
    "reads": "files read",
    "sockets": "kinds of sockets",
    "calls": "calls",
    "errors": "errors",
}
_NAMES = 5


@dataclass
class New:
    """Something that a run did: ``what`` is its normal form, ``names`` are files there; ``failed``: it came to nothing."""

    kind: str
    what: str
    count: int = 0
    comms: dict[bytes, int] = field(default_factory=dict)
    first: At | None = None
    failed: bool = True
    names: list[str] = field(default_factory=list)


def facts(calls: Mapping[Asked, Tally], momentary: Container[str] = ()) -> dict[tuple[str, str], New]:
    """All that a run did, by kind and normal form; ``momentary`` are files that it made and removed."""
    found: dict[tuple[str, str], New] = {}
    for asked, tally in calls.items():
        for request in (*asked.requests, *asked.missed):
            for kind, what in _facts(asked, request, momentary):
                _add(found, kind, what, asked, tally, request in asked.missed)
        if asked.act != asked.call:
            _add(found, "calls", asked.call, asked, tally, False)
        if asked.errno and asked.call != "?":
            name = errno_name(asked.errno) or str(asked.errno)
            _add(found, "errors", f"{asked.call} {name}", asked, tally, False)
    return found


def _add(found: dict[tuple[str, str], New], kind: str, what: str, asked: Asked, tally: Tally, failed: bool) -> None:
    one = found.setdefault((kind, what), New(kind, what))
    one.count += tally.count
    one.comms[asked.comm] = one.comms.get(asked.comm, 0) + tally.count
    one.first = min((at for at in (one.first, *tally.first[:1]) if at is not None), default=None)
    one.failed = one.failed and failed


def _facts(asked: Asked, request: Request, momentary: Container[str]) -> Iterator[tuple[str, str]]:
    if isinstance(request, CallRequest):
        yield "calls", asked.call if asked.abi == "x86_64" else f"{asked.call} ({asked.abi})"
    elif isinstance(request, SocketRequest):
        yield "sockets", shown(request)
    elif isinstance(request, NetRequest):
        word = address_word(request)
        if word and word not in {rule.asked for rule, _ in base().addresses}:
            yield "network", word if request.outward else f"{word} (its own)"
    else:
        yield from _of_file(asked, request, momentary)


def _of_file(asked: Asked, request: PathRequest, momentary: Container[str]) -> Iterator[tuple[str, str]]:
    what = str(shapes.pattern(request.path, momentary))
    if base().secret(request.path):
        yield "secrets", what
        return
    kinds = {"r": "reads", "w": "writes", "x": "exec" if asked.act.startswith("exec") else "code"}
    for letter in sorted(request.access):
        moved = letter != "w" and asked.act.startswith(("rename", "link"))  # what that asks for beside, it does not do
        if not moved and base().file(request.path, letter) is None:
            yield kinds[letter], what


def compare(before: Sources, after: Sources, only: Collection[str] = ()) -> list[New]:
    """What is new, the most alarming first; files of one directory are one."""
    known, found = facts(before.calls, before.momentary), facts(after.calls, after.momentary)
    new = [one for key, one in found.items() if key not in known and (not only or one.kind in only)]
    order = list(KINDS)
    return sorted(_by_directory(new), key=lambda one: (order.index(one.kind), one.failed, one.first or At(0, 0)))


def _by_directory(new: list[New]) -> Iterator[New]:
    found: dict[tuple[str, str, bool], list[New]] = {}
    for one in new:
        if one.kind in ("writes", "reads", "code"):
            found.setdefault((one.kind, os.path.dirname(one.what), one.failed), []).append(one)
        else:
            yield one
    for (kind, directory, failed), several in found.items():
        if len(several) == 1:
            yield several[0]
            continue
        whole = New(kind, f"{directory.rstrip('/')}/", failed=failed)
        for one in several:
            whole.count += one.count
            whole.first = min(at for at in (whole.first, one.first) if at is not None)
            whole.names.append(os.path.basename(one.what))
            for name, count in one.comms.items():
                whole.comms[name] = whole.comms.get(name, 0) + count
        yield whole


def lines(sources: Sources, new: list[New]) -> Iterator[str]:
    """A heading for each kind, and a line for each thing."""
    heading = ""
    for one in new:
        if one.kind != heading:
            heading = one.kind
            yield f"{heading}: {KINDS[heading]}"
        what = escape_text(one.what)
        if one.names:
            names = ", ".join(map(escape_text, sorted(one.names)[:_NAMES])) + (
                ", ..." if len(one.names) > _NAMES else ""
            )
            what = f"{what}  {len(one.names)} files: {names}"
        tried = ", which failed" if one.failed else ""
        who = ", ".join(comm(name) for name in sorted(one.comms, key=lambda name: -one.comms[name])[:3])
        first = f"; first {sources.name(one.first)}" if one.first else ""
        yield f"  {what}  ({one.count:,} call{'s' * (one.count != 1)} by {who}{tried}{first})"


def objects(sources: Sources, new: list[New]) -> Iterator[bytes]:
    """The same as JSON: an object for each thing."""
    for one in new:
        first = one.first
        yield orjson.dumps(
            {
                "kind": one.kind,
                "what": escape_text(one.what),
                "files": [escape_text(name) for name in sorted(one.names)] or None,
                "count": one.count,
                "failed": one.failed,
                "comms": {escape(name): count for name, count in one.comms.items()},
                "first": {"file": sources.recordings[first.recording].path, "row": first.row + 1} if first else None,
            }
        )
