"""What strace adds behind the result of a few calls: which descriptors are ready, how much time was left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from isotrace.catalog.model import Syscall
from isotrace.decode.scalars import s32
from isotrace.decode.structs import STRUCTS, fdset, poll_result
from isotrace.render.rows import Column, Rows
from isotrace.trace.events import FAULT, Blob

#: Of a call whose arguments are shown in full, or not.
Note = Callable[[Syscall, Rows, Column, bool], Column]


def _poll(call: Syscall, rows: Rows, texts: Column, full: bool) -> Column:
    """``1 ([{fd=3, revents=POLLIN}])`` and ``0 (Timeout)``; of ppoll also the time that was left."""
    found = []
    for blob, left, result, text in zip(rows.memory(0), _left(call, rows), rows.results, texts, strict=True):
        if result == 0:
            text = "0 (Timeout)"
        elif result > 0 and blob is not None and blob.state != FAULT:
            ready = poll_result(blob.data, len(blob.data) // 8, None if full else 32)
            text = f"{result} {ready[:-1]}{', ' if left else ''}{left})"
        found.append(text)
    return found


def _left(call: Syscall, rows: Rows) -> list[str]:
    """``left {tv_sec=0, tv_nsec=5}`` for each record: what has become of the time that the call was given."""
    place = next((i for i, arg in enumerate(call.args) if arg.kind == "was" and arg.params[0].startswith("time")), None)
    if place is None:
        return [""] * len(rows)
    known = STRUCTS[call.args[place].params[0]]
    return [
        f"left {known.decode(blob.data)}" if blob is not None and len(blob.data) == known.size else ""
        for blob in rows.memory(place)
    ]


def _select(call: Syscall, rows: Rows, texts: Column, full: bool) -> Column:
    """``2 (in [3 5], left {tv_sec=0, tv_usec=9})`` and ``0 (Timeout)``."""
    found = []
    sets = zip(*(rows.memory(place) for place in (1, 2, 3)), strict=True)
    for blobs, nfds, left, result, text in zip(sets, rows.arg(0), _left(call, rows), rows.results, texts, strict=True):
        if result == 0:
            text = "0 (Timeout)"
        elif result > 0:
            parts = [*_ready(blobs, s32(nfds), result), *([left] if left else [])]
            text = f"{result} ({', '.join(parts)})"
        found.append(text)
    return found


def _ready(sets: Iterable[Blob | None], nfds: int, count: int) -> Iterator[str]:
    """``in [3 5]``, ``out [4]``, ``except […]``: at most ``count`` descriptors in all."""
    for word, blob in zip(("in", "out", "except"), sets, strict=True):
        if blob is None or blob.state == FAULT:
            continue
        members = fdset(blob.data, nfds)[1:-1].split()[:count]
        count -= len(members)
        if members:
            yield f"{word} [{' '.join(members)}]"


def _messages(call: Syscall, rows: Rows, texts: Column, full: bool) -> Column:
    """``1 (left {tv_sec=0, tv_nsec=9})`` and ``0 (Timeout)``, as of recvmmsg."""
    return [
        "0 (Timeout)" if result == 0 else f"{text} ({left})" if result > 0 and left else text
        for result, left, text in zip(rows.results, _left(call, rows), texts, strict=True)
    ]


NOTES: dict[str, Note] = {
    "poll": _poll,
    "ppoll": _poll,
    "ppoll_time64": _poll,
    "select": _select,
    "pselect6": _select,
    "pselect6_time64": _select,
    "_newselect": _select,
    "recvmmsg": _messages,
    "recvmmsg_time64": _messages,
}
