"""What every backend on tracepoints does alike: attach, follow descent, sum counters, let go."""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Sequence

from isotrace import patience, target
from isotrace.backends.loader import Loaded
from isotrace.errors import KernelError
from isotrace.kernel import bpf, perf
from isotrace.plan import Attachment
from isotrace.ring import Ring
from isotrace.target import Target

_MEMBER_ARMED, _MEMBER_ACTIVE = 1, 2  # bpf/filter.h


_ATTACH = {
    "hook": bpf.raw_tracepoint_open,
    "raw_tracepoint": bpf.raw_tracepoint_open,
    "trace_event": perf.attach_trace_event,
    "kprobe": perf.attach_kprobe,
}


def u32(value: int) -> bytes:
    """A map's key or value."""
    return struct.pack("=I", value)


class Attached:
    """Loaded programs on their tracepoints. Everything in the kernel goes when this process does."""

    def __init__(self, plan_target: Target, attachments: Sequence[Attachment]) -> None:
        self._target = plan_target
        self._attachments = attachments
        self._loaded = Loaded({}, {})
        self._links: list[int] = []

    def _watch(self, command_pid: int | None) -> None:
        """Attach, and find the descendants that there are. Raises ``KernelError``."""
        if command_pid is not None:
            self._add("tree", command_pid, _MEMBER_ARMED)
        self._attach()
        if self._target.descends and command_pid is None:
            self._seed()

    def _attach(self) -> None:
        if "seeding" in self._loaded.maps:
            bpf.map_update(self._loaded.maps["seeding"], u32(0), u32(1))
        with patience.waiting("attaching the programs"):
            for attachment in self._attachments:
                self._attach_one(attachment)

    def _attach_one(self, attachment: Attachment) -> None:
        program = self._loaded.programs[attachment.program]
        try:
            self._links.append(_ATTACH[attachment.how](attachment.where, program))
        except OSError as error:
            what = f"{attachment.how.replace('_', ' ')} {attachment.where or attachment.program}"
            raise KernelError(f"cannot attach to the {what}: {error.strerror}", "see: isotrace doctor") from None

    # ---- descent: attached first, then filled from /proc until a round finds nothing new --------------------------

    def _add(self, name: str, pid: int, state: int) -> None:
        try:
            bpf.map_update(self._loaded.maps[name], u32(pid), u32(state))
        except OSError as error:
            raise KernelError(f"cannot watch process {pid}: {error.strerror}", "name a smaller tree") from None

    def _births(self) -> list[tuple[int, int]]:
        fd = self._loaded.maps["born"]
        found = [(key, bpf.map_lookup(fd, key, 4)) for key in bpf.map_keys(fd, 4)]
        return [(*struct.unpack("=I", key), *struct.unpack("=I", parent)) for key, parent in found if parent]

    def _seed(self) -> None:
        plan_target = self._target
        name = "tree" if plan_target.tree is not None else "family"
        known: set[int] = set()
        while True:
            roots = {plan_target.tree} if plan_target.tree is not None else target.matching(plan_target)
            parents = [(process.pid, process.ppid) for process in target.processes()]
            roots |= set(plan_target.known()) if plan_target.known else set()
            found = target.descendants(roots | known, parents + self._births()) - {os.getpid()} - plan_target.spared
            # Children of members are in the map by themselves: however fast they come, this ends.
            missing = {pid for pid in found - known - self.pids() if (target.PROC / str(pid)).exists()}
            if not missing:
                break
            for pid in missing:
                self._add(name, pid, _MEMBER_ACTIVE)
            known |= missing
        bpf.map_update(self._loaded.maps["seeding"], u32(0), u32(0))
        self._forget_dead(name, known)

    def _forget_dead(self, name: str, pids: set[int]) -> None:
        """Whoever ended between the look at /proc and the entry in the map has no one else to remove it."""
        for pid in pids:
            if not (target.PROC / str(pid)).exists():
                bpf.map_delete(self._loaded.maps[name], u32(pid))

    def pids(self) -> set[int]:
        """The processes in the kernel's map of descent; empty where the target has none."""
        fds = [self._loaded.maps[name] for name in ("tree", "family") if name in self._loaded.maps]
        return {struct.unpack("=I", key)[0] for fd in fds for key in bpf.map_keys(fd, 4)}

    def alive(self) -> bool:
        """Whether a process in that map is more than a zombie."""
        return target.any_alive(self.pids())

    def detach(self) -> None:
        """Take the programs off the tracepoints."""
        if self._links:
            with patience.waiting("detaching the programs"):
                while self._links:
                    os.close(self._links.pop())

    def _sum(self, name: str, index: int) -> int:
        raw = bpf.map_lookup(self._loaded.maps[name], u32(index), 8 * bpf.possible_cpus())
        return sum(struct.unpack(f"={bpf.possible_cpus()}Q", raw)) if raw else 0

    def _missed(self, *programs: str) -> int:
        """How often the kernel passed these programs over: see kernel/programs.py."""
        fds = (self._loaded.programs.get(program) for program in programs)
        return sum(bpf.recursion_misses(fd) for fd in fds if fd is not None)

    def close(self) -> None:
        """Detach and close every descriptor."""
        self.detach()
        self._loaded.close()
        self._loaded = Loaded({}, {})


class Ringed(Attached):
    """Programs that send records through the ring buffer `events`."""

    def __init__(self, plan_target: Target, attachments: Sequence[Attachment]) -> None:
        super().__init__(plan_target, attachments)
        self._ring: Ring | None = None
        self._poll = select.poll()

    def _open_ring(self, size: int) -> None:
        self._ring = Ring(os.dup(self._loaded.maps["events"]), size)
        self._poll.register(self._ring.fd, select.POLLIN)

    def wait(self, seconds: float) -> None:
        """Return when the programs have woken the reader since the last time, or after ``seconds``."""
        self._poll.poll(seconds * 1000)

    def close(self) -> None:
        """Detach, unmap, close every descriptor."""
        self.detach()
        if self._ring:
            self._ring.close()
            self._ring = None
        super().close()
