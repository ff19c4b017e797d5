"""What ``isotrace log`` does once its arguments are understood."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from isotrace.backends.lkm import Module
from isotrace.backends.loader import Loader
from isotrace.backends.tracepoint import Tracepoints
from isotrace.catalog.model import Syscall
from isotrace.errors import IsotraceError
from isotrace.kernel.facts import facts
from isotrace.process import patience
from isotrace.process.interrupts import Interrupts
from isotrace.process.launch import Command
from isotrace.process.telling import tell
from isotrace.run.session import Session
from isotrace.sinks import Null, Sink
from isotrace.sinks.output import Output
from isotrace.trace import plan as planning
from isotrace.trace.plan import Facts, Options, Plan
from isotrace.trace.target import Target, ended, members

_LOOK = 0.25  # seconds between two looks at whether a target is still there


@dataclass(frozen=True)
class Choices:
    """The options of the command line that are not the target."""

    style: str
    seconds: float | None
    durations: bool
    clock: bool
    failed: bool
    quiet: bool
    strict: bool
    string_limit: int
    ring: int


def run(
    target: Target,
    calls: frozenset[str] | None,
    output: Output,
    command: Command | None,
    loader: Loader | None,
    choices: Choices,
) -> int:
    """Trace until the target, the time or the user's patience ends; returns the exit status. Raises ``IsotraceError``.

    Without a ``loader`` of BPF programs the kernel module traces.
    """
    patience.use(say)
    options = Options(target, calls, choices.string_limit, choices.ring, choices.durations, not choices.quiet)
    try:
        plan, backend = _backend(options, loader)
        interrupts = Interrupts(command.send if command else None)
        sink = make_sink(choices, output, plan.calls)
        backend.open(command.pid if command else None)
        if command:
            command.start()
    except BaseException:
        if loader:
            loader.close()
        if command:
            command.abandon()
        raise
    ending = Ending(target, backend, interrupts, command, choices.seconds)
    session = Session(plan, backend, sink, ending.reason, lambda: members(target, backend.pids()), choices.failed)
    return _finish(session, ending, plan, choices)


def _backend(options: Options, loader: Loader | None) -> tuple[Plan, Tracepoints | Module]:
    if loader:
        plan = planning.make(options, facts(), options.target.defines())
        return plan, Tracepoints(plan, loader)
    plan = planning.make(options, Facts(), [])
    return plan, Module(plan, options)


def _finish(session: Session, ending: Ending, plan: Plan, choices: Choices) -> int:
    try:
        reason = session.run()
    finally:
        session.backend.close()
        tally = session.tally
        if not choices.quiet or tally.lost or tally.counters.extras_lost or tally.counters.not_followed:
            tell(tally.summary(plan.calls))
    if (reason := reason or ending.left()) and not choices.quiet:
        say(reason)
    if choices.strict and tally.lost:
        raise IsotraceError(f"{tally.lost} calls were lost and --strict asks for all", "give a larger --ring")
    return ending.status


def make_sink(choices: Choices, output: Output, calls: Mapping[int, Syscall]) -> Sink:
    """The sink that --format names."""
    if choices.style == "text":
        from isotrace.sinks.text import Text

        return Text(output, calls, durations=choices.durations, clock=choices.clock, colour=output.colour)
    if choices.style == "json":
        from isotrace.sinks.json import Json

        return Json(output, calls)
    if choices.style == "isolates":
        from isotrace.sinks.isolates import Isolates

        return Isolates(output, calls)
    return Null()


class Family(Protocol):
    """Knows whether anything that descends from the target is left."""

    def alive(self) -> bool:
        """Whether a process in the kernel's map is more than a zombie."""


def say(text: str) -> None:
    """A line for the user, on standard error."""
    tell([text])


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
