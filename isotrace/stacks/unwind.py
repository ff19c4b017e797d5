"""From the registers and the memory of a stack to its frames. Pure, but for the files that ``code`` reads.

A frame is left by the table that its code has. Only code without one is left by the frame pointer, where it is known to
keep one: code that a program has made itself, or a function that begins as those do. Anything else ends the stack, and
says so.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from isotrace.stacks import cfi
from isotrace.stacks.cfi import RBP, RBX, RETURN, RSP, Row
from isotrace.stacks.elf import Image
from isotrace.stacks.expression import Unsupported, evaluate
from isotrace.stacks.frames import End, Frame

FRAMES_MAX = 256
#: ``struct registers`` of bpf/calls.h.
REGISTERS = struct.Struct("<21Q")
_PLACES = {15: 0, 14: 1, 13: 2, 12: 3, RBP: 4, RBX: 5, 11: 6, 10: 7, 9: 8, 8: 9, 0: 10, 2: 11, 1: 12, 4: 13, 5: 14}
_PLACES |= {RETURN: 16, RSP: 19}
_CODE_SEGMENT, _SEGMENT_64 = 17, 0x33
_ENTRY_MAX = 64  # bytes from a program's entry within which its first call is
_KEPT = (RBX, RBP, 12, 13, 14, 15)


class Code(NamedTuple):
    """What an address is. ``image`` is None where the file cannot be read; ``made``: by the program, not from a file.

    ``place`` is the offset in the file, ``address`` as the file counts; ``name`` and ``offset`` are of the function.
    """

    path: bytes
    place: int
    image: Image | None = None
    address: int = 0
    made: bool = False
    name: str = ""
    offset: int = 0


#: (address, whether it is behind a call) → what is there; None where nothing is known.
Find = Callable[[int, bool], Code | None]


class _Unreadable(Exception):
    """Memory that was not recorded."""


class _Memory:
    def __init__(self, start: int, data: bytes) -> None:
        self.start, self._data = start, data

    def word(self, address: int) -> int:
        at = address - self.start
        if not 0 <= at <= len(self._data) - 8:
            raise _Unreadable
        return int.from_bytes(self._data[at : at + 8], "little")


def unwind(registers: bytes, start: int, memory: bytes, find: Find) -> tuple[list[Frame], End]:
    """The frames, the innermost first, and why there are no more. ``memory`` is what lies at ``start``."""
    values = REGISTERS.unpack(registers)
    if values[_CODE_SEGMENT] != _SEGMENT_64:
        return [], End.NOT_64_BIT
    state = {number: values[place] for number, place in _PLACES.items()}
    stack = _Memory(start, memory)
    frames: list[Frame] = []
    called = False
    while len(frames) < FRAMES_MAX:
        pc = state[RETURN]
        code = find(pc, called)
        if code is None:
            return frames + ([Frame(b"", pc)] if not frames else []), End.UNKNOWN_CODE
        frame = Frame(code.path, code.place, code.name, code.offset)
        frames.append(frame)
        try:
            row = code.image.row(code.address - called) if code.image else None
            before = state[RSP]
            if _is_outermost(code, row):
                return frames, End.OUTERMOST
            if row is not None:
                state = _left(row, state, stack.word)
            elif _has_pointer(code, called):
                state = _left_by_pointer(state, stack.word)
                frames[-1] = frame._replace(by_pointer=code.made)
            else:
                return frames, End.NO_TABLE if code.image or code.made else End.NO_FILE
        except _Unreadable:
            return frames, End.MEMORY
        except Unsupported:
            return frames, End.NO_TABLE
        if state[RSP] < before + called and not (row and row.signal):  # vfork() keeps its way back in a register
            return frames, End.BROKEN
        called = not (row and row.signal)
    return frames, End.DEEP


def _is_outermost(code: Code, row: Row | None) -> bool:
    """Whether nobody called this: the table says so, or the program begins here."""
    if row and row.rules.get(RETURN, (cfi.SAME, 0))[0] == cfi.UNDEFINED:
        return True
    if code.image is None or not code.image.entry:
        return False
    since = code.address - code.image.entry
    return since == code.offset if code.name else 0 <= since <= _ENTRY_MAX


def _left(row: Row, state: Mapping[int, int], word: Callable[[int], int]) -> dict[int, int]:
    """The registers of the caller."""
    if isinstance(row.cfa, bytes):
        cfa = evaluate(row.cfa, state, word)
    elif row.cfa[0] in state:
        cfa = (state[row.cfa[0]] + row.cfa[1]) & ((1 << 64) - 1)
    else:
        raise Unsupported("a register that was not recorded")
    found = {register: state[register] for register in _KEPT if register in state}
    for register in (*_KEPT, RSP, RETURN):
        if register in row.rules:
            value = _ruled(row.rules[register], cfa, register, state, word)
            found.pop(register, None)
            if value is not None:
                found[register] = value
    found.setdefault(RSP, cfa)
    if RETURN not in found:
        raise Unsupported("no way back")
    return found


def _ruled(rule: cfi.Rule, cfa: int, register: int, state: Mapping[int, int], word: Callable[[int], int]) -> int | None:
    kind, value = rule
    if isinstance(value, bytes):
        found = evaluate(value, state, word, cfa)
        return word(found) if kind == cfi.EXPRESSION else found
    if kind == cfi.OFFSET:
        return word(cfa + value)
    if kind == cfi.VALUE:
        return cfa + value
    if kind == cfi.REGISTER:
        return state.get(value)
    return state.get(register) if kind == cfi.SAME else None


def _has_pointer(code: Code, called: bool) -> bool:
    if code.made:
        return True
    return code.image is not None and code.image.keeps_frame_pointer(code.address - called)


def _left_by_pointer(state: Mapping[int, int], word: Callable[[int], int]) -> dict[int, int]:
    pointer = state.get(RBP, 0)
    if pointer < state[RSP] or pointer & 7:
        raise Unsupported("no frame pointer")
    return {RBP: word(pointer), RETURN: word(pointer + 8), RSP: pointer + 16}
