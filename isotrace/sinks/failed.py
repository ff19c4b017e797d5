"""--failed: only calls that returned an error."""

from __future__ import annotations

from isotrace.sinks import Sink
from isotrace.trace import events
from isotrace.trace.events import Batch


class Failed:
    """Passes on to ``sink`` the calls that failed, what an execve that did consists of, losses and refusals."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, batch: Batch) -> None:
        """Take the records of a batch."""
        kinds = batch.events["kind"]
        kept = (kinds == events.EXEC_ENTER) | (kinds == events.EXEC_NAME) | (kinds == events.LOST)
        kept |= kinds == events.REFUSED
        self._sink.write(batch.select(events.failed(batch.events) | kept))

    def flush(self) -> None:
        """Nothing more is waiting."""
        self._sink.flush()

    def complete(self) -> None:
        """Nothing more will come."""
        self._sink.complete()
