"""Recordings without what programs read, wrote, sent or were given: names stay."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa

from isotrace.errors import UsageError
from isotrace.recording.encode import Piece
from isotrace.trace import events, plan
from isotrace.trace.events import BLOB, CUT, PART_CONTROL, PART_DATA, PART_SELF

_BUFFERS = frozenset({"inbuf", "outbuf", "outhex"})
_VECTORS = frozenset({"iniov", "outiov", "inmsg", "outmsg", "inmmsg", "outmmsg"})
#: Arguments beside buffers that carry keys, passwords and values: all that is copied of them.
_VALUES = {
    "keyctl": range(1, 5),
    "request_key": (2,),
    "mount": (4,),
    "fsconfig": (3,),
    "setsockopt": (3,),
    "getsockopt": (3,),
}
_EXECS = {"execve": 1, "execveat": 2}  # which argument is argv
CHOICES = ("data", "argv")


class Redactor:
    """Leaves out of captures what ``what`` names."""

    def __init__(self, what: frozenset[str]) -> None:
        """Raises ``UsageError`` for what cannot be left out."""
        if unknown := sorted(what - set(CHOICES)):
            raise UsageError(
                f"--redact {unknown[0]} is not known", f"give {' or '.join(CHOICES)}, or both with a comma"
            )
        self.names = tuple(name for name in CHOICES if name in what)
        self._data, self._argv = "data" in what, "argv" in what
        self._slots = np.zeros(events.SLOTS, dtype=bool)
        self._slots[[slot for slot, call in plan.all_calls().items() if self._concerns(slot, call.name)]] = True

    def _concerns(self, slot: int, name: str) -> bool:
        return bool((self._data and (_buffers()[slot] or _values()[slot])) or (self._argv and name in _EXECS))

    def without(self, piece: Piece) -> Piece:
        """The piece, with such captures emptied; that they had bytes can still be seen."""
        index = np.flatnonzero(self._slots[piece.events["slot"]] & (piece.events["blobs"] > 0))
        if not len(index):
            return piece
        memory = piece.memory.to_pylist()
        rows = piece.events.copy()
        for i in index.tolist():
            memory[i] = self._emptied(memory[i], int(rows["slot"][i]))
            rows["size"][i] = events.EVENT.itemsize + len(memory[i])
        return Piece(rows, pa.array(memory, pa.binary()), piece.wall, piece.notes)

    def _emptied(self, memory: bytes, slot: int) -> bytes:
        found, at, words = bytearray(), 0, 0
        argv = _EXECS.get(plan.all_calls()[slot].name, -1)
        while at < len(memory):
            head = np.frombuffer(memory, BLOB, 1, at).copy()
            size = int(head["size"][0])
            end = at + BLOB.itemsize + ((size + 7) & ~7)
            arg, part = int(head["arg"][0]), int(head["part"][0])
            words += arg == argv
            hidden = self._argv and arg == argv and words > 1
            data = self._data and (part in _buffers()[slot].get(arg, ()) or arg in _values()[slot])
            if size and (hidden or data):
                head["state"], head["size"] = CUT, 0
                found += head.tobytes()
            else:
                found += memory[at:end]
            at = end
        return bytes(found)


@cache
def _buffers() -> dict[int, dict[int, frozenset[int]]]:
    """Slot → argument → which parts of its captures are somebody's data."""
    found: dict[int, dict[int, frozenset[int]]] = {}
    for slot, call in plan.all_calls().items():
        found[slot] = {}
        for index, arg in enumerate(call.args):
            if arg.kind in _BUFFERS:
                found[slot][index] = frozenset({PART_SELF})
            elif arg.kind in _VECTORS:
                found[slot][index] = frozenset({PART_DATA, PART_CONTROL})
    return found


@cache
def _values() -> dict[int, frozenset[int]]:
    """Slot → the arguments of which nothing is kept; socketcall passes those of the socket calls in memory."""
    return {slot: frozenset(_VALUES.get(call.name, ())) for slot, call in plan.all_calls().items()}
