"""Logging through BPF programs on raw tracepoints."""

from __future__ import annotations

import logging
import mmap
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from isotrace.backends import Counters, Loss
from isotrace.backends.attached import Ringed, u32
from isotrace.backends.compiled import Refused
from isotrace.backends.loader import Loader
from isotrace.backends.losses import Losses
from isotrace.errors import KernelError
from isotrace.kernel import batch, bpf
from isotrace.kernel.rings import PROGRAMS as RING_PROGRAMS
from isotrace.trace import captures
from isotrace.trace.events import EVENT, PART_FILE, PART_PLACE, SLOT_RING, split
from isotrace.trace.plan import Plan
from isotrace.trace.ring import Chunk
from isotrace.trace.unfinished import CallKey

_LOG = logging.getLogger(__package__)
_SLOT, _COUNT = np.dtype([("slot", "<u4")]), np.dtype([("count", "<u8")])
_LOSS_KEY, _LOSS = np.dtype([("pid", "<u4"), ("slot", "<u4")]), np.dtype([("count", "<u8"), ("comm", "S16")])
_TASK = np.dtype([("task", "<u8")])
#: struct beginning of bpf/trace_record.h: a call that a thread is in, and when it began (ns, monotonic).
BEGINNING = np.dtype([("time", "<u8"), ("slot", "<u4"), ("pid", "<u4"), ("tid", "<u4"), ("pad", "<u4")])
#: BEFORE of bpf/trace_record.h, by how many of the constants are set.
_ROOMS = {0: 2048, 1: 4096, 2: 8192}
_LARGER = ("RESOLVE", "PLACES")
#: Constants that make the programs larger, and the options that they are for; with the first two -y's is set as well.
_OPTIONS = {
    **{
        "RESOLVE": "--resolve",
        "PLACES": "--host-paths",
        "DESCRIPTORS": "-y",
        "STACKS": "-k",
        "UNABBREVIATED": "-v",
        "PIDS": "-Y",
    },
    **{"RINGS": "operations of io_uring in --calls", "LOSSLESS": "--lossless"},
}
_PART = 1  # of struct blob
_FLOW_TAKEN = 1  # bpf/trace_record.h
_LOSSES = 8192  # places in the map of losses
_STAT_NOT_FOLLOWED, _STAT_EXTRAS_LOST = 0, 1  # bpf/event.h


def with_options(error: Refused, constants: Sequence[str]) -> KernelError:
    """The same error, in words of the options that the kernel may take no program for."""
    names = {constant.partition("=")[0] for constant in constants}
    asked = [option for name, option in _OPTIONS.items() if name in names]
    if names & {*_LARGER}:
        asked.remove("-y")
    if not asked:
        return error
    what = "leave that out" if len(asked) == 1 else "leave one of these out"
    return KernelError(f"this kernel rejects the BPF programs for {', '.join(asked)}: {error.hint}", what)


class Tracepoints(Ringed):
    """The programs of bpf/trace.c, attached. Everything in the kernel goes when this process does."""

    def __init__(self, plan: Plan, loader: Loader) -> None:
        """Start compiling for ``plan``; ``open`` waits for the result."""
        super().__init__(plan.target, plan.attach)
        self._plan = plan
        self._loader = loader
        self._lost, self._losses = bytes(8), Losses()
        self._flow: npt.NDArray[np.uint64] | None = None
        _LOG.debug(
            "plan: %d call slots, %d io_uring operations, %d programs, %d attach points",
            *(len(plan.slots), len(plan.operations), len(plan.programs), len(plan.attach)),
        )
        loader.start("trace.c", plan.constants, plan.programs, plan.maps)

    def open(self, command_pid: int | None = None) -> None:
        """Fill the maps, attach, and find the descendants that there are. Raises ``IsotraceError``.

        ``command_pid`` is a child that has yet to call execve: it is watched from then on.
        """
        try:
            self._loaded = self._loader.result()
        except Refused as error:
            raise with_options(error, self._plan.constants) from None
        self._fill_slots()
        self._open_ring(self._plan.ring_bytes)
        if "flow" in self._loaded.maps:
            shared = mmap.mmap(self._loaded.maps["flow"], mmap.PAGESIZE)
            self._flow = np.frombuffer(shared, dtype=np.uint64)
        self._watch(command_pid)

    def _fill_slots(self) -> None:
        programs, maps = self._loaded.programs, self._loaded.maps
        for slot, content in self._plan.slots.items():
            key = u32(slot)
            bpf.map_update(maps["exits"], key, u32(programs[content.exit]))
            if "asked" in maps:
                bpf.map_update(maps["asked"], key, b"\1")
            if content.enter:
                bpf.map_update(maps["enters"], key, u32(programs[content.enter]))
            if content.captures or content.befores or content.made:
                packed = captures.pack(content.captures, bool(content.befores), content.made, content.netlink)
                bpf.map_update(maps["captures"], key, packed)
            if content.befores:
                bpf.map_update(maps["befores"], key, captures.pack(content.befores))
        for opcode, one in self._plan.operations.items():
            bpf.map_update(maps["operations"], u32(opcode), one.packed)
            bpf.map_update(maps["captures"], u32(SLOT_RING + opcode), captures.pack(one.captures))

    # ---- reading ------------------------------------------------------------------------------------------------------

    def chunks(self) -> Iterator[Chunk]:
        """All that has arrived by now."""
        for chunk in self._ring.chunks() if self._ring else ():
            if self._flow is not None and self._ring:
                self._flow[_FLOW_TAKEN] = self._ring.taken
            yield chunk

    def losses(self) -> list[Loss]:
        """What has been lost since the last time, by process where the map of processes had room."""
        total = bpf.map_lookup(self._loaded.maps["losing"], u32(0), 8) if self._loaded.maps else None
        if total is None or total == self._lost:
            return []
        self._lost = total
        by_process = self._lost_by_process()
        return self._losses.since(by_process, self._sums("lost") if len(by_process) >= _LOSSES else {})

    def _lost_by_process(self) -> dict[tuple[int, bytes, int], int]:
        """(pid, comm, slot) → records lost."""
        found: dict[tuple[int, bytes, int], int] = {}
        for keys, values in batch.chunks(self._loaded.maps["losses"], _LOSS_KEY, _LOSS):
            who = zip(keys["pid"].tolist(), values["comm"].tolist(), keys["slot"].tolist(), strict=True)
            found |= dict(zip(who, values["count"].tolist(), strict=True))
        return found

    def under_way(self) -> npt.NDArray[np.void]:
        """``(n,)`` of BEGINNING: the calls that threads are in, where time is measured. Raises ``OSError``."""
        found = [values.copy() for _, values in batch.chunks(self._loaded.maps["started"], _TASK, BEGINNING)]
        return np.concatenate(found) if found else np.zeros(0, dtype=BEGINNING)

    def descriptors(self) -> dict[CallKey, list[bytes]]:
        """What the descriptors are of the calls that threads are in, where that was asked for. Raises ``OSError``.

        Each as the captures of a record. A call that has returned may be among them.
        """
        found: dict[CallKey, list[bytes]] = {}
        room = _ROOMS[sum(name in self._plan.constants for name in _LARGER)]
        before = np.dtype([("event", EVENT), ("bytes", f"V{room}")])
        for _, values in batch.chunks(self._loaded.maps["given"], _TASK, before):
            for value in values:
                event = value["event"]
                key = (int(event["pid"]), int(event["tid"]), int(event["slot"]), tuple(event["args"].tolist()))
                blobs = split(value["bytes"].tobytes(), int(event["blobs"]))
                found[key] = [blob for blob in blobs if blob[_PART] in (PART_FILE, PART_PLACE)]
        return found

    def counters(self) -> Counters:
        """The counts over all CPUs."""
        if not self._loaded.maps:
            return Counters()
        births, extras = (
            self._missed("on_fork", "on_new_task"),
            self._missed("on_task_exec", "on_task_exit", "on_signal"),
        )
        return Counters(
            seen=self._sums("seen"),
            lost=self._sums("lost"),
            extras_lost=self._sum("stats", _STAT_EXTRAS_LOST) + extras,
            not_followed=self._sum("stats", _STAT_NOT_FOLLOWED) + births,
            missed=self._missed("on_exit", "on_enter", *RING_PROGRAMS),
        )

    def close(self) -> None:
        """Give everything back to the kernel, also where nothing was loaded yet."""
        self._flow = None
        super().close()
        self._loader.close()

    def _sums(self, name: str) -> dict[int, int]:
        """Slot → count, of the slots that have one."""
        found: dict[int, int] = {}
        for keys, values in batch.chunks(self._loaded.maps[name], _SLOT, _COUNT, per_cpu=True):
            totals = values["count"].sum(axis=1)
            used = totals != 0
            found.update(zip(keys["slot"][used].tolist(), totals[used].tolist(), strict=True))
        return found
