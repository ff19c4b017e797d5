"""strace's format, one line a call: ``PID COMM  openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat

import numpy as np

from isotrace.catalog.model import Syscall
from isotrace.decode.quote import comm
from isotrace.render import stacks as user_stacks
from isotrace.render import stamps
from isotrace.render.lines import Decoded
from isotrace.render.stamps import stamp
from isotrace.render.whereabouts import inside
from isotrace.sinks import refusals
from isotrace.sinks.formats import Beside
from isotrace.sinks.output import Output
from isotrace.trace import events, whereabouts
from isotrace.trace.events import Batch
from isotrace.trace.whereabouts import Whereabouts

_ALIGN = 39  # strace's column 40 for the equals sign
_DIM, _NAME, _ERROR, _NOTE, _OFF = "\x1b[2m", "\x1b[36m", "\x1b[31m", "\x1b[35m", "\x1b[0m"


class Text:
    """Lines as strace prints them, with the stacks of calls below where they are asked for."""

    def __init__(
        self, output: Output, calls: Mapping[int, Syscall], beside: Beside | None = None, *, colour: bool = False
    ) -> None:
        self._output, beside = output, beside or Beside()
        self._decoder = beside.decoder(calls)
        self._durations, self._clock, self._colour = beside.durations, beside.clock, colour
        self._stacks, self._containers = beside.stacks, beside.containers
        self._refusals = refusals.Lines()
        self._prefixes: dict[tuple[int, bytes, Whereabouts | None], str] = {}

    def write(self, batch: Batch) -> None:
        """Write the lines of a batch in the order of its records."""
        lines = [""] * len(batch)
        for decoded in self._decoder.decode(batch):
            for index, line in zip(decoded.rows.index, self._calls(decoded), strict=True):
                lines[index] = line
            if self._stacks:
                self._add_stacks(decoded, lines)
        for index, text in self._decoder.notices(batch):
            lines[index] = self._paint(_NOTE, text)
        for index, (record, enforced) in batch.refused.items():
            lines[index] = self._paint(_NOTE, self._refusals.said(record, enforced))
        self._output.write(self._assemble(batch, lines).encode("ascii", "backslashreplace"))

    def _add_stacks(self, decoded: Decoded, lines: list[str]) -> None:
        for index, kind, blobs in zip(decoded.rows.index, decoded.rows.field("kind"), decoded.rows.blobs, strict=True):
            if kind == events.CALL:
                lines[index] += self._paint(_DIM, user_stacks.lines(blobs))

    def flush(self) -> None:
        """Every batch is written as it comes."""

    def complete(self) -> None:
        """Nothing was kept back."""

    def _calls(self, decoded: Decoded) -> list[str]:
        texts = decoded.texts()
        if decoded.rows.batch.events["kind"][decoded.rows.index[0]] == events.UNFINISHED:
            return [f"{text[:-1]} <unfinished ...>" for text in texts]
        if self._colour:
            return self._coloured(decoded, texts)
        if self._durations:
            times = decoded.rows.field("duration")
            return [
                f"{text:<{_ALIGN}} = {result} {_seconds(spent)}"
                for text, result, spent in zip(texts, decoded.results, times, strict=True)
            ]
        return [f"{text:<{_ALIGN}} = {result}" for text, result in zip(texts, decoded.results, strict=True)]

    def _coloured(self, decoded: Decoded, texts: list[str]) -> list[str]:
        times = decoded.rows.field("duration")
        return [
            f"{_NAME}{name}{_OFF}{text[len(name) :]:<{_ALIGN - len(name)}} = "
            + (f"{_ERROR}{result}{_OFF}" if failed else result)
            + (f" {_DIM}{_seconds(spent)}{_OFF}" if self._durations else "")
            for name, text, result, failed, spent in zip(
                decoded.name, texts, decoded.results, decoded.rows.failed, times, strict=True
            )
        ]

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_OFF}" if self._colour else text

    def _assemble(self, batch: Batch, lines: list[str]) -> str:
        tids, comms = batch.events["tid"].tolist(), batch.events["comm"].tolist()
        prefixes = self._prefixes
        if len(prefixes) > 65536:
            prefixes.clear()
        places = whereabouts.of(batch) if self._containers else repeat(None, len(batch))
        keys = list(zip(tids, comms, places, strict=True))
        for key in set(keys) - prefixes.keys():
            tid, name, where = key
            place = inside(where) if self._containers else ""
            prefixes[key] = self._paint(_DIM, f"{tid}{place} {comm(name)}") + "  "
        found = [f"{prefixes[key]}{line}\n" for key, line in zip(keys, lines, strict=True) if line]
        if self._clock:
            kept = [i for i, line in enumerate(lines) if line]
            times = (batch.events["time"][kept].astype(np.int64) + batch.wall).tolist()
            found = [self._time(t) + line for t, line in zip(times, found, strict=True)]
        return "".join(found)

    def _time(self, since_epoch: int) -> str:
        return self._paint(_DIM, stamp(since_epoch, max(self._clock, stamps.MICROSECONDS))) + " "


def _seconds(nanoseconds: int) -> str:
    return f"<{nanoseconds / 1e9:.6f}>" if nanoseconds else "<?>"
