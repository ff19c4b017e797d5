"""DWARF expressions, as far as tables for unwinding have them: of signal frames, of the PLT, of realigned stacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_TURNS = 256
_MASK = (1 << 64) - 1


class Unsupported(ValueError):
    """What is not understood, or leads nowhere."""


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where the next thing begins. Raises ``Unsupported``."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
    raise Unsupported("a number without an end")


def sleb(data: bytes, at: int) -> tuple[int, int]:
    """The same with a sign."""
    begin = at
    value, at = uleb(data, at)
    bits = 7 * (at - begin)
    return (value - (1 << bits) if data[at - 1] & 0x40 else value), at


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


_BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b,
    0x1C: lambda a, b: a - b,
    0x1E: lambda a, b: a * b,
    0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << b if b < 64 else 0,
    0x25: lambda a, b: a >> b if b < 64 else 0,
    0x27: lambda a, b: a ^ b,
    0x29: lambda a, b: int(a == b),
    0x2A: lambda a, b: int(_signed(a) >= _signed(b)),
    0x2B: lambda a, b: int(_signed(a) > _signed(b)),
    0x2C: lambda a, b: int(_signed(a) <= _signed(b)),
    0x2D: lambda a, b: int(_signed(a) < _signed(b)),
    0x2E: lambda a, b: int(a != b),
}
_FIXED = {0x08: (1, False), 0x09: (1, True), 0x0A: (2, False), 0x0B: (2, True), 0x0C: (4, False), 0x0D: (4, True)}
_FIXED |= {0x0E: (8, False), 0x0F: (8, True)}
_DEREF, _DUP, _DROP, _SWAP, _PLUS_CONST = 0x06, 0x12, 0x13, 0x16, 0x23


def evaluate(code: bytes, registers: Mapping[int, int], word: Callable[[int], int], first: int | None = None) -> int:
    """What the expression comes to. ``registers`` are by DWARF's numbers; ``word(address)`` reads 8 bytes; ``first`` is on
    the stack.

    Raises ``Unsupported``, and what ``word`` raises.
    """
    stack = [] if first is None else [first]
    at = 0
    try:
        for _ in range(_TURNS):
            if at >= len(code):
                return stack[-1] & _MASK
            at = _step(code, at, stack, registers, word)
    except (IndexError, KeyError):
        pass
    raise Unsupported("an expression that leads nowhere")


def _step(code: bytes, at: int, stack: list[int], registers: Mapping[int, int], word: Callable[[int], int]) -> int:
    op = code[at]
    at += 1
    if op in _FIXED:
        size, signed = _FIXED[op]
        stack.append(int.from_bytes(code[at : at + size], "little", signed=signed))
        return at + size
    if 0x30 <= op <= 0x4F:
        stack.append(op - 0x30)
    elif 0x70 <= op <= 0x8F:
        offset, at = sleb(code, at)
        stack.append(registers[op - 0x70] + offset)
    elif op == _DEREF:
        stack.append(word(stack.pop() & _MASK))
    elif op == _DUP:
        stack.append(stack[-1])
    elif op == _DROP:
        stack.pop()
    elif op == _SWAP:
        stack[-1], stack[-2] = stack[-2], stack[-1]
    elif op == _PLUS_CONST:
        offset, at = uleb(code, at)
        stack.append(stack.pop() + offset)
    elif op in _BINARY:
        right, left = stack.pop() & _MASK, stack.pop() & _MASK
        stack.append(_BINARY[op](left, right) & _MASK)
    elif op in (0x10, 0x11):
        value, at = (uleb if op == 0x10 else sleb)(code, at)
        stack.append(value)
    else:
        raise Unsupported(f"operation {op:#x}")
    return at
