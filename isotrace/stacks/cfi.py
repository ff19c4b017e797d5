"""Tables for unwinding, ``.eh_frame``: where a function's caller is, for each of its instructions. Pure.

Only the entry that is asked for is read: ``.eh_frame_hdr`` says where it is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from isotrace.stacks.expression import Unsupported, sleb, uleb

#: DWARF's numbers of registers on x86-64.
RBX, RBP, RSP, R12, R13, R14, R15, RETURN = 3, 6, 7, 12, 13, 14, 15, 16
#: Kinds of rules: saved at CFA + value; is CFA + value; is in register; saved at what an expression says; is what it says.
OFFSET, VALUE, REGISTER, EXPRESSION, VALUE_EXPRESSION, UNDEFINED, SAME = range(7)

Rule = tuple[int, int | bytes]
_ENTRY_MAX = 1 << 16  # bytes of an entry's instructions
_STATES = 64
_LISTED_MAX = 200_000  # entries where no table is there to search
_TABLE_ENCODING, _COUNT_ENCODING = 0x3B, 0x03
_SIZES = {0x0: (8, False), 0x2: (2, False), 0x3: (4, False), 0x4: (8, False)}
_SIZES |= {0xA: (2, True), 0xB: (4, True), 0xC: (8, True)}
_OMITTED = 0xFF


@dataclass
class Row:
    """How to leave a frame: ``cfa`` is (register, offset) or an expression; ``rules`` by register; ``signal``: the frame
    was interrupted, so its address is that of the next instruction, and not behind a call.
    """

    cfa: tuple[int, int] | bytes = (RSP, 8)
    rules: dict[int, Rule] = field(default_factory=dict)
    signal: bool = False

    def copy(self) -> Row:
        return Row(self.cfa, dict(self.rules), self.signal)


@dataclass(frozen=True)
class _Common:
    """A CIE: ``begins`` are its own instructions."""

    code: int
    data: int
    return_register: int
    encoding: int
    augmented: bool
    signal: bool
    begins: bytes


class Tables:
    """Of one file: ``frames`` are the bytes of .eh_frame, ``header`` those of .eh_frame_hdr, and where both are loaded; the
    latter may be b"".

    Raises ``ValueError`` where they are of a kind that nobody makes.
    """

    def __init__(self, frames: bytes, address: int, header: bytes, header_address: int) -> None:
        self._data, self._address = frames, address
        self._commons: dict[int, _Common] = {}
        self._begins, self._entries = _searched(header, header_address) if header else self._listed()

    def row(self, pc: int) -> Row | None:
        """How to leave the frame of the instruction at ``pc``; None where no table says. Raises ``ValueError``."""
        place = int(np.searchsorted(self._begins, pc, "right")) - 1
        if place < 0:
            return None
        at = int(self._entries[place]) - self._address
        try:
            return self._entry(at, pc)
        except (struct.error, IndexError) as error:
            raise Unsupported(str(error)) from None

    def _listed(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The same without a table to search, as in static programs. Raises ``ValueError``."""
        found: list[tuple[int, int]] = []
        at = 0
        while at + 8 <= len(self._data) and len(found) < _LISTED_MAX:
            size, pointer = struct.unpack_from("<II", self._data, at)
            if not 4 <= size <= _ENTRY_MAX:
                break
            if pointer:
                begin, _ = self._pointer(at + 8, self._common(at + 4 - pointer).encoding)
                found.append((begin, at + self._address))
            at += 4 + size
        pairs = np.array(sorted(found), dtype=np.int64).reshape(-1, 2)
        return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])

    def _entry(self, at: int, pc: int) -> Row | None:
        body, end, pointer_at = self._bounds(at)
        pointer = struct.unpack_from("<I", self._data, pointer_at)[0]
        if not pointer:
            return None
        common = self._common(pointer_at - pointer)
        begin, at = self._pointer(body, common.encoding)
        size, at = self._pointer(at, common.encoding & 0x0F)
        if not begin <= pc < begin + size:
            return None
        if common.augmented:
            skipped, at = uleb(self._data, at)
            at += skipped
        first = Row(signal=common.signal)
        _run(common.begins, first, common, None, 0)
        found = first.copy()
        _run(self._data[at:end], found, common, first, pc - begin)
        if common.return_register != RETURN:
            raise Unsupported("another machine's registers")
        return found

    def _bounds(self, at: int) -> tuple[int, int, int]:
        """Where the entry's content begins and ends, and where its pointer to the CIE is."""
        if at < 0:
            raise Unsupported("an entry that is nowhere")
        size = struct.unpack_from("<I", self._data, at)[0]
        if not 4 <= size <= _ENTRY_MAX or at + 4 + size > len(self._data):
            raise Unsupported("an entry of no size")
        return at + 8, at + 4 + size, at + 4

    def _common(self, at: int) -> _Common:
        found = self._commons.get(at)
        if found is None:
            found = self._commons[at] = self._read_common(at)
        return found

    def _read_common(self, at: int) -> _Common:
        body, end, pointer_at = self._bounds(at)
        if struct.unpack_from("<I", self._data, pointer_at)[0]:
            raise Unsupported("no CIE")
        version = self._data[body]
        mark = self._data.index(b"\0", body + 1, end) if b"\0" in self._data[body + 1 : end] else end
        letters = self._data[body + 1 : mark]
        code, at = uleb(self._data, mark + 1)
        data, at = sleb(self._data, at)
        register, at = (self._data[at], at + 1) if version == 1 else uleb(self._data, at)
        encoding, signal, begins = 0, False, at
        if letters.startswith(b"z"):
            size, at = uleb(self._data, at)
            begins = at + size
            for letter in letters[1:].decode("ascii", "replace"):
                if letter == "R":
                    encoding, at = self._data[at], at + 1
                elif letter == "P":
                    _, at = self._pointer(at + 1, self._data[at] & 0x7F)
                elif letter == "L":
                    at += 1
                elif letter == "S":
                    signal = True
                elif letter != "B":
                    raise Unsupported(f"augmentation {letter!r}")
        elif letters:
            raise Unsupported("an augmentation of unknown size")
        return _Common(code, data, register, encoding, bool(letters), signal, self._data[begins:end])

    def _pointer(self, at: int, encoding: int) -> tuple[int, int]:
        if encoding == _OMITTED or encoding & 0x0F not in _SIZES or encoding & 0x70 not in (0, 0x10):
            raise Unsupported(f"a pointer's encoding {encoding:#x}")
        size, signed = _SIZES[encoding & 0x0F]
        value = int.from_bytes(self._data[at : at + size], "little", signed=signed)
        if encoding & 0x70:
            value += self._address + at
        return value, at + size


def _searched(header: bytes, address: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Addresses where functions begin, sorted, and of their entries. Raises ``ValueError``."""
    if len(header) < 12 or header[0] != 1 or header[2] != _COUNT_ENCODING or header[3] != _TABLE_ENCODING:
        raise Unsupported("no table to search")
    size, _ = _SIZES.get(header[1] & 0x0F, (4, False))
    count = int.from_bytes(header[4 + size : 8 + size], "little")
    pairs = np.frombuffer(header[8 + size :][: 8 * count], "<i4", 2 * min(count, (len(header) - 8 - size) // 8))
    pairs = pairs.reshape(-1, 2).astype(np.int64) + address
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])


def _run(code: bytes, row: Row, common: _Common, first: Row | None, until: int) -> None:
    """Carry out the instructions for the first ``until`` bytes of the function. ``first`` is what the CIE began with."""
    at = where = 0
    states: list[tuple[tuple[int, int] | bytes, dict[int, Rule]]] = []
    while at < len(code):
        op, operand = code[at] & 0xC0, code[at] & 0x3F
        at += 1
        if op == 0x40:
            where += operand * common.code
        elif op == 0x80:
            value, at = uleb(code, at)
            row.rules[operand] = (OFFSET, value * common.data)
        elif op == 0xC0:
            _restore(row, first, operand)
        elif operand in _ADVANCES:
            size = _ADVANCES[operand]
            where += int.from_bytes(code[at : at + size], "little") * common.code
            at += size
        elif operand == 0x0A:
            states.append((row.cfa, dict(row.rules)))
            if len(states) > _STATES:
                raise Unsupported("too many states")
        elif operand == 0x0B:
            row.cfa, row.rules = states.pop()
        else:
            at = _change(code, at, operand, row, common, first)
        if where > until:
            return


_ADVANCES = {0x02: 1, 0x03: 2, 0x04: 4}


def _restore(row: Row, first: Row | None, register: int) -> None:
    row.rules.pop(register, None)
    if first and register in first.rules:
        row.rules[register] = first.rules[register]


def _offset(row: Row) -> tuple[int, int]:
    if isinstance(row.cfa, bytes):
        raise Unsupported("an offset of an expression")
    return row.cfa


def _change(code: bytes, at: int, op: int, row: Row, common: _Common, first: Row | None) -> int:
    """An instruction that changes the row; returns where the next one begins."""
    if op == 0x00:
        return at
    if op == 0x0F:
        row.cfa, at = _block(code, at)
        return at
    value, at = (sleb if op == 0x13 else uleb)(code, at)
    if op == 0x0E:
        row.cfa = (_offset(row)[0], value)
    elif op == 0x13:
        row.cfa = (_offset(row)[0], value * common.data)
    elif op == 0x0D:
        row.cfa = (value, _offset(row)[1])
    elif op == 0x06:
        _restore(row, first, value)
    elif op == 0x07:
        row.rules[value] = (UNDEFINED, 0)
    elif op == 0x08:
        row.rules[value] = (SAME, 0)
    elif op in (0x10, 0x16):
        block, at = _block(code, at)
        row.rules[value] = (EXPRESSION if op == 0x10 else VALUE_EXPRESSION, block)
    elif op == 0x2E:  # DW_CFA_GNU_args_size
        pass
    elif op in _WITH_NUMBER:
        return _with_number(code, at, op, value, row, common)
    else:
        raise Unsupported(f"instruction {op:#x}")
    return at


_WITH_NUMBER = (0x05, 0x09, 0x0C, 0x11, 0x12, 0x14, 0x15)


def _with_number(code: bytes, at: int, op: int, register: int, row: Row, common: _Common) -> int:
    number, at = (sleb if op in (0x11, 0x12, 0x15) else uleb)(code, at)
    if op == 0x0C:
        row.cfa = (register, number)
    elif op == 0x12:
        row.cfa = (register, number * common.data)
    elif op == 0x09:
        row.rules[register] = (REGISTER, number)
    else:
        row.rules[register] = (OFFSET if op in (0x05, 0x11) else VALUE, number * common.data)
    return at


def _block(code: bytes, at: int) -> tuple[bytes, int]:
    size, at = uleb(code, at)
    return code[at : at + size], at + size
