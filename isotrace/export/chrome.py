"""Chrome's trace events as JSON: https://ui.perfetto.dev and chrome://tracing read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from isotrace.export.files import Target
from isotrace.export.slices import Event, Events, Instant, Slice, Thread
from isotrace.recording.reader import Recording


def write(recordings: Sequence[Recording], to: str | None) -> int:
    """Returns how many calls were written."""
    found = Events(recordings)
    with Target(to) as target:
        target.write(b'{"displayTimeUnit":"ns","traceEvents":[\n')
        before = b""
        for event in found:
            for one in _objects(event):
                target.write(before + orjson.dumps(one))
                before = b",\n"
        target.write(b"\n]}\n")
    return found.calls


def _objects(event: Event) -> Iterator[dict[str, Any]]:
    place = {"pid": event.pid, "tid": event.tid}
    if isinstance(event, Thread):
        yield {"ph": "M", "name": "thread_name", **place, "args": {"name": event.name}}
        if event.pid == event.tid:
            yield {"ph": "M", "name": "process_name", **place, "args": {"name": event.name}}
    elif isinstance(event, Instant):
        yield {"ph": "i", "s": "t", "name": event.name, "cat": "event", "ts": event.at / 1000, **place}
    else:
        yield from _slice(event, place)


def _slice(event: Slice, place: dict[str, int]) -> Iterator[dict[str, Any]]:
    args = {"call": event.text, "result": event.result}
    moment = event.began / 1000
    category = "failed" if event.failed else "call"
    yield {
        "ph": "X",
        "name": event.name,
        "cat": category,
        "ts": moment,
        "dur": event.spent / 1000,
        **place,
        "args": args,
    }
    if event.child:
        yield {"ph": "s", "name": "fork", "cat": "fork", "id": event.child, "ts": moment, **place}
    if event.born:
        yield {"ph": "f", "bp": "e", "name": "fork", "cat": "fork", "id": event.pid, "ts": moment, **place}
