"""Births of processes that no program saw: a child of the target is not followed then, and not refused anything."""

from __future__ import annotations

import time
from collections.abc import Iterable

from isotrace.enforce import Counts, Enforcer
from isotrace.errors import KernelError

_PAUSE = 1.0  # seconds between two looks


def must_follow(counts: Counts) -> None:
    """Raises ``KernelError`` where births were missed while the target was looked through, before refusing began."""
    if counts.not_followed:
        raise KernelError(
            f"{counts.not_followed} births of processes were missed meanwhile, maybe of the target's: nothing is denied",
            "try again, when fewer processes are being started",
        )


class Births:
    """Tells of those that were missed while refusing goes on."""

    def __init__(self) -> None:
        self._known, self._next = 0, 0.0

    def news(self, enforcers: Iterable[Enforcer]) -> list[str]:
        """A line where more were missed than at the last look. What fails at looking is left to the summary."""
        if time.monotonic() < self._next:
            return []
        self._next = time.monotonic() + _PAUSE
        try:
            missed = sum(enforcer.counts().not_followed for enforcer in enforcers)
        except Exception:  # an end of refusing must not come of it
            return []
        new, self._known = missed - self._known, max(missed, self._known)
        return [f"{new} births of processes missed: what such children do is not denied"] if new > 0 else []
