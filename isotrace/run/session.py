"""One run: records from a backend to a sink until something ends it, and the count of both at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from isotrace.backends import Backend, Counters
from isotrace.catalog.model import Syscall
from isotrace.sinks import Sink
from isotrace.trace import events, unfinished
from isotrace.trace.events import Batch
from isotrace.trace.plan import Plan

_TICK = 0.025  # seconds between two looks at a quiet ring
_SETTLE = 1.0  # seconds to wait for programs that still run on another CPU after they were detached


@dataclass
class Tally:
    """What was delivered, by call slot, beside what the kernel counted."""

    delivered: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(events.SLOTS, dtype=np.int64))
    counters: Counters = field(default_factory=Counters)

    def add(self, batch: Batch) -> None:
        """Count the calls of a batch."""
        calls = batch.events["slot"][batch.events["kind"] == events.CALL]
        self.delivered += np.bincount(calls, minlength=events.SLOTS)

    @property
    def seen(self) -> int:
        """Calls that the kernel program met."""
        return sum(self.counters.seen.values()) + self.counters.missed

    @property
    def lost(self) -> int:
        """Calls that were met and not delivered, for whatever reason."""
        return self.seen - int(self.delivered.sum())

    def settled(self) -> bool:
        """Whether every record that the kernel sent has arrived."""
        counters = self.counters
        return sum(counters.seen.values()) - sum(counters.lost.values()) <= int(self.delivered.sum())

    def lost_by_call(self, calls: Mapping[int, Syscall]) -> dict[str, int]:
        """Name → calls lost, the most first."""
        found: dict[str, int] = {}
        for slot, seen in self.counters.seen.items():
            missing = seen - int(self.delivered[slot])
            if missing:
                name = calls[slot].name if slot in calls else "unknown calls"
                found[name] = found.get(name, 0) + missing
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def summary(self, calls: Mapping[int, Syscall]) -> list[str]:
        """The lines for standard error: how many calls, how many delivered, what was lost."""
        counters = self.counters
        lines = [f"{self.seen} calls, {int(self.delivered.sum())} delivered, {self.lost} lost"]
        if self.lost:
            parts = [f"{name} {count}" for name, count in self.lost_by_call(calls).items()]
            if counters.missed:
                parts.append(f"not known which {counters.missed}")
            hint = "; a larger --ring or fewer --calls helps" if counters.lost else ""
            lines.append(f"lost: {', '.join(parts)}{hint}")
        if counters.extras_lost:
            lines.append(f"{counters.extras_lost} records of exits, signals or exec arguments lost")
        if counters.not_followed:
            lines.append(
                f"{counters.not_followed} births of processes missed: such children of the target are not followed"
            )
        return lines


@dataclass
class Session:
    """``ended`` says why to stop, or None to go on; it is asked at every tick. ``members`` are the watched pids now."""

    plan: Plan
    backend: Backend
    sink: Sink
    ended: Callable[[], str | None]
    members: Callable[[], Iterable[int]]
    only_failed: bool = False
    tally: Tally = field(default_factory=Tally)

    def run(self) -> str:
        """Deliver until ``ended``; returns its reason. The sink's errors pass through, with the backend detached."""
        try:
            if not self.plan.target.command:
                self._show_unfinished()
            while (reason := self.ended()) is None:
                self._deliver()
                self.backend.wait(_TICK)
            self.backend.detach()
            self._settle()
            self._show_unfinished()
            return reason
        finally:
            self.backend.detach()
            self.tally.counters = self.backend.counters()

    def _deliver(self) -> None:
        for batch in self.backend.batches():
            self.sink.write(self._chosen(batch))
            self.tally.add(batch)  # only now is it delivered
        self.sink.flush()

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
        batch = unfinished.batch(set(self.members()) - {os.getpid()}, self.plan.slots)
        if len(batch) and not self.only_failed:
            self.sink.write(batch)
            self.sink.flush()
