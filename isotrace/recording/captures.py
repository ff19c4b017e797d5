"""Captures of many records at once: which bytes of a batch are the path of each call, or its address."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from isotrace.trace import events
from isotrace.trace.events import BLOB

#: No argument and part of a call.
NOWHERE = 0xFFFF
_HEAD = BLOB.itemsize


def place(arg: int, part: int) -> int:
    """An argument and a part of it, as one number."""
    return arg | part << 8


def pick(
    memory: pa.Buffer | None,
    at: npt.NDArray[np.int64],
    count: npt.NDArray[np.uint8],
    which: npt.NDArray[np.uint16],
    heads_too: bool = False,
) -> pa.BinaryArray:
    """The bytes of the first capture of each record that is of ``which`` place, null where there is none.

    ``at`` is where the captures of each record begin in ``memory``, in order; ``count`` how many it has. ``heads_too``: the
    bytes begin with the capture's head.
    """
    data = content(memory)
    at, left = at.copy(), count.astype(np.int64)
    begins, ends, present = at.copy(), at.copy(), np.zeros(len(at), dtype=bool)
    index = np.flatnonzero((left > 0) & (which != NOWHERE))
    while len(index):
        heads = data[at[index][:, None] + np.arange(_HEAD)].view(BLOB)[:, 0]
        sizes = heads["size"].astype(np.int64)
        hit = (heads["arg"] | heads["part"].astype(np.uint16) << 8) == which[index]
        begins[index], ends[index] = at[index] + _HEAD * (not heads_too), at[index] + _HEAD + sizes
        present[index] = hit & (heads["state"] != events.FAULT)
        at[index] += _HEAD + ((sizes + 7) & ~7)
        left[index] -= 1
        index = index[~hit & (left[index] > 0)]
    return slices(memory, begins, ends, present)


def content(memory: pa.Buffer | None) -> npt.NDArray[np.uint8]:
    """The bytes of a buffer; Arrow has none where there is nothing."""
    return np.frombuffer(memory, dtype=np.uint8) if memory is not None and memory.size else np.zeros(0, np.uint8)


def slices(
    memory: pa.Buffer | None,
    begins: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    present: npt.NDArray[np.bool_] | None = None,
) -> pa.BinaryArray:
    """Those bytes of each record, null where not ``present``; records stand in order, so Arrow takes them in one call."""
    count = len(begins)
    bounds = np.empty(2 * count + 1, dtype=np.int32)  # of what is taken and of gaps by turns
    bounds[0:-1:2], bounds[1::2] = begins, ends
    bounds[-1] = bounds[-2] if count else 0
    parts = pa.Array.from_buffers(pa.binary(), 2 * count, [None, pa.py_buffer(bounds), memory])
    index = np.arange(0, 2 * count, 2, dtype=np.int32)
    return parts.take(pa.array(index, mask=None if present is None else ~present))
