"""Refusing a call from the table: what the app asks of whoever can do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Wanted:
    """The row under the cursor: a call (None: not one alone), and a process with its family (None: the target)."""

    call: str | None
    pid: int | None


@dataclass(frozen=True)
class Refusal:
    """One that is in force: ``hits`` is how often it was met."""

    number: int
    text: str
    hits: int


@dataclass(frozen=True)
class Answer:
    """``possible`` with the mechanism and its grade in ``text``, or not, with the reason."""

    possible: bool
    text: str


class Refusing(Protocol):
    """Refuses calls while the table is on the screen."""

    def explain(self, wanted: Wanted) -> Answer:
        """What refusing this would rest on, or why it cannot be done."""

    def refuse(self, wanted: Wanted) -> Answer:
        """Do it."""

    def lift(self, number: int) -> Answer:
        """Undo it."""

    def active(self) -> tuple[Refusal, ...]:
        """Those in force."""


class Unable:
    """This version counts and does not refuse."""

    _WHY = "this version of isotrace top cannot refuse calls"

    def explain(self, wanted: Wanted) -> Answer:
        """Always no."""
        return Answer(False, self._WHY)

    refuse = explain

    def lift(self, number: int) -> Answer:
        """Nothing is in force."""
        return Answer(False, self._WHY)

    def active(self) -> tuple[Refusal, ...]:
        """None."""
        return ()
