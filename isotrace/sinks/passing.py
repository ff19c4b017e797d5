"""What stands before a sink."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

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


class Chooser(Protocol):
    """A choice among calls."""

    def choose(self, batch: Batch) -> npt.NDArray[np.bool_]:
        """Which records, ``(n,)``, are calls that it is for; it is asked about each batch, in order."""


def chosen(batch: Batch, choosers: Sequence[Chooser]) -> npt.NDArray[np.bool_]:
    """Which records of a batch, ``(n,)``, one of ``choosers`` is for, or no choice leaves out."""
    kept = np.isin(batch.events["kind"], ALWAYS)
    for chooser in choosers:
        kept |= chooser.choose(batch)
    return kept


class Choice(Passing):
    """Passes on what one of ``choosers`` is for, and what no choice leaves out: records of the kinds ``always``, too."""

    def __init__(self, sink: Sink, choosers: Sequence[Chooser], always: Sequence[int] = ()) -> None:
        super().__init__(sink)
        self._choosers = choosers
        self._always = always

    def write(self, batch: Batch) -> None:
        """Take the records of a batch."""
        kept = chosen(batch, self._choosers) | np.isin(batch.events["kind"], self._always)
        self._sink.write(batch.select(kept))
