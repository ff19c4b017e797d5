"""One JSON object a line; the keys are documented in docs/json.md and stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

import orjson

from isotrace.catalog.model import Syscall
from isotrace.catalog.rings import PREFIX
from isotrace.decode.errnos import errno_name
from isotrace.decode.quote import bare_comm
from isotrace.render import stacks as user_stacks
from isotrace.render.columns import OMITTED
from isotrace.render.lines import Decoded
from isotrace.render.rings import UNKNOWN, Note, notes
from isotrace.render.whereabouts import where_object
from isotrace.sinks import refusals
from isotrace.sinks.formats import Beside
from isotrace.sinks.output import Output
from isotrace.trace import events, whereabouts
from isotrace.trace.events import Batch

_TYPES = {
    **{events.CALL: "call", events.UNFINISHED: "unfinished", events.TASK_EXIT: "exit"},
    **{events.SIGNAL: "signal", events.LOST: "lost"},
}


class Json:
    """Lines of JSON with raw and decoded values."""

    def __init__(self, output: Output, calls: Mapping[int, Syscall], beside: Beside | None = None) -> None:
        self._output, beside = output, beside or Beside()
        self._decoder, self._known = beside.decoder(calls), calls
        self._refusals, self._stacks, self._containers = refusals.Json(), beside.stacks, beside.containers

    def write(self, batch: Batch) -> None:
        """Write the objects of a batch in the order of its records."""
        heads = self._heads(batch)
        found: list[dict[str, Any] | None] = [None] * len(batch)
        for decoded in self._decoder.decode(batch):
            for index, call in zip(decoded.rows.index, _calls(decoded), strict=True):
                found[index] = heads[index] | call
            if self._stacks:
                for index, blobs in zip(decoded.rows.index, decoded.rows.blobs, strict=True):
                    found[index] = (found[index] or {}) | user_stacks.objects(blobs)
        for index, text in self._decoder.notices(batch):
            if heads[index]["type"] == "lost":
                lost = self._known.get(int(batch.events["slot"][index]))
                heads[index]["call"] = lost.name if lost else None
            found[index] = heads[index] | {"result": int(batch.events["result"][index]), "value": text}
        lines = [orjson.dumps(entry) + b"\n" if entry else b"" for entry in found]
        for index, (record, enforced) in batch.refused.items():
            lines[index] = self._refusals.line(record, enforced, 1, False)
        self._output.write(b"".join(lines))

    def flush(self) -> None:
        """Every batch is written as it comes."""

    def complete(self) -> None:
        """Nothing was kept back."""

    def _heads(self, batch: Batch) -> list[dict[str, Any]]:
        names = ("kind", "time", "pid", "tid", "ppid", "uid", "comm")
        columns = [batch.events[name].tolist() for name in names]
        heads: list[dict[str, Any]] = [
            {
                "type": _TYPES.get(kind, ""),
                "time_ns": moment + batch.wall,
                "pid": pid,
                "tid": tid,
                "ppid": ppid,
                "uid": uid,
                "comm": bare_comm(comm),
            }
            for kind, moment, pid, tid, ppid, uid, comm in zip(*columns, strict=True)
        ]
        if self._containers:
            for head, where in zip(heads, whereabouts.of(batch), strict=True):
                head |= where_object(where, head["pid"], head["tid"])
        return heads


def _calls(decoded: Decoded) -> Iterator[dict[str, Any]]:
    """What the objects of a group have beyond their heads."""
    rows = decoded.rows
    unfinished = [kind == events.UNFINISHED for kind in rows.field("kind")]
    columns = [rows.field(name) for name in ("abi", "number", "duration")]
    texts = zip(decoded.name, decoded.results, _arguments(decoded), strict=True)
    operations = _operations(decoded)
    for (abi, number, duration), (name, value, args), result, failed, waits, operation in zip(
        zip(*columns, strict=True), texts, rows.results, rows.failed, unfinished, operations, strict=True
    ):
        waits = waits or (operation is not None and operation.untold)
        yield {
            "abi": events.ABI_NAMES[abi],
            "call": name,
            "number": number,
            "args": args,
            "result": None if waits else result,
            "value": None if waits else value,
            "error": errno_name(-result) if failed else None,
            "duration_ns": duration or None,
        } | (_beside(operation) if operation else {})


def _operations(decoded: Decoded) -> Iterable[Note | None]:
    """What is known beside arguments and result where these are operations of io_uring."""
    of_rings = decoded.call is not None and decoded.call.name.startswith(PREFIX)
    return notes(decoded.rows) if of_rings else repeat(None, len(decoded.rows))


def _beside(operation: Note) -> dict[str, Any]:
    return {
        "io_uring": {
            "user_data": operation.user_data,
            "opcode": None if operation.opcode == 0xFF else operation.opcode,
            "flags": operation.flag_names(),
            "completion": operation.completion_names(),
            "buffer": operation.buffer,
            "sqpoll": operation.polled,
        }
    }


def _arguments(decoded: Decoded) -> Iterator[list[dict[str, Any]]]:
    """The arguments of each record, without those that are not shown."""
    rows = decoded.rows
    names = [arg.name for arg in decoded.call.args] if decoded.call else [f"arg{i}" for i in range(6)]
    columns = [
        [
            {"name": name, "raw": None if text == UNKNOWN else raw, "value": text} if text != OMITTED else None
            for raw, text in zip(raws, texts, strict=True)
        ]
        for name, raws, texts in zip(names, map(rows.arg, range(6)), decoded.args, strict=False)
    ]
    if not columns:
        return repeat([], len(rows))
    return ([entry for entry in row if entry] for row in zip(*columns, strict=True))
