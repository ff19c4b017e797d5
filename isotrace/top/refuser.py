"""Refuses what the table's user points at, through the planner and the mechanisms of ``isotrace block``.

One thread does it all: it plans, opens (which compiles, for seconds), reads records so that the kernel's buffer stays
empty, lifts. The kernel's side hangs on descriptors of this process: nothing stays refused when it ends, however it does.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial

from isotrace.decode import quote
from isotrace.enforce import Enforced, Enforcer, Findings, Refused, describe, outline, registry, rings
from isotrace.enforce.plan import EnforcementPlan
from isotrace.errors import IsotraceError
from isotrace.policy import names
from isotrace.policy.model import CallRule
from isotrace.top import family, findings
from isotrace.top.refusing import ActiveRefusal, Answer, Proposal, Status, ViewState, Wanted
from isotrace.trace.target import Target, ended
from isotrace.units import many

_PAUSE, _LONGEST = 0.25, 5.0  # seconds between two looks at what is refused
_ASKED = 0  # the number of the one rule of a refusal; standing rules come after it
_SHARE = 0.005  # of a core, for these looks
_PATIENCE = 5.0  # seconds for an opening under way when all is to end; what it opens ends with the process in any case

Make = Callable[[str, tuple[Enforced, ...], Target], Enforcer]


@dataclass
class _Active:
    """An enforcer at work; ``shown`` is None of its state, but what is drawn of it."""

    shown: ActiveRefusal
    target: Target
    enforcer: Enforcer


class Refuser:
    """``Refusing`` on this kernel.

    ``target`` is what the table watches, as it runs; ``births`` reads the kernel's table of names and parents; ``helpers``
    are isotrace's own further processes.
    """

    def __init__(
        self,
        target: Target,
        births: Callable[[], Mapping[int, tuple[bytes, int]]],
        helpers: Collection[int] = (),
        ask: Callable[[CallRule], Findings] = findings.ask,
        make: Make = registry.make,
    ) -> None:
        self.view_state = ViewState()
        self.failure: BaseException | None = None
        self._target, self._births, self._ask, self._make = target, births, ask, make
        self._never = family.own(helpers)
        self._findings: dict[CallRule, Findings] = {}
        self._active: list[_Active] = []
        self._numbers = 0
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._over = threading.Event()
        self._tell: Callable[[Answer], object] = lambda _answer: None
        self._thread: threading.Thread | None = None
        self._said = Status()

    # ---- asked by whoever draws -----------------------------------------------------------------------------------

    def begin(self, tell: Callable[[Answer], object]) -> None:
        """Start the thread."""
        self._tell = tell
        self._thread = threading.Thread(target=self._guarded, daemon=True, name="refusals")
        self._thread.start()

    def explain(self, wanted: Wanted) -> None:
        """Propose it."""
        self._jobs.put(partial(self._propose, wanted))

    def refuse(self, proposal: Proposal) -> None:
        """Do it."""
        self._jobs.put(partial(self._open, proposal.wanted))

    def lift(self, number: int) -> None:
        """Undo it."""
        self._jobs.put(partial(self._lift, number))

    def finish(self) -> None:
        """Lift all, and wait for it."""
        self._over.set()
        self._jobs.put(None)
        if self._thread:
            self._thread.join(_PATIENCE)

    # ---- the thread -----------------------------------------------------------------------------------------------

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:  # nothing of this thread may reach the screen: whoever draws reports it
            self.failure = error
        finally:
            for active in self._active:
                active.enforcer.close()

    def _run(self) -> None:
        pause = _PAUSE
        while not self._over.is_set():
            try:
                job = self._jobs.get(timeout=pause if self._working else None)
            except queue.Empty:
                job = self._look
            began = time.thread_time()
            if job is not None and not self._over.is_set():
                self._do(job)
            pause = max(_PAUSE, min((time.thread_time() - began) / _SHARE, _LONGEST)) if job == self._look else _PAUSE

    @property
    def _working(self) -> bool:
        return any(not active.shown.ended for active in self._active)

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except IsotraceError as error:
            self._say(note=error.message)
        except OSError as error:
            self._say(note=f"that failed: {error.strerror}")

    def _say(self, doing: str = "", note: str = "") -> None:
        now = Status(tuple(active.shown for active in self._active), doing, note)
        if now != self._said or note:
            self._said = now
            self._tell(now)

    # ---- planning -------------------------------------------------------------------------------------------------

    def _family(self, wanted: Wanted) -> Target:
        if wanted.pid is None:
            return replace(self._target, spared=self._never, keep=True)
        pid = wanted.pid
        found = family.of_process(pid, lambda: family.below(pid, self.view_state.processes, self._births()))
        return replace(found, spared=self._never)

    def _plan(self, rule: CallRule, target: Target) -> EnforcementPlan:
        found = self._findings.get(rule) or self._ask(rule)
        if all(finding.verdict != "unknown" for finding in found.values()):
            self._findings[rule] = found
        return findings.for_rule(rule, target, found)

    def _propose(self, wanted: Wanted) -> None:
        try:
            self._tell(self._judged(wanted))
        except IsotraceError as error:
            self._tell(Proposal(wanted, why=f"{wanted.call} is not denied to {wanted.whom}: {error.message}"))

    def _judged(self, wanted: Wanted) -> Proposal:
        rule, target = rule_on(wanted.call), self._family(wanted)
        concerned = family.check(target, self._never)
        plan = self._plan(rule, target)
        details = describe.plan_lines(plan, every=True)
        if not plan.ok:
            why = f"{wanted.call} cannot be denied here: {_reasons(plan)}"
            return Proposal(wanted, tuple(describe.lacking(plan)), why, tuple(details))
        whom, beside = f"to {wanted.whom}: {many(concerned, 'process')} now", _beside(rule)
        return Proposal(wanted, (whom, *outline.lines(plan, "v"), *beside), details=(whom, *details, *beside))

    # ---- refusing -------------------------------------------------------------------------------------------------

    def _open(self, wanted: Wanted) -> None:
        if any(active.shown.wanted == wanted and not active.shown.ended for active in self._active):
            raise IsotraceError(f"{wanted.call} is already denied to {wanted.whom}")
        self._say(doing=f"denying {wanted.call}: the program is being compiled …")
        rule, target = rule_on(wanted.call), self._family(wanted)
        family.check(target, self._never)
        plan = self._plan(rule, target)
        if not plan.ok:
            raise IsotraceError(f"{wanted.call} cannot be denied here: {_reasons(plan)}")
        mechanism = plan.enforced[0].mechanism
        enforcer = self._make(mechanism, plan.by_mechanism()[mechanism], target)
        try:
            enforcer.open(None)
            rings.check(plan.enforced, target)
        except BaseException:
            enforcer.close()
            raise
        self._numbers += 1
        self._active.append(_Active(ActiveRefusal(self._numbers, wanted, mechanism), target, enforcer))
        self._say(note=f"{wanted.call} is denied to {wanted.whom} by {mechanism}: D lists, u lifts")

    def _look(self) -> None:
        notes = [note for active in self._active if not active.shown.ended and (note := _look_at(active))]
        self._say(note="; ".join(notes))

    def _lift(self, number: int) -> None:
        active = next((active for active in self._active if active.shown.number == number), None)
        if active is None:
            raise IsotraceError("that is not denied any more")
        if not active.shown.ended:
            active.enforcer.lift()
            _read(active)
        active.enforcer.close()
        self._active.remove(active)
        shown = active.shown
        self._say(note=f"{shown.wanted.call} works again for {shown.wanted.whom}; it was denied {shown.hits} times")


def _look_at(active: _Active) -> str:
    """Read what has come; lift what concerns nobody any more, for its numbers may become other processes'."""
    _read(active)
    reason = active.enforcer.broken() or ended(active.target, active.enforcer.alive)
    if reason is None:
        return ""
    active.enforcer.lift()
    _read(active)
    active.enforcer.close()
    active.shown = replace(active.shown, ended=reason)
    return f"{active.shown.wanted.call} is not denied any more: {reason}"


def _read(active: _Active) -> None:
    latest = active.shown.latest
    for records in active.enforcer.batches():
        if asked := [record for record in records if record.rule == _ASKED]:
            latest = _in_words(asked[-1])
    counts = active.enforcer.counts()
    active.shown = replace(
        active.shown,
        hits=counts.hits.get(_ASKED, 0),
        unjudged=counts.missed + counts.not_followed,
        latest=latest,
    )


def _in_words(record: Refused) -> str:
    what = f" {describe.plain(record.what.encode('utf-8', 'backslashreplace').decode())}" if record.what else ""
    return f"{quote.comm(record.comm)} {record.pid}{what}"


def rule_on(call: str) -> CallRule:
    """The rule that refuses the one call of that name on every ABI. Raises ``UsageError`` where nothing can."""
    return names.parse(f"={call}" if call in names.words() else call)


def _reasons(plan: EnforcementPlan) -> str:
    """Each reason once, with the mechanisms that give it."""
    said: dict[str, list[str]] = {}
    for left in plan.unenforceable:
        for mechanism, why in left.reasons:
            said.setdefault(why.reason, []).append(mechanism)
    return "; ".join(f"{', '.join(mechanisms)}: {reason}" for reason, mechanisms in said.items())


def _beside(rule: CallRule) -> list[str]:
    """Calls that do the same and stay allowed."""
    found = sorted(
        {call for name in rule.calls for word in names.words_of(name)[:1] for call in names.words()[word].calls}
    )
    others = [call for call in found if call not in rule.calls]
    word = next((word for name in rule.calls for word in names.words_of(name)), "")
    if not others:
        return []
    listed = ", ".join(others[:8]) + (" …" if len(others) > 8 else "")
    return [f"not denied, though alike: {listed} (isotrace block --deny {word} has them all)"]
