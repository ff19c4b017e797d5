"""What the wall clock says beside the monotonic one, in which the kernel stamps records."""

from __future__ import annotations

import time

_LOOK = 1_000_000_000  # ns between two looks at whether somebody has set the clock
_STEP = 1_000_000  # ns; less than that is the two readings' own distance
_TRIES = 5


def measure() -> int:
    """Nanoseconds since the epoch less CLOCK_MONOTONIC, now: of some readings the one that took the least time."""
    found = []
    for _ in range(_TRIES):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        found.append((after - before, wall - (before + after) // 2))
    return min(found)[1]


class Clock:
    """The offset of one run. Both clocks are slewed alike, so it changes only when somebody sets the time."""

    def __init__(self) -> None:
        self._offset = measure()
        self._looked = time.monotonic_ns()

    def offset(self) -> int:
        """Nanoseconds to add to a monotonic time; at most a second behind a step of the clock."""
        now = time.monotonic_ns()
        if now - self._looked >= _LOOK:
            self._looked = now
            measured = measure()
            if abs(measured - self._offset) > _STEP:
                self._offset = measured
        return self._offset


_clock: Clock | None = None


def offset() -> int:
    """The offset that everything in this process shows times by: text and a recording of one run agree."""
    global _clock
    _clock = _clock or Clock()
    return _clock.offset()
