"""strace's format, one line a call: ``PID COMM  openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from isotrace.catalog.model import Syscall
from isotrace.decode.quote import comm
from isotrace.render import stacks as user_stacks
from isotrace.render import stamps
from isotrace.render.columns import Memo
from isotrace.render.lines import Decoded
from isotrace.render.repeated import Repeated
from isotrace.render.runs import runs, woven
from isotrace.render.stamps import stamp
from isotrace.render.whereabouts import inside
from isotrace.sinks.formats import Beside
from isotrace.sinks.output import Output
from isotrace.trace import events, whereabouts
from isotrace.trace.events import Batch

if TYPE_CHECKING:
    from isotrace.sinks import refusals

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
        self._calls = Repeated(self._decoder, calls, self._made, kept=not beside.stacks)
        self._below: dict[int, str] = {}  # the stacks of the batch that is being written
        self._prefixes: dict[tuple[object, ...], str] = {}
        self._spent = Memo(lambda spent: f" {self._paint(_DIM, _seconds(spent))}\n")

    @cached_property
    def _refusals(self) -> refusals.Lines:
        from isotrace.sinks import refusals  # takes time to import: most runs have none

        return refusals.Lines()

    def write(self, batch: Batch) -> None:
        """Write the lines of a batch in the order of its records."""
        lines = self._calls.of(batch)
        for index, text in self._decoder.notices(batch):
            lines[index] = self._paint(_NOTE, text)
        for index, (record, enforced) in batch.refused.items():
            lines[index] = self._paint(_NOTE, self._refusals.said(record, enforced))
        columns = [self._prefixes_of(batch), lines, self._ends(batch)]
        if self._clock:
            columns.insert(0, self._times(batch))
        self._output.write(woven(columns, lines).encode("ascii", "backslashreplace"))

    def flush(self) -> None:
        """Every batch is written as it comes."""

    def complete(self) -> None:
        """Nothing was kept back."""

    def _made(self, decoded: Decoded) -> list[str]:
        """Each call's line, without what stands before and behind it."""
        if self._stacks and decoded.rows.field("kind")[0] == events.CALL:
            stacks = map(user_stacks.lines, decoded.rows.blobs)
            self._below |= {i: self._paint(_DIM, stack) for i, stack in zip(decoded.rows.index, stacks, strict=True)}
        texts = decoded.texts()
        if decoded.rows.field("kind")[0] == events.UNFINISHED:
            return [f"{text[:-1]} <unfinished ...>" for text in texts]
        if self._colour:
            return self._coloured(decoded, texts)
        return [f"{text:<{_ALIGN}} = {result}" for text, result in zip(texts, decoded.results, strict=True)]

    def _coloured(self, decoded: Decoded, texts: list[str]) -> list[str]:
        columns = zip(decoded.name, texts, decoded.results, decoded.rows.failed, strict=True)
        return [
            f"{_NAME}{name}{_OFF}{text[len(name) :]:<{_ALIGN - len(name)}} = "
            + (f"{_ERROR}{result}{_OFF}" if failed else result)
            for name, text, result, failed in columns
        ]

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_OFF}" if self._colour else text

    def _ends(self, batch: Batch) -> list[str]:
        """What stands behind each line, and below it."""
        found = ["\n"] * len(batch)
        if self._durations:
            spent, calls = batch.events["duration"].tolist(), (batch.events["kind"] == events.CALL).tolist()
            found = [self._spent[ns] if of_call else "\n" for ns, of_call in zip(spent, calls, strict=True)]
        for index, stack in self._below.items():
            found[index] = f"{found[index][:-1]}{stack}\n"
        self._below.clear()
        return found

    def _prefixes_of(self, batch: Batch) -> list[str]:
        """Who made each record, and where."""
        if self._containers:
            names = (batch.events[name].tolist() for name in ("tid", "comm"))
            return list(map(self._prefix, zip(*names, whereabouts.of(batch), strict=True)))
        found: list[str] = []
        for count, key in runs(batch, ("tid", "comm")):
            found += [self._prefix(key)] * count
        return found

    def _prefix(self, key: tuple[Any, ...]) -> str:
        found = self._prefixes.get(key)
        if found is None:
            if len(self._prefixes) >= 65536:
                self._prefixes.clear()
            tid, name, *where = key
            place = inside(where[0]) if where else ""
            found = self._prefixes[key] = self._paint(_DIM, f"{tid}{place} {comm(name)}") + "  "
        return found

    def _times(self, batch: Batch) -> list[str]:
        form = max(self._clock, stamps.MICROSECONDS)
        times = (batch.events["time"].astype(np.int64) + batch.wall).tolist()
        return [f"{self._paint(_DIM, stamp(moment, form))} " for moment in times]


def _seconds(nanoseconds: int) -> str:
    return f"<{nanoseconds / 1e9:.6f}>" if nanoseconds else "<?>"
