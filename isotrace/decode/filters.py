"""Programs of classic BPF, which filter system calls (seccomp) or packets (SO_ATTACH_FILTER), as strace prints them."""

from __future__ import annotations

import struct
from collections.abc import Callable

from . import style, xlat
from .scalars import hexa

#: A struct sock_filter: code, jt, jf, k.
INSTRUCTION = struct.Struct("<HBBI")
_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_CLASSES = dict(enumerate(("BPF_LD", "BPF_LDX", "BPF_ST", "BPF_STX", "BPF_ALU", "BPF_JMP", "BPF_RET", "BPF_MISC")))
_SIZES = {0: "BPF_W", 8: "BPF_H", 0x10: "BPF_B", 0x18: "BPF_DW"}
_MODES = {0: "BPF_IMM", 0x20: "BPF_ABS", 0x40: "BPF_IND", 0x60: "BPF_MEM", 0x80: "BPF_LEN", 0xA0: "BPF_MSH"}
_SOURCES = {0: "BPF_K", 8: "BPF_X"}
_RESULTS = _SOURCES | {0x10: "BPF_A"}
_ALU_WORDS = ("ADD", "SUB", "MUL", "DIV", "OR", "AND", "LSH", "RSH", "NEG", "MOD", "XOR")
_JUMP_WORDS = ("JA", "JEQ", "JGT", "JGE", "JSET")
_ALU_OPS, _JUMPS = (
    {place << 4: f"BPF_{one}" for place, one in enumerate(words)} for words in (_ALU_WORDS, _JUMP_WORDS)
)
_MISC_OPS = {0: "BPF_TAX", 0x80: "BPF_TXA"}
#: Of each class the parts of the code: mask, and what its values are called.
_PARTS: dict[int, tuple[tuple[int, dict[int, str]], ...]] = {
    **dict.fromkeys((_LD, _LDX), ((0x18, _SIZES), (0xE0, _MODES))),
    **dict.fromkeys((_ST, _STX), ()),
    **{_ALU: ((0x08, _SOURCES), (0xF0, _ALU_OPS)), _JMP: ((0x08, _SOURCES), (0xF0, _JUMPS))},
    **{_RET: ((0x18, _RESULTS),), _MISC: ((0xF8, _MISC_OPS),)},
}
_ACTION = 0xFFFF0000
#: Where the kernel has what is no part of a packet, as offsets that are below 0: from each on, up to the next.
_AREAS = ((0xFFFFF000, "SKF_AD_OFF"), (0xFFF00000, "SKF_NET_OFF"), (0xFFE00000, "SKF_LL_OFF"))
_ANCILLARY_WORDS = (
    *("PROTOCOL", "PKTTYPE", "IFINDEX", "NLATTR", "NLATTR_NEST", "MARK", "QUEUE", "HATYPE", "RXHASH", "CPU"),
    *("ALU_XOR_X", "VLAN_TAG", "VLAN_TAG_PRESENT", "PAY_OFFSET", "RANDOM", "VLAN_TPID"),
)
_ANCILLARY = {place << 2: f"SKF_AD_{one}" for place, one in enumerate(_ANCILLARY_WORDS)}


def program(data: bytes, count: int, what: str) -> str:
    """The ``count`` instructions of a program for ``what``, "seccomp" or "sock"; ``...`` where some are not there."""
    whole = data[: min(len(data) // INSTRUCTION.size, count) * INSTRUCTION.size]
    operand = _OPERANDS[what]
    shown = [_instruction(one, operand) for one in INSTRUCTION.iter_unpack(whole)]
    return f"[{', '.join([*shown, *(['...'] if len(shown) < count else [])])}]"


def _instruction(one: tuple[int, ...], operand: Callable[[int, int], str | None]) -> str:
    code, true, false, value = one
    if true or false:
        return f"BPF_JUMP({_code(code)}, {hexa(value)}, {hexa(true)}, {hexa(false)})"
    return f"BPF_STMT({_code(code)}, {operand(code, value) or hexa(value)})"


def _code(code: int) -> str:
    kind = code & 7
    shown, left = [_named(_CLASSES, kind)], code & ~7
    for mask, names in _PARTS[kind]:
        shown.append(_named(names, code & mask))
        left &= ~mask
    if left and kind in (_ST, _STX, _RET, _MISC):
        shown.append(f"{hexa(left)} /* BPF_??? */")
    return "|".join(shown)


def _named(names: dict[int, str], value: int, default: str = "BPF_???") -> str:
    return style.constant(hexa(value), names.get(value) or f"{hexa(value)} /* {default} */")


def _verdict(code: int, value: int) -> str | None:
    """What a filter of seccomp returns."""
    if code & 7 != _RET:
        return None
    data = value & ~_ACTION
    action = xlat.enum("seccomp_ret_action", value & _ACTION)
    return f"{action}|{hexa(data)}" if data else action


def _place(code: int, value: int) -> str | None:
    """What a filter of packets reads."""
    if code & 7 != _LD or code & 0xE0 != 0x20:
        return None
    for area, name in _AREAS:
        if value >= area:
            offset = value - area
            inside = _named(_ANCILLARY, offset, "SKF_AD_???") if name == "SKF_AD_OFF" else str(offset)
            return f"{style.constant(hexa(area), name)}+{inside}"
    return None


_OPERANDS: dict[str, Callable[[int, int], str | None]] = {"seccomp": _verdict, "sock": _place}
