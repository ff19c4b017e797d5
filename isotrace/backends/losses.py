"""From the kernel's totals of lost records to what was lost since they were last looked at."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from isotrace.backends import Loss
from isotrace.trace import events
from isotrace.trace.events import EVENT, Batch


class Losses:
    """Remembers the totals."""

    def __init__(self) -> None:
        self._by_process: Mapping[tuple[int, bytes, int], int] = {}
        self._unknown: Mapping[int, int] = {}

    def since(self, by_process: Mapping[tuple[int, bytes, int], int], by_slot: Mapping[int, int]) -> list[Loss]:
        """Totals by pid, comm and slot, and ``by_slot`` all of them, where those by process are not all."""
        found = [
            Loss(pid, comm, slot, count - before)
            for (pid, comm, slot), count in by_process.items()
            if count > (before := self._by_process.get((pid, comm, slot), 0))
        ]
        known: dict[int, int] = {}
        for (_, _, slot), count in by_process.items():
            known[slot] = known.get(slot, 0) + count
        unknown = {slot: max(total - known.get(slot, 0), self._unknown.get(slot, 0)) for slot, total in by_slot.items()}
        found += [
            Loss(0, b"", slot, count - before)
            for slot, count in unknown.items()
            if count > (before := self._unknown.get(slot, 0))
        ]
        self._by_process, self._unknown = by_process, unknown
        return found


def missing(losses: Sequence[Loss]) -> Batch:
    """They as records of kind LOST, to stand where they are found."""
    found = np.zeros(len(losses), dtype=EVENT)
    found["kind"], found["time"], found["size"] = events.LOST, time.monotonic_ns(), EVENT.itemsize
    for row, loss in zip(found, losses, strict=True):
        row["pid"] = row["tid"] = loss.pid
        row["comm"], row["slot"], row["result"] = loss.comm, loss.slot, loss.records
    return Batch(found, np.zeros(len(losses), dtype=np.int64), np.zeros(0, dtype=np.uint8))
