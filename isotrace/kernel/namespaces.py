"""The namespaces that isotrace runs in, as the kernel has them: by these its programs speak isotrace's own numbers.

A program that runs in this process reads what hangs on the task: nothing in /proc tells where a namespace is in the kernel,
or how many are above it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from isotrace.errors import KernelError
from isotrace.kernel import btf, procfs, run_here
from isotrace.kernel.assembly import STACK, call, op, put, stack
from isotrace.kernel.run_here import RESULT

_CURRENT_TASK, _PROBE_READ_KERNEL = 35, 113
#: What helps where the kernel's own process numbers are wanted.
ON_THE_HOST = "run it on the host, or in a container that shares the host's pids (docker run --pid=host)"
_ENTER = "unshare with --fork --mount-proc"
#: What the initial namespaces' files are numbered (include/linux/proc_ns.h), by the name in /proc/PID/ns.
INITIAL = {"cgroup": 0xEFFFFFFB, "pid": 0xEFFFFFFC, "user": 0xEFFFFFFD}
_CGROUP = (("task_struct", "cgroups"), ("css_set", "dfl_cgrp"), ("cgroup", "level"))
_NUMBER, _SPACE = 16, 8  # struct upid, include/linux/pid.h: its size, and where its namespace is


def is_initial(kind: str) -> bool:
    """Whether this process is in the initial namespace of a kind of ``INITIAL``. Raises ``OSError``."""
    return (procfs.PROC / "self/ns" / kind).stat().st_ino == INITIAL[kind]


def machine_init() -> frozenset[int]:
    """The number of the machine's first process; none where that cannot be seen: a container's first is like any other."""
    return frozenset({1} if is_initial("pid") else ())


@dataclass(frozen=True)
class PidNamespace:
    """One that is not the initial one: how many are above it, and where it is."""

    level: int
    address: int

    def constants(self) -> list[str]:
        """``-D`` constants for the compiler: see bpf/filter.h. Raises ``KernelError``."""
        found = [f"PID_LEVEL={self.level}", f"PID_NS={self.address:#x}ULL"]
        return [*found, *(f"{name}={value}" for name, value in btf.required(btf.WHEREABOUTS).items())]


@cache
def pid_namespace() -> PidNamespace | None:
    """The pid namespace of this process; None for the initial one. Raises ``KernelError``."""
    if is_initial("pid"):
        return None
    check_proc()
    offsets = btf.required(btf.WHEREABOUTS)
    level = peek([offsets["OFF_THREAD_PID"], offsets["OFF_PID_LEVEL"]]) & 0xFFFFFFFF
    address = peek([offsets["OFF_THREAD_PID"], offsets["OFF_PID_NUMBERS"] + level * _NUMBER + _SPACE])
    if not level or not address:
        raise KernelError(
            "the kernel does not say which pid namespace isotrace runs in",
            ON_THE_HOST,
        )
    return PidNamespace(level, address)


def check_proc() -> None:
    """Raise ``KernelError`` where /proc is another pid namespace's, and would tell of other processes, or where isotrace's
    children would be in another one than isotrace.
    """
    try:
        named = os.readlink("/proc/self")
    except OSError:
        named = ""
    if named != str(os.getpid()):
        raise KernelError(
            "/proc is not that of isotrace's own pid namespace", f"{_ENTER}, nsenter with --mount as well"
        )
    try:
        together = os.path.samefile("/proc/self/ns/pid", "/proc/self/ns/pid_for_children")
    except OSError:  # it has no process yet
        together = False
    if not together:
        raise KernelError("isotrace's children would be in another pid namespace than isotrace", _ENTER)


def cgroup_depth() -> int:
    """How deep the root of this process's cgroup namespace is in the hierarchy: 0 for the initial one.

    Raises ``KernelError``.
    """
    if is_initial("cgroup"):
        return 0
    types = btf.vmlinux()
    level = peek([types.offset(*member) for member in _CGROUP]) & 0xFFFFFFFF
    path = os.fsdecode(procfs.cgroup(procfs.read("self", "cgroup") or b""))
    return level - depth(path)


def depth(path: str) -> int:
    """How far below the root of a cgroup namespace a path is that /proc tells: above it, it begins with ``/..``."""
    return sum(-1 if name == ".." else 1 for name in path.split("/") if name)


def peek(offsets: Sequence[int]) -> int:
    """Eight bytes of the kernel's, to where pointers lead from this process's task: each lies at its offset from what the
    one before points to. 0 where that cannot be read.

    Raises ``KernelError``.
    """
    body = [call(_CURRENT_TASK), op(0xBF, 6, 0)]
    for offset in offsets:  # r6 = *(u64 *)(r6 + offset)
        body += [op(0x7A, STACK, 0, RESULT), stack(1, RESULT), put(2, 8)]
        body += [op(0xBF, 3, 6), op(0x07, 3, value=offset), call(_PROBE_READ_KERNEL), op(0x79, 6, STACK, RESULT)]
    try:
        return run_here.number(b"".join(body)) or 0
    except OSError as error:
        raise KernelError(f"cannot look at isotrace's own task: {error.strerror}", "see: isotrace doctor") from None
