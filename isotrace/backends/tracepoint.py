"""Logging through BPF programs on raw tracepoints."""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Iterator

from isotrace import captures, target
from isotrace.backends import Counters
from isotrace.backends.loader import Loaded, Loader
from isotrace.errors import KernelError
from isotrace.events import Batch
from isotrace.kernel import bpf, perf
from isotrace.plan import Plan
from isotrace.ring import Ring

_MEMBER_ARMED, _MEMBER_ACTIVE = 1, 2  # bpf/filter.h
_TALLY_NOT_FOLLOWED, _TALLY_EXTRAS_LOST = 0, 1  # bpf/event.h


_ATTACH = {
    "raw_tracepoint": bpf.raw_tracepoint_open,
    "trace_event": perf.attach_trace_event,
    "kprobe": perf.attach_kprobe,
}


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


class Tracepoints:
    """The programs of bpf/trace.c, attached. Everything in the kernel goes when this process does."""

    def __init__(self, plan: Plan, loader: Loader) -> None:
        """Start compiling for ``plan``; ``open`` waits for the result."""
        self._plan = plan
        self._loader = loader
        loader.start("trace.c", plan.constants, plan.programs, plan.maps)
        self._loaded = Loaded({}, {})
        self._links: list[int] = []
        self._ring: Ring | None = None
        self._poll = select.poll()

    def open(self, command_pid: int | None = None) -> None:
        """Fill the maps, attach, and find the descendants that there are. Raises ``IsotraceError``.

        ``command_pid`` is a child that has yet to call execve: it is watched from then on.
        """
        self._loaded = self._loader.result()
        self._fill_slots()
        self._ring = Ring(os.dup(self._loaded.maps["events"]), self._plan.ring_bytes)
        self._poll.register(self._ring.fd, select.POLLIN)
        if command_pid is not None:
            self._add("tree", command_pid, _MEMBER_ARMED)
        self._attach()
        if self._plan.target.descends and command_pid is None:
            self._seed()

    def _fill_slots(self) -> None:
        programs, maps = self._loaded.programs, self._loaded.maps
        for slot, content in self._plan.slots.items():
            key = _u32(slot)
            bpf.map_update(maps["exits"], key, _u32(programs[content.exit]))
            if content.enter:
                bpf.map_update(maps["enters"], key, _u32(programs[content.enter]))
            if content.captures:
                bpf.map_update(maps["captures"], key, captures.pack(content.captures))

    def _attach(self) -> None:
        if "seeding" in self._loaded.maps:
            bpf.map_update(self._loaded.maps["seeding"], _u32(0), _u32(1))
        for attachment in self._plan.attach:
            program = self._loaded.programs[attachment.program]
            try:
                self._links.append(_ATTACH[attachment.how](attachment.where, program))
            except OSError as error:
                what = f"{attachment.how.replace('_', ' ')} {attachment.where}"
                raise KernelError(f"cannot attach to the {what}: {error.strerror}", "see: isotrace doctor") from None

    # ---- descent: attached first, then filled from /proc until a round finds nothing new --------------------------

    def _add(self, name: str, pid: int, state: int) -> None:
        try:
            bpf.map_update(self._loaded.maps[name], _u32(pid), _u32(state))
        except OSError as error:
            raise KernelError(f"cannot watch process {pid}: {error.strerror}", "name a smaller tree") from None

    def _births(self) -> list[tuple[int, int]]:
        fd = self._loaded.maps["born"]
        found = [(key, bpf.map_lookup(fd, key, 4)) for key in bpf.map_keys(fd, 4)]
        return [(*struct.unpack("=I", key), *struct.unpack("=I", parent)) for key, parent in found if parent]

    def _seed(self) -> None:
        plan_target = self._plan.target
        name = "tree" if plan_target.tree is not None else "family"
        known: set[int] = set()
        while True:
            roots = {plan_target.tree} if plan_target.tree is not None else target.matching(plan_target)
            parents = [(process.pid, process.ppid) for process in target.processes()]
            found = target.descendants(roots | known, parents + self._births()) - {os.getpid()}
            # Children of members are in the map by themselves: however fast they come, this ends.
            missing = {pid for pid in found - known - self.pids() if (target.PROC / str(pid)).exists()}
            if not missing:
                break
            for pid in missing:
                self._add(name, pid, _MEMBER_ACTIVE)
            known |= missing
        bpf.map_update(self._loaded.maps["seeding"], _u32(0), _u32(0))
        self._forget_dead(name, known)

    def _forget_dead(self, name: str, pids: set[int]) -> None:
        """Whoever ended between the look at /proc and the entry in the map has no one else to remove it."""
        for pid in pids:
            if not (target.PROC / str(pid)).exists():
                bpf.map_delete(self._loaded.maps[name], _u32(pid))

    def pids(self) -> set[int]:
        """The processes in the kernel's map of descent; empty where the target has none."""
        fds = [self._loaded.maps[name] for name in ("tree", "family") if name in self._loaded.maps]
        return {struct.unpack("=I", key)[0] for fd in fds for key in bpf.map_keys(fd, 4)}

    def alive(self) -> bool:
        """Whether a process in that map is more than a zombie."""
        found = (target.read_process(pid) for pid in self.pids())
        return any(process is not None and process.state not in "ZX" for process in found)

    # ---- reading ------------------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[Batch]:
        """All that has arrived by now."""
        return self._ring.batches() if self._ring else iter(())

    def wait(self, seconds: float) -> None:
        """Return when a CPU has sent an eighth of the ring since the last time, or after ``seconds``."""
        self._poll.poll(seconds * 1000)

    def detach(self) -> None:
        """Take the programs off the tracepoints."""
        while self._links:
            os.close(self._links.pop())

    def _sum(self, name: str, index: int) -> int:
        raw = bpf.map_lookup(self._loaded.maps[name], _u32(index), 8 * bpf.possible_cpus())
        return sum(struct.unpack(f"={bpf.possible_cpus()}Q", raw)) if raw else 0

    def _missed(self, program: str) -> int:
        """How often the kernel passed the program over: see kernel/preemption.py."""
        fd = self._loaded.programs.get(program)
        return bpf.recursion_misses(fd) if fd is not None else 0

    def counters(self) -> Counters:
        """The counts over all CPUs."""
        if not self._loaded.maps:
            return Counters()
        births = sum(self._missed(name) for name in ("on_fork", "on_new_task"))
        return Counters(
            seen={slot: total for slot in self._plan.slots if (total := self._sum("seen", slot))},
            lost={slot: total for slot in self._plan.slots if (total := self._sum("lost", slot))},
            extras_lost=self._sum("tally", _TALLY_EXTRAS_LOST),
            not_followed=self._sum("tally", _TALLY_NOT_FOLLOWED) + births,
            missed=self._missed("on_exit") + self._missed("on_enter"),
        )

    def close(self) -> None:
        """Detach, unmap, close every descriptor."""
        self.detach()
        if self._ring:
            self._ring.close()
            self._ring = None
        self._loaded.close()
        self._loaded = Loaded({}, {})
