"""The sinks that --format names."""

from __future__ import annotations

from collections.abc import Mapping

from isotrace.catalog.model import Syscall
from isotrace.sinks import Sink
from isotrace.sinks.output import Output

NAMES = ("text", "json", "isolates", "none")


def make(style: str, output: Output, calls: Mapping[int, Syscall], durations: bool, clock: bool) -> list[Sink]:
    """That of one of NAMES, or none. ``durations`` and ``clock`` are for people, in text."""
    if style == "text":
        from isotrace.sinks.text import Text

        return [Text(output, calls, durations=durations, clock=clock, colour=output.colour)]
    if style == "json":
        from isotrace.sinks.json import Json

        return [Json(output, calls)]
    if style == "isolates":
        from isotrace.sinks.isolates import Isolates

        return [Isolates(output, calls)]
    return []
