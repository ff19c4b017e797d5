"""Where records go. A sink takes batches as they come and is told when nothing more is waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # output.py is wanted before numpy is
    from isotrace.trace.events import Batch


class Sink(Protocol):
    """A consumer of batches. ``write`` and ``flush`` raise ``IsotraceError`` when the output cannot be written."""

    def write(self, batch: Batch) -> None:
        """Take the records of a batch."""

    def flush(self) -> None:
        """Nothing more is waiting: show what there is."""

    def complete(self) -> None:
        """Nothing more will come: show also what was kept back for it."""
