"""Two things about programs on tracepoints that only trying tells: whether they are preempted, and may read with types.

A program on a raw tracepoint runs with preemption disabled up to 6.18; on 7.3 it does not. There, a second task that
meets the tracepoint on the same CPU meanwhile is skipped: the kernel only counts it (``recursion_misses``).
isotrace attaches through perf events then.
"""

from __future__ import annotations

import contextlib
import os
import struct

from isotrace.kernel import bpf, btf
from isotrace.kernel.assembly import BTF_ID, MAP_FD, RETURN_0, call, load, op, put, stack

_ARRAY, _RAW_TRACEPOINT = 2, 17
_MAP_UPDATE, _PID_TGID, _THIS_CPU_PTR, _TASK_BTF, _TASK_REGISTERS = 2, 14, 154, 158, 175
_DI = 112
_UNSEEN = 0xFFFFFFFF
_COUNT = 0x7FFFFFFF  # the top bit is x86's inverted "need to reschedule"


def _program(map_fd: int, variable: int) -> bytes:
    """Stores this CPU's ``__preempt_count`` in the map's only element when this process makes the call."""
    body = [
        load(1, BTF_ID, variable),
        call(_THIS_CPU_PTR),
        op(0x61, 7, 0),  # r7 = *(u32 *)r0
        op(0x63, 10, 7, -4),
        op(0x62, 10, 0, -8, 0),
        load(1, MAP_FD, map_fd),
        stack(2, -8),
        stack(3, -4),
        put(4, 0),
        call(_MAP_UPDATE),
    ]
    inside = b"".join(body)
    own = call(_PID_TGID) + op(0x77, 0, value=32) + op(0x55, 0, 0, len(inside) // 8, os.getpid())
    return own + inside + RETURN_0


def typed_task(offset: int) -> bool:
    """Whether a program may read the current task, at ``offset``, and its registers by plain loads.

    bpf_get_current_task_btf() came with 5.11 (commit 3ca1032ab7ab), bpf_task_pt_regs() with 5.15 (commit dd6e10fbd9fb).
    """
    body = [
        call(_TASK_BTF),
        op(0x61, 1, 0, offset),  # r1 = *(u32 *)(r0 + offset)
        op(0xBF, 1, 0),
        call(_TASK_REGISTERS),
        op(0x79, 1, 0, _DI),  # r1 = *(u64 *)(r0 + offsetof(struct pt_regs, di))
        RETURN_0,
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
