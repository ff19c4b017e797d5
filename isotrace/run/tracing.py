"""What ``isotrace log`` does once its arguments are understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isotrace.backends.lkm import Module
from isotrace.backends.loader import Loader
from isotrace.backends.tracepoint import Tracepoints
from isotrace.catalog.model import Syscall
from isotrace.errors import IsotraceError
from isotrace.kernel.facts import Facts, facts
from isotrace.process import patience
from isotrace.process.interrupts import Interrupts
from isotrace.process.launch import Command
from isotrace.process.telling import say, tell
from isotrace.run.ending import Ending
from isotrace.run.session import Session
from isotrace.sinks import Null, Sink
from isotrace.sinks.output import Output
from isotrace.trace import plan as planning
from isotrace.trace.plan import Options, Plan
from isotrace.trace.target import Target, members


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
