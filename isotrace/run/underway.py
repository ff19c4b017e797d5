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

_LOOK = 0.1  # seconds between two looks
_LONG = 100_000_000  # ns in a call after which it is told: what shows it keeps its line back for longer than both

#: (pid, tid, slot, when it began in ns) of a call.
_Call = tuple[int, int, int, int]


class UnderWay:
    """Tells, in a thread of its own, each such call once, as a record of kind UNFINISHED with a duration.

    ``calls()`` is all that are under way, ``(n,)`` of ``tracepoint.BEGINNING``; ``put`` takes what is told.
    """

    def __init__(
        self, calls: Callable[[], npt.NDArray[np.void]], slots: Mapping[int, Slot], put: Callable[[Made], None]
    ) -> None:
        self._calls, self._put = calls, put
        self._slots = {slot: found for slot, found in slots.items() if not plan.execs()[slot]}
        self._told: set[_Call] = set()
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
        found = self._long()
        new = {call[1]: call for call in found - self._told if call[2] in self._slots}
        self._told &= found
        batch = unfinished.batch({call[0] for call in new.values()}, self._slots, new)
        still = self._long() if len(batch) else set()
        rows, kept = batch.events, np.zeros(len(batch), dtype=bool)
        for index, (tid, slot) in enumerate(zip(rows["tid"].tolist(), rows["slot"].tolist(), strict=True)):
            call = new.get(tid)
            if call in still and call is not None and call[2] == slot:
                kept[index] = True
                rows["duration"][index] = int(rows["time"][index]) - call[3]
                self._told.add(call)
        return batch.select(kept)

    def _long(self) -> set[_Call]:
        rows = self._calls()
        rows = rows[rows["time"] + _LONG <= time.monotonic_ns()]
        return set(zip(*(rows[name].tolist() for name in ("pid", "tid", "slot", "time")), strict=True))
