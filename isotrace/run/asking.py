"""The part of a run that asks: as the one that refuses, with a desk, and with those who are asked."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, cast

from isotrace.asking.desk import Desk
from isotrace.asking.replies import Replies
from isotrace.asking.who import caller_name
from isotrace.enforce import Asking, Enforcer, describe
from isotrace.enforce.plan import EnforcementPlan
from isotrace.errors import IsotraceError
from isotrace.process.telling import Screen, tell
from isotrace.run.lifecycle import Part
from isotrace.run.recorder import Recorder
from isotrace.run.refusals import Refusals
from isotrace.sinks.output import Output
from isotrace.sinks.refusals import RefusalSink
from isotrace.trace.target import Target

_TICK = 0.25  # seconds between two looks whether a run without a terminal ends


class Asker(Protocol):
    """Whoever is asked, in a thread of their own."""

    def start(self) -> None:
        """Begin to ask."""

    def end(self) -> None:
        """Ask no more."""


class Questions(Refusals):
    """``ask`` makes those who are asked, once there may be threads. ``desk`` has all the answers."""

    def __init__(
        self,
        target: Target,
        plan: EnforcementPlan,
        enforcers: Mapping[str, Enforcer],
        sink: RefusalSink,
        best_effort: bool,
        desk: Desk,
        ask: Callable[[], Sequence[Asker]],
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__(target, plan, enforcers, sink, best_effort, recorder)
        self.desk, self._ask = desk, ask
        self._askers: list[Asker] = []
        self._trouble = ""
        self._begun = self._over = False

    def start(self) -> None:
        """The desk is there before the first question, and whoever is asked before the command runs."""
        super().start()
        self._begun = True
        self.desk.start()
        for asker in self._ask():
            self._askers.append(asker)
            asker.start()

    def serve(self, seconds: float) -> None:
        """As for refusals, and the answers. What came as the time was up is not left waiting."""
        super().serve(seconds)
        if self._over:
            self.desk.end()
        if self.desk.trouble != self._trouble:
            self._trouble = self.desk.trouble
            tell([f"a question could not be asked and got the default: {self._trouble}"])

    def _write(self) -> None:
        super()._write()
        if records := self.desk.drain():
            if self._recorder:
                self._recorder.refused(records)
            self._show(partial(self._sink.write, records))

    def expire(self) -> bool:
        """The time is up: what waits gets the default, and nobody is asked from now on."""
        self._end()
        return super().expire()

    def stop(self, reason: str) -> None:
        """Nothing is allowed because isotrace ends: what waits gets the default first."""
        self._end()
        super().stop(reason)

    def _end(self) -> None:
        for asker in self._askers:
            try:
                asker.end()
            except (IsotraceError, OSError) as error:
                tell([f"asking: {error}"])
        self._askers, self._over = [], self._begun
        if self._begun:
            self.desk.end()

    def finish(self) -> None:
        """The counts, and how questions ended."""
        super().finish()
        if self._stopped:
            tell(ends(self._plan, self.desk))

    def close(self) -> None:
        """Whatever happened, nobody waits for an answer any more."""
        self._end()
        super().close()


class OnScreen(Part):
    """Has the terminal while the run goes on: the dialogue. ``replies`` is what it talks to, once that is there.

    Lines that are written to ``held`` meanwhile are shown when it is over.
    """

    def __init__(self, title: str, held: Held | None) -> None:
        self._title, self._held = title, held
        self.replies: Replies | None = None
        self.screen = self._show

    def open(self, pid: int | None) -> None:
        """Nothing of it is in the kernel."""

    def start(self) -> None:
        """The terminal is taken when the run goes on."""

    def serve(self, seconds: float) -> None:
        """The dialogue serves itself."""

    def alive(self) -> bool:
        """It concerns nobody."""
        return False

    def stop(self, reason: str) -> None:
        """It is over already."""

    def finish(self) -> None:
        """Whoever answers has seen what came of it."""

    def close(self) -> None:
        """Show what was held back, where the dialogue has not come to it."""
        if self._held:
            self._held.release()

    def _show(self, reason: Callable[[], str | None], stopped: threading.Event) -> None:
        from isotrace.asking import dialogue  # textual takes a while to import

        assert self.replies is not None, "those who are asked are made before the screen is taken"
        for name in ("COLUMNS", "LINES"):  # the size of a terminal that may change
            os.environ.pop(name, None)
        try:
            with Screen() as lines:
                dialogue.run(Here(self.replies, lines), self._title, reason, stopped)
            without_terminal(reason, stopped)
        finally:
            if self._held:
                self._held.release()


def without_terminal(reason: Callable[[], str | None], stopped: threading.Event) -> None:
    """Where the terminal is gone nothing is allowed for that: what nobody answers gets the default until the run ends."""
    from isotrace.asking.dialogue import hung_up

    while hung_up() and reason() is None and not stopped.wait(_TICK):
        continue


class Here:
    """The questions of this run, for a dialogue on its own terminal; ``lines`` are what is said meanwhile."""

    def __init__(self, replies: Replies, lines: Screen | None = None) -> None:
        self._replies, self._lines = replies, lines

    def listed(self) -> dict[str, Any]:
        """All that is asked now."""
        return self._replies.listed()

    def news(self) -> list[str]:
        """What isotrace has said since the last look."""
        return self._lines.news() if self._lines else []

    def answer(self, name: str, words: list[str]) -> str:
        """Answer one. Raises ``UsageError``."""
        return self._replies.answer(name, words, "person", caller_name())


class Held(Output):
    """Standard output, which is the dialogue's terminal: lines wait until that is over, the latest of them."""

    _MOST = 10_000

    def __init__(self) -> None:
        super().__init__(None)
        self._waiting: deque[bytes] | None = deque(maxlen=self._MOST)

    def write(self, data: bytes) -> None:
        """Keep it, or write it. Raises ``IsotraceError``."""
        if self._waiting is None:
            super().write(data)
        else:
            self._waiting.append(data)

    def release(self) -> None:
        """Write what waits, and hold nothing from now on. Raises ``IsotraceError``."""
        waiting, self._waiting = self._waiting, None
        super().write(b"".join(waiting or ()))


def asking(enforcers: Mapping[str, Enforcer], plan: EnforcementPlan) -> dict[str, Asking]:
    """Those of the enforcers that have rules that ask."""
    names = {one.mechanism for one in plan.enforced if one.guarantees.waits}
    return {name: cast(Asking, enforcer) for name, enforcer in enforcers.items() if name in names}


_SAID = {
    "person": "by a person",
    "program": "by the program",
    "socket": "by isotrace answer",
    "earlier": "by an earlier answer",
    "nobody": "not answered",
    "limit": "not asked: too many waited",
    "end": "not answered before the end",
}
_DONE = {"allow": "allowed", "deny": "denied", "kill": "killed"}


def ends(plan: EnforcementPlan, desk: Desk) -> list[str]:
    """How questions ended, a line a rule; and how many lines of answers there was no room for."""
    lines = []
    for one in plan.enforced:
        found = Counter({(verdict, by): n for (rule, verdict, by), n in desk.counts.items() if rule == one.number})
        if found:
            parts = [f"{n} {_DONE[verdict]}, {_SAID[by]}" for (verdict, by), n in sorted(found.items())]
            lines.append(f"{describe.plain(one.rule.title)}: {'; '.join(parts)}")
    if desk.lost:
        lines.append(f"{desk.lost} lines of answers lost: output was too slow")
    return lines
