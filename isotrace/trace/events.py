"""Records as numpy sees them. ``bpf/event.h`` is the contract; tests/test_layout.py compares the two."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isotrace.trace import clock, families

SLOTS = 2048
SLOT_I386 = 1024
SLOT_UNKNOWN = 1023
#: From this number on there is no call; operations of io_uring have slots by opcode from SLOT_RING on, the last are others.
SLOT_NUMBERS = 900
SLOT_RING, RING_OPERATIONS = 900, 120

CALL, EXEC_ENTER, EXEC_NAME, TASK_EXIT, SIGNAL, UNFINISHED, REFUSED = range(7)
#: Made in user space: ``result`` records of a call, by ``slot``, of a process are missing here; ``pid`` 0: not known whose.
LOST = 7
#: A call that waits for an answer: never among the records of a trace.
ASKED = 8
#: A call that was refused because whoever was asked has said so: neither.
ANSWERED = 9
X86_64, X32, I386 = range(3)
ABI_NAMES = ("x86_64", "x32", "i386")

WHOLE, CUT, FAULT = range(3)
#: With one of these in a record, as in ``bpf/event.h``: ``later`` of the event says it of the argument.
LATER = 4
PART_SELF, PART_IOV, PART_DATA, PART_NAME, PART_CONTROL, PART_PATH, PART_BEFORE, PART_FILE, PART_NETLINK = range(9)
PART_REGISTERS, PART_STACK_MEMORY, PART_FRAMES, PART_RING, PART_BASE, PART_WHEREABOUTS, PART_PLACE = range(9, 16)
#: The ``arg`` of the user stack.
STACK_ARG = 6
#: The ``arg`` of what is known of an operation of io_uring beside its arguments: a RING_NOTE.
RING_ARG = 8
#: The ``arg`` of where the thread is: WHEREABOUTS, ``full`` is the number of the cgroup. In the kernel's records the last
#: capture; trace/whereabouts.py makes it the first, with the container's name behind it.
TASK_ARG = 9
RING_POLLED, RING_UNTOLD = 1, 2
#: The ``arg`` of a descriptor that a call returned.
RESULT_ARG = 7

EVENT = np.dtype(
    [
        ("time", "<u8"),
        ("duration", "<u8"),
        ("pid", "<u4"),
        ("tid", "<u4"),
        ("ppid", "<u4"),
        ("uid", "<u4"),
        ("number", "<u4"),
        ("slot", "<u2"),
        ("kind", "u1"),
        ("blobs", "u1"),
        ("result", "<i8"),
        ("args", "<u8", (6,)),
        ("comm", "S16"),
        ("size", "<u4"),
        ("abi", "u1"),
        ("unread", "u1"),
        ("later", "u1"),
        ("pad", "u1"),
    ]
)

BLOB = np.dtype(
    [
        ("arg", "u1"),
        ("part", "u1"),
        ("state", "u1"),
        ("pad", "u1"),
        ("size", "<u2"),
        ("pad2", "<u2"),
        ("full", "<u8"),
    ]
)

#: ``struct ring_note`` of bpf/event.h.
RING_NOTE = np.dtype(
    [
        ("user_data", "<u8"),
        ("completion", "<u4"),
        ("flags", "u1"),
        ("opcode", "u1"),
        ("state", "u1"),
        ("unknown", "u1"),
        ("later", "u1"),
        ("pad", "V7"),
    ]
)

#: ``struct whereabouts`` of bpf/event.h.
WHEREABOUTS = np.dtype([("pid", "<u4"), ("tid", "<u4")])

_ERRNOS = 4096
_BLOB = struct.Struct("<BBBxHxxQ")
_unpack_blob = _BLOB.unpack_from


class Blob(NamedTuple):
    """One capture of user memory: ``data`` is what was read, ``full`` how many bytes the argument has (0 for strings)."""

    arg: int
    part: int
    state: int
    full: int
    data: bytes


def failed(rows: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Which records (``(n,)`` of EVENT) are calls that returned an error."""
    return failed_among(rows["kind"], rows["result"])


def failed_among(kinds: npt.NDArray[np.uint8], results: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """The same of two columns, both ``(n,)``."""
    found: npt.NDArray[np.bool_] = (kinds == CALL) & (results < 0) & (results > -_ERRNOS)
    return found


def ends(rows: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Which records are of a thread that ended, and not of a leader whose number another has taken by an execve."""
    found: npt.NDArray[np.bool_] = (rows["kind"] == TASK_EXIT) & (rows["args"][:, 0] == 0)
    return found


def words(rows: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """The same memory as ``(n, 15)`` words of EVENT, in its order."""
    return np.lib.stride_tricks.as_strided(rows["time"], (len(rows), EVENT.itemsize // 8), (rows.strides[0], 8))


def pack_blob(arg: int, state: int, full: int, data: bytes, part: int = PART_SELF) -> bytes:
    """A capture as it lies in a record."""
    return _BLOB.pack(arg, part, state, len(data), full) + data.ljust((len(data) + 7) & ~7, b"\0")


def split(memory: bytes, count: int) -> list[bytes]:
    """``count`` captures that lie one after the other, each with its head and padding."""
    found, at = [], 0
    for _ in range(count):
        size = BLOB.itemsize + ((_unpack_blob(memory, at)[3] + 7) & ~7)
        found.append(memory[at : at + size])
        at += size
    return found


_new: Callable[[type[Blob], tuple[object, ...]], Blob] = tuple.__new__  # Blob(...) takes twice as long

_FEW = 8  # records of which captures are sooner found one by one than by column


@dataclass(frozen=True, eq=False)
class Batch:
    """Some records in the order in which the kernel wrote them.

    ``events`` is a ``(n,)`` array of EVENT, ``starts`` a ``(n,)`` int array: where each event begins in ``data``.
    ``wall`` is what to add to their times for nanoseconds since the epoch. ``refused`` has by index what is known of
    records of kind REFUSED, as ``enforce`` has it: a ``Refused`` and an ``Enforced``. ``families`` are generic netlink's
    where the records were made, names by number. A batch owns its memory.
    """

    events: npt.NDArray[np.void]
    starts: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]
    wall: int = field(default_factory=clock.offset)
    refused: Mapping[int, Any] = field(default_factory=dict)
    families: Mapping[int, str] = field(default_factory=families.live)

    def __len__(self) -> int:
        return len(self.events)

    @cached_property
    def _bytes(self) -> bytes:
        return self.data.tobytes()

    def call_slots(self) -> npt.NDArray[np.uint16]:
        """The slots of the calls among the records."""
        found: npt.NDArray[np.uint16] = self.events["slot"][self.events["kind"] == CALL]
        return found

    @cached_property
    def whereabouts(self) -> npt.NDArray[np.int64]:
        """``(n,)``: how many bytes of each record's captures, the first, say where the thread is; 0 where none does."""
        found = np.zeros(len(self), dtype=np.int64)
        some = np.flatnonzero(self.events["blobs"])
        at = self.starts[some] + EVENT.itemsize
        of_task = self.data[at] == TASK_ARG
        some, at = some[of_task], at[of_task]
        if len(some):
            heads = self.data[at[:, None] + np.arange(BLOB.itemsize)].view(BLOB)[:, 0]
            found[some] = BLOB.itemsize + ((heads["size"].astype(np.int64) + 7) & ~7)
        return found

    def where(self, index: int) -> bytes:
        """The capture of record ``index`` that says where the thread is, with its head; b"" where none does."""
        begin = int(self.starts[index]) + EVENT.itemsize
        return self._bytes[begin : begin + int(self.whereabouts[index])]

    def memory(self, index: npt.NDArray[np.int64]) -> list[bytes]:
        """The captures of the records ``index`` as they lie, without those of their whereabouts."""
        begins = self.starts[index] + EVENT.itemsize + self.whereabouts[index]
        ends, data = self.starts[index] + self.events["size"][index], self._bytes
        return [data[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]

    def blobs(self, index: int) -> Iterator[Blob]:
        """The captures of record ``index``, without that of its whereabouts."""
        data, skipped = self._bytes, int(self.whereabouts[index])
        at = int(self.starts[index]) + EVENT.itemsize + skipped
        for _ in range(self.events["blobs"][index] - (skipped > 0)):
            arg, part, state, size, full = _unpack_blob(data, at)
            at += 16
            yield Blob(arg, part, state & ~LATER, full, data[at : at + size])
            at += (size + 7) & ~7

    def blobs_of(self, index: Sequence[int]) -> list[tuple[Blob, ...]]:
        """The captures of each of the records ``index``."""
        if len(index) < _FEW:
            return [tuple(self.blobs(i)) for i in index]
        skipped = self.whereabouts[index]
        left = self.events["blobs"][index].astype(np.int64) - (skipped > 0)
        at = self.starts[index] + EVENT.itemsize + skipped
        found: list[tuple[Blob, ...]] = [()] * len(index)
        some = np.flatnonzero(left)
        while len(some):
            blobs, at[some] = self._at(at[some])
            for place, blob in zip(some.tolist(), blobs, strict=True):
                found[place] += (blob,)
            left[some] -= 1
            some = some[left[some] > 0]
        return found

    def _at(self, begins: npt.NDArray[np.int64]) -> tuple[Iterator[Blob], npt.NDArray[np.int64]]:
        """The captures that begin there in ``data``, and where what follows each of them does."""
        heads = self.data[begins[:, None] + np.arange(BLOB.itemsize)].view(BLOB)[:, 0]
        heads["state"] &= 0xFF ^ LATER
        begins, sizes, data = begins + BLOB.itemsize, heads["size"].astype(np.int64), self._bytes
        texts = [data[begin:end] for begin, end in zip(begins.tolist(), (begins + sizes).tolist(), strict=True)]
        columns = [heads[name].tolist() for name in ("arg", "part", "state", "full")]
        return (_new(Blob, row) for row in zip(*columns, texts, strict=True)), begins + ((sizes + 7) & ~7)

    def alone(self) -> Batch:
        """The same records, with no memory but that of their captures."""
        ends = (self.starts + self.events["size"]).tolist()
        begins = (self.starts + EVENT.itemsize).tolist()
        parts = [self.data[begin:end] for begin, end in zip(begins, ends, strict=True)]
        starts = np.cumsum([-EVENT.itemsize, *map(len, parts)], dtype=np.int64)[:-1]
        data = np.concatenate(parts) if parts else self.data[:0]
        return replace(self, starts=starts, data=data)

    def select(self, mask: npt.NDArray[np.bool_]) -> Batch:
        """The records where ``mask`` (``(n,)`` bool) holds."""
        place = np.cumsum(mask) - 1
        refused = {int(place[index]): found for index, found in self.refused.items() if mask[index]}
        return replace(self, events=self.events[mask], starts=self.starts[mask], refused=refused)
