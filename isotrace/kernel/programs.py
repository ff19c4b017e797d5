"""Two things about programs on tracepoints that only trying tells: whether they are preempted, and may read with types.

A program on a raw tracepoint runs with preemption disabled up to 6.18; on 7.3 it does not. There, a second task that
meets the tracepoint on the same CPU meanwhile is skipped: the kernel only counts it (``recursion_misses``).
isotrace attaches through perf events then.
"""

from __future__ import annotations

import contextlib
import os

from isotrace.kernel import bpf, btf, run_here
from isotrace.kernel.assembly import BTF_ID, RETURN_0, STACK, call, load, op
from isotrace.kernel.run_here import RESULT

_RAW_TRACEPOINT = 17
_THIS_CPU_PTR, _TASK_BTF, _TASK_REGISTERS = 154, 158, 175
_DI = 112
_COUNT = 0x7FFFFFFF  # the top bit is x86's inverted "need to reschedule"


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
    with contextlib.suppress(OSError, KeyError):
        variable = types.type_id("__preempt_count", btf.KIND_VAR)
        body = [load(1, BTF_ID, variable), call(_THIS_CPU_PTR), op(0x61, 7, 0), op(0x63, STACK, 7, RESULT)]  # a u32
        count = run_here.number(b"".join(body))
        return count is not None and count & _COUNT == 0
    return False
