"""The part of a run that refuses: what fails at showing, reading or looking ends nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from isotrace.enforce import Counts, Enforcer, describe, outline, registry, rings
from isotrace.enforce import plan as planning
from isotrace.enforce.findings import KernelFindings
from isotrace.enforce.plan import EnforcementPlan
from isotrace.enforce.strays import Births
from isotrace.errors import IsotraceError, KernelError
from isotrace.policy.model import Policy
from isotrace.process.launch import Execute, execv
from isotrace.process.telling import say, tell
from isotrace.run.lifecycle import Part
from isotrace.run.recorder import Recorder
from isotrace.sinks.refusals import RefusalSink
from isotrace.trace.target import Target
from isotrace.trace.waited import Place

_IN_FULL = "-v; of a policy also isotrace policy explain"
_TICK = 0.025  # seconds to wait where what should wait fails


def plan_for(
    policy: Policy, target: Target, backend: str, best_effort: bool, every: bool = False
) -> tuple[EnforcementPlan, KernelFindings]:
    """What enforces each rule on this kernel, told on standard error; with ``every`` reason and limit in full.

    Raises ``KernelError`` when one cannot be enforced.
    """
    findings = KernelFindings()
    plan = planning.make(policy, findings, target, backend, best_effort)
    if plan.ok or every:
        tell(describe.plan_lines(plan, every) if every else outline.lines(plan, _IN_FULL))
    if not plan.ok:
        short = f"{len(plan.unenforceable)} of {len(policy.rules)} rules cannot be enforced"
        raise KernelError(
            f"{short}: nothing was started, nothing is denied",
            ("above is" if every else "-v says")
            + " what each mechanism lacks"
            + ("; --best-effort leaves those rules out" if plan.enforced else ""),
            () if every else describe.lacking(plan),
        )
    return plan, findings


class Refusals(Part):
    """The enforcers at work."""

    enforces = True

    def __init__(
        self,
        target: Target,
        plan: EnforcementPlan,
        enforcers: Mapping[str, Enforcer],
        sink: RefusalSink,
        best_effort: bool,
        recorder: Recorder | None = None,
    ) -> None:
        self._target, self._plan, self._enforcers, self._sink = target, plan, enforcers, sink
        self._best_effort, self._recorder = best_effort, recorder
        self._births = Births()
        self._late: deque[str] = deque()  # what is to be said of a target that came later
        self._unseen = self._stopped = self._seen = False
        self._pid: int | None = None
        #: Mechanisms that the kernel answers for in isotrace's place: they let nothing pass on their way out.
        self._final = {one.mechanism for one in plan.all_enforced if not one.guarantees.ends}

    def starter(self) -> Execute:
        """How a command becomes what it is to be."""
        order = [mechanism.name for mechanism in registry.MECHANISMS if mechanism.name in self._enforcers]
        steps = [step for name in order if (step := self._enforcers[name].starter())]

        def execute(path: str, argv: Sequence[str], let_go: Callable[[], object]) -> None:
            """Landlock's leaves execve to the next, a filter's is the last."""
            for step in (*steps, execv):
                step(path, argv, let_go)

        return execute

    def open(self, pid: int | None) -> None:
        """Enforcers fork as they open, but for a filter's supervisor, which is a thread."""
        self._pid = pid
        for name in self._enforcers.keys() - self._final:
            self._enforcers[name].open(pid)

    def start(self) -> None:
        """The supervisors; and no ring is made any more where a rule closes io_uring: those from before are found now."""
        for name in self._enforcers.keys() & self._final:
            self._enforcers[name].open(self._pid)
        if self._best_effort:
            trouble = rings.from_before(self._plan.enforced, self._target)
            tell([f"LESS THAN ASKED: {trouble}"] if trouble else [])
        else:
            rings.check(self._plan.enforced, self._target)
        if self._pid is None:
            say("enforcing from now on")
        if self._target.waited:
            self._target.waited.join(self._found)

    def _found(self, place: Place | None) -> None:
        """What was waited for is there: nothing can be refused any more to who has io_uring from before."""
        if place and self._seen:
            trouble = rings.from_before(self._plan.enforced, self._target)
            self._late += [f"LESS THAN ASKED: {trouble}"] if trouble else []
        self._seen = True  # what there was at the start is looked at there

    def serve(self, seconds: float) -> None:
        """Show what has come. A supervisor that failed (``IsotraceError``) is an end: the kernel goes on refusing."""
        self._wait(seconds)
        self._write()
        self._show(self._sink.tick)
        tell(self._births.news(self._enforcers.values()))
        tell([self._late.popleft() for _ in range(len(self._late))])

    def _wait(self, seconds: float) -> None:
        try:
            next(iter(self._enforcers.values())).wait(seconds)
        except IsotraceError:
            raise
        except Exception:
            time.sleep(_TICK)

    def _write(self) -> None:
        """Read and show what has come. Whatever fails at that ends the lines, never the refusals."""
        try:
            for enforcer in self._enforcers.values():
                for records in enforcer.batches():
                    if self._recorder:
                        self._recorder.refused(records)
                    self._show(partial(self._sink.write, records))
        except Exception as error:
            self._hide(f"denials cannot be read ({error!r})")
            time.sleep(_TICK)

    def _show(self, write: Callable[[], None]) -> None:
        if self._unseen:
            return
        try:
            write()
        except IsotraceError as error:
            self._hide(error.message.partition(":")[0])
        except Exception as error:
            self._hide(f"denials cannot be shown ({error!r})")

    def _hide(self, why: str) -> None:
        tell([] if self._unseen else [f"{why}: enforcement goes on, without showing it"])
        self._unseen = True

    def alive(self) -> bool:
        """Whether a process is left that something is refused to; True where an enforcer cannot know."""
        return any(enforcer.alive() for enforcer in self._enforcers.values())

    def broken(self) -> str:
        """That somebody took the programs away: isotrace cannot enforce the rules, and does not pretend to."""
        found = [why for enforcer in self._enforcers.values() if (why := enforcer.broken())]
        return "; ".join(found)

    def expire(self) -> bool:
        """Refuse no more; a filter needs isotrace all the same until its processes end."""
        for enforcer in self._enforcers.values():
            enforcer.lift()
        if not self._stuck():
            return False
        say("the time is up: nothing is denied any more; a seccomp filter needs isotrace until its processes end")
        return True

    def _stuck(self) -> bool:
        """Whether something stays refused that isotrace will not answer for any more."""
        return any(self._enforcers[name].alive() for name in self._final)

    def stop(self, reason: str) -> None:
        """Refuse no more, where that can be, and show the rest."""
        for name, enforcer in self._enforcers.items():
            if name not in self._final:
                enforcer.lift()
        self._write()
        self._stopped = True

    def finish(self) -> None:
        """The counts."""
        if not self._stopped:  # something failed, and is told by itself
            return
        counts: dict[str, Counts] = {name: enforcer.counts() for name, enforcer in self._enforcers.items()}
        self._show(partial(self._sink.finish, counts))
        tell(describe.count_lines(self._plan, counts))
        if self._stuck():
            say("processes of the command live on: what was denied to them fails with ENOSYS from now on")

    def close(self) -> None:
        """Give everything back to the kernel."""
        if self._target.waited:
            self._target.waited.leave(self._found)
        for enforcer in self._enforcers.values():
            enforcer.close()
