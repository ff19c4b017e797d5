"""Calls that threads have been in for long, for what shows a call where it began, while its record comes at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from isotrace.run.spool import Made
from isotrace.trace import plan, unfinished
from isotrace.trace.events import Batch
from isotrace.trace.plan import Slot
from isotrace.trace.unfinished import CallKey

_LOOK = 0.1  # seconds between two looks
_LONG = 100_000_000  # ns in a call after which it is told: what shows it keeps its line back for longer than both

#: (pid, tid, slot, when it began in ns) of a call.
_Call = tuple[int, int, int, int]


class UnderWay:
    """Tells, in a thread of its own, each such call once, as a record of kind UNFINISHED with a duration.

    ``calls()`` is all that are under way, ``(n,)`` of ``tracepoint.BEGINNING``; ``put`` takes what is told;
    ``descriptors()`` is what is known of the descriptors of calls, as captures.
    """

    def __init__(
        self,
        calls: Callable[[], npt.NDArray[np.void]],
        slots: Mapping[int, Slot],
        put: Callable[[Made], None],
        descriptors: Callable[[], Mapping[CallKey, list[bytes]]] = dict,
    ) -> None:
        self._calls, self._put, self._descriptors = calls, put, descriptors
        self._slots = {
            slot: found
            for slot, found in slots.items()
            if not plan.execs()[slot] and found.exit != plan.DEMUX_EXIT  # these are named when they return
        }
        self._until = -1  # calls that began by then have been looked at
        self._waiting: set[_Call] = set()  # those of them that could not be told yet
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="under way", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """End it, and wait for that."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._over.wait(_LOOK):
                if len(found := self.look()):
                    self._put(Made(found))
        except OSError:  # the kernel has no memory for it: lines stand where calls end
            pass

    def look(self) -> Batch:
        """Those that were not told before. What a thread gave is read from its memory while it is still in the call."""
        since, self._until = self._until, time.monotonic_ns() - _LONG
        rows = self._calls()
        times = rows["time"].astype(np.int64)
        found = _tuples(rows[(times > since) & (times <= self._until)])
        new = {call[1]: call for call in found | self._waiting if call[2] in self._slots}
        known = self._descriptors() if new else {}  # between the two looks: of the very calls that are in both
        batch = unfinished.batch({call[0] for call in new.values()}, self._slots, new, known)
        if not new:
            return batch
        rows = self._calls()
        still = _tuples(rows[np.isin(rows["tid"], list(new))])
        told = batch.select(np.array([self._is(new, still, row) for row in batch.events], dtype=bool))
        began = [new[tid][3] for tid in told.events["tid"].tolist()]
        told.events["duration"] = told.events["time"] - np.array(began, dtype=np.uint64)
        self._waiting = (set(new.values()) & still) - {new[tid] for tid in told.events["tid"].tolist()}
        return told

    @staticmethod
    def _is(new: Mapping[int, _Call], still: set[_Call], row: np.void) -> bool:
        """Whether a thread that was found in a call is in the one that is to be told."""
        call = new[int(row["tid"])]
        return call in still and call[2] == row["slot"]


def _tuples(rows: npt.NDArray[np.void]) -> set[_Call]:
    return set(zip(*(rows[name].tolist() for name in ("pid", "tid", "slot", "time")), strict=True))
