"""What every backend on tracepoints does alike: attach, follow descendants, sum counters, let go."""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain

from isotrace.backends import pids
from isotrace.backends.loader import Loaded
from isotrace.backends.pids import Pids
from isotrace.errors import KernelError
from isotrace.kernel import bpf, perf
from isotrace.process import patience, verbose
from isotrace.trace import target
from isotrace.trace.plan import Attachment
from isotrace.trace.ring import Ring
from isotrace.trace.target import Target
from isotrace.trace.waited import NOBODY, Place

_LOG = logging.getLogger(__package__)
_ATTACH = {
    "hook": bpf.raw_tracepoint_open,
    "raw_tracepoint": bpf.raw_tracepoint_open,
    "trace_event": perf.attach_trace_event,
    "kprobe": perf.attach_kprobe,
}
_BY_PERF = ("trace_event", "kprobe")


#: What `chosen` of bpf/filter.h says of a process.
CHOSEN_PID, CHOSEN_PPID = 1, 2


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
        self._seeds = False
        self._pids: dict[str, Pids] = {}
        self._seeding = threading.Lock()

    def _watch(self, command_pid: int | None) -> None:
        """Attach, and find the descendants that there are. Raises ``KernelError``."""
        self._pids = {name: Pids(self._loaded.maps[name]) for name in ("tree", "followed") if name in self._loaded.maps}
        self._fill_filter()
        if command_pid is not None:
            self._pids["tree"].add(command_pid, pids.ARMED)
        self._attach()
        self._seeds = self._target.mapped and command_pid is None
        if self._seeds:
            self._seed(self._target.tree)

    def _fill_filter(self) -> None:
        """Whom the target names, where that is more than a constant of the programs."""
        if "chosen" in self._loaded.maps:
            chosen = Pids(self._loaded.maps["chosen"])
            for pid in {*self._target.pid, *self._target.ppid}:
                chosen.add(pid, CHOSEN_PID * (pid in self._target.pid) | CHOSEN_PPID * (pid in self._target.ppid))
            chosen.close()
        if table := self._target.table:
            accepting = [word for words in table.bytes for word in words]
            entries = {u32(at): struct.pack("=Q", word) for at, word in enumerate(accepting)}
            bpf.map_update_all(self._loaded.maps["comm_bytes"], entries)
        if self._target.waited:
            self._target.waited.join(self._switched)

    def _switched(self, place: Place | None) -> None:
        """The cgroup of the target is another one, or none. Who is in it already is looked for, as at the start."""
        bpf.map_update(self._loaded.maps["waited"], u32(0), place.packed if place else NOBODY)
        if place and self._seeds and "followed" in self._pids:
            for key in bpf.map_keys(self._loaded.maps["births"], 4):  # their numbers may be others' by now
                bpf.map_delete(self._loaded.maps["births"], key)
            self._seed(())

    def _attach(self) -> None:
        _LOG.debug("target: %s", self._target)
        verbose.hold()
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
            by_perf = isinstance(error, PermissionError) and attachment.how in _BY_PERF
            hint = f"it takes {perf.REMEDY}" if by_perf else "see: isotrace doctor"
            raise KernelError(f"cannot attach to the {what}: {error.strerror}", hint) from None
        place = (
            f"to the {attachment.how.replace('_', ' ')} {attachment.where}"
            if attachment.where
            else "at the hook in its name"
        )
        _LOG.debug("attached %s %s", attachment.program, place)

    # ---- descendants: attached first, then filled from /proc until a round finds nothing new --------------------------

    def _births(self) -> list[tuple[int, int]]:
        fd = self._loaded.maps["births"]
        found = [(key, bpf.map_lookup(fd, key, 4)) for key in bpf.map_keys(fd, 4)]
        return [(*struct.unpack("=I", key), *struct.unpack("=I", parent)) for key, parent in found if parent]

    def _seed(self, trees: Collection[int]) -> None:
        with self._seeding:
            bpf.map_update(self._loaded.maps["seeding"], u32(0), u32(1))
            if trees:
                self._seed_with("tree", lambda: set(trees), descend=True)
            if "followed" in self._pids:
                self._seed_with("followed", self._matching, descend=self._target.follow)
            bpf.map_update(self._loaded.maps["seeding"], u32(0), u32(0))

    def _matching(self) -> set[int]:
        found = target.matching(self._target) - self._target.spared
        return {pid for pid in found if self._pids["tree"].state(pid)} if "tree" in self._pids else found

    def _seed_with(self, name: str, roots: Callable[[], set[int]], descend: bool) -> None:
        plan_target, members = self._target, self._pids[name]
        known: set[int] = set()
        while True:
            known |= roots()
            if descend:
                parents = [(process.pid, process.ppid) for process in target.processes()]
                known |= set(plan_target.known()) if plan_target.known else set()
                known = target.descendants(known, parents + self._births())
            known -= {os.getpid()} | plan_target.spared
            # Children of members are in the map by themselves: however fast they come, this ends.
            missing = [pid for pid in known if not members.state(pid) and target.read_process(pid)]
            if not missing:
                break
            for pid in missing:
                members.add(pid, pids.ACTIVE)
            _LOG.debug("map %s: %d processes found in /proc", name, len(missing))

    @property
    def states(self) -> Mapping[str, Pids]:
        """The maps of followed pids that the kernel keeps, by their names."""
        return self._pids

    def pids(self) -> set[int]:
        """The processes in the kernel's map of followed pids that have not ended; empty where the target has none.

        Of a tree of which only some match, and what descends from these (``follow``), it is these and theirs.
        """
        chosen = ["followed"] if self._target.follow and "followed" in self._pids else [*self._pids]
        return {pid for name in chosen for pid in self._pids[name].members()}

    def alive(self) -> bool:
        """Whether one of these is more than a zombie, or may be: False is certain, however fast they fork and end.

        The programs enter a child before its parent can end, and mark who has ended. So where none is found, and none
        was entered while it was looked for, there was none.
        """
        before = self._joined()
        members = chain.from_iterable(found.members() for found in self._pids.values())
        return any(map(target.lives, members)) or self._joined() != before

    def _joined(self) -> int:
        """How many have become members."""
        fd = self._loaded.maps.get("joined")
        return int.from_bytes(bpf.map_lookup(fd, u32(0), 8) or b"", "little") if fd is not None else 0

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
        """How often the kernel skipped these programs: see kernel/programs.py."""
        fds = (self._loaded.programs.get(program) for program in programs)
        return sum(bpf.recursion_misses(fd) for fd in fds if fd is not None)

    def close(self) -> None:
        """Detach and close every descriptor."""
        if self._target.waited:
            self._target.waited.leave(self._switched)
        self.detach()
        while self._pids:
            self._pids.popitem()[1].close()
        self._loaded.close()
        self._loaded = Loaded({}, {})


class Ringed(Attached):
    """Programs that send records through the ring buffer `events`."""

    def __init__(self, plan_target: Target, attachments: Sequence[Attachment]) -> None:
        super().__init__(plan_target, attachments)
        self._ring: Ring | None = None

    def _open_ring(self, size: int) -> None:
        _LOG.debug("ring: %s bytes", f"{size:,}")
        self._ring = Ring(os.dup(self._loaded.maps["events"]), size)

    def wait(self, seconds: float) -> None:
        """Return when the programs have woken the reader since the last time, or after ``seconds``."""
        self.woken(seconds)

    def woken(self, seconds: float) -> bool:
        """The same; whether they have."""
        return bool(self._ring and self._ring.wait(seconds))

    def close(self) -> None:
        """Detach, unmap, close every descriptor."""
        self.detach()
        if self._ring:
            self._ring.close()
            self._ring = None
        super().close()
