"""A refusal as a row of a recording."""

from __future__ import annotations

import json

import numpy as np

from isotrace import catalog
from isotrace.enforce import Held, Refused
from isotrace.recording import encode
from isotrace.recording.encode import Piece
from isotrace.trace import events, plan
from isotrace.trace.events import BLOB


def row(record: Refused, rule: Held, wall: int) -> Piece:
    """The row: the registers, the path or address as a capture, and the rule in its note."""
    known = catalog.by_name(record.abi).get(record.call)
    number = known.number if known else 0
    note = {
        "rule": record.rule,
        "asked": rule.rule.title,
        "group": rule.rule.group,
        "action": rule.action.name,
        "mechanism": rule.mechanism,
        "call": record.call,
    }
    what = record.what.encode("utf-8", "surrogateescape")
    values = np.array([*record.args, *[0] * 6][:6], dtype=np.uint64)
    return encode.row_of(
        events.REFUSED, wall, json.dumps(note), _capture(what), time=max(0, record.time_ns - wall), pid=record.pid,
        tid=record.tid, comm=record.comm, abi=events.ABI_NAMES.index(record.abi), number=number,
        slot=plan.slot_of(record.abi, number) if known else events.SLOT_UNKNOWN, args=values, blobs=1,
    )  # fmt: skip


def _capture(what: bytes) -> bytes:
    head = np.zeros(1, dtype=BLOB)
    head["state"], head["size"] = events.WHOLE, len(what) + 1
    return head.tobytes() + (what + b"\0").ljust((len(what) + 8) & ~7, b"\0")
