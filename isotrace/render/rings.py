"""Operations of io_uring: what is known of them beside arguments and result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isotrace.catalog import rings
from isotrace.catalog.model import Syscall
from isotrace.decode import scalars, xlat
from isotrace.render.columns import LATER, OMITTED
from isotrace.render.rows import Column, Rows
from isotrace.trace.events import PART_RING, RING_ARG, RING_NOTE, RING_POLLED, RING_UNTOLD

#: What stands for an argument or a result that is not known.
UNKNOWN = "?"
_REGISTERED = " /* registered */"
_FIXED_FILE = 1  # IOSQE_FIXED_FILE
_BUFFER, _BUFFER_SHIFT = 1, 16
_MEMBERS = 7  # of a RING_NOTE, without the padding
_COMPLETION = {
    **{1: "IORING_CQE_F_BUFFER", 2: "IORING_CQE_F_MORE", 4: "IORING_CQE_F_SOCK_NONEMPTY", 8: "IORING_CQE_F_NOTIF"},
    **{16: "IORING_CQE_F_BUF_MORE", 32: "IORING_CQE_F_SKIP", 0x8000: "IORING_CQE_F_32"},
}


@dataclass(frozen=True, slots=True)
class Note:
    """``struct ring_note`` of bpf/event.h; ``unknown`` and ``later`` have a bit for each argument."""

    user_data: int = 0
    completion: int = 0
    flags: int = 0
    opcode: int = 0
    state: int = 0
    unknown: int = 0
    later: int = 0

    @property
    def untold(self) -> bool:
        """Whether it is shown as it was submitted, because nobody is told of its success."""
        return bool(self.state & RING_UNTOLD)

    @property
    def polled(self) -> bool:
        """Whether the ring's thread took it, so that it is not known which of the process's asked for it."""
        return bool(self.state & RING_POLLED)

    @property
    def registered(self) -> bool:
        """Whether its descriptor is a place in the ring's table of files."""
        return bool(self.flags & _FIXED_FILE)

    @property
    def buffer(self) -> int | None:
        """The number of the buffer that was taken of those that were provided."""
        return self.completion >> _BUFFER_SHIFT if self.completion & _BUFFER else None

    def flag_names(self) -> str:
        """``IOSQE_IO_LINK|IOSQE_ASYNC``, or ""."""
        return xlat.flags("uring_sqe_flags", self.flags) if self.flags else ""

    def completion_names(self) -> str:
        """``IORING_CQE_F_MORE``, or ""."""
        bits = self.completion & 0xFFFF
        known = sum(_COMPLETION) & bits
        words = [name for bit, name in _COMPLETION.items() if bits & bit]
        return "|".join([*words, *([f"{bits & ~known:#x}"] if bits & ~known else [])])


def notes(rows: Rows) -> list[Note]:
    """What is known of each operation; nothing of one whose record does not have it."""
    found = []
    for blob in rows.memory(RING_ARG, PART_RING):
        whole = blob is not None and len(blob.data) >= RING_NOTE.itemsize
        row = np.frombuffer(blob.data, RING_NOTE, 1)[0] if blob is not None and whole else None
        found.append(Note(*row.tolist()[:_MEMBERS]) if row is not None else Note(unknown=0x3F))
    return found


class Operations:
    """Renders the operations of one kind."""

    def __init__(self, call: Syscall) -> None:
        known = next((one for one in rings.operations().values() if one.call == call), None)
        places = known.places if known else ()
        self._files = [
            index
            for index, place in enumerate(places)
            if place.entry == rings.ENTRY["fd"] and call.args[index].kind == "fd"
        ]

    def beside(self, rows: Rows, args: list[Column], results: Column) -> tuple[list[Column], Column]:
        """The columns of arguments and the results, with what is known beside them."""
        known = notes(rows)
        columns = [
            [self._argument(place, text, note) for text, note in zip(column, known, strict=True)]
            for place, column in enumerate(args)
        ]
        return columns, [self._result(text, note) for text, note in zip(results, known, strict=True)]

    def _argument(self, place: int, text: str, note: Note) -> str:
        if note.unknown >> place & 1:
            return UNKNOWN
        if place in self._files and note.registered:
            text += _REGISTERED
        return text + LATER if note.later >> place & 1 and text != OMITTED else text

    @staticmethod
    def _result(text: str, note: Note) -> str:
        """``3 (user_data=0x2a, IOSQE_IO_LINK)``."""
        words = [f"user_data={scalars.hexa(note.user_data)}", note.flag_names(), note.completion_names()]
        words.append("" if note.buffer is None else f"buffer {note.buffer}")
        words.append("SQPOLL" if note.polled else "")
        return f"{UNKNOWN if note.untold else text} ({', '.join(filter(None, words))})"
