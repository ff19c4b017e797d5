"""A refusal as a row of a recording, and back."""

from __future__ import annotations

import errno
import json
from typing import Any

import numpy as np

from isotrace import catalog
from isotrace.enforce import Enforced, Guarantees, Refused
from isotrace.policy.model import Action, StandingRule
from isotrace.trace import events, plan
from isotrace.trace.events import Batch

_WORDS = ("asked", "group", "action", "mechanism", "call")
_ERRNOS = {name: number for number, name in errno.errorcode.items()}


_NO_GUARANTEES = Guarantees(toctou_safe=False, io_uring="not concerned", compat=False)


def row(record: Refused, rule: Enforced) -> dict[str, Any]:
    """What the row has: the registers, the path or address as a capture, and the rule in its note."""
    known = catalog.by_name(record.abi).get(record.call)
    number = known.number if known else 0
    note = {
        "rule": record.rule,
        "asked": rule.rule.title,
        "group": rule.rule.group,
        "action": rule.action.name,
        "mechanism": rule.mechanism,
        "call": record.call,
        "registers": len(record.args),
    }
    what = events.pack_blob(0, events.WHOLE, 0, record.what.encode("utf-8", "surrogateescape") + b"\0")
    values = np.array([*record.args, *[0] * 6][:6], dtype=np.uint64)
    return {
        "note": json.dumps(note), "memory": what, "pid": record.pid, "tid": record.tid, "comm": record.comm,
        "abi": events.ABI_NAMES.index(record.abi), "number": number, "args": values, "blobs": 1,
        "slot": plan.slot_of(record.abi, number) if known else events.SLOT_UNKNOWN,
    }  # fmt: skip


def back(batch: Batch, index: int, note: str | None) -> tuple[Refused, Enforced]:
    """The refusal that was row ``index``, its rule in words. Raises ``ValueError`` or ``LookupError``."""
    said = json.loads(note or "")
    if not isinstance(said, dict) or not all(isinstance(said[name], str) for name in _WORDS):
        raise ValueError("a refusal that does not say what refused it")
    event = batch.events[index]
    args = tuple(event["args"].tolist()[: int(said.get("registers", 6))])
    what = next((blob.data for blob in batch.blobs(index)), b"").rstrip(b"\0").decode("utf-8", "surrogateescape")
    number, moment = int(said["rule"]), int(event["time"]) + batch.wall
    record = Refused(
        moment, int(event["pid"]), int(event["tid"]), bytes(event["comm"]), said["call"],
        events.ABI_NAMES[event["abi"]], args, number, what,
    )  # fmt: skip
    rule = StandingRule(said["asked"], "", _action(said["action"]), said["group"])
    return record, Enforced(number, rule, said["mechanism"], _NO_GUARANTEES)


def _action(name: str) -> Action:
    if name == "kill":
        return Action("kill")
    if name == "ask":
        return Action("ask")
    return Action("audit") if name == "audit" else Action("errno", _ERRNOS[name])
