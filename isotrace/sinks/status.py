"""--status and --failed: only calls that ended so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from isotrace.sinks import Sink
from isotrace.sinks.endings import ERRORS
from isotrace.sinks.passing import ALWAYS, Passing
from isotrace.trace import events, plan
from isotrace.trace.events import Batch


class Status(Passing):
    """Passes on to ``sink`` the calls that ended so (``endings.parse``), what an execve consists of, losses and refusals.

    Calls that never return, exit and exit_group, have neither failed nor succeeded. Kinds of records in ``always`` pass.
    """

    def __init__(self, sink: Sink, wanted: frozenset[int], always: Sequence[int] = ()) -> None:
        super().__init__(sink)
        self._always = (*ALWAYS, *always)
        self._wanted = np.zeros(ERRORS, dtype=bool)
        self._wanted[list(wanted)] = True

    def write(self, batch: Batch) -> None:
        """Take the records of a batch."""
        kept = np.isin(batch.events["kind"], self._always) | self._ended(batch.events)
        self._sink.write(batch.select(kept))

    def _ended(self, rows: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
        numbers = np.where(events.failed(rows), -rows["result"], 0)
        returned = (rows["kind"] == events.CALL) & ~plan.endless()[rows["slot"]]
        found: npt.NDArray[np.bool_] = self._wanted[numbers] & returned
        return found
