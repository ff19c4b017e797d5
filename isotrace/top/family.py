"""Whom a refusal concerns: the table's target, or a process with its descendants; and who is never concerned."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from isotrace.decode import quote
from isotrace.errors import IsotraceError
from isotrace.kernel import namespaces
from isotrace.top.model import GROUPS, Process
from isotrace.trace import target as targets
from isotrace.trace.target import Target


def running(target: Target, command: int | None, known: Callable[[], Collection[int]]) -> Target:
    """The table's target as it runs now: a command, started as process ``command``, is a tree of processes."""
    found = replace(target, command=(), tree=(command,)) if command is not None else target
    return replace(found, known=known if target.descends else None)


def of_process(pid: int, known: Callable[[], Collection[int]]) -> Target:
    """A process and its descendants."""
    return Target(tree=(pid,), known=known)


def below(pid: int, processes: Mapping[int, Process], names: Mapping[int, tuple[bytes, int]]) -> set[int]:
    """The processes that the table shows below ``pid``, whatever parents they have now.

    ``names`` are what the kernel's table has since the last look: process → name, parent.
    """
    parents = [(process.owner, process.parent) for process in processes.values()]
    parents += [(child, parent) for child, (_, parent) in names.items()]
    return {owner for owner in targets.descendants({pid}, parents) if owner < GROUPS}


def members(target: Target) -> set[int]:
    """The processes that are concerned now."""
    if not target.descends:
        return targets.matching(target)
    roots = set(target.tree) if target.tree else targets.matching(target)
    roots |= set(target.known()) if target.known else set()
    parents = [(process.pid, process.ppid) for process in targets.processes()]
    found = targets.members(target, targets.descendants(roots, parents))
    return {pid for pid in found if targets.lives(pid)}


def own(helpers: Collection[int] = ()) -> frozenset[int]:
    """Who is never refused anything: isotrace, its ``helpers``, the shell and terminal it runs in, the machine's init."""
    found = {*namespaces.machine_init(), *helpers}
    pid = os.getpid()
    while pid not in found and (process := targets.read_process(pid)):
        found.add(pid)
        pid = process.ppid
    return frozenset(found)


def check(target: Target, never: Collection[int]) -> int:
    """How many processes are concerned now.

    Raises ``IsotraceError`` where nobody is left, or where one of ``never`` is among them.
    """
    concerned = members(target)
    for pid in sorted(concerned & set(never)):
        why = "process 1 is never denied anything" if pid in namespaces.machine_init() else "isotrace itself runs in it"
        raise IsotraceError(f"process {pid} ({_name(pid)}) is among them: {why}", "choose a process (2) below it")
    gone = target.pid or target.ppid or target.tree
    if gone and not concerned and not any(map(targets.read_process, gone)):
        raise IsotraceError("its processes have ended", "choose one that runs")
    return len(concerned)


def _name(pid: int) -> str:
    process = targets.read_process(pid)
    return quote.comm(process.comm) if process else "?"
