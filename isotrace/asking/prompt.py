"""Asking on a terminal line by line, where a dialogue cannot have it: a line with Enter is an answer.

Where the command has the terminal, too, what is typed may be its doing: it can have the terminal answer something. So a
line with a control character in it is none, and to allow takes a number that was made up for the question and that only
who reads the screen knows.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import termios
import time

from isotrace.asking import shown, words
from isotrace.asking.background import Background
from isotrace.asking.desk import Case, everyone
from isotrace.asking.lasting import Written
from isotrace.asking.replies import DONE, OTHERWISE, VERDICTS, Replies
from isotrace.asking.who import caller_name
from isotrace.enforce import Verdict
from isotrace.errors import UsageError
from isotrace.process.telling import write_all
from isotrace.units import many

_TICK = 0.2
_LINE_MAX = 4096


def terminal() -> int | None:
    """The terminal that isotrace was started on, to ask there; None where there is none."""
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None


class Prompt(Background):
    """Asks on ``tty``, a descriptor, one question at a time, the oldest first. ``shared``: the command has it as well."""

    def __init__(self, tty: int, replies: Replies, shared: bool) -> None:
        self._tty, self._replies, self._shared = tty, replies, shared
        self._typed = b""
        super().__init__("prompt", self._run)

    def _run(self) -> None:
        signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGTTIN, signal.SIGTTOU}
        )  # in the background a read fails instead
        desk = self._replies.desk
        while not self.over.is_set():
            if cases := desk.cases():
                try:
                    self._ask(cases[0], everyone(cases) - cases[0].waiting)
                except OSError as error:  # the terminal is gone, or somebody else's now: others answer, or nobody
                    self._replies.say(f"cannot ask on the terminal: {error.strerror}")
                    self._wait_until_gone(cases[0])
            else:
                desk.news.wait(_TICK)
                desk.news.clear()

    def _wait_until_gone(self, case: Case) -> None:
        while self._waits(case) and not self.over.is_set():
            time.sleep(_TICK)

    def _ask(self, case: Case, others: int) -> None:
        code = f" {secrets.randbelow(90) + 10}" if self._shared else ""
        choices = {one: self._replies.choices(case, one) for one in VERDICTS}
        text = "\n".join(_lines(case, others, self._replies, choices["allow"], code)) + "\n> "
        self._typed = b""
        with contextlib.suppress(termios.error):
            termios.tcflush(self._tty, termios.TCIFLUSH)  # what was typed before is no answer to this
        self._write(text)
        while (line := self._line(case)) is not None:
            try:
                self._answer(case, line, choices, code)
                return
            except UsageError as error:
                hint = f" ({error.hint})" if error.hint else ""
                self._write(f"isotrace: {error.message}{hint}\n> ")
        if not self.over.is_set():
            self._write("\nisotrace: this question is over\n")

    def _answer(self, case: Case, line: bytes, choices: dict[Verdict, tuple[Written, ...]], code: str) -> None:
        text = line.decode("utf-8", "replace")
        if not text.isprintable():
            raise UsageError("that line has a control character", "type it again")
        parts = text.split()
        verdict = words.verdict(parts[0] if parts else "")
        if verdict == "allow" and code:
            if code.strip() not in parts[1:]:
                raise UsageError(f"to allow this, type its number:{code}", f"a{code}")
            parts.remove(code.strip())
        scope = words.scope(parts[1:], choices[verdict])
        done = self._replies.give(case, verdict, scope, "person", caller_name())
        self._write(
            f"isotrace: {DONE[verdict]} {many(done, 'call')}\n" if done else "isotrace: the question no longer waits\n"
        )

    def _line(self, case: Case) -> bytes | None:
        """What is typed; None once nobody waits for it any more."""
        while self._waits(case) and not self.over.is_set():
            if b"\n" in self._typed:
                line, _, self._typed = self._typed.partition(b"\n")
                return line
            if select.select([self._tty], [], [], _TICK)[0]:
                data = os.read(self._tty, _LINE_MAX)
                if not data:
                    raise OSError(5, "end of input")
                self._typed = (self._typed + data)[-_LINE_MAX:]
        return None

    def _waits(self, case: Case) -> bool:
        """Whether what is shown still waits. It is answered where the oldest of it is not the same any more."""
        return any(one.number == case.number and one.question == case.question for one in self._replies.desk.cases())

    def _write(self, text: str) -> None:
        write_all(self._tty, text.encode("ascii", "backslashreplace"))


def _lines(case: Case, others: int, replies: Replies, always: tuple[Written, ...], code: str) -> list[str]:
    said = shown.words(case, replies.target)
    left = max(0, round(case.until - time.monotonic()))
    more = f", {shown.more(case)}" if case.waiting > 1 else ""
    queue = f"; {many(others, 'other call')} of other questions" if others else ""
    lines = ["", f"isotrace asks ({said.rule}): {said.who}"]
    lines += [f"  below {said.family}"] if said.family else []
    lines += [
        f"  {said.call}",
        f"  {said.what}{more}; {left} s until it is {OTHERWISE[case.rule.action.otherwise]}{queue}",
    ]
    lines += [
        f"  a{code} allow, d deny, k kill; alone: this once",
        "  and p the process, g the program, 10m a time" + _always(replies, always),
    ]
    lines += [f"    w{number}: {one.text}".replace("w1:", "w: ") for number, one in enumerate(always, 1)]
    return lines


def _always(replies: Replies, always: tuple[Written, ...]) -> str:
    if always:
        return ", w always:"
    return "" if replies.always else " (always: with --policy FILE)"
