"""Attaching BPF programs through perf events: trace events and kprobes.

What a perf event runs is run with preemption disabled, also where raw tracepoints are not (kernel/programs.py). Closing
the descriptor detaches. Every function raises ``OSError``.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

from isotrace.kernel import bpf, mounts
from isotrace.process.libc import syscall

_SYS_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
TYPE_SOFTWARE, _TYPE_TRACEPOINT = 1, 2
DUMMY = 9  # PERF_COUNT_SW_DUMMY: counts nothing
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x40042408
_FLAG_FD_CLOEXEC = 8
#: What helps where events that concern all processes are not allowed.
REMEDY = "CAP_SYS_ADMIN as well, or sysctl kernel.perf_event_paranoid=2"
_KPROBE_TYPE = Path("/sys/bus/event_source/devices/kprobe/type")


def open_event(attributes: bytes, cpu: int, task: int = -1) -> int:
    """An event as ``struct perf_event_attr`` says, on a CPU (-1: any), of a task (-1: all, 0: this one).

    The structure has the size PERF_ATTR_SIZE_VER5: any kernel with BPF knows it.
    """
    attr = ctypes.create_string_buffer(attributes.ljust(112, b"\0"), 112)
    return syscall(_SYS_PERF_EVENT_OPEN[os.uname().machine], attr, task, cpu, -1, _FLAG_FD_CLOEXEC)


def _open(kind: int, config: int, config1: int, program: int) -> int:
    """An event on all tasks that runs ``program``."""
    head = struct.pack("=IIQQQQQIIQQ", kind, 112, config, 1, 0, 0, 0, 0, 0, config1, 0)
    fd = open_event(head, 0)
    try:
        link = _linked(fd, program)
        fcntl.ioctl(fd, _IOC_ENABLE, 0)
    except OSError:
        os.close(fd)
        raise
    if link != fd:
        os.close(fd)
    return link


def _linked(fd: int, program: int) -> int:
    """The descriptor that the program runs by: a link, which can be pinned, and before 5.15 the event itself."""
    with suppress(OSError):
        return bpf.link_perf_event(fd, program)
    fcntl.ioctl(fd, _IOC_SET_BPF, program)
    return fd


def count_nothing(everybody: bool = False) -> None:
    """Open an event of this process, or of all on the first CPU, that counts nothing, and close it."""
    cpu, task = (0, -1) if everybody else (-1, 0)
    os.close(open_event(struct.pack("=IIQ", TYPE_SOFTWARE, 112, DUMMY), cpu, task))


def trace_event_id(name: str) -> int:
    """The number of a trace event such as ``raw_syscalls/sys_exit``."""
    return int(mounts.tracefs(f"events/{name}/id"))


def attach_trace_event(name: str, program: int) -> int:
    """Run ``program`` (of type TRACEPOINT) at the event ``name``."""
    return _open(_TYPE_TRACEPOINT, trace_event_id(name), 0, program)


def has_kprobes() -> bool:
    """Whether perf offers kprobes."""
    return _KPROBE_TYPE.exists()


def attach_kprobe(function: str, program: int) -> int:
    """Run ``program`` (of type KPROBE) where the kernel function ``function`` begins."""
    name = ctypes.create_string_buffer(function.encode())
    return _open(int(_KPROBE_TYPE.read_text()), 0, ctypes.addressof(name), program)
