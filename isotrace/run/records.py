"""The part of a run that records calls: from a backend to sinks, and the count of both at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from isotrace.backends.lkm import NO_WAIT, Module
from isotrace.backends.loader import Loader
from isotrace.backends.losses import missing
from isotrace.backends.tracepoint import Tracepoints
from isotrace.catalog.model import Syscall
from isotrace.containers.whose import whose
from isotrace.errors import IsotraceError, KernelError
from isotrace.kernel.facts import Facts, facts
from isotrace.process.priority import go_first
from isotrace.process.telling import say, tell
from isotrace.run import rings
from isotrace.run.delivery import Delivery
from isotrace.run.late import Late
from isotrace.run.lifecycle import Part
from isotrace.run.recorder import Recorder
from isotrace.run.spool import Made
from isotrace.run.stats import Stats
from isotrace.run.underway import UnderWay
from isotrace.sinks import Sink
from isotrace.sinks.output import ClosedPipe
from isotrace.trace import plan as planning
from isotrace.trace import unfinished, whereabouts
from isotrace.trace.events import Batch
from isotrace.trace.plan import Options, Plan
from isotrace.trace.target import Target, members
from isotrace.units import many

if TYPE_CHECKING:  # what reads ELF files takes time to import
    from isotrace.run.stacks import Stacks

_TICK = 0.025  # seconds between two looks at a quiet ring
_LAST = 2.0  # seconds for the sinks to take what there is when a run has failed
_SETTLE = 5.0  # seconds without a record to wait for programs that still run on another CPU after they were detached


def _planned(options: Options, loader: Loader | None) -> tuple[Plan, Tracepoints | Module]:
    """What is to be recorded, and the backend that does it: BPF programs, or without a ``loader`` the kernel module.

    Raises ``IsotraceError``.
    """
    if options.lossless and not loader:
        raise KernelError(
            "the kernel module cannot slow its target down", "--lossless needs BPF: leave one of them out"
        )
    if options.descriptors and not loader:
        option = "--resolve" if options.resolve else "--host-paths" if options.places else "-y"
        raise KernelError(
            "the kernel module does not say what descriptors are", f"{option} needs BPF: leave one of them out"
        )
    if options.stacks and not loader:
        raise KernelError("the kernel module does not copy stacks", "-k needs BPF: leave one of them out")
    if options.pids and not loader:
        raise KernelError("the kernel module does not say whose numbers pids are", "--decode-pids needs BPF")
    if options.containers and not loader:
        raise KernelError(
            "the kernel module does not say which container a process is in", "--show-containers needs BPF"
        )
    if options.target.waited and not loader:
        raise KernelError(NO_WAIT, "--wait needs BPF: leave one of them out")
    if not loader:
        rings.not_by_module(options.calls)
        if options.full:
            say("the kernel module keeps at most 32 arguments of an execve, and no environment")
        plan = planning.make(options, Facts(), [])
        return plan, Module(plan, options)
    try:
        known = facts(
            options.descriptors,
            messages=True,
            stacks=options.stacks,
            pids=options.pids,
            containers=options.containers,
        )
        known = replace(known, rings=rings.asked(options.calls))
        plan = planning.make(options, known, options.target.defines())
        return plan, Tracepoints(plan, loader)
    except BaseException:
        loader.close()
        raise


def recording(
    target: Target, calls: frozenset[str] | None, loader: Loader, recorder: Recorder, containers: bool = False
) -> Records:
    """The part that records beside another part; it says something only where something was lost."""
    options = Options(target, calls, durations=True, containers=containers)
    return Records(options, loader, lambda _: [], recorder, quiet=True)


class Records(Part):
    """What ``sinks`` makes for the calls of the plan gets all records, and so does ``recorder``.

    BPF programs record, or without a ``loader`` the kernel module. ``quiet``: no summary, unless something was lost.
    ``strict``: a loss is an error. ``announce``: the sinks are told what calls are under way, while they are; BPF knows.
    """

    def __init__(
        self,
        options: Options,
        loader: Loader | None,
        sinks: Callable[[Mapping[int, Syscall]], Sequence[Sink]],
        recorder: Recorder | None = None,
        quiet: bool = False,
        strict: bool = False,
        announce: bool = False,
    ) -> None:
        """Start compiling. Raises ``IsotraceError``."""
        self.stats = Stats()
        self._options = options
        self._plan, self._backend = _planned(options, loader)
        self._recorder, self._quiet, self._strict = recorder, quiet, strict
        outputs = sinks(self._plan.calls)
        self._outputs = len(outputs)
        late = Late(self._plan.slots, options.string_limit)
        self._stacks: Stacks | None = None
        complete = self._completed if options.stacks or options.containers else None
        if options.containers:
            whose()  # what is there before is no container's that is started later
        self._delivery = Delivery([*([recorder] if recorder else []), *outputs], self.stats, late, complete)
        self._under_way = None
        if announce and isinstance(self._backend, Tracepoints):
            descriptors = self._backend.descriptors if options.descriptors else dict
            self._under_way = UnderWay(self._backend.under_way, self._plan.slots, self._delivery.put, descriptors)
        self._ended = 0  # outputs that were said to have failed
        self._read = 0  # calls that came out of the ring
        self._stopped = self._written = self._told = self._first = False
        self._reason = ""

    def open(self, pid: int | None) -> None:
        """Attach."""
        if self._options.stacks:
            from isotrace.run.stacks import Stacks

            self._stacks = Stacks()
            if pid is not None:
                self._stacks.know(pid)
        self._backend.open(pid)

    def start(self) -> None:
        """Show what the target is inside of."""
        if self._recorder:
            before = set() if self._plan.target.command else self._members()
            self._recorder.begin(self._options, before)
        self._delivery.start()
        rings.say_untold(self._plan.target, self._options.calls, told=bool(self._plan.operations))
        if not self._plan.target.command:
            self._show_unfinished()
        if self._under_way:
            self._under_way.start()

    def serve(self, seconds: float) -> None:
        """Take what has come out of the ring, for the sinks. Their errors are raised here."""
        if not self._first:
            self._first = True
            go_first()
        self._drain()
        self._check()
        if seconds:
            self._backend.wait(seconds)

    def alive(self) -> bool:
        """Whether a process in the kernel's map of followed pids is more than a zombie."""
        return self._backend.alive()

    def stop(self, reason: str) -> None:
        """Detach, read what is left, show what the target is inside of."""
        self._announce_no_more()
        self._backend.detach()
        self._settle()
        self._show_unfinished()
        self._delivery.end()
        self._stopped, self._reason = True, reason

    def unwritten(self, seconds: float) -> str:
        """Wait for the sinks a moment; what they have not yet taken, in words. Their errors are raised here."""
        self._delivery.join(seconds)
        self._check()
        if not self._delivery.busy:
            self._written = True
            return ""
        return f"{self._read - int(self.stats.delivered.sum()):,} calls that were already seen"

    def _completed(self, batch: Batch) -> Batch:
        if self._options.containers:
            batch = whereabouts.with_names(batch, whose().name)
        return self._stacks.complete(batch) if self._stacks else batch

    def _check(self) -> None:
        """Say which output has ended while another goes on; raise what has ended the last one."""
        for sink, error in self._delivery.failures[self._ended :]:
            self._ended += 1
            goes_on = "the output goes on" if sink is self._recorder else "the recording goes on"
            say(f"{error.message}: {goes_on} without it")
        try:
            self._delivery.check()
        except ClosedPipe as error:
            raise ClosedPipe(error.name, "tracing ends here") from None

    def _recorded(self) -> bool:
        """Write what the recording keeps back; whether it has all. What only it should have had was not delivered."""
        recorder, failures = self._recorder, self._delivery.failures
        if not recorder:
            return False
        whole = self._written and recorder not in [sink for sink, _ in failures]
        try:
            if whole:
                recorder.settle()
        except IsotraceError as error:
            failures.append((recorder, error))
            whole = False
        if not self._outputs:
            self.stats.take_back(recorder.unwritten())
        return whole

    def finish(self) -> None:
        """The summary. Raises ``IsotraceError`` for a loss where that is an error, and for an output that ended."""
        self._backend.detach()
        self.stats.counters = counters = self._backend.counters()
        recorded = self._recorded()
        if not self._quiet or self.stats.lost or counters.missed or counters.extras_lost or counters.not_followed:
            tell(self.stats.summary(self._plan.calls))
        if self._stacks and self._stacks.missed:
            tell(
                [
                    f"{many(self._stacks.missed, 'event')} of what is mapped lost: files in stacks after that are not known"
                ]
            )
        if self._recorder and recorded:
            self._recorder.end(self.stats, self._plan.calls, self._reason)
        for _, error in self._delivery.failures:
            raise IsotraceError(f"not everything was written: {error.message}", error.hint)
        if not (self._strict and self._stopped):
            return
        if self.stats.lost:
            raise IsotraceError(f"{self.stats.lost} calls were lost and --strict asks for all", "give a larger --ring")
        if counters.missed:
            raise IsotraceError("calls may be missing and --strict asks for all", "see: isotrace doctor")

    def close(self) -> None:
        """Give everything back to the kernel."""
        self._announce_no_more()
        self._delivery.end()
        self._backend.close()
        self._delivery.join(_LAST)
        if self._stacks and not self._delivery.busy:
            self._stacks.close()
        if self._recorder and not self._delivery.busy:
            self._recorder.close()

    def _drain(self, everything: bool = False) -> None:
        """Empty the ring. Where nothing more can be kept it is left as it is: it fills, and what is lost is counted.

        ``everything``: nothing more will come, so that memory is enough for it.
        """
        if self._stacks:
            self._stacks.listen()
        for chunk in self._backend.chunks():
            if self._stacks:
                self._stacks.listen()
            self._read += len(chunk.slots())
            self._delivery.put(chunk)
            if self._delivery.full and not everything:
                break
        if losses := self._backend.losses():
            self._delivery.put(Made(missing(losses)))
        if not self._told and (trouble := self._delivery.trouble):
            say(trouble)
            self._told = True

    def _settle(self) -> None:
        """Read what is left. A program that was running when it was detached may still send its record."""
        deadline = time.monotonic() + _SETTLE
        while True:
            before = self._read
            self.stats.counters = self._backend.counters()
            self._drain(everything=True)
            self._check()
            if self._read >= self.stats.sent:
                return
            if self._read > before:
                deadline = time.monotonic() + _SETTLE
            elif time.monotonic() > deadline:
                return
            time.sleep(_TICK)

    def _announce_no_more(self) -> None:
        if self._under_way:
            self._under_way.end()

    def _show_unfinished(self) -> None:
        batch = unfinished.batch(self._members(), self._plan.slots)
        if len(batch):
            self._delivery.put(Made(batch))

    def _members(self) -> set[int]:
        return members(self._plan.target, self._backend.pids()) - {os.getpid()}
