"""Recordings without what programs read, wrote, sent or were given: names stay."""

from __future__ import annotations

import numpy as np

from isotrace.catalog.model import Syscall
from isotrace.recording.asked import redactable
from isotrace.recording.encode import Piece
from isotrace.trace import events, plan
from isotrace.trace.events import BLOB, CUT, PART_CONTROL, PART_DATA, PART_SELF

#: Kind of an argument → the parts of its captures that are data.
_PARTS = {
    **dict.fromkeys(("inbuf", "outbuf", "outhex"), frozenset({PART_SELF})),
    **dict.fromkeys(("iniov", "outiov", "inmsg", "outmsg", "inmmsg", "outmmsg"), frozenset({PART_DATA, PART_CONTROL})),
}
_ALL = frozenset(range(256))
#: Arguments beside buffers that carry keys, passwords and values: all that is copied of them.
_VALUES = {
    "keyctl": range(1, 5),
    "request_key": (2,),
    "mount": (4,),
    "fsconfig": (3,),
    "setsockopt": (3,),
    "getsockopt": (3,),
}
_ARGV = {"execve": 1, "execveat": 2}  # which argument is argv; the environment is behind it


class Redactor:
    """Leaves out of captures what ``what`` names."""

    def __init__(self, what: frozenset[str]) -> None:
        """Raises ``UsageError`` for what cannot be left out."""
        self.names = redactable(tuple(what))
        calls = plan.all_calls()
        self._data_of = {slot: _data_of(call) if "data" in what else {} for slot, call in calls.items()}
        self._argv_of = {
            slot: _ARGV[call.name] for slot, call in calls.items() if "argv" in what and call.name in _ARGV
        }
        self._slots = np.zeros(events.SLOTS, dtype=bool)
        self._slots[[slot for slot in calls if self._data_of[slot] or slot in self._argv_of]] = True

    def without(self, piece: Piece) -> Piece:
        """The piece, with such captures emptied; that they had bytes can still be seen."""
        index = np.flatnonzero(self._slots[piece.events["slot"]] & (piece.events["blobs"] > 0))
        if not len(index):
            return piece
        rows, memory = piece.events.copy(), piece.memory.tobytes()
        ends = np.cumsum(rows["size"].astype(np.int64) - events.EVENT.itemsize)
        begins = np.append(0, ends[:-1])
        found, at = [], 0
        for i in index.tolist():
            begin, end = int(begins[i]), int(ends[i])
            kept = self._emptied(memory[begin:end], int(rows["slot"][i]))
            rows["size"][i] = events.EVENT.itemsize + len(kept)
            found += [memory[at:begin], kept]
            at = end
        whole = b"".join([*found, memory[at:]])
        return Piece(rows, np.frombuffer(whole, np.uint8), piece.wall, piece.notes)

    def _emptied(self, memory: bytes, slot: int) -> bytes:
        found, at, words = bytearray(), 0, 0
        argv, data_of = self._argv_of.get(slot, -1), self._data_of[slot]
        while at < len(memory):
            head = np.frombuffer(memory, BLOB, 1, at).copy()
            size = int(head["size"][0])
            end = at + BLOB.itemsize + ((size + 7) & ~7)
            arg, part = int(head["arg"][0]), int(head["part"][0])
            words += arg == argv
            if size and ((arg == argv and words > 1) or arg == argv + 1 > 0 or part in data_of.get(arg, ())):
                head["state"], head["size"] = CUT, 0
                found += head.tobytes()
            else:
                found += memory[at:end]
            at = end
        return bytes(found)


def _data_of(call: Syscall) -> dict[int, frozenset[int]]:
    """Argument → which parts of its captures are somebody's data."""
    found = {index: _PARTS[arg.kind] for index, arg in enumerate(call.args) if arg.kind in _PARTS}
    return found | dict.fromkeys(_VALUES.get(call.name, ()), _ALL)
