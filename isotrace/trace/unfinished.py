"""Calls that threads are inside of right now, from /proc/PID/task/TID/syscall, as records like those of the ring.

The kernel programs see a call when it returns; one that a process has been stuck in since before they were attached, or
still is when they are detached, is found here. Memory that the call was given is read through /proc/PID/mem.
"""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from isotrace.kernel import procfs
from isotrace.kernel.procfs import PROC
from isotrace.trace import events, memory, vectors
from isotrace.trace.captures import Capture
from isotrace.trace.plan import Slot, slot_of
from isotrace.trace.ring import ROW, batch_of, framed

#: (pid, tid, slot, arguments) of a call that a thread is in.
CallKey = tuple[int, int, int, tuple[int, ...]]
_ELF32 = 1  # EI_CLASS


def batch(
    pids: Iterable[int],
    slots: Mapping[int, Slot],
    among: Container[int] | None = None,
    known: Mapping[CallKey, list[bytes]] | None = None,
) -> events.Batch:
    """The calls of ``slots`` that the threads of ``pids`` are blocked in, as records of kind UNFINISHED.

    ``among``: only of the threads with these numbers. ``known``: captures of calls from when they began.
    """
    rows, data = [], bytearray()
    for pid in sorted(pids):
        for record in _of_process(pid, slots, among, known or {}):
            rows.append(len(data) // ROW)
            data += framed(record)
    return batch_of(np.frombuffer(bytes(data), dtype=np.uint8), np.array(rows, dtype=np.int64))


def _of_process(
    pid: int, slots: Mapping[int, Slot], among: Container[int] | None, known: Mapping[CallKey, list[bytes]]
) -> Iterator[bytes]:
    process = procfs.stat(procfs.read(pid, "stat") or b"")
    uid = procfs.number(procfs.read(pid, "status") or b"", b"Uid")
    if process is None or uid is None:
        return
    try:
        abi = _abi(pid)
        tids = sorted(int(name) for name in os.listdir(PROC / str(pid) / "task"))
    except OSError:
        return
    for tid in tids:
        if among is not None and tid not in among:
            continue
        found = _registers(PROC / str(pid) / "task" / str(tid))
        if found is None:
            continue
        number, args = found
        slot = slot_of(events.ABI_NAMES[abi], number)
        if slot in slots:
            blobs = [*known.get((pid, tid, slot, tuple(args)), ()), *_captures(pid, abi, args, slots[slot].captures)]
            event = np.zeros(1, dtype=events.EVENT)
            event["time"] = time.monotonic_ns()
            event["pid"], event["tid"], event["ppid"], event["uid"] = pid, tid, process.ppid, uid
            event["number"], event["slot"], event["abi"], event["args"] = number, slot, abi, args
            event["kind"], event["blobs"], event["comm"] = events.UNFINISHED, len(blobs), process.comm
            event["size"] = event.itemsize + sum(map(len, blobs))
            yield event.tobytes() + b"".join(blobs)


def _abi(pid: int) -> int:
    """What the program's file is built for: nothing in /proc tells the ABI of a single call."""
    with open(PROC / str(pid) / "exe", "rb") as file:
        head = file.read(5)
    return events.I386 if head[4:] == bytes([_ELF32]) else events.X86_64


def _registers(task: Path) -> tuple[int, list[int]] | None:
    try:
        words = procfs.words((task / "syscall").read_bytes())
    except OSError:
        return None
    if len(words) != 9:  # "running", or "-1 sp pc" outside any call
        return None
    return int(words[0]), [int(word, 16) for word in words[1:7]]


def _captures(pid: int, abi: int, args: list[int], wanted: Iterable[Capture]) -> Iterator[bytes]:
    for capture in wanted:
        if capture.on_success:
            continue
        if capture.op in vectors.VECTORS:
            yield from vectors.read(pid, args, capture, vectors.NARROW if abi == events.I386 else vectors.WIDE)
        elif (found := memory.capture(pid, args, capture)) is not None:
            yield found
