"""What strace adds behind the result of a few calls: which descriptors are ready, how much time was left."""

from __future__ import annotations

from collections.abc import Callable

from isotrace.catalog.model import Syscall
from isotrace.decode.structs import poll_result
from isotrace.render.rows import Column, Rows
from isotrace.trace.events import FAULT

Note = Callable[[Syscall, Rows, Column], Column]


def _poll(_call: Syscall, rows: Rows, texts: Column) -> Column:
    """``1 ([{fd=3, revents=POLLIN}])`` and ``0 (Timeout)``."""
    found = []
    for blob, result, text in zip(rows.memory(0), rows.results, texts, strict=True):
        if result == 0:
            text = "0 (Timeout)"
        elif result > 0 and blob is not None and blob.state != FAULT:
            text = f"{result} {poll_result(blob.data, len(blob.data) // 8)}"
        found.append(text)
    return found


def _select(_call: Syscall, rows: Rows, texts: Column) -> Column:
    return ["0 (Timeout)" if result == 0 else text for result, text in zip(rows.results, texts, strict=True)]


NOTES: dict[str, Note] = {
    "poll": _poll,
    "ppoll": _poll,
    "select": _select,
    "pselect6": _select,
    "_newselect": _select,
}
