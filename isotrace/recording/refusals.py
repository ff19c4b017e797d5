"""A refusal as a row of a recording, and back."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict
from typing import Any, get_args

import numpy as np

from isotrace import catalog
from isotrace.enforce import Answered, By, Enforced, Guarantees, Refused, Verdict
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
    if rule.action.kind == "ask":
        note |= {"error": Action(errno=rule.action.errno).name, "otherwise": rule.action.otherwise}
        note["answer"] = asdict(record.answer) if record.answer else None
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
        raise ValueError("a denial that does not say what denied it")
    event = batch.events[index]
    args = tuple(event["args"].tolist()[: int(said.get("registers", 6))])
    what = next((blob.data for blob in batch.blobs(index)), b"").rstrip(b"\0").decode("utf-8", "surrogateescape")
    number, moment = int(said["rule"]), int(event["time"]) + batch.wall
    record = Refused(
        moment, int(event["pid"]), int(event["tid"]), bytes(event["comm"]), said["call"],
        events.ABI_NAMES[event["abi"]], args, number, what, _answer(said.get("answer")),
    )  # fmt: skip
    rule = StandingRule(said["asked"], "", _action(said), said["group"])
    return record, Enforced(number, rule, said["mechanism"], _NO_GUARANTEES)


def _action(said: dict[str, Any]) -> Action:
    name = said["action"]
    if name == "kill":
        return Action("kill")
    if name == "ask":
        return Action("ask", _ERRNOS[said["error"]], "kill" if said["otherwise"] == "kill" else "deny")
    return Action("audit") if name == "audit" else Action("errno", _ERRNOS[name])


def _answer(said: object) -> Answered | None:
    """Raises ``ValueError`` for what is none."""
    if said is None:
        return None
    if not isinstance(said, dict) or said["verdict"] not in get_args(Verdict) or said["by"] not in get_args(By):
        raise ValueError("an answer that does not say what it was")
    waited = said["waited_ns"]
    if not isinstance(waited, int):
        raise ValueError("an answer that does not say how long it took")
    return Answered(said["verdict"], said["by"], str(said["who"]), waited, str(said["scope"]))
