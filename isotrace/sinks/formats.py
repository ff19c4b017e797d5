"""The sinks that --format names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isotrace.catalog.model import Syscall
from isotrace.render.view import PLAIN, View
from isotrace.sinks import Sink
from isotrace.sinks.output import Output

if TYPE_CHECKING:
    from isotrace.render.lines import Decoder

NAMES = ("text", "json", "strace", "isolates", "folded", "none")
#: Those whose lines stand where calls began: that is known by how long they took.
ORDERED = ("strace",)


@dataclass(frozen=True)
class Beside:
    """What lines have beside the call: ``clock`` and ``descriptors`` are how often -t and -y were given,
    ``relative`` is -r, ``durations`` -T, ``stacks`` -k. ``view``: how the arguments of calls are shown. ``pids``: with
    the names of processes; ``resolve``: with whole paths; ``containers``: with where processes are; ``host_paths``: with
    where files are for isotrace.
    """

    clock: int = 0
    relative: bool = False
    durations: bool = False
    descriptors: int = 0
    stacks: bool = False
    view: View = PLAIN
    pids: bool = False
    resolve: bool = False
    containers: bool = False
    host_paths: bool = False

    def decoder(self, calls: Mapping[int, Syscall]) -> Decoder:
        """What makes words of calls."""
        from isotrace.kernel.places import Places
        from isotrace.render.lines import Decoder

        places = Places() if self.host_paths else None
        return Decoder(calls, self.descriptors, self.view, self.pids, self.resolve, places)


def make(style: str, output: Output, calls: Mapping[int, Syscall], beside: Beside) -> list[Sink]:
    """That of one of NAMES, or none. What is to stand beside calls is for text and strace's form."""
    if style == "text":
        from isotrace.sinks.text import Text

        return [Text(output, calls, beside, colour=output.colour)]
    if style == "strace":
        from isotrace.sinks.strace import Strace

        return [Strace(output, calls, beside)]
    if style == "json":
        from isotrace.sinks.json import Json

        return [Json(output, calls, beside)]
    if style == "folded":
        from isotrace.sinks.folded import Folded

        return [Folded(output, calls)]
    if style == "isolates":
        from isotrace.sinks.isolates import Isolates

        return [Isolates(output, calls)]
    return []
