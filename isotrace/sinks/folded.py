"""Stacks for flame graphs, as flamegraph.pl reads them: ``COMM;OUTERMOST;…;INNERMOST;CALL COUNT``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from isotrace.catalog.model import Syscall
from isotrace.render import stacks
from isotrace.render.lines import Decoder
from isotrace.trace import events
from isotrace.trace.events import Batch

_LINES_MAX = 1 << 18  # stacks that are counted before they are written: then some have more than one line


class Output(Protocol):
    """Where lines go."""

    def write(self, data: bytes) -> object:
        """Write all of it."""


class Folded:
    """Counts calls by their stacks, and writes the counts at the end."""

    def __init__(self, output: Output, calls: Mapping[int, Syscall]) -> None:
        self._output, self._decoder = output, Decoder(calls)
        self._counts: Counter[str] = Counter()

    def write(self, batch: Batch) -> None:
        """Count the calls of a batch."""
        for decoded in self._decoder.decode(batch):
            rows = decoded.rows
            comms = batch.events["comm"][rows.index].tolist()
            for kind, comm, name, blobs in zip(rows.field("kind"), comms, decoded.name, rows.blobs, strict=True):
                if kind == events.CALL:
                    self._counts[f"{stacks.part(comm)};{stacks.folded(blobs)};{name}"] += 1
        if len(self._counts) > _LINES_MAX:
            self.complete()

    def flush(self) -> None:
        """Nothing is written before the end."""

    def complete(self) -> None:
        """Write the counts."""
        lines = [f"{stack} {count}\n" for stack, count in sorted(self._counts.items())]
        self._counts.clear()
        self._output.write("".join(lines).encode("ascii"))
