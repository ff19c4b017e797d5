"""Where threads are: in what container, and under which numbers there. What the kernel's records have, with names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isotrace.containers.whose import whose
from isotrace.kernel import procfs
from isotrace.trace import events
from isotrace.trace.events import BLOB, EVENT, PART_WHEREABOUTS, TASK_ARG, UNFINISHED, WHEREABOUTS, Batch

_MADE = BLOB.itemsize + WHEREABOUTS.itemsize  # bytes of the capture that the kernel makes

#: Number of a cgroup, a process that was in it → the container's name, "" for none, None for one that is not known.
Names = Callable[[int, int], str | None]


class Whereabouts(NamedTuple):
    """``container`` is the name, "" in none, None if unknown; ``pid`` and ``tid`` are the numbers in the pid namespace
    below isotrace's, 0 where the thread is in isotrace's.
    """

    container: str | None
    pid: int
    tid: int


def with_names(batch: Batch, names: Names) -> Batch:
    """The batch with the capture of whereabouts first in its records, and the container's name in it."""
    rows = batch.events.copy()
    if not len(rows):
        return batch
    has, packed = _last(batch), dict[bytes, bytes]()
    data = batch.data.tobytes()
    begins = (batch.starts + EVENT.itemsize).tolist()
    ends = (batch.starts + rows["size"]).tolist()
    parts = []
    columns = zip(begins, ends, has.tolist(), rows["pid"].tolist(), rows["kind"].tolist(), strict=True)
    for index, (begin, end, found, pid, kind) in enumerate(columns):
        if found:
            raw = data[end - _MADE : end]
            if (whole := packed.get(raw)) is None:
                whole = packed[raw] = _named(raw, pid, names)
            parts.append(whole + data[begin : end - _MADE])
        elif kind == UNFINISHED and (now := _now(pid, int(rows["tid"][index]), names)):
            rows["blobs"][index] += 1
            parts.append(now + data[begin:end])
        else:
            parts.append(data[begin:end])
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    rows["size"] = EVENT.itemsize + lengths
    starts = np.cumsum(lengths) - lengths - EVENT.itemsize
    return replace(batch, events=rows, starts=starts, data=np.frombuffer(b"".join(parts), np.uint8))


def _last(batch: Batch) -> npt.NDArray[np.bool_]:
    """Which records end with such a capture, as the kernel makes it."""
    found: npt.NDArray[np.bool_] = (batch.events["size"] >= EVENT.itemsize + _MADE) & (batch.events["blobs"] > 0)
    some = np.flatnonzero(found)
    at = batch.starts[some] + batch.events["size"][some].astype(np.int64) - _MADE
    heads = batch.data[at[:, None] + np.arange(BLOB.itemsize)].view(BLOB)[:, 0]
    found[some] = (heads["arg"] == TASK_ARG) & (heads["part"] == PART_WHEREABOUTS)
    return found


def _named(raw: bytes, pid: int, names: Names) -> bytes:
    cgroup = int(np.frombuffer(raw, BLOB, 1)["full"][0])
    return _packed(cgroup, raw[BLOB.itemsize :], names(cgroup, pid))


def _packed(cgroup: int, numbers: bytes, name: str | None) -> bytes:
    state = events.CUT if name is None else events.WHOLE
    text = (name or "").encode(errors="surrogateescape")
    return events.pack_blob(TASK_ARG, state, cgroup, numbers + text, PART_WHEREABOUTS)


def now(pid: int, tid: int) -> Whereabouts | None:
    """Where a thread is, as /proc has it; None of one that is gone."""
    if (found := _in_proc(pid, tid)) is None:
        return None
    cgroup, *own = found
    return Whereabouts(whose().name(cgroup, pid), *own)


def _now(pid: int, tid: int, names: Names) -> bytes:
    """The capture of such a thread; nothing of one that is gone."""
    if (found := _in_proc(pid, tid)) is None:
        return b""
    cgroup, *own = found
    return _packed(cgroup, np.array(own, dtype="<u4").tobytes(), names(cgroup, pid))


def _in_proc(pid: int, tid: int) -> tuple[int, int, int] | None:
    """The number of the cgroup, those of the process and of the thread in the pid namespace below isotrace's."""
    directory = procfs.cgroup_directory(pid)
    cgroup = procfs.cgroup_number(directory) if directory else None
    own, of_thread = procfs.own_number(pid), procfs.own_number(pid, tid)
    return None if cgroup is None or own is None or of_thread is None else (cgroup, own, of_thread)


def of(batch: Batch) -> Iterator[Whereabouts | None]:
    """Of each record, None where it does not say."""
    return (at(batch, index) for index in range(len(batch)))


def at(batch: Batch, index: int) -> Whereabouts | None:
    """Of record ``index``."""
    raw = batch.where(index)
    return unpacked(raw) if raw else None


@lru_cache(maxsize=4096)
def unpacked(raw: bytes) -> Whereabouts:
    """From a capture with its head, and maybe its padding."""
    head = np.frombuffer(raw, BLOB, 1)[0]
    size = int(head["size"])
    if size < WHEREABOUTS.itemsize:
        return Whereabouts(None, 0, 0)
    pid, tid = np.frombuffer(raw, "<u4", 2, BLOB.itemsize).tolist()
    name = raw[_MADE : BLOB.itemsize + size].decode(errors="surrogateescape")
    return Whereabouts(None if head["state"] == events.CUT else name, pid, tid)


def without(memory: bytes) -> bytes:
    """The captures of one record without that of its whereabouts."""
    if memory[:1] != bytes([TASK_ARG]):
        return memory
    size = int(np.frombuffer(memory, BLOB, 1)["size"][0])
    return memory[BLOB.itemsize + ((size + 7) & ~7) :]
