"""--fd: only calls that have such a descriptor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from isotrace.catalog.alternatives import chooser
from isotrace.catalog.model import Arg, Syscall
from isotrace.catalog.rings import PREFIX
from isotrace.decode.scalars import s32
from isotrace.render.rings import notes
from isotrace.render.rows import Rows
from isotrace.sinks.sets import Numbers
from isotrace.trace import events, plan
from isotrace.trace.events import FAULT, Batch, Blob

_KINDS = ("fd", "dirfd")
_EXECS = 16384  # execves that may be under way at once
_POLLFD = 8  # bytes of a struct pollfd, which begins with the descriptor


def _of_operations(rows: Rows, found: list[bool]) -> list[bool]:
    """Of operations of io_uring: a place in the ring's table is not a descriptor; of what is not known all are chosen."""
    return [(had and not note.registered) or bool(note.unknown) for had, note in zip(found, notes(rows), strict=True)]


class CallsOn:
    """Chooses the calls with an argument that is such a descriptor, or one of a set or array of them, as strace does.

    A descriptor that a call makes is none of its arguments. Of a set that could not be read it is not known: such a call
    is chosen.
    """

    def __init__(self, wanted: Numbers) -> None:
        self._wanted = wanted
        self._execs: dict[
            tuple[int, int], bool
        ] = {}  # by task and process: whether the execveat that it is in is wanted

    def choose(self, batch: Batch) -> npt.NDArray[np.bool_]:
        """Which records of a batch, ``(n,)``, are such calls."""
        rows, kept = batch.events, np.zeros(len(batch), dtype=bool)
        asked = np.isin(rows["kind"], (events.CALL, events.UNFINISHED, events.EXEC_ENTER))
        for slot in np.unique(rows["slot"][asked]).tolist():
            places = _places().get(slot)
            if places is not None:
                index = np.flatnonzero(asked & (rows["slot"] == slot))
                kept[index] = self._have(Rows(batch, index.tolist()), places)
        execs = np.flatnonzero(np.isin(rows["kind"], (events.CALL, events.EXEC_ENTER)) & plan.execs()[rows["slot"]])
        for index in execs.tolist():
            self._executed(rows[index], index, kept)
        return kept

    def _have(self, rows: Rows, places: _Places) -> list[bool]:
        found = [False] * len(rows)
        for place in places.registers:
            found = [had or s32(value) in self._wanted for had, value in zip(found, rows.arg(place), strict=True)]
        for place in places.sets:
            columns = zip(found, rows.given(place), rows.arg(place), rows.arg(0), strict=True)
            found = [had or self._in_set(blob, address, s32(count)) for had, blob, address, count in columns]
        for place in places.arrays:
            columns = zip(found, rows.memory(place), rows.arg(place), rows.arg(1), strict=True)
            found = [had or self._in_array(blob, address, count) for had, blob, address, count in columns]
        for place, arg in places.others:
            which = chooser(places.call, arg)
            found = [
                had or (which.choose(registers).kind in _KINDS and s32(registers[place]) in self._wanted)
                for had, registers in zip(found, rows.registers, strict=True)
            ]
        return _of_operations(rows, found) if places.call.name.startswith(PREFIX) else found

    def _in_set(self, blob: Blob | None, address: int, count: int) -> bool:
        if not address or count <= 0:
            return False
        if blob is None or blob.state == FAULT:
            return True
        bits = int.from_bytes(blob.data, "little") & ((1 << count) - 1)
        return any(number in self._wanted for number in _members(bits))

    def _in_array(self, blob: Blob | None, address: int, count: int) -> bool:
        if not address or not count:
            return False
        if blob is None or blob.state == FAULT:
            return True
        begins = range(0, len(blob.data) - _POLLFD + 1, _POLLFD)
        return any(int.from_bytes(blob.data[at : at + 4], "little", signed=True) in self._wanted for at in begins)

    def _executed(self, row: np.void, index: int, kept: npt.NDArray[np.bool_]) -> None:
        """Of an execve that succeeded the registers are the new program's: what it was given is in the record before."""
        task = int(row["args"][5]), int(row["pid"])
        if row["kind"] == events.EXEC_ENTER:
            while len(self._execs) >= _EXECS:
                self._execs.pop(next(iter(self._execs)))
            self._execs[task], kept[index] = bool(kept[index]), False
        else:
            begun = self._execs.pop(task, int(row["slot"]) in _places())
            kept[index] = kept[index] if row["result"] else begun


def _members(bits: int) -> Iterator[int]:
    while bits:
        yield (bits & -bits).bit_length() - 1
        bits &= bits - 1


@dataclass(frozen=True)
class _Places:
    """Which arguments of a call are descriptors, sets and arrays of them, or may be one."""

    call: Syscall
    registers: tuple[int, ...]
    sets: tuple[int, ...]
    arrays: tuple[int, ...]
    others: tuple[tuple[int, Arg], ...]


@cache
def _places() -> dict[int, _Places]:
    """By slot, of the calls that have any."""
    found = {slot: _of(call) for slot, call in plan.all_calls().items()}
    return {slot: one for slot, one in found.items() if one.registers or one.sets or one.arrays or one.others}


def _of(call: Syscall) -> _Places:
    args = list(enumerate(call.args))
    return _Places(
        call,
        tuple(place for place, arg in args if arg.kind in _KINDS),
        tuple(place for place, arg in args if arg.kind == "fdset"),
        tuple(place for place, arg in args if arg.kind == "inoutarray" and arg.params[0] == "pollfd"),
        tuple((place, arg) for place, arg in args if arg.kind == "alt" and _may_be(call, arg)),
    )


def _may_be(call: Syscall, arg: Arg) -> bool:
    return any(case.arg.kind in _KINDS for case in chooser(call, arg).cases)
