"""Counting through the programs of bpf/counts.c: nothing arrives, the maps are read when somebody looks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from isotrace.backends.attached import Attached, u32
from isotrace.backends.loader import Loader
from isotrace.catalog.model import Syscall
from isotrace.containers.whose import whose
from isotrace.kernel import batch, bpf
from isotrace.kernel.facts import Facts, facts
from isotrace.kernel.rings import PROGRAMS as RING_PROGRAMS
from isotrace.kernel.rings import Layout
from isotrace.trace import rings
from isotrace.trace.plan import (
    DEMUX_EXIT,
    FORKS,
    TYPES,
    Attachment,
    all_calls,
    descendant_tracking,
    on_calls,
    on_exits,
    on_rings,
    slots_for,
)
from isotrace.trace.target import Target

BUCKETS = 32
BUCKET_SHIFT = 7
PLACE_TEXT = 124
PATH, ADDRESS = 1, 2
WANTED, WANTED_WITHIN = 1, 2

CALL = np.dtype([(name, "u1") for name in ("wanted", "bytes", "ends", "forks", "executes", "place", "arg", "length")])
KEY = np.dtype([("pid", "<u4"), ("slot", "<u4")])
COUNT = np.dtype(
    [(name, "<u8") for name in ("calls", "errors", "bytes", "time", "longest")] + [("buckets", "<u4", (BUCKETS,))]
)
NAME = np.dtype([("comm", "S16"), ("ppid", "<u4"), ("ended", "<u4"), ("cgroup", "<u8"), ("own", "<u4"), ("pad", "<u4")])
ERROR_KEY = np.dtype([("pid", "<u4"), ("slot", "<u2"), ("number", "<u2")])
ERROR = np.dtype([("count", "<u8"), ("when", "<u8"), ("args", "<u8", (6,)), ("text", "S64")])
PLACE = np.dtype([("kind", "<u4"), ("text", f"V{PLACE_TEXT}")])
TOUCH = np.dtype(
    [("calls", "<u8"), ("errors", "<u8"), ("time", "<u8"), ("pid", "<u4"), ("slot", "<u2"), ("number", "<u2")]
)

_PID = np.dtype([("pid", "<u4")])
_STAT_NOT_FOLLOWED, _STAT_CALLS_LOST, _STAT_ERRORS_LOST, _STAT_TOUCHES, _STAT_TOUCHES_LOST = 0, 2, 3, 4, 5
_ENDLESS = frozenset({"exit", "exit_group"})
_EXECUTES = frozenset({"execve", "execveat"})
_MEMORY = 96 << 20  # bytes that the per-CPU tables may take in the kernel
_MOST_ROWS, _FEWEST_ROWS = 65536, 4096
_PLACES = 16384


@dataclass(frozen=True, eq=False)
class Rows:
    """The table of calls, sorted by key: ``slot << 32 | pid``. ``sums`` are calls, errors, bytes, time (ns)."""

    keys: npt.NDArray[np.uint64]
    sums: npt.NDArray[np.uint64]
    longest: npt.NDArray[np.uint64]
    buckets: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, which: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Rows:
        """Some of the rows."""
        return Rows(self.keys[which], self.sums[which], self.longest[which], self.buckets[which])

    @staticmethod
    def empty() -> Rows:
        """No rows."""
        return Rows(
            np.zeros(0, np.uint64),
            np.zeros((0, 4), np.uint64),
            np.zeros(0, np.uint64),
            np.zeros((0, BUCKETS), np.uint32),
        )


@dataclass(frozen=True, eq=False)
class Errors:
    """Failed calls, sorted by key: ``number << 48 | slot << 32 | pid``; ``latest`` is an ERROR each."""

    keys: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.uint64]
    latest: npt.NDArray[np.void]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, which: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Errors:
        """Some of the rows."""
        return Errors(self.keys[which], self.counts[which], self.latest[which])


@dataclass(frozen=True)
class Losses:
    """What did not fit: ``calls`` for want of a row, ``errors`` without their errno, ``places`` not noted.

    ``missed``: times the kernel did not run the program because it was already running; ``not_followed``: children.
    """

    calls: int = 0
    errors: int = 0
    places: int = 0
    not_followed: int = 0
    missed: int = 0

    def lines(self) -> list[str]:
        """A sentence for each kind that there is."""
        said = (
            (self.calls, "calls not counted: the table of processes and calls was full"),
            (self.missed, "calls not counted: the kernel did not run the program"),
            (self.errors, "errors without their errno: the table of errors was full"),
            (self.places, "uses of files and addresses not noted"),
            (self.not_followed, "births of processes missed: such children of the target are not followed"),
        )
        return [f"{count} {text}" for count, text in said if count]


def rows_for(cpus: int, memory: int = _MEMORY) -> int:
    """How many rows the table gets: every possible CPU has a copy of each."""
    return max(_FEWEST_ROWS, min(_MOST_ROWS, memory // (COUNT.itemsize * cpus)))


def wanted_slots(calls: frozenset[str] | None) -> dict[int, int]:
    """Slots of what is counted → WANTED; of i386's socketcall and ipc, counted as what they are, WANTED_WITHIN."""
    found = slots_for(calls, 1)
    return {slot: WANTED_WITHIN if one.exit == DEMUX_EXIT else WANTED for slot, one in found.items()}


def described(call: Syscall, wanted: int) -> bytes:
    """``struct call`` of bpf/counts.h, from the meaning of the call's arguments."""
    found = np.zeros(1, dtype=CALL)
    found["wanted"] = wanted
    found["bytes"] = call.ret == "size"
    found["ends"] = call.name in _ENDLESS
    found["forks"] = call.name in FORKS
    found["executes"] = call.name in _EXECUTES
    for index, arg in enumerate(call.args):
        if arg.kind == "path":
            found["place"], found["arg"] = PATH, index
            break
        if arg.kind == "sockaddr":
            names = [other.name for other in call.args]
            found["place"], found["arg"], found["length"] = ADDRESS, index, names.index(arg.params[0])
            break
    return found.tobytes()


def planned(
    target: Target, calls: frozenset[str] | None, loader: Loader, places: bool, layout: Layout | None = None
) -> Counting:
    """The backend for this kernel. ``layout`` is how it tells of io_uring's operations. Raises ``KernelError``."""
    try:
        known = replace(facts(containers=True), rings=layout)
        return Counting(target, calls, known, loader, places)
    except BaseException:
        loader.close()
        raise


class Counting(Attached):
    """The kernel's tables of calls, errors, places and names."""

    def __init__(
        self,
        target: Target,
        calls: frozenset[str] | None,
        known: Facts,
        loader: Loader,
        places: bool = True,
    ) -> None:
        """Start compiling; ``open`` waits for the result."""
        whose()  # what is there before is no container's that is started later
        self._operations = rings.watched(calls, known.rings, 1) if known.rings else {}
        attach = self._attachments_for(target, known, bool(self._operations))
        super().__init__(target, attach)
        self._calls, self._loader, self.has_places = calls, loader, places
        self.capacity = rows = rows_for(bpf.possible_cpus())
        constants = known.constants() + target.defines()
        constants += [f"ROWS={rows}", f"ERRORS={max(2048, rows // 4)}", f"PLACES={_PLACES}"]
        constants += [f"BUCKET_MAX={0xFFFFFFFF // bpf.possible_cpus()}U", *(["TOUCHES"] if places else [])]
        maps = ["calls", "names", "counts", "errors", "stats", *(["touches"] if places else [])]
        maps += target.maps
        if known.rings and self._operations:
            constants += rings.constants(known.rings, known.preemptible)
            maps.append("operations")
        loader.start("counts.c", constants, {one.program: TYPES[one.how] for one in attach}, maps)

    @staticmethod
    def _attachments_for(target: Target, known: Facts, operations: bool) -> tuple[Attachment, ...]:
        tasks = (
            Attachment("raw_tracepoint", "sched_process_exec", "on_task_exec"),
            Attachment("raw_tracepoint", "task_rename", "on_task_rename"),
            on_exits(known, "on_task_exit"),
        )
        of_rings = on_rings(known.rings, known.preemptible) if known.rings and operations else ()
        return (*(descendant_tracking(known) if target.descends else ()), *tasks, *on_calls(known), *of_rings)

    def open(self, command_pid: int | None = None) -> None:
        """Fill the maps and attach. ``command_pid`` is a child that has yet to call execve. Raises ``IsotraceError``."""
        self._loaded = self._loader.result()
        self._describe_calls()
        self._watch(command_pid)

    def close(self) -> None:
        """Give everything back to the kernel, also where nothing was loaded yet."""
        super().close()
        self._loader.close()

    def _describe_calls(self) -> None:
        fd, known = self._loaded.maps["calls"], all_calls()
        wanted = wanted_slots(self._calls)
        for slot, call in known.items():
            bpf.map_update(fd, u32(slot), described(call, wanted.get(slot, 0)))
        for slot in wanted.keys() - known.keys():
            bpf.map_update(fd, u32(slot), bytes([WANTED]).ljust(CALL.itemsize, b"\0"))
        for opcode, one in self._operations.items():
            bpf.map_update(self._loaded.maps["operations"], u32(opcode), one.packed)

    def rows(self) -> Rows:
        """All calls counted, summed over the CPUs."""
        parts = [_summed(*chunk) for chunk in batch.chunks(self._loaded.maps["counts"], KEY, COUNT, per_cpu=True)]
        if not parts:
            return Rows.empty()
        columns = [list(column) for column in zip(*parts, strict=True)]
        parts.clear()
        order = np.argsort(np.concatenate(columns[0]), kind="stable")
        return Rows(*(_joined(column, order) for column in columns))

    def errors(self) -> Errors:
        """All failures by errno."""
        keys, counts, latest = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)], [np.zeros(0, ERROR)]
        for key, values in batch.chunks(self._loaded.maps["errors"], ERROR_KEY, ERROR, per_cpu=True):
            keys.append(key.view("<u8").copy())
            counts.append(values["count"].sum(axis=1))
            latest.append(values[np.arange(len(key)), values["when"].argmax(axis=1)])
        every = np.concatenate(keys)
        order = np.argsort(every)
        return Errors(every[order], np.concatenate(counts)[order], np.concatenate(latest)[order])

    def places(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """``(n,)`` PLACE and ``(n,)`` TOUCH: those among the latest that were used."""
        parts = self._place_chunks()
        return (
            np.concatenate([np.zeros(0, PLACE), *(keys for keys, _ in parts)]),
            np.concatenate([np.zeros(0, TOUCH), *(values for _, values in parts)]),
        )

    def _place_chunks(self) -> list[batch.Chunk]:
        if not self.has_places:
            return []
        return [(k.copy(), v.copy()) for k, v in batch.chunks(self._loaded.maps["touches"], PLACE, TOUCH)]

    def touched(self) -> int:
        """How many uses of places there were, those included that were since pushed out."""
        return self._sum("stats", _STAT_TOUCHES)

    def names(self) -> dict[int, tuple[bytes, int]]:
        """Process → name, as it is or was when it ended; parent, as it was when it was first named here."""
        found: dict[int, tuple[bytes, int]] = {}
        for keys, values in batch.chunks(self._loaded.maps["names"], _PID, NAME):
            rows = zip(values["comm"].tolist(), values["ppid"].tolist(), strict=True)
            found.update(zip(keys["pid"].tolist(), rows, strict=True))
        return found

    def whereabouts(self) -> dict[int, tuple[str | None, int]]:
        """Process → its container, "" for none and None for one that is not known; its number in the pid namespace below
        isotrace's, 0 where it is in isotrace's.
        """
        found: dict[int, tuple[str | None, int]] = {}
        for keys, values in batch.chunks(self._loaded.maps["names"], _PID, NAME):
            columns = (keys["pid"].tolist(), values["cgroup"].tolist(), values["own"].tolist())
            for pid, cgroup, own in zip(*columns, strict=True):
                found[pid] = (whose().name(cgroup, pid) if cgroup else None, own)
        return found

    def gone(self) -> set[int]:
        """Processes whose counts are final: their last thread has ended."""
        found: set[int] = set()
        for keys, values in batch.chunks(self._loaded.maps["names"], _PID, NAME):
            found.update(keys["pid"][values["ended"] != 0].tolist())
        return found

    def forget(self, rows: Rows, errors: Errors, pids: set[int]) -> None:
        """Remove the rows of processes that have ended."""
        batch.delete(self._loaded.maps["counts"], rows.keys)
        batch.delete(self._loaded.maps["errors"], errors.keys)
        batch.delete(self._loaded.maps["names"], np.array(sorted(pids), dtype="<u4").view([("pid", "<u4")]))

    def forget_places(self) -> None:
        """Empty the table of places."""
        if self.has_places:
            batch.delete(self._loaded.maps["touches"], self.places()[0])

    def losses(self) -> Losses:
        """What did not fit, by now."""
        return Losses(
            calls=self._sum("stats", _STAT_CALLS_LOST),
            errors=self._sum("stats", _STAT_ERRORS_LOST),
            places=self._sum("stats", _STAT_TOUCHES_LOST),
            not_followed=self._sum("stats", _STAT_NOT_FOLLOWED) + self._missed("on_fork", "on_new_task"),
            missed=self._missed("on_exit", "on_enter", *RING_PROGRAMS),
        )


def _joined(parts: list[npt.NDArray[Any]], order: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """The parts as one array in ``order``; each is given up at once, for a table may have megabytes."""
    whole = np.concatenate(parts)
    parts.clear()
    found: npt.NDArray[Any] = whole[order]
    return found


def _summed(
    keys: npt.NDArray[np.void], values: npt.NDArray[np.void]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
    words = values.view("<u8").reshape(len(keys), values.shape[1], COUNT.itemsize // 8)
    halves = values.view("<u4").reshape(len(keys), values.shape[1], COUNT.itemsize // 4)
    sums, longest, buckets = words[:, 0, :4].copy(), words[:, 0, 4].copy(), halves[:, 0, 10:].copy()
    for cpu in range(1, values.shape[1]):
        sums += words[:, cpu, :4]
        buckets += halves[:, cpu, 10:]
        np.maximum(longest, words[:, cpu, 4], out=longest)
    flat = keys.view("<u8")
    return flat.copy(), sums, longest, buckets


def unpack_keys(
    keys: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(pid, slot, errno) of keys of either table; errno is 0 in the table of calls."""
    pids = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    slots = ((keys >> np.uint64(32)) & np.uint64(0xFFFF)).astype(np.int64)
    return pids, slots, (keys >> np.uint64(48)).astype(np.int64)
