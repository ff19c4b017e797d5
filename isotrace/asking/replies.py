"""Answers on their way from whoever gives them to the desk: those for always are written first."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isotrace.asking import shown, words
from isotrace.asking.desk import Case, Desk, Reply, Scope, everyone
from isotrace.asking.file import AnswersFile
from isotrace.asking.lasting import Written
from isotrace.enforce import By, Verdict
from isotrace.errors import IsotraceError, UsageError
from isotrace.units import many

VERDICTS: tuple[Verdict, ...] = ("allow", "deny", "kill")
#: Questions that are listed at a time, and those that an answer can still be about after they were listed.
LISTED, _KEPT = 100, 1024
#: What has come of calls that were answered.
DONE = {"allow": "allowed", "deny": "denied", "kill": "killed, with its process,"}

#: What becomes of a call that nobody answers.
OTHERWISE = {"deny": "denied", "kill": "killed"}


@dataclass(frozen=True)
class _Shown:
    """A question as it was shown, and the rules that were shown with it: an answer is to these."""

    case: Case
    choices: Mapping[Verdict, tuple[Written, ...]]
    said: dict[str, Any]


class Replies:
    """What whoever is asked works with: the ``desk``, and the ``file`` for always, None where there is none.

    ``say`` shows a line to the user. ``target`` are the processes that parents are shown up to.
    """

    def __init__(
        self, desk: Desk, file: AnswersFile | None, say: Callable[[str], None], target: Container[int] = ()
    ) -> None:
        self.desk, self.say, self.target = desk, say, target
        self._file = file
        self._shown: OrderedDict[str, _Shown] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def always(self) -> bool:
        """Whether there is a file for answers for always."""
        return self._file is not None

    def choices(self, case: Case, verdict: Verdict) -> tuple[Written, ...]:
        """The rules that can be written for an answer for always."""
        return self.desk.choices(case, verdict) if self._file else ()

    def give(self, case: Case, verdict: Verdict, scope: Scope, by: By, who: str) -> int:
        """Write what is for always, and answer. Returns how many calls that was. Raises ``UsageError``.

        What cannot be written holds for this run, and that is said.
        """
        if scope.kind == "always":
            if scope.rule is None or self._file is None:
                raise UsageError(
                    "an answer for always is written to a policy file, and there is none",
                    "isotrace ask … --policy FILE",
                )
            try:
                self._file.add(scope.rule)
            except IsotraceError as error:
                self.say(f"{error.message}: the answer holds for this run only")
        return self.desk.reply(Reply(case, verdict, scope, by, who))

    def unanswered(self, case: Case, why: str) -> int:
        """Nobody will answer this: the default, now. ``why`` is said."""
        self.say(why)
        return self.desk.give_up(case)

    def as_object(self, case: Case) -> dict[str, Any]:
        """The question for a program; ``id`` is what was shown: an answer for once is for no more."""
        name = f"{case.number}.{case.upto}"
        left = {"seconds_left": round(max(0.0, case.until - time.monotonic()), 1)}
        with self._lock:
            known = self._shown.get(name)
        if known is not None and (known.case.waiting, known.case.question) == (case.waiting, case.question):
            return known.said | left
        choices = {one: self.choices(case, one) for one in VERDICTS}
        said = {"id": name} | shown.as_object(case, choices, self.target) | left
        with self._lock:
            self._shown[name] = _Shown(case, choices, said)
            while len(self._shown) > _KEPT:
                self._shown.popitem(last=False)
        return said

    def shown_choices(self, case: Case, verdict: Verdict) -> tuple[Written, ...]:
        """The rules that the question was shown with."""
        with self._lock:
            known = self._shown.get(f"{case.number}.{case.upto}")
        return known.choices[verdict] if known else ()

    def listed(self) -> dict[str, Any]:
        """The oldest questions, and how many there are."""
        cases = self.desk.cases()
        found = [self.as_object(case) for case in cases[:LISTED]]
        return {"questions": found, "count": len(cases), "calls": everyone(cases)}

    def answer(self, name: str, parts: Sequence[str], by: By, who: str) -> str:
        """Answer what was shown under ``name``, in words; says what came of it. Raises ``UsageError``."""
        with self._lock:
            known = self._shown.get(name)
        if known is None:
            raise UsageError(f"no question was shown as {words.shown(name)}", "isotrace answer … list shows them")
        verdict = words.verdict(parts[0] if parts else "")
        done = self.give(known.case, verdict, words.scope(parts[1:], known.choices[verdict]), by, who)
        if not done:
            raise UsageError("this question no longer waits", "isotrace answer … list shows those that do")
        return f"{DONE[verdict]} {many(done, 'call')}"
