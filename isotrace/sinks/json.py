"""One JSON object a line; the keys are documented in docs/json.md and stay as they are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson

from isotrace import events
from isotrace.catalog.model import Syscall
from isotrace.decode.errnos import errno_name
from isotrace.decode.quote import escape
from isotrace.events import Batch
from isotrace.render.columns import OMITTED
from isotrace.render.lines import Decoded, Decoder, notices
from isotrace.sinks.output import Output

_TYPES = {events.CALL: "call", events.UNFINISHED: "unfinished", events.TASK_EXIT: "exit", events.SIGNAL: "signal"}


class Json:
    """Lines of JSON with raw and decoded values."""

    def __init__(self, output: Output, calls: Mapping[int, Syscall]) -> None:
        self._output = output
        self._decoder = Decoder(calls)
        self._epoch = time.time_ns() - time.monotonic_ns()

    def write(self, batch: Batch) -> None:
        """Write the objects of a batch in the order of its records."""
        heads = self._heads(batch)
        found: list[dict[str, Any] | None] = [None] * len(batch)
        for decoded in self._decoder.decode(batch):
            for position, index in enumerate(decoded.rows.index):
                found[index] = heads[index] | _call(decoded, position)
        for index, text in notices(batch):
            found[index] = heads[index] | {"result": int(batch.events["result"][index]), "value": text}
        self._output.write(b"".join([orjson.dumps(entry) + b"\n" for entry in found if entry]))

    def flush(self) -> None:
        """Every batch is written as it comes."""

    def _heads(self, batch: Batch) -> list[dict[str, Any]]:
        names = ("kind", "time", "pid", "tid", "ppid", "uid", "comm")
        columns = [batch.events[name].tolist() for name in names]
        return [
            {
                "type": _TYPES.get(kind, ""),
                "time_ns": moment + self._epoch,
                "pid": pid,
                "tid": tid,
                "ppid": ppid,
                "uid": uid,
                "comm": escape(comm),
            }
            for kind, moment, pid, tid, ppid, uid, comm in zip(*columns, strict=True)
        ]


def _call(decoded: Decoded, position: int) -> dict[str, Any]:
    rows = decoded.rows
    event = rows.batch.events[rows.index[position]]
    result = rows.results[position]
    names = [arg.name for arg in decoded.call.args] if decoded.call else [f"arg{i}" for i in range(6)]
    registers = rows.registers[position]
    unfinished = event["kind"] == events.UNFINISHED
    return {
        "abi": events.ABI_NAMES[event["abi"]],
        "call": decoded.name[position],
        "number": int(event["number"]),
        "args": [
            {"name": name, "raw": registers[i], "value": decoded.args[i][position]}
            for i, name in enumerate(names)
            if decoded.args[i][position] != OMITTED
        ],
        "result": None if unfinished else result,
        "value": None if unfinished else decoded.results[position],
        "error": errno_name(-result) if rows.failed[position] else None,
        "duration_ns": int(event["duration"]) or None,
    }
