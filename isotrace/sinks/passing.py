"""What stands before a sink."""

from __future__ import annotations

from isotrace.sinks import Sink
from isotrace.trace import events
from isotrace.trace.events import Batch

#: Kinds of records that no choice among calls leaves out: of what an execve consists, what is missing, what was refused.
ALWAYS = (events.EXEC_ENTER, events.EXEC_NAME, events.LOST, events.REFUSED)


class Passing:
    """Passes on to ``sink`` what it is given."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, batch: Batch) -> None:
        """Take the records of a batch."""
        self._sink.write(batch)

    def flush(self) -> None:
        """Nothing more is waiting."""
        self._sink.flush()

    def complete(self) -> None:
        """Nothing more will come."""
        self._sink.complete()
