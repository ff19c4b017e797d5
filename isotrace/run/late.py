"""What a call that failed was given, where that could not be read when it returned: read from the process's own memory.

The kernel programs read no page that is not in memory, and a call that a sandbox refuses fails before the kernel has
looked at its path: often the very first who would is isotrace. So the kernel wakes the reader for such a record, and
the process's memory is read then. What was read is marked: another thread may have changed it since.

To read a page can take as long as whoever provides it likes (FUSE, userfaultfd): a thread does nothing else, and
whoever takes the records waits for it, for PATIENCE at most. The reader of the ring does not.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from isotrace.kernel import procfs
from isotrace.trace import events, memory, vectors
from isotrace.trace.captures import STRING_MAX
from isotrace.trace.events import BLOB, EVENT, Batch
from isotrace.trace.plan import Slot
from isotrace.trace.ring import HEADER, ROW, Chunk, framed

PATIENCE = 1.0  # seconds from when a record came that whoever takes it waits for what is being read
_WAITING = 16  # chunks that may wait at a time
_RECORDS = 64  # records of a chunk that are looked after; a process that fails on purpose gets no more
_EFAULT = 14
_UNREAD, _STATE, _PART = EVENT.fields["unread"][1], BLOB.fields["state"][1], BLOB.fields["part"][1]  # type: ignore[index]


class Waiting:
    """A chunk of which some records are being completed."""

    def __init__(self, chunk: Chunk, rows: list[int]) -> None:
        self.chunk, self.rows = chunk, rows
        self._done = threading.Event()
        self._until = time.monotonic() + PATIENCE
        self._result = chunk

    def __len__(self) -> int:
        return len(self.chunk)

    def complete(self, result: Chunk) -> None:
        """That is what has come of it."""
        self._result = result
        self._done.set()

    def batch(self) -> Batch:
        """The records, completed if that has been done in time."""
        self._done.wait(max(0.0, self._until - time.monotonic()))
        return self._result.batch()


class Late:
    """``take`` gives what to deliver instead of a chunk. ``strings`` is the most bytes of an argument of an execve."""

    def __init__(self, slots: Mapping[int, Slot], strings: int) -> None:
        self._slots, self._strings = slots, strings
        self._queue: queue.SimpleQueue[Waiting] = queue.SimpleQueue()
        self._began = 0.0  # when the thread began what it is at; 0 while it is at nothing
        self._thread = threading.Thread(target=self._run, name="late", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def take(self, chunk: Chunk) -> Chunk | Waiting:
        """The chunk itself where nothing is to be read, or nothing can be for now. Waits for nobody."""
        rows = _unread(chunk)
        began = self._began
        stuck = began and time.monotonic() - began > PATIENCE
        if not len(rows) or stuck or self._queue.qsize() >= _WAITING:
            return chunk
        waiting = Waiting(chunk, rows[:_RECORDS].tolist())
        self._queue.put(waiting)
        return waiting

    def _run(self) -> None:
        while True:
            waiting = self._queue.get()
            self._began = time.monotonic()
            waiting.complete(self._completed(waiting.chunk, waiting.rows))
            self._began = 0.0

    def _completed(self, chunk: Chunk, rows: list[int]) -> Chunk:
        """The chunk with new records behind the others, in the places of those that they are made of."""
        batch, places = chunk.batch(), chunk.rows.copy()
        parts, end = [chunk.data], len(chunk.data)
        for row in rows:
            if (record := self._record(batch, row)) is not None:
                whole = framed(record)
                places[row] = end // ROW
                end += len(whole)
                parts.append(np.frombuffer(whole, np.uint8))
        return replace(chunk, data=np.concatenate(parts), rows=places) if len(parts) > 1 else chunk

    def _record(self, batch: Batch, row: int) -> bytes | None:
        """The record anew, with what could be read; None where nothing was, or the process is not what it was."""
        event = batch.events[row].copy()
        slot = self._slots.get(int(event["slot"]))
        if slot is None:
            return None
        begin = int(batch.starts[row])
        given = batch.data[begin + EVENT.itemsize : begin + int(event["size"])].tobytes()
        blobs = events.split(given, int(event["blobs"]))
        blobs, later = self._filled(event, slot, blobs)
        blobs, of_vectors = _filled_vectors(event, slot, blobs)
        later |= of_vectors
        if not later or not _is_still(event):
            return None
        event["later"], event["blobs"], event["size"] = later, len(blobs), EVENT.itemsize + sum(map(len, blobs))
        return bytes(event.tobytes()) + b"".join(blobs)

    def _filled(self, event: np.void, slot: Slot, blobs: list[bytes]) -> tuple[list[bytes], int]:
        """Strings, bytes and structs with what could be read; the arguments, as bits, where that was something."""
        found, later, args = [], 0, event["args"].tolist()
        parts = (events.PART_SELF, events.PART_DATA) if slot.exit == "exit_exec" else (events.PART_SELF,)
        for place, whole in enumerate(blobs):
            head = _head(whole)
            arg = int(head["arg"])
            if head["state"] == events.FAULT and head["part"] in parts and arg < len(args):
                limit = self._strings if place else STRING_MAX - 1
                own = _read(int(event["pid"]), args, arg, int(head["full"]), slot, limit)
                if own and own[_STATE] != events.FAULT:
                    whole, later = own[:_PART] + whole[_PART : _PART + 1] + own[_PART + 1 :], later | 1 << arg
            found.append(whole)
        return found, later


def _filled_vectors(event: np.void, slot: Slot, blobs: list[bytes]) -> tuple[list[bytes], int]:
    """The same of arrays of iovec and of message headers, in place of those blobs of each that there are."""
    later, width = 0, vectors.NARROW if event["abi"] == events.I386 else vectors.WIDE
    for wanted in slot.captures:
        if wanted.op not in vectors.VECTORS or wanted.on_success:
            continue
        heads = [_head(blob) for blob in blobs]
        own = [i for i, head in enumerate(heads) if head["arg"] == wanted.arg and head["part"] in vectors.PARTS]
        if not any(heads[i]["state"] == events.FAULT for i in own):
            continue
        given = [blobs[i] for i in own]
        found = vectors.read(int(event["pid"]), event["args"].tolist(), wanted, width, given, later=True)
        if any(blob[_STATE] & events.LATER for blob in found):
            later |= 1 << wanted.arg
            blobs = [*blobs[: own[0]], *found, *(blobs[i] for i in range(own[0], len(blobs)) if i not in own)]
    return blobs, later


def _head(blob: bytes) -> np.void:
    found: np.void = np.frombuffer(blob, BLOB, 1)[0]
    return found


def _read(pid: int, args: list[int], arg: int, full: int, slot: Slot, limit: int) -> bytes | None:
    """The blob of an argument; of an execve, whose captures are in no table, that of a string at ``full``."""
    if slot.exit == "exit_exec":
        return memory.string(pid, arg, full, limit, later=True) if full else None
    wanted = next((one for one in slot.captures if one.arg == arg and not one.on_success), None)
    return memory.capture(pid, args, wanted, later=True) if wanted else None


def _unread(chunk: Chunk) -> npt.NDArray[np.int64]:
    """Positions of the records of calls that failed and lack something that the kernel could read, or never looked at."""
    at = chunk.rows * ROW + HEADER
    some = np.flatnonzero(chunk.data[at + _UNREAD])
    if not len(some):
        return some
    rows = chunk.batch().events[some]
    found: npt.NDArray[np.int64] = some[events.failed(rows) & (rows["result"] != -_EFAULT)]
    return found


def _is_still(event: np.void) -> bool:
    """Whether the thread is there under the name that it had: with another program came other memory."""
    found = procfs.read(int(event["pid"]), "task", int(event["tid"]), "comm")
    return found is not None and found.removesuffix(b"\n") == bytes(event["comm"])
