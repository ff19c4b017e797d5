"""User stacks of records: what was copied of each, unwound and named, before anything else sees it.

What is mapped where is heard from perf as it happens (kernel/sideband.py), so a name is that of the file which lay there
when the call returned, and not of what lies there by now.
"""

from __future__ import annotations

import os
import threading
import time
from typing import cast

import numpy as np

from isotrace.errors import KernelError
from isotrace.kernel import procfs
from isotrace.kernel.sideband import Sideband
from isotrace.stacks import frames, maps
from isotrace.stacks.frames import End
from isotrace.stacks.images import Images, Reader
from isotrace.stacks.jit import PerfMaps
from isotrace.stacks.spaces import Mapping, Space, Spaces
from isotrace.stacks.unwind import REGISTERS, Code, unwind
from isotrace.trace import events
from isotrace.trace.events import EVENT, PART_FRAMES, PART_REGISTERS, PART_STACK_MEMORY, STACK_ARG, Batch, Blob

_MEMO = 4096  # addresses of a process


class Stacks:
    """``listen`` hears what has happened, from any thread; ``complete`` is for the thread that delivers."""

    def __init__(self) -> None:
        """From now on. Raises ``KernelError``."""
        began = time.monotonic_ns()
        try:
            self._sideband = Sideband()
        except OSError as error:
            raise KernelError(f"perf does not tell what processes map: {error.strerror}", "-k needs that") from None
        self._lock = threading.Lock()
        self._spaces = Spaces()
        self._reader = Reader()
        self._images, self._perf_maps = Images(self._reader, began), PerfMaps(self._reader)
        self._began = began

    @property
    def missed(self) -> int:
        """Events that perf had no room for."""
        return self._spaces.missed

    def listen(self) -> None:
        """Take what has been told by now: before a record is read, all that was mapped when it was made."""
        with self._lock:
            self._spaces.take(self._sideband.read())

    def know(self, pid: int) -> None:
        """Note what a process has mapped that waits to execute something: then it will be gone."""
        self._space(pid, self._began)

    def close(self) -> None:
        """Hear no more."""
        with self._lock:
            self._sideband.close()

    def complete(self, batch: Batch) -> Batch:
        """The batch with frames in place of what was copied of stacks."""
        parts, starts, at = [], [], 0
        rows = batch.events.copy()
        for index in range(len(batch)):
            blobs = self._blobs(batch, index)
            rows["blobs"][index] = len(blobs)
            memory = b"".join(blobs)
            rows["size"][index] = EVENT.itemsize + len(memory)
            starts.append(at - EVENT.itemsize)
            parts.append(memory)
            at += len(memory)
        data = np.frombuffer(b"".join(parts), np.uint8)
        return Batch(rows, np.array(starts, dtype=np.int64), data, batch.wall, batch.refused, batch.families)

    def _blobs(self, batch: Batch, index: int) -> list[bytes]:
        event = batch.events[index]
        begin = int(batch.starts[index])
        given = batch.data[begin + EVENT.itemsize : begin + int(event["size"])].tobytes()
        whole = events.split(given, int(event["blobs"]))
        stack = [blob for blob in batch.blobs(index) if blob.arg == STACK_ARG]
        if not stack:
            return whole
        kept = [raw for raw in whole if raw[0] != STACK_ARG]
        return [*kept, self._frames(event, stack)]

    def _frames(self, event: np.void, stack: list[Blob]) -> bytes:
        registers = next((blob.data for blob in stack if blob.part == PART_REGISTERS), b"")
        memory = [blob for blob in stack if blob.part == PART_STACK_MEMORY]
        if len(registers) != REGISTERS.size:
            return events.pack_blob(STACK_ARG, 0, End.BROKEN, b"", PART_FRAMES)
        pid, uid, moment = int(event["pid"]), int(event["uid"]), int(event["time"])
        space = self._space(pid, moment)
        now = space.is_now(moment)

        def find(address: int, called: bool) -> Code | None:
            key = address, called
            if now and (known := space.memo.get(key)):
                return cast(Code, known)
            with self._lock:
                mapping = space.find(address - called, moment)
            code = self._code(pid, uid, space, mapping, address, called) if mapping else None
            with self._lock:
                if code and code.image and space.is_now(moment):
                    if len(space.memo) >= _MEMO:
                        space.memo.clear()
                    space.memo[key] = code
            return code

        start = memory[0].full if memory else 0
        found, end = frames.pack(*unwind(registers, start, b"".join(blob.data for blob in memory), find))
        return events.pack_blob(STACK_ARG, 0, end, found, PART_FRAMES)

    def _space(self, pid: int, moment: int) -> Space:
        """What the process had mapped. Of one that ran before it is read now: what has come since is known."""
        with self._lock:
            space = self._spaces.at(pid, moment)
            lacking = space.lacking and self._spaces.is_latest(pid, space)
        if not lacking:
            return space
        found = list(maps.parse(procfs.read(pid, "maps") or b""))
        self.listen()
        with self._lock:
            if found and space.lacking and self._spaces.is_latest(pid, space):
                space.seed(found)
        return space

    def _code(self, pid: int, uid: int, space: Space, mapping: Mapping, address: int, called: bool) -> Code | None:
        file = mapping.file
        if file.anonymous and file.path != b"[vdso]":
            return self._made(pid, uid, space, address, called)
        place = address - mapping.start + mapping.offset
        image = self._images.of(pid, mapping)
        own = image.address(place - called) if image else None
        if image is None or own is None:
            return Code(file.path, place)
        name, begin = image.symbol(own) or ("", own)
        return Code(file.path, place, image, own + called, False, name, own + called - begin)

    def _made(self, pid: int, uid: int, space: Space, address: int, called: bool) -> Code:
        with self._lock:
            current = self._spaces.is_latest(pid, space)
        found = None
        if current:
            found = self._perf_maps.at(pid, uid, space, max(space.since, 0), address - called)
            self.listen()
            with self._lock:
                current = self._spaces.is_latest(pid, space)
        if not found or not current:
            return Code(b"", address, made=True)
        path, name, begin = found
        return Code(os.fsencode(path), address, made=True, name=name, offset=address - begin)
