"""A recording beside what a run shows: a sink that also takes refusals, and is completed with the counts of the run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from isotrace.catalog.model import Syscall
from isotrace.enforce import Enforced, Refused
from isotrace.recording import output
from isotrace.recording.asked import Asked
from isotrace.recording.schema import End, Head
from isotrace.run.stats import Stats
from isotrace.trace import events, families
from isotrace.trace.events import Batch
from isotrace.trace.plan import Options
from isotrace.trace.target import read_process, uid_of

if TYPE_CHECKING:  # importing it starts a thread
    from isotrace.recording.writer import Writer

_WAITING_MAX = (
    1 << 16
)  # refusals that wait for a disk; what is beyond is left out, and is among the records all the same


class Recorder:
    """``calls`` is the expression of --calls, ``rules`` are those that refusals come from, by number. A named
    pipe is waited for at once.

    ``write`` and ``flush`` are for the sinks' thread; ``refused`` never waits for it.
    """

    def __init__(
        self,
        asked: Asked,
        calls: str | None = None,
        rules: Mapping[int, Enforced] | None = None,
    ) -> None:
        self._asked, self._calls = asked, calls
        self._fd = output.pipe(asked.path)
        self._rules = rules or {}
        self._refused: deque[Refused] = deque(maxlen=_WAITING_MAX)
        self._writer: Writer | None = None

    def begin(self, options: Options, pids: Iterable[int]) -> None:
        """Make the file. ``pids`` are the processes of the target that run already. Raises ``IsotraceError``.

        Call it once signals are held and nothing is forked any more: Arrow has a thread of its own.
        """
        from isotrace.recording.writer import Writer

        target = options.target
        if "argv" in self._asked.redact and target.command:
            target = replace(target, command=(target.command[0],))
        head = Head(
            target=str(target),
            calls=self._calls,
            string_limit=options.string_limit,
            notices=options.notices,
            durations=options.durations,
            descriptors=options.descriptors,
            stacks=options.stacks,
            full=options.full,
            resolve=options.resolve,
            containers=options.containers,
            command=target.command,
            families=dict(families.live()),
        )
        self._writer = Writer(self._asked, head, fd=self._fd)
        found = ((read_process(pid), uid_of(pid)) for pid in sorted(pids))
        self._writer.processes((process, uid) for process, uid in found if process and uid is not None)

    def write(self, batch: Batch) -> None:
        """Take the records of a batch. Raises ``IsotraceError``."""
        assert self._writer
        self._take()
        rows = batch.events
        told = (rows["kind"] == events.UNFINISHED) & (rows["duration"] > 0)  # by UnderWay: their own records follow
        self._writer.write(batch.select(~told) if told.any() else batch)

    def flush(self) -> None:
        """Nothing more is waiting. Raises ``IsotraceError``."""
        assert self._writer
        self._take()
        self._writer.flush()

    def complete(self) -> None:
        """Nothing: ``settle`` writes what waits."""

    def refused(self, records: Sequence[Refused]) -> None:
        """Take refusals, from any thread."""
        self._refused.extend(records)

    def _take(self) -> None:
        while self._writer and self._refused:
            self._writer.refused([self._refused.popleft()], self._rules)

    def settle(self) -> None:
        """All has been given: write what waits. Raises ``IsotraceError``."""
        assert self._writer
        self._take()
        self._writer.settle()

    def unwritten(self) -> npt.NDArray[np.uint16]:
        """The slots of the calls that were taken and are not in the file."""
        return self._writer.unwritten() if self._writer else np.zeros(0, np.uint16)

    def end(self, stats: Stats, calls: Mapping[int, Syscall], reason: str) -> None:
        """All has been written: with the counts the recording is complete. Raises ``IsotraceError``."""
        assert self._writer
        counters = stats.counters
        self._writer.close(
            End(
                seen=stats.seen,
                delivered=int(stats.delivered.sum()),
                lost=stats.lost,
                lost_by_call=stats.lost_by_call(calls),
                extras_lost=counters.extras_lost,
                not_followed=counters.not_followed,
                missed=counters.missed,
                reason=reason,
            )
        )

    def close(self) -> None:
        """Close the file, as it is."""
        if self._writer:
            self._writer.close()
