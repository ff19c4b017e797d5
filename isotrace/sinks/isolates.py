"""The line of the notes that isotrace grew from: ``ISOLATES:<call>,<comm>,<pid>,<uid>``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from isotrace.catalog.model import Syscall
from isotrace.decode.quote import escape
from isotrace.sinks.output import Output
from isotrace.trace import events
from isotrace.trace.events import Batch


class Isolates:
    """One line a call. A comma in a process name is escaped as ``\\054``: a line always has four fields."""

    def __init__(self, output: Output, calls: Mapping[int, Syscall]) -> None:
        self._output = output
        self._names = {slot: call.name for slot, call in calls.items()}
        self._comms: dict[bytes, str] = {}

    def write(self, batch: Batch) -> None:
        """Write the lines of a batch."""
        calls = batch.events[np.flatnonzero(batch.events["kind"] == events.CALL)]
        columns = (calls[name].tolist() for name in ("slot", "number", "comm", "pid", "uid"))
        names = self._names
        lines = [
            f"ISOLATES:{names.get(slot) or f'syscall_{number:#x}'},{self._comm(comm)},{pid},{uid}\n"
            for slot, number, comm, pid, uid in zip(*columns, strict=True)
        ]
        self._output.write("".join(lines).encode("ascii"))

    def flush(self) -> None:
        """Every batch is written as it comes."""

    def complete(self) -> None:
        """Nothing was kept back."""

    def _comm(self, raw: bytes) -> str:
        if len(self._comms) > 65536:
            self._comms.clear()
        if raw not in self._comms:
            self._comms[raw] = escape(raw).replace(",", "\\054")
        return self._comms[raw]
