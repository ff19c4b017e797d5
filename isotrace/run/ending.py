"""When a run is over: its time, a signal, its command or its target."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from isotrace.process.interrupts import Interrupts
from isotrace.process.launch import Command
from isotrace.process.telling import say
from isotrace.trace.target import Target, ended

_LOOK = 0.25  # seconds between two looks at whether a target is still there


class Family(Protocol):
    """Knows whether anything that descends from the target is left."""

    def alive(self) -> bool:
        """Whether a process in the kernel's map is more than a zombie."""


class Ending:
    """Decides when a run is over; ``reason()`` is "" where nobody needs to be told."""

    def __init__(
        self,
        target: Target,
        backend: Family,
        interrupts: Interrupts,
        command: Command | None,
        seconds: float | None,
        tell: Callable[[str], None] = say,
    ) -> None:
        """``tell`` gets what the user should know while the run goes on."""
        self._target, self._backend, self._interrupts, self._command = target, backend, interrupts, command
        self._tell = tell
        self._deadline = time.monotonic() + seconds if seconds else None
        self._next_look = 0.0
        self._told = False
        self.status = 0

    def left(self) -> str:
        """What is to be said of a command that goes on after a signal; it may have typed the Ctrl-C itself."""
        if not self._command or not self._interrupts.stopped.is_set() or self._command.poll() is not None:
            return ""
        return f"interrupted: the command (process {self._command.pid}) goes on, untraced"

    def reason(self) -> str | None:
        """Why to stop now, or None."""
        if self._interrupts.stopped.is_set():
            return ""
        now = time.monotonic()
        if self._deadline and now >= self._deadline:
            return ""
        if self._command and (status := self._command.poll()) is not None:
            return self._after_command(status, now)
        if now < self._next_look or self._command:
            return None
        self._next_look = now + _LOOK
        return ended(self._target, self._backend.alive)

    def _after_command(self, status: int, now: float) -> str | None:
        self.status = status
        if now < self._next_look:
            return None
        if not self._backend.alive():
            return ""
        self._next_look = now + _LOOK
        if not self._told and self._deadline is None:
            self._tell("the command ended, descendants of it go on; Ctrl-C stops tracing them")
            self._told = True
        return None
