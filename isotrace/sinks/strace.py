"""The lines of ``strace -f -ttt -T -o FILE``, for programs that read those: ``PID TIME call(…) = result <duration>``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from isotrace.catalog.model import Syscall
from isotrace.render.lines import Decoded, Decoder, notices
from isotrace.trace import events
from isotrace.trace.events import Batch

_ALIGN = 39  # the equals sign is in column 40 of the whole line


class Output(Protocol):
    """Where lines go."""

    def write(self, data: bytes) -> object:
        """Write all of it."""


class Strace:
    """TIME is when the call began, in seconds since the epoch; lines stand in the order in which calls returned."""

    def __init__(self, output: Output, calls: Mapping[int, Syscall]) -> None:
        self._output = output
        self._decoder, self._known = Decoder(calls), calls

    def write(self, batch: Batch) -> None:
        """Write the lines of a batch."""
        heads = self._heads(batch)
        lines = [""] * len(batch)
        for decoded in self._decoder.decode(batch):
            for index, line in zip(decoded.rows.index, _calls(decoded, heads), strict=True):
                lines[index] = line
        for index, text in notices(batch, self._known):
            lines[index] = heads[index] + text
        self._output.write("".join(f"{line}\n" for line in lines if line).encode("ascii", "backslashreplace"))

    def flush(self) -> None:
        """Every batch is written as it comes."""

    @staticmethod
    def _heads(batch: Batch) -> list[str]:
        rows = batch.events
        began = (rows["time"] - rows["duration"]).astype("int64") + batch.wall
        return [
            f"{tid:<5} {moment // 1_000_000_000}.{moment % 1_000_000_000 // 1000:06} "
            for tid, moment in zip(rows["tid"].tolist(), began.tolist(), strict=True)
        ]


def _calls(decoded: Decoded, heads: list[str]) -> list[str]:
    rows = decoded.rows
    texts = [heads[index] + text for index, text in zip(rows.index, decoded.texts(), strict=True)]
    if rows.batch.events["kind"][rows.index[0]] == events.UNFINISHED:
        return [f"{text[:-1]} <unfinished ...>" for text in texts]
    return [
        f"{text:<{_ALIGN}} = {result}" + (f" <{spent / 1e9:.6f}>" if spent and result != "?" else "")
        for text, result, spent in zip(texts, decoded.results, rows.field("duration"), strict=True)
    ]
