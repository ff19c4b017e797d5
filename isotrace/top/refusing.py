"""Refusing a call from the table: what the app asks, and the frozen answers that it draws.

Every question is answered later, by ``tell``: to look at the kernel and to compile takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from isotrace.top.model import Process


@dataclass(frozen=True)
class Wanted:
    """A call by its name, to be refused to a process and its descendants; ``pid`` None: to the table's target.

    ``whom`` says that in words, safe to print.
    """

    call: str
    pid: int | None
    whom: str


@dataclass(frozen=True)
class Proposal:
    """What refusing would rest on: mechanism, guarantees and limits in ``lines``, each limit or reason in full in
    ``details``. Where that cannot be ``why`` says so.
    """

    wanted: Wanted
    lines: tuple[str, ...] = ()
    why: str = ""
    details: tuple[str, ...] = ()

    @property
    def possible(self) -> bool:
        """Whether it can be done."""
        return not self.why


@dataclass(frozen=True)
class ActiveRefusal:
    """One that is in force, or was until its processes had ended (``ended`` says so). ``hits``: calls refused.

    ``latest`` is the latest refused call in words, ``unjudged`` how often the kernel or a full table passed a call by.
    """

    number: int
    wanted: Wanted
    mechanism: str
    hits: int = 0
    latest: str = ""
    unjudged: int = 0
    ended: str = ""


@dataclass(frozen=True)
class Status:
    """Everything in force; what is being done now; what has just been done or has failed."""

    refusals: tuple[ActiveRefusal, ...] = ()
    doing: str = ""
    note: str = ""


Answer = Proposal | Status


@dataclass
class ViewState:
    """What the table shows, for whoever has to know who descends from whom: replaced with every snapshot."""

    processes: Mapping[int, Process] = field(default_factory=dict)


class Refusing(Protocol):
    """Refuses calls while the table is on the screen. No method waits."""

    view_state: ViewState
    failure: BaseException | None

    def begin(self, tell: Callable[[Answer], object]) -> None:
        """Tell from now on, from a thread of its own."""

    def explain(self, wanted: Wanted) -> None:
        """Propose it: answered by a ``Proposal``."""

    def refuse(self, proposal: Proposal) -> None:
        """Do it: answered by a ``Status``."""

    def lift(self, number: int) -> None:
        """Undo it: answered by a ``Status``."""

    def finish(self) -> None:
        """Refuse nothing any more."""
