"""Who and what the standing rule "protects isotrace" protects: processes, and objects of bpf(2), for bpf/block_guard.h."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from isotrace.backends.attached import u32
from isotrace.backends.loader import Loaded
from isotrace.kernel import bpf
from isotrace.process import children, forkserver
from isotrace.trace import target as targets
from isotrace.trace.target import Target

#: What bpf/block_guard.h reads of the kernel's structures.
OFFSETS = {
    "OFF_THREAD_PID": ("task_struct", "thread_pid"),
    "OFF_PID_LINKS": ("task_struct", "pid_links"),
    "OFF_PID_LEVEL": ("pid", "level"),
    "OFF_PID_TASKS": ("pid", "tasks"),
    "OFF_PROC_PID": ("proc_inode", "pid"),
    "OFF_PROC_VFS_INODE": ("proc_inode", "vfs_inode"),
    "OFF_EVENT_PMU": ("perf_event", "pmu"),
    "OFF_PMU_NAME": ("pmu", "name"),
}
MAPS = ("guarded", "guarded_objects", "heartbeat")
#: The hook where the programs are asked whether they still run.
BEATS = "task_kill"

STRANGER, OUTER, OWN = 0, 1, 2  # GUARD_… of bpf/block_guard.h
_PROG_BY_ID, _MAP_BY_ID, _LINK_BY_ID = 13, 14, 30  # enum bpf_cmd
_BECOME = {b"sudo", b"su", b"doas", b"pkexec", b"runuser"}


def processes(target: Target) -> dict[int, int]:
    """Process or thread of isotrace's → ``OWN``; process that it runs in → ``OUTER``, but none of the target; child that is
    not of isotrace's making → ``STRANGER``.
    """
    own = {os.getpid(), *map(int, os.listdir("/proc/self/task"))}
    if (helper := forkserver.current()) is not None:
        own.add(helper.pid)
    strangers = dict.fromkeys(children.INHERITED, STRANGER)
    return {**strangers, **dict.fromkeys(_around(target), OUTER), **dict.fromkeys(own, OWN)}


def _around(target: Target) -> Iterable[int]:
    """The processes above isotrace in its session, and those that made this for another user: they end it when they end."""
    below, pid = os.getpid(), os.getppid()
    while pid and (process := targets.read_process(pid)) is not None:
        if os.getsid(pid) != os.getsid(below) and process.comm not in _BECOME:
            return
        if pid in (*target.tree, *target.pid):
            return
        yield pid
        below, pid = pid, process.ppid


def fill(loaded: Loaded, target: Target) -> None:
    """Enter the processes, and the programs and maps that are loaded."""
    for pid, kind in processes(target).items():
        bpf.map_update(loaded.maps["guarded"], u32(pid), u32(kind))
    enter(loaded, loaded, ())


def enter(loaded: Loaded, other: Loaded, links: Iterable[int]) -> None:
    """Enter programs, maps and links of ``other`` in the maps of ``loaded``."""
    for fd in other.programs.values():
        _enter(loaded, _PROG_BY_ID, bpf.program_id(fd))
    for fd in other.maps.values():
        _enter(loaded, _MAP_BY_ID, bpf.map_id(fd))
    fill_links(loaded, links)


def fill_links(loaded: Loaded, links: Iterable[int]) -> None:
    """Enter the links that attach the programs; descriptors of perf events are none."""
    for fd in links:
        if (number := bpf.link_id(fd)) is not None:
            _enter(loaded, _LINK_BY_ID, number)


def _enter(loaded: Loaded, command: int, number: int) -> None:
    bpf.map_update(loaded.maps["guarded_objects"], struct.pack("=II", number, command), u32(1))


def beats(heartbeat: int) -> bool:
    """Whether the program at ``BEATS`` runs: isotrace sends itself signal 0, and looks whether that was counted."""
    before = bpf.map_lookup(heartbeat, u32(0), 8)
    os.kill(os.getpid(), 0)
    return bpf.map_lookup(heartbeat, u32(0), 8) != before
