"""A program that runs once, as this process makes a call, and brings back a number: what the kernel has of this task."""

from __future__ import annotations

import contextlib
import os
import struct

from isotrace.kernel import bpf, procfs
from isotrace.kernel.assembly import MAP_FD, RETURN_0, STACK, call, load, op, put, stack

_ARRAY, _RAW_TRACEPOINT = 2, 17
_MAP_UPDATE, _NS_PID_TGID = 2, 120
_UNSEEN = (1 << 64) - 1
_TURNS = 10  # a program may be skipped where another comes between
#: Where on the stack the body leaves its number: eight bytes, 0 when it begins.
RESULT = -16


def number(body: bytes) -> int | None:
    """What ``body``, instructions that jump nowhere and may use registers from 6 on, leaves at ``RESULT``; None where it is
    never run. Raises ``OSError``.

    This process is recognised by bpf_get_ns_current_pid_tgid(), of 5.7 (commit b4490c5c4e02): in a container the kernel's
    other numbers are not those that os.getpid() gives.
    """
    with contextlib.ExitStack() as opened:
        found = bpf.map_create(_ARRAY, 4, 8, 1)
        opened.callback(os.close, found)
        bpf.map_update(found, bytes(4), struct.pack("=Q", _UNSEEN))
        program = bpf.prog_load(_RAW_TRACEPOINT, _program(found, body))
        opened.callback(os.close, program)
        opened.callback(os.close, bpf.raw_tracepoint_open("sys_enter", program))
        for _ in range(_TURNS):
            os.getppid()
            value = int.from_bytes(bpf.map_lookup(found, bytes(4), 8) or b"\xff" * 8, "little")
            if value != _UNSEEN:
                return value
    return None


def _program(found: int, body: bytes) -> bytes:
    """Stores the number in the map's only element when this process makes a call."""
    begin = op(0x7A, STACK, 0, RESULT)
    keep = [op(0x62, STACK, 0, RESULT - 8), load(1, MAP_FD, found), stack(2, RESULT - 8), stack(3, RESULT)]
    inside = b"".join([begin, body, *keep, put(4, 0), call(_MAP_UPDATE)])
    space = (procfs.PROC / "self/ns/pid").stat()
    # r0 = bpf_get_ns_current_pid_tgid(device, inode, &{thread, thread group}, 8): 0 where they are this namespace's
    own = [_constant(1, space.st_dev), _constant(2, space.st_ino), stack(3, -8), put(4, 8), call(_NS_PID_TGID)]
    own += [op(0x55, 0, 0, len(inside) // 8 + 2), op(0x61, 1, STACK, -4), op(0x55, 1, 0, len(inside) // 8, os.getpid())]
    return b"".join(own) + inside + RETURN_0


def _constant(register: int, value: int) -> bytes:
    """register = a value of 64 bits."""
    low, high = (int.from_bytes(value.to_bytes(8, "little")[at : at + 4], "little", signed=True) for at in (0, 4))
    return op(0x18, register, 0, 0, low) + op(0, value=high)
