"""The part of a run that records calls: from a backend to sinks, and the count of both at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from isotrace.backends import Backend
from isotrace.backends.lkm import Module
from isotrace.backends.loader import Loader
from isotrace.backends.tracepoint import Tracepoints
from isotrace.errors import IsotraceError
from isotrace.kernel.facts import Facts, facts
from isotrace.process.telling import tell
from isotrace.run.tally import Tally
from isotrace.sinks import Sink
from isotrace.trace import events, unfinished
from isotrace.trace import plan as planning
from isotrace.trace.events import Batch
from isotrace.trace.plan import Options, Plan
from isotrace.trace.target import members

_TICK = 0.025  # seconds between two looks at a quiet ring
_SETTLE = 1.0  # seconds to wait for programs that still run on another CPU after they were detached


def planned(options: Options, loader: Loader | None) -> tuple[Plan, Tracepoints | Module]:
    """What is to be recorded, and the backend that does it: BPF programs, or without a ``loader`` the kernel module.

    Raises ``IsotraceError``.
    """
    if not loader:
        plan = planning.make(options, Facts(), [])
        return plan, Module(plan, options)
    try:
        plan = planning.make(options, facts(), options.target.defines())
        return plan, Tracepoints(plan, loader)
    except BaseException:
        loader.close()
        raise


@dataclass
class Records:
    """``only_failed``: show calls that returned an error. ``quiet``: no summary, unless something was lost.

    ``strict``: a loss is an error.
    """

    plan: Plan
    backend: Backend
    sinks: Sequence[Sink]
    only_failed: bool = False
    quiet: bool = False
    strict: bool = False
    tally: Tally = field(default_factory=Tally)
    holds = False
    screen = None
    _stopped = False

    def open(self, pid: int | None) -> None:
        """Attach."""
        self.backend.open(pid)

    def start(self) -> None:
        """Show what the target is inside of."""
        if not self.plan.target.command:
            self._show_unfinished()

    def serve(self, seconds: float) -> None:
        """Deliver what has come. The sinks' errors pass through."""
        self._deliver()
        if seconds:
            self.backend.wait(seconds)

    def alive(self) -> bool:
        """Whether a process in the kernel's map of descent is more than a zombie."""
        return self.backend.alive()

    def broken(self) -> str:
        """Nobody can take it away unseen: what is lost is counted."""
        return ""

    def expire(self) -> bool:
        """Nothing keeps it."""
        return False

    def stop(self, reason: str) -> None:
        """Detach, read what is left, show what the target is inside of."""
        self.backend.detach()
        self._settle()
        self._show_unfinished()
        self._stopped = True

    def finish(self) -> None:
        """The summary. Raises ``IsotraceError`` for a loss where that is an error."""
        self.backend.detach()
        self.tally.counters = counters = self.backend.counters()
        if not self.quiet or self.tally.lost or counters.extras_lost or counters.not_followed:
            tell(self.tally.summary(self.plan.calls))
        if self.strict and self._stopped and self.tally.lost:
            raise IsotraceError(f"{self.tally.lost} calls were lost and --strict asks for all", "give a larger --ring")

    def close(self) -> None:
        """Give everything back to the kernel."""
        self.backend.close()

    def _deliver(self) -> None:
        for batch in self.backend.batches():
            self._write(self._chosen(batch))
            self.tally.add(batch)  # only now is it delivered
        for sink in self.sinks:
            sink.flush()

    def _write(self, batch: Batch) -> None:
        for sink in self.sinks:
            sink.write(batch)

    def _chosen(self, batch: Batch) -> Batch:
        if not self.only_failed:
            return batch
        results, kinds = batch.events["result"], batch.events["kind"]
        failed = (results < 0) & (results > -4096)
        return batch.select(
            (kinds == events.EXEC_ENTER) | (kinds == events.EXEC_NAME) | ((kinds == events.CALL) & failed)
        )

    def _settle(self) -> None:
        """Read what is left. A program that was running when it was detached may still send its record."""
        deadline = time.monotonic() + _SETTLE
        while True:
            self.tally.counters = self.backend.counters()
            self._deliver()
            if self.tally.settled() or time.monotonic() > deadline:
                return
            time.sleep(_TICK)

    def _show_unfinished(self) -> None:
        pids = members(self.plan.target, self.backend.pids())
        batch = unfinished.batch(set(pids) - {os.getpid()}, self.plan.slots)
        if len(batch) and not self.only_failed:
            self._write(batch)
            for sink in self.sinks:
                sink.flush()
