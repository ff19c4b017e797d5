"""When a run is over: its time, a signal, its command or its target."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Protocol

from isotrace.process.interrupts import Interrupts
from isotrace.process.launch import Command
from isotrace.process.telling import say
from isotrace.trace.target import Target, ended

_LOOK = 0.25  # seconds between two looks at whether a target is still there


class Concerned(Protocol):
    """What a part of a run knows about its end."""

    def alive(self) -> bool:
        """Whether a process is left that it concerns."""

    def broken(self) -> str:
        """Why it does not do any more what it should, because of somebody else; "" while it does."""
        return ""

    def expire(self) -> bool:
        """The time is up. Returns whether isotrace has to stay all the same."""
        return False


class Ending:
    """Decides when a run is over; ``reason()`` is "" where nobody needs to be told. ``status`` is the run's."""

    def __init__(
        self,
        target: Target,
        parts: Sequence[Concerned],
        interrupts: Interrupts,
        command: Command | None,
        seconds: float | None,
        enforces: bool = False,
        silent: bool = False,
    ) -> None:
        """With ``enforces`` the terminal ends nothing. ``silent``: nothing is said meanwhile."""
        self._target, self._parts, self._interrupts, self._command = target, parts, interrupts, command
        self._deadline = time.monotonic() + seconds if seconds else 0.0
        self._how_to_end = f"kill {os.getpid()} ends isotrace" if enforces else "Ctrl-C stops tracing them"
        self._enforces = enforces
        self._next_look = self._ended_at = 0.0
        self._expired, self._told = False, silent
        self.status = 0

    def left(self) -> str:
        """What is to be said of a command that goes on untraced after a signal; it may have typed the Ctrl-C itself."""
        if self._enforces or not self._command or not self._interrupts.stopped.is_set():
            return ""
        if self._command.poll() is not None:
            return ""
        return f"interrupted: the command (process {self._command.pid}) goes on, untraced"

    def reason(self) -> str | None:
        """Why to stop now, or None."""
        if self._interrupts.stopped.is_set():
            return ""
        now = time.monotonic()
        if self._deadline and now >= self._deadline and not self._expired:
            self._expired = True
            stay = [part.expire() for part in self._parts]
            if not any(stay):
                return ""
        looks = now >= self._next_look
        if looks:
            self._next_look = now + _LOOK
            if not self._expired and (why := self._broken()):
                return why
        if self._command and (status := self._command.poll()) is not None:
            return self._after_command(status, now, looks)
        return ended(self._target, self._alive) if looks and not self._command else None

    def _broken(self) -> str:
        """What to say where somebody took away what a part works by: isotrace does not pretend that it does."""
        found = [why for part in self._parts if (why := part.broken())]
        if not found:
            return ""
        self.status = 1
        left = "the command goes on" if self._command else "its processes go on"
        meanwhile = f"what was asked meanwhile was not judged, and {left} without rules"
        return f"ENFORCEMENT HAS ENDED: {'; '.join(found)}; {meanwhile}"

    def _alive(self) -> bool:
        return any(part.alive() for part in self._parts)

    def _after_command(self, status: int, now: float, looks: bool) -> str | None:
        self.status = status
        first, self._ended_at = not self._ended_at, self._ended_at or now
        soon = now < self._ended_at + _LOOK
        if not (first or looks or soon):
            return None
        if not self._alive():
            return ""
        if not self._told and not soon:
            say(f"the command ended, descendants of it go on; {self._how_to_end}")
            self._told = True
        return None
