"""Two things about programs on tracepoints that only trying tells: whether they are preempted, and may read with types.

A program on a raw tracepoint runs with preemption disabled up to 6.18; on 7.3 it does not. There, a second task that
meets the tracepoint on the same CPU meanwhile is passed over: the kernel only counts it (``recursion_misses``).
isotrace attaches through perf events then.
"""

from __future__ import annotations

import contextlib
import os
import struct

from isotrace.kernel import bpf, btf

_ARRAY, _RAW_TRACEPOINT = 2, 17
_MAP_UPDATE, _PID_TGID, _THIS_CPU_PTR, _TASK_BTF, _TASK_REGISTERS = 2, 14, 154, 158, 175
_DI = 112
_MAP_FD, _BTF_ID = 1, 3  # BPF_PSEUDO_MAP_FD, BPF_PSEUDO_BTF_ID
_UNSEEN = 0xFFFFFFFF
_COUNT = 0x7FFFFFFF  # the top bit is x86's inverted "need to reschedule"


def _op(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, to | source << 4, offset, value)


def _program(map_fd: int, variable: int) -> bytes:
    """Stores this CPU's ``__preempt_count`` in the map's only element when this process makes the call."""
    body = [
        _op(0x18, 1, _BTF_ID, 0, variable) + _op(0),
        _op(0x85, value=_THIS_CPU_PTR),
        _op(0x61, 7, 0),  # r7 = *(u32 *)r0
        _op(0x63, 10, 7, -4),
        _op(0x62, 10, 0, -8, 0),
        _op(0x18, 1, _MAP_FD, 0, map_fd) + _op(0),
        _op(0xBF, 2, 10) + _op(0x07, 2, value=-8),
        _op(0xBF, 3, 10) + _op(0x07, 3, value=-4),
        _op(0xB7, 4),
        _op(0x85, value=_MAP_UPDATE),
    ]
    inside = b"".join(body)
    own = _op(0x85, value=_PID_TGID) + _op(0x77, 0, value=32) + _op(0x55, 0, 0, len(inside) // 8, os.getpid())
    return own + inside + _op(0xB7, 0) + _op(0x95)


def typed_task(offset: int) -> bool:
    """Whether a program may read the current task, at ``offset``, and its registers by plain loads.

    bpf_get_current_task_btf() came with 5.11 (commit 3ca1032ab7ab), bpf_task_pt_regs() with 5.15 (commit dd6e10fbd9fb).
    """
    body = [
        _op(0x85, value=_TASK_BTF),
        _op(0x61, 1, 0, offset),  # r1 = *(u32 *)(r0 + offset)
        _op(0xBF, 1, 0),
        _op(0x85, value=_TASK_REGISTERS),
        _op(0x79, 1, 0, _DI),  # r1 = *(u64 *)(r0 + offsetof(struct pt_regs, di))
        _op(0xB7, 0) + _op(0x95),
    ]
    with contextlib.suppress(OSError):
        os.close(bpf.prog_load(_RAW_TRACEPOINT, b"".join(body)))
        return True
    return False


def tracepoints_preemptible() -> bool:
    """Ask the kernel: read the preemption count inside a program. False where it cannot be read."""
    types = btf.vmlinux()
    if not types.has_function("preempt_schedule"):
        return False  # this kernel never preempts itself
    with contextlib.suppress(OSError, KeyError), contextlib.ExitStack() as opened:
        fd = bpf.map_create(_ARRAY, 4, 4, 1)
        opened.callback(os.close, fd)
        bpf.map_update(fd, bytes(4), struct.pack("=I", _UNSEEN))
        program = bpf.prog_load(_RAW_TRACEPOINT, _program(fd, types.type_id("__preempt_count", btf.KIND_VAR)))
        opened.callback(os.close, program)
        opened.callback(os.close, bpf.raw_tracepoint_open("sys_enter", program))
        os.getppid()
        (count,) = struct.unpack("=I", bpf.map_lookup(fd, bytes(4), 4) or b"\xff" * 4)
        return bool(count != _UNSEEN and count & _COUNT == 0)
    return False
