"""--signals: only these signals."""

from __future__ import annotations

import numpy as np

from isotrace.sinks import Sink
from isotrace.sinks.passing import Passing
from isotrace.trace import events
from isotrace.trace.events import Batch


class Signals(Passing):
    """Passes on everything but other signals than those with the numbers ``wanted``.

    That one has ended a process is told all the same.
    """

    def __init__(self, sink: Sink, wanted: frozenset[int]) -> None:
        super().__init__(sink)
        self._wanted = list(wanted)

    def write(self, batch: Batch) -> None:
        """Take the records of a batch."""
        others = batch.events["kind"] != events.SIGNAL
        self._sink.write(batch.select(others | np.isin(batch.events["result"], self._wanted)))
