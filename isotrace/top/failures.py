"""Failed calls with their arguments, as the kernel noted the latest of each kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from isotrace.backends.counts import unpack_keys
from isotrace.decode.errnos import result_text
from isotrace.render.lines import Decoder
from isotrace.top.model import Snapshot
from isotrace.trace import events
from isotrace.trace.events import Batch
from isotrace.trace.plan import all_calls
from isotrace.trace.ring import batch_of, framed

_FAULT = re.compile(r"(0x[0-9a-f]+)<fault>")
_TEXT = 64  # ERROR_TEXT of bpf/counts.h


@cache
def _decoder() -> Decoder:
    return Decoder(all_calls())


def failure_text(slot: int, number: int, latest: np.void, with_result: bool = True) -> str:
    """``openat(AT_FDCWD, "/nowhere", O_RDONLY) = -1 ENOENT (…)``; memory other than a path is shown by its address."""
    batch = _record(slot, number, latest)
    texts = [text for group in _decoder().decode(batch) for text in group.texts()]
    text = without_faults(texts[0])
    return f"{text} = {result_text(number)}" if with_result else text


def without_faults(text: str) -> str:
    """Memory that nobody tried to read is no fault: its address alone stays."""
    return _FAULT.sub(r"\1", text)


def _record(slot: int, number: int, latest: np.void) -> Batch:
    call = all_calls().get(slot)
    event = np.zeros(1, dtype=events.EVENT)
    event["slot"], event["result"], event["kind"], event["args"] = slot, -number, events.CALL, latest["args"]
    event["abi"] = events.I386 if slot >= events.SLOT_I386 else events.X86_64
    event["number"] = call.number if call else slot % events.SLOT_I386
    blob = b""
    position = [i for i, arg in enumerate(call.args) if arg.kind == "path"] if call else []
    if position and latest["text"]:
        blob = _path(position[0], bytes(latest["text"]))
        event["blobs"] = 1
    data = np.frombuffer(framed(event.tobytes() + blob), dtype=np.uint8)
    return batch_of(data, np.zeros(1, dtype=np.int64))


def _path(arg: int, text: bytes) -> bytes:
    path = text.partition(b"\0")[0]
    cut = len(path) >= _TEXT - 1
    data = path if cut else path + b"\0"
    return events.pack_blob(arg, events.CUT if cut else events.WHOLE, 0, data)


def recent(snapshot: Snapshot, owner: int | None, slot: int | None, most: int = 20) -> Iterator[tuple[int, str]]:
    """(count, text) of the failures of an owner, a call, or both; the latest first."""
    errors = snapshot.errors
    if not len(errors):
        return
    owners, slots, numbers = unpack_keys(errors.keys)
    which: npt.NDArray[np.bool_] = np.ones(len(errors), dtype=bool)
    if owner is not None:
        which &= owners == owner
    if slot is not None:
        which &= slots == slot
    found = np.flatnonzero(which)
    for index in found[np.argsort(errors.latest["when"][found])[::-1]][:most].tolist():
        text = failure_text(int(slots[index]), int(numbers[index]), errors.latest[index])
        yield int(errors.counts[index]), text
