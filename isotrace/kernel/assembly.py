"""The few BPF programs that probes write by hand: one instruction after another (include/uapi/linux/bpf.h)."""

from __future__ import annotations

import struct

#: What a load of 64 bits can take in place of a value: a map's descriptor, a variable of the kernel by its BTF number.
MAP_FD, BTF_ID = 1, 3  # BPF_PSEUDO_MAP_FD, BPF_PSEUDO_BTF_ID
STACK = 10  # the register that has the end of the stack


def op(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One instruction; ``to`` and ``source`` are registers."""
    return struct.pack("=BBhi", code, to | source << 4, offset, value)


def put(register: int, value: int) -> bytes:
    """register = value."""
    return op(0xB7, register, value=value)


def load(register: int, kind: int, value: int) -> bytes:
    """register = what ``kind`` (MAP_FD, BTF_ID) says that ``value`` is."""
    return op(0x18, register, kind, 0, value) + op(0)


def stack(register: int, offset: int) -> bytes:
    """register = the address of a place on the stack, ``offset`` from its end."""
    return op(0xBF, register, STACK) + op(0x07, register, value=offset)


def call(helper: int) -> bytes:
    """r0 = helper(r1, …)."""
    return op(0x85, value=helper)


RETURN_0 = put(0, 0) + op(0x95)
