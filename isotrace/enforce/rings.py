"""io_uring of a target from before its rules: a ring goes on working without any call that could be refused.

Its thread (SQPOLL) takes orders from shared memory, and what was asked for earlier is done when what it waits for comes.
Where a rule closes io_uring no new ring is set up, so that those there are can be found once the rule is at work.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from isotrace.decode import quote
from isotrace.enforce import Enforced
from isotrace.errors import KernelError
from isotrace.trace import target as targets
from isotrace.trace.target import Target

PROC = Path("/proc")
_RING = b"anon_inode:[io_uring]"
_IO_WORKER = 0x10  # PF_IO_WORKER: a thread that io_uring made, since 5.12
_FLAGS = 6  # of the fields of /proc/PID/stat behind the name
_SHOWN = 4  # processes that are named


def holds_ring(pid: int) -> bool:
    """Whether the process has a ring as a descriptor or in its memory, or a thread that works for one; False when it is
    gone.

    Raises ``PermissionError`` where that cannot be seen.
    """
    try:
        return any(_descriptors(pid)) or _RING in (PROC / str(pid) / "maps").read_bytes() or any(_workers(pid))
    except (FileNotFoundError, ProcessLookupError):
        return False


def _descriptors(pid: int) -> Iterator[bool]:
    with os.scandir(PROC / str(pid) / "fd") as entries:
        for entry in entries:
            try:
                yield os.readlink(os.fsencode(entry.path)) == _RING
            except FileNotFoundError:
                continue


def _workers(pid: int) -> Iterator[bool]:
    with os.scandir(PROC / str(pid) / "task") as entries:
        for entry in entries:
            try:
                yield bool(flags(Path(entry.path, "stat").read_bytes()) & _IO_WORKER)
            except (FileNotFoundError, ProcessLookupError):
                continue


def flags(stat: bytes) -> int:
    """The task's PF_ flags in the text of its ``stat``; its name may have anything in it."""
    return int(stat.rpartition(b")")[2].split()[_FLAGS])


def holders(pids: Iterable[int]) -> list[int]:
    """Those of ``pids`` that have a ring, and those of which that cannot be seen."""
    found = []
    for pid in sorted(pids):
        try:
            has = holds_ring(pid)
        except PermissionError:
            has = True
        if has:
            found.append(pid)
    return found


def of_target(target: Target) -> set[int]:
    """The processes whose rings are the target's: those that are the target now, and ``ppid`` itself, whose children
    inherit them. A command that isotrace starts has what isotrace has.
    """
    found = set(target.tree) if target.tree else set() if target.command else targets.matching(target)
    found |= set(target.known()) if target.known else set()
    if target.descends:
        found = targets.descendants(found, ((one.pid, one.ppid) for one in targets.processes()))
    found -= {os.getpid(), *target.spared}
    return found | set(target.ppid) | ({os.getpid()} if target.command else set())


def from_before(enforced: Sequence[Enforced], target: Target) -> str | None:
    """What there is to say of rings that the target has although a rule that is at work closes io_uring; else None."""
    if not any(one.guarantees.io_uring == "closed" and not one.rule.allow for one in enforced):
        return None
    found = holders(of_target(target))
    if not found:
        return None
    return f"{named(found)} had io_uring before the rules: what is asked of it there goes on being done"


def named(pids: Sequence[int]) -> str:
    """The processes in words, the first of them by name."""
    more = f" and {len(pids) - _SHOWN} more" if len(pids) > _SHOWN else ""
    return ", ".join(map(_name, pids[:_SHOWN])) + more


def _name(pid: int) -> str:
    process = targets.read_process(pid)
    return f"process {pid}" + (f" ({quote.comm(process.comm)})" if process else "")


def check(enforced: Sequence[Enforced], target: Target) -> None:
    """Raise ``KernelError`` where the target has rings from before that a rule closes."""
    if trouble := from_before(enforced, target):
        raise KernelError(trouble, "start that process under block, or accept it with --best-effort")
