"""The kernel's map of descent, seen from user space: filled from /proc once the programs are attached, and read."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

from isotrace import target
from isotrace.errors import KernelError
from isotrace.kernel import bpf
from isotrace.target import Target

ARMED, ACTIVE = 1, 2  # bpf/filter.h


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


class Descent:
    """Who descends from ``wanted``, in the ``maps`` (name → descriptor) that on_fork and on_free of bpf/descent.h keep."""

    def __init__(self, wanted: Target, maps: Mapping[str, int]) -> None:
        self._target = wanted
        self._maps = maps

    def arm(self, pid: int) -> None:
        """Watch ``pid``, a child that has yet to call execve, from then on."""
        self._add("tree", pid, ARMED)

    def expect(self) -> None:
        """Have every birth written down from now on: before the programs are attached."""
        if "seeding" in self._maps:
            bpf.map_update(self._maps["seeding"], _u32(0), _u32(1))

    def seed(self) -> None:
        """Add the descendants that there are, until a round finds nothing new. Raises ``KernelError``."""
        name = "tree" if self._target.tree is not None else "family"
        known: set[int] = set()
        while True:
            roots = {self._target.tree} if self._target.tree is not None else target.matching(self._target)
            parents = [(process.pid, process.ppid) for process in target.processes()]
            found = target.descendants(roots | known, parents + self._births()) - {os.getpid()}
            if found <= known:
                break
            for pid in found - known:
                self._add(name, pid, ACTIVE)
            known |= found
        bpf.map_update(self._maps["seeding"], _u32(0), _u32(0))
        self._forget_dead(name, known)

    def pids(self) -> set[int]:
        """The processes in the map; empty where the target has none."""
        fds = [self._maps[name] for name in ("tree", "family") if name in self._maps]
        return {struct.unpack("=I", key)[0] for fd in fds for key in bpf.map_keys(fd, 4)}

    def alive(self) -> bool:
        """Whether a process in the map is more than a zombie."""
        found = (target.read_process(pid) for pid in self.pids())
        return any(process is not None and process.state not in "ZX" for process in found)

    def _add(self, name: str, pid: int, state: int) -> None:
        try:
            bpf.map_update(self._maps[name], _u32(pid), _u32(state))
        except OSError as error:
            raise KernelError(f"cannot watch process {pid}: {error.strerror}", "name a smaller tree") from None

    def _births(self) -> list[tuple[int, int]]:
        fd = self._maps["born"]
        found = [(key, bpf.map_lookup(fd, key, 4)) for key in bpf.map_keys(fd, 4)]
        return [(*struct.unpack("=I", key), *struct.unpack("=I", parent)) for key, parent in found if parent]

    def _forget_dead(self, name: str, pids: set[int]) -> None:
        """Whoever ended between the look at /proc and the entry in the map has no one else to remove it."""
        for pid in pids:
            if not (target.PROC / str(pid)).exists():
                bpf.map_delete(self._maps[name], _u32(pid))
