"""Memory of a process as captures of a record, read from user space through /proc/PID/mem: see bpf/trace_captures.h."""

from __future__ import annotations

import os
from collections.abc import Sequence

from isotrace.kernel.procfs import PROC
from isotrace.trace import events
from isotrace.trace.captures import BYTES, STRING, Capture, count_in


def capture(pid: int, args: Sequence[int], wanted: Capture, later: bool = False) -> bytes | None:
    """The blob of a string or of bytes; None for other captures, and where the registers do not tell how many bytes."""
    address, count = args[wanted.arg], count_in(args, wanted.length)
    if count is None or not address:
        return None
    if wanted.op == STRING:
        return string(pid, wanted.arg, address, wanted.limit, later)
    if wanted.op != BYTES:
        return None
    return copied(pid, (wanted.arg, events.PART_SELF), address, wanted.unit * count, wanted.limit, later)


def copied(pid: int, where: tuple[int, int], address: int, full: int, limit: int, later: bool = False) -> bytes:
    """The blob of at most ``limit`` of the ``full`` bytes at ``address``; ``where``: the argument, and what part of it."""
    data = read(pid, address, min(full, max(limit, 1)))
    lost, data = full and not data, data[:limit]
    state = events.FAULT if lost else events.CUT if full > len(data) else events.WHOLE
    return _blob(where[0], state, full, data, later, where[1])


def string(pid: int, arg: int, address: int, limit: int, later: bool = False) -> bytes:
    """The blob of a string of at most ``limit`` bytes."""
    data = read(pid, address, limit + 1)
    if b"\0" not in data and len(data) <= limit:  # it goes on where nothing can be read
        return _blob(arg, events.FAULT, address, b"")
    text, nul, _ = data.partition(b"\0")
    return _blob(arg, events.WHOLE if nul else events.CUT, 0, text[:limit] + nul, later)


def _blob(arg: int, state: int, full: int, data: bytes, later: bool = False, part: int = events.PART_SELF) -> bytes:
    return events.pack_blob(arg, state | (events.LATER if later and state != events.FAULT else 0), full, data, part)


def read(pid: int, address: int, size: int) -> bytes:
    """At most ``size`` bytes of its memory; none where that cannot be read."""
    try:
        with open(PROC / str(pid) / "mem", "rb", buffering=0) as memory:
            return os.pread(memory.fileno(), size, address)
    except (OSError, OverflowError):
        return b""
