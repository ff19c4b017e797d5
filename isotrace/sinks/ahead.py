"""Recorded calls that took long, told before their records come: for what shows a call where it began."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from isotrace.sinks import Sink
from isotrace.sinks.passing import Passing
from isotrace.trace import events, plan
from isotrace.trace.events import Batch

_LONG = 250_000_000  # ns: what shows them keeps its lines back for as long


class Ahead(Passing):
    """Passes records on to ``sink``, and each call that took long as one of kind UNFINISHED in time for its beginning.

    ``batches`` are the same records, read once more beforehand.
    """

    def __init__(self, sink: Sink, batches: Iterable[Batch]) -> None:
        super().__init__(sink)
        found: dict[int, list[Batch]] = {}
        for batch in batches:
            if len(long := batch.select(_long(batch.events))):
                found.setdefault(batch.wall, []).append(long.alone())
        self._calls = {wall: _Calls(wall, parts) for wall, parts in found.items()}

    def write(self, batch: Batch) -> None:
        """Take the records of a batch."""
        calls = self._calls.get(batch.wall)
        if calls and len(batch) and len(told := calls.until(int(batch.events["time"].max()))):
            self._sink.write(told)
        self._sink.write(batch)


def _long(rows: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Which records are of such calls. An execve's does not say what it was given."""
    long = (rows["kind"] == events.CALL) & (rows["duration"] >= _LONG)
    found: npt.NDArray[np.bool_] = long & ~plan.execs()[rows["slot"]]
    return found


class _Calls:
    """Calls of one clock, in the order in which they began."""

    def __init__(self, wall: int, parts: list[Batch]) -> None:
        rows = np.concatenate([part.events for part in parts])
        bases = np.cumsum([0, *(len(part.data) for part in parts)])
        starts = np.concatenate([part.starts + base for part, base in zip(parts, bases, strict=False)])
        rows["kind"] = events.UNFINISHED
        order = np.argsort(rows["time"] - rows["duration"], kind="stable")
        data = np.concatenate([part.data for part in parts])
        self._all = Batch(rows[order], starts[order], data, wall, families=parts[0].families)
        self._began = rows["time"][order] - rows["duration"][order]
        self._told = 0

    def until(self, when: int) -> Batch:
        """Those that began by then and were not told before."""
        before, self._told = self._told, max(self._told, int(np.searchsorted(self._began, when, "right")))
        told = slice(before, self._told)
        return replace(self._all, events=self._all.events[told], starts=self._all.starts[told]).alone()
