"""What was delivered beside what the kernel counted, reconciled at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from isotrace.backends import Counters
from isotrace.catalog.model import Syscall
from isotrace.trace import events
from isotrace.units import many


@dataclass
class Stats:
    """What was delivered, by call slot, beside what the kernel counted."""

    delivered: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(events.SLOTS, dtype=np.int64))
    counters: Counters = field(default_factory=Counters)

    def add(self, slots: npt.NDArray[np.uint16]) -> None:
        """Count calls that were delivered."""
        self.delivered += np.bincount(slots, minlength=events.SLOTS)

    def take_back(self, slots: npt.NDArray[np.uint16]) -> None:
        """Calls that were counted turned out not to be delivered."""
        self.delivered -= np.bincount(slots, minlength=events.SLOTS)

    @property
    def seen(self) -> int:
        """Calls that the kernel program met."""
        return sum(self.counters.seen.values())

    @property
    def lost(self) -> int:
        """Calls that were met and not delivered, for whatever reason."""
        return self.seen - int(self.delivered.sum())

    @property
    def sent(self) -> int:
        """Calls that the kernel program met and had room for."""
        return sum(self.counters.seen.values()) - sum(self.counters.lost.values())

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
            hint = "; a larger --ring or fewer --calls helps" if counters.lost else ""
            lines.append(f"lost: {', '.join(parts)}{hint}")
        if counters.missed:
            lines.append(
                f"the kernel skipped a program {many(counters.missed, 'time')}, in calls of any process: what the target"
                " called then is neither shown nor counted"
            )
        if counters.extras_lost:
            lines.append(f"{many(counters.extras_lost, 'record')} of exits, signals or exec arguments lost")
        if counters.not_followed:
            lines.append(
                f"{many(counters.not_followed, 'birth')} of processes missed: such children of the target are not followed"
            )
        return lines
