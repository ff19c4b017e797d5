"""What ``isotrace block`` does once its arguments are understood."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from isotrace.enforce import Counts, Enforcer, Execute, describe, registry, rings
from isotrace.enforce import plan as planning
from isotrace.enforce.calls import terminal
from isotrace.enforce.plan import Plan
from isotrace.enforce.report import KernelReport
from isotrace.enforce.strays import Births
from isotrace.errors import IsotraceError, KernelError
from isotrace.policy.model import Policy
from isotrace.process import children, patience
from isotrace.process.interrupts import Interrupts, raising
from isotrace.process.launch import Command, execv, find
from isotrace.process.telling import tell
from isotrace.sinks.output import Output
from isotrace.sinks.refusals import Json, Lines, Refusals
from isotrace.trace.target import Target, ended

_TICK = 0.05  # seconds between two looks at a quiet enforcer
_LOOK = 0.25  # seconds between two looks at whether a target is still there
#: What asks for an end. A terminal that is closed (SIGHUP) is an output that is gone, and ends nothing.
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGQUIT})


@dataclass(frozen=True)
class Choices:
    """The options of the command line that are neither target nor rule."""

    seconds: float | None
    backend: str
    weaker_ok: bool
    style: str
    output: str | None
    verify: bool = False


def run(target: Target, policy: Policy, choices: Choices) -> int:
    """Refuse until the target, the time or the user's patience ends; returns the exit status. Raises ``IsotraceError``.

    Raises ``KernelError`` before anything is refused or started when a rule cannot be held.
    """
    children.dumpable(False)  # its command may be of the same user
    if target.command:
        find(target.command)
    report = KernelReport()
    plan = planning.make(policy, report, target, choices.backend, choices.weaker_ok)
    tell(describe.plan_lines(plan))
    if not plan.ok:
        count = len(plan.unheld)
        raise KernelError(
            f"{count} of {len(policy.rules)} rules cannot be held: nothing was started, nothing is refused",
            "above is what each mechanism lacks" + ("; --weaker-ok leaves those rules out" if plan.held else ""),
        )
    output = Output(choices.output)
    patience.use(lambda line: tell([line]))
    if choices.verify:
        _verify(plan, report, choices)
    enforcers = {name: registry.make(name, held, target) for name, held in plan.by_mechanism().items()}
    sink = Refusals(output, plan.enforced, Json() if choices.style == "json" else Lines())
    return _Run(target, plan, enforcers, sink, choices).go()


def _verify(plan: Plan, report: KernelReport, choices: Choices) -> None:
    """Attack the rules before anything is started. Raises ``KernelError`` where a way leads round them."""
    from isotrace.verify.run import verify

    found = verify(plan, report, choices.backend, choices.weaker_ok)
    tell(found.lines())
    if found.through:
        raise KernelError(
            f"the rules can be got round ({len(found.through)} ways): nothing was started, nothing is refused",
            "docs/threat-model.md says what holds; without --verify it starts all the same",
        )


class _Run:
    """One run: the enforcers at work, and the command if there is one."""

    def __init__(
        self,
        target: Target,
        plan: Plan,
        enforcers: Mapping[str, Enforcer],
        sink: Refusals,
        choices: Choices,
    ) -> None:
        self._target, self._plan, self._enforcers, self._sink = target, plan, enforcers, sink
        self._seconds, self._deadline, self._weaker_ok = choices.seconds, 0.0, choices.weaker_ok
        self._next_look = self._ended_at = 0.0
        self._told = self._lifted = self._unseen = self._blind = False
        self._births = Births()
        self._status = 0
        #: Mechanisms that the kernel answers for in isotrace's place: they let nothing pass on their way out.
        self._final = {held.mechanism for held in plan.held if not held.grade.ends}
        self._command: Command | None = None

    def go(self) -> int:
        """Refuse, deliver, end; the exit status is the command's."""
        try:
            self._begin()
            reason = self._deliver()
            for name, enforcer in self._enforcers.items():
                if name not in self._final:
                    enforcer.lift()
            self._write()
            self._finish(reason)
            return self._status
        finally:
            for enforcer in self._enforcers.values():
                enforcer.close()

    def _begin(self) -> None:
        try:
            if self._target.command:
                take_away = partial(terminal.take_away, terminal.program(os.uname().machine))
                self._command = Command(self._target.command, self._starter(), before=take_away)
            self._open()
            forward = self._command.send if self._command else None
            self._interrupts = Interrupts(forward, _ENDING, shared=self._command is not None)
            self._check_rings()
            if self._command:
                self._command.start()
            else:
                tell(["refusing from now on"])
            self._deadline = time.monotonic() + self._seconds if self._seconds else 0.0
        except BaseException:
            if self._command:
                self._command.abandon()
            raise

    def _open(self) -> None:
        """Enforcers fork as they open, but for a filter's supervisor, which is a thread: those come after all forks."""
        pid = self._command.pid if self._command else None
        with raising():
            for name in self._enforcers.keys() - self._final:
                self._enforcers[name].open(pid)
        for name in self._enforcers.keys() & self._final:
            self._enforcers[name].open(pid)

    def _check_rings(self) -> None:
        """No ring is made any more where a rule closes io_uring; those from before are found now."""
        if self._weaker_ok:
            trouble = rings.from_before(self._plan.held, self._target)
            tell([f"LESS THAN ASKED: {trouble}"] if trouble else [])
        else:
            rings.check(self._plan.held, self._target)

    def _starter(self) -> Execute:
        starters = [starter for enforcer in self._enforcers.values() if (starter := enforcer.starter())]
        return starters[0] if starters else execv

    def _deliver(self) -> str:
        while not self._interrupts.stopped.is_set():
            if (reason := self._look()) is not None:
                return reason
            self._wait()
            self._write()
            self._show(self._sink.tick)
            tell(self._births.news(self._enforcers.values()))
        return ""

    def _look(self) -> str | None:
        """Why to stop. What fails at looking is told once, and is no reason: isotrace lets go only when it knows."""
        try:
            return self._ended()
        except Exception as error:
            tell([] if self._blind else [f"cannot tell whether the target has ended ({error!r}): refusing goes on"])
            self._blind = True
            time.sleep(_TICK)
            return None

    def _wait(self) -> None:
        """Until something has come. A supervisor that failed (``IsotraceError``) is an end: the kernel goes on refusing."""
        try:
            next(iter(self._enforcers.values())).wait(_TICK)
        except IsotraceError:
            raise
        except Exception:
            time.sleep(_TICK)

    def _write(self) -> None:
        """Read and show what has come. Whatever fails at that ends the lines, never the refusals."""
        try:
            for enforcer in self._enforcers.values():
                for records in enforcer.batches():
                    self._show(partial(self._sink.write, records))
        except Exception as error:
            self._hide(f"refusals cannot be read ({error!r})")
            time.sleep(_TICK)

    def _show(self, write: Callable[[], None]) -> None:
        if self._unseen:
            return
        try:
            write()
        except IsotraceError as error:
            self._hide(error.message.partition(":")[0])
        except Exception as error:
            self._hide(f"refusals cannot be shown ({error!r})")

    def _hide(self, why: str) -> None:
        tell([] if self._unseen else [f"{why}: refusing goes on, without showing it"])
        self._unseen = True

    def _finish(self, reason: str) -> None:
        counts: dict[str, Counts] = {name: enforcer.counts() for name, enforcer in self._enforcers.items()}
        self._show(partial(self._sink.finish, counts))
        tell([reason] if reason else [])
        tell(describe.count_lines(self._plan, counts))
        if self._stuck():
            tell(["processes of the command live on: what was refused to them fails with ENOSYS from now on"])

    def _stuck(self) -> bool:
        """Whether something stays refused that isotrace will not answer for any more."""
        return any(self._enforcers[name].alive() for name in self._final)

    def _ended(self) -> str | None:
        """Why to stop now, "" where nobody needs to be told, or None to go on."""
        now = time.monotonic()
        if self._deadline and now >= self._deadline and not self._lifted and (reason := self._time_is_up()) is not None:
            return reason
        looks = now >= self._next_look
        if looks:
            self._next_look = now + _LOOK
            if not self._lifted and (why := self._broken()):
                return why
        if self._command and (status := self._command.poll()) is not None:
            return self._after_command(status)
        if not looks or self._command:
            return None
        return ended(self._target, lambda: any(enforcer.alive() for enforcer in self._enforcers.values()))

    def _broken(self) -> str:
        """What to say where somebody took the programs away: isotrace cannot hold the rules, and does not pretend to."""
        found = [why for enforcer in self._enforcers.values() if (why := enforcer.broken())]
        if not found:
            return ""
        self._status = 1
        left = "the command goes on" if self._command else "its processes go on"
        return (
            f"REFUSING HAS ENDED: {'; '.join(found)}; what was asked meanwhile was not judged, and {left} without rules"
        )

    def _time_is_up(self) -> str | None:
        for enforcer in self._enforcers.values():
            enforcer.lift()
        self._lifted = True
        if not self._stuck():
            return ""
        tell(["the time is up: nothing is refused any more; a seccomp filter needs isotrace until its processes end"])
        return None

    def _after_command(self, status: int) -> str | None:
        self._status = status
        self._ended_at = self._ended_at or time.monotonic()
        if not any(enforcer.alive() for enforcer in self._enforcers.values()):
            return ""
        if not self._told and time.monotonic() > self._ended_at + _LOOK:
            tell([f"the command ended, descendants of it go on; kill {os.getpid()} ends isotrace"])
            self._told = True
        return None
