"""Records made by hand, for tests that need no kernel."""

from __future__ import annotations

import contextlib
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from isotrace.trace import events
from isotrace.trace.events import Batch, Blob
from isotrace.trace.ring import HEADER, ROW, batch_of


def make(slot=0, args=(), result=0, kind=events.CALL, blobs=(), pid=1, comm=b"prog", **fields) -> bytes:
    """One record as it lies in the ring."""
    event = np.zeros(1, dtype=events.EVENT)
    event["slot"], event["kind"], event["result"], event["blobs"] = slot, kind, result, len(blobs)
    event["pid"] = event["tid"] = pid
    event["comm"] = comm
    event["args"][0, : len(args)] = np.array(args, dtype=np.uint64)
    for name, value in fields.items():
        event[name] = value
    parts = [
        struct.pack("<BBBxHxxQ", b.arg, b.part, b.state, len(b.data), b.full)
        + b.data.ljust(-(-len(b.data) // 8) * 8, b"\0")
        for b in blobs
    ]
    event["size"] = event.itemsize + sum(map(len, parts))
    whole = bytes(HEADER) + event.tobytes() + b"".join(parts)
    return whole.ljust(-(-len(whole) // ROW) * ROW, b"\0")


def batch(*records: bytes) -> Batch:
    """A batch of such records."""
    rows, data = [], b""
    for record in records:
        rows.append(len(data) // ROW)
        data += record
    return batch_of(np.frombuffer(data or bytes(ROW), dtype=np.uint8), np.array(rows, dtype=np.int64))


def string(arg: int, data: bytes) -> Blob:
    """A captured path or string."""
    return Blob(arg, events.PART_SELF, events.WHOLE, 0, data + b"\0")


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that every user may enter; pytest keeps its own to the user who runs it."""
    with tempfile.TemporaryDirectory(prefix="isotrace-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


class Collected:
    """An output that keeps what is written to it."""

    colour = False

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    @property
    def lines(self) -> list[str]:
        return self.data.decode("ascii").splitlines()
