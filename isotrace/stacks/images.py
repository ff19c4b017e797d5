"""The files that processes have mapped, found again: only the very file that was mapped, by its build id or its inode.

A path may lead into a file system of the traced process's own (FUSE), which takes as long as it likes: a thread reads, and
who waits for it does so for PATIENCE at most. What is not there by then is not known.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Generic, TypeVar

from isotrace.stacks import elf
from isotrace.stacks.elf import Image
from isotrace.stacks.spaces import Mapping
from isotrace.trace import clock

PATIENCE = 3.0  # seconds: a browser's symbols take one
_FOUND_MAX = 65536
_IMAGES_MAX = 1024
_VDSO = b"[vdso]"

T = TypeVar("T")


class _Job(Generic[T]):
    def __init__(self, work: Callable[[], T]) -> None:
        self.work, self.done = work, threading.Event()
        self.result: T | None = None


class Reader:
    """A thread that does what may take long."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Job[Any]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last: _Job[Any] | None = None

    def ask(self, work: Callable[[], T]) -> T | None:
        """What ``work`` gives; None where it takes too long, or what was asked before still does."""
        if self._last and not self._last.done.is_set():
            return None
        if not self._thread:
            self._thread = threading.Thread(target=self._run, name="symbols", daemon=True)
            self._thread.start()
        self._last = job = _Job(work)
        self._queue.put(job)
        job.done.wait(PATIENCE)
        return job.result

    def _run(self) -> None:
        while True:
            job = self._queue.get()
            try:
                job.result = job.work()
            finally:
                job.done.set()


class Images:
    """What was read of files. ``began`` is when tracing began (ns, monotonic)."""

    def __init__(self, reader: Reader, began: int) -> None:
        self._reader, self._began = reader, began
        #: By what tells a file from others and from itself at other times. Not by build id: a file may have another's.
        self._read_before: dict[tuple[int, ...], Image] = {}
        self._found: dict[tuple[int, Mapping], Image | None] = {}

    def of(self, pid: int, mapping: Mapping) -> Image | None:
        """The file of a mapping of the process; None where it is not there any more, or cannot be read."""
        key = pid, mapping
        if key not in self._found:
            if len(self._found) >= _FOUND_MAX:
                self._found.clear()
            self._found[key] = self._reader.ask(lambda: self._read(pid, mapping))
        return self._found[key]

    def _read(self, pid: int, mapping: Mapping) -> Image | None:
        if mapping.file.path == _VDSO:
            return _vdso()
        for path in _places(pid, mapping):
            try:
                if image := self._checked(path, mapping):
                    return image
            except (OSError, ValueError):
                continue
        return None

    def _checked(self, path: str, mapping: Mapping) -> Image | None:
        """The file at ``path`` if it is the one that was mapped, as it was then. Raises ``OSError`` or ``ValueError``."""
        file = mapping.file
        with elf.opened(path) as stream:
            found = os.fstat(stream.fileno())
            if not file.build_id:
                mapped = max(mapping.time, self._began) + clock.offset()
                if (found.st_dev, found.st_ino) != (file.device, file.inode) or found.st_ctime_ns > mapped:
                    return None
            key = found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size
            image = self._read_before.get(key) or elf.read(stream, os.fsdecode(file.path))
        if len(self._read_before) >= _IMAGES_MAX:
            self._read_before.pop(next(iter(self._read_before)))
        self._read_before[key] = image
        return image if image.build_id == file.build_id or not file.build_id else None


@cache
def _vdso() -> Image | None:
    """The kernel's own code in processes: the same in isotrace."""
    return elf.own(_VDSO)


def _places(pid: int, mapping: Mapping) -> Iterator[str]:
    """Where the file may be: as the process sees its path, as isotrace does, and as long as it is mapped there."""
    path = os.fsdecode(mapping.file.path)
    if path.startswith("/"):
        yield f"/proc/{pid}/root{path}"
        yield path
    yield f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}"
