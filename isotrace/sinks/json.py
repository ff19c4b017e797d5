"""One JSON object a line; the keys are documented in docs/json.md and stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any

import orjson

from isotrace.catalog.model import Syscall
from isotrace.catalog.rings import PREFIX
from isotrace.decode.errnos import errno_name
from isotrace.decode.quote import bare_comm
from isotrace.render import stacks as user_stacks
from isotrace.render.columns import OMITTED
from isotrace.render.lines import Decoded
from isotrace.render.repeated import Repeated
from isotrace.render.rings import UNKNOWN, Note, notes
from isotrace.render.runs import runs, woven
from isotrace.render.whereabouts import where_object
from isotrace.sinks.formats import Beside
from isotrace.sinks.output import Output
from isotrace.trace import events, whereabouts
from isotrace.trace.events import Batch

if TYPE_CHECKING:
    from isotrace.sinks import refusals

_TYPES = {
    **{events.CALL: "call", events.UNFINISHED: "unfinished", events.TASK_EXIT: "exit"},
    **{events.SIGNAL: "signal", events.LOST: "lost"},
}
#: Fields that say who made a record; how many of such are remembered.
_WHO, _HEADS = ("pid", "tid", "ppid", "uid", "comm"), 65536


class Json:
    """Lines of JSON with raw and decoded values."""

    def __init__(self, output: Output, calls: Mapping[int, Syscall], beside: Beside | None = None) -> None:
        self._output, beside = output, beside or Beside()
        self._decoder, self._known = beside.decoder(calls), calls
        self._stacks, self._containers = beside.stacks, beside.containers
        self._calls = Repeated(self._decoder, calls, self._made, kept=not beside.stacks)
        self._more: dict[int, str] = {}  # what some objects of the batch have at their end
        self._known_heads: dict[tuple[Any, ...], str] = {}

    @cached_property
    def _refusals(self) -> refusals.Json:
        from isotrace.sinks import refusals  # takes time to import: most runs have none

        return refusals.Json()

    def write(self, batch: Batch) -> None:
        """Write the objects of a batch in the order of its records."""
        bodies = self._calls.of(batch)
        ends = self._ends(batch)
        for index, text in self._decoder.notices(batch):
            bodies[index] = _members(self._notice(batch, index, text))
            ends[index] = "}\n"
        types: list[str] = []
        for count, (kind,) in runs(batch, ("kind",)):
            types += [f'{{"type":"{_TYPES.get(kind, "")}","time_ns":'] * count
        times = [str(moment + batch.wall) for moment in batch.events["time"].tolist()]
        columns = [types, times, self._heads(batch), bodies, ends]
        for index, (record, enforced) in batch.refused.items():
            line = self._refusals.line(record, enforced, 1, False).decode()
            for column, text in zip(columns, ("", "", "", line, ""), strict=True):
                column[index] = text
        self._output.write(woven(columns, bodies).encode())

    def flush(self) -> None:
        """Every batch is written as it comes."""

    def complete(self) -> None:
        """Nothing was kept back."""

    def _notice(self, batch: Batch, index: int, text: str) -> dict[str, Any]:
        row = batch.events[index]
        found = {"result": int(row["result"]), "value": text}
        if row["kind"] != events.LOST:
            return found
        lost = self._known.get(int(row["slot"]))
        return {"call": lost.name if lost else None} | found

    def _heads(self, batch: Batch) -> list[str]:
        """What stands behind each record's time: who made it, and where."""
        if self._containers:
            columns = (batch.events[name].tolist() for name in _WHO)
            return list(map(self._head, zip(*columns, whereabouts.of(batch), strict=True)))
        found: list[str] = []
        for count, who in runs(batch, _WHO):
            found += [self._head(who)] * count
        return found

    def _head(self, key: tuple[Any, ...]) -> str:
        found = self._known_heads.get(key)
        if found is None:
            if len(self._known_heads) >= _HEADS:
                self._known_heads.clear()
            pid, tid, ppid, uid, comm, *where = key
            head = {"pid": pid, "tid": tid, "ppid": ppid, "uid": uid, "comm": bare_comm(comm)}
            beside = where_object(where[0], pid, tid) if where else {}
            found = self._known_heads[key] = f",{_members(head | beside)},"
        return found

    def _ends(self, batch: Batch) -> list[str]:
        """How long each call took, and the rest of its object."""
        found = [f"{spent}}}\n" if spent else "null}\n" for spent in batch.events["duration"].tolist()]
        for index, more in self._more.items():
            found[index] = f"{found[index][:-2]}{more}}}\n"
        self._more.clear()
        return found

    def _made(self, decoded: Decoded) -> list[str]:
        """What the objects of a group have behind their heads, as far as how long it took."""
        operations = list(_operations(decoded))
        self._add(decoded, [_beside(one) if one else None for one in operations])
        if self._stacks:
            self._add(decoded, map(user_stacks.objects, decoded.rows.blobs))
        return [f'{_members(call)},"duration_ns":' for call in _calls(decoded, operations)]

    def _add(self, decoded: Decoded, found: Iterable[dict[str, Any] | None]) -> None:
        for index, members in zip(decoded.rows.index, found, strict=True):
            if members:
                self._more[index] = f"{self._more.get(index, '')},{_members(members)}"


def _members(found: Mapping[str, Any]) -> str:
    """An object without its braces."""
    return orjson.dumps(found)[1:-1].decode()


def _calls(decoded: Decoded, operations: Sequence[Note | None]) -> Iterator[dict[str, Any]]:
    """What the objects of a group have between their heads and how long it took."""
    rows = decoded.rows
    unfinished = [kind == events.UNFINISHED for kind in rows.field("kind")]
    numbers = zip(rows.field("abi"), rows.field("number"), strict=True)
    texts = zip(decoded.name, decoded.results, _arguments(decoded), strict=True)
    for (abi, number), (name, value, args), result, failed, waits, operation in zip(
        numbers, texts, rows.results, rows.failed, unfinished, operations, strict=True
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
        }


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
