"""Where records come from. A backend is opened on a plan, read in batches, and closed; the session knows no more of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:  # numpy's import takes longer than what comes before it
    from isotrace.trace.ring import Chunk


@dataclass(frozen=True)
class Counters:
    """What the kernel side counted, by call slot: calls ``seen``, and of those the records ``lost`` for want of room.

    ``extras_lost``: records that are no calls (an exec's arguments, exits, signals). ``not_followed``: children that did
    not fit the map of followed pids. ``missed``: times the kernel did not run the program because it was already running.
    """

    seen: Mapping[int, int] = field(default_factory=dict)
    lost: Mapping[int, int] = field(default_factory=dict)
    extras_lost: int = 0
    not_followed: int = 0
    missed: int = 0


class Loss(NamedTuple):
    """How many records of a call are missing, of a process; ``pid`` 0 and no ``comm`` where it is not known whose."""

    pid: int
    comm: bytes
    slot: int
    records: int


class Backend(Protocol):
    """A source of records."""

    def open(self, command_pid: int | None = None) -> None:
        """Record from now on. ``command_pid`` is a child that has yet to call execve. Raises ``IsotraceError``."""

    def chunks(self) -> Iterator[Chunk]:
        """All that has arrived by now."""

    def losses(self) -> list[Loss]:
        """What has been lost since the last time. Cheap where nothing was."""

    def wait(self, seconds: float) -> None:
        """Return when much is waiting, or after ``seconds``."""

    def pids(self) -> set[int]:
        """The processes in the kernel's map of followed pids; empty where the target has none."""

    def alive(self) -> bool:
        """Whether a process in that map is more than a zombie."""

    def detach(self) -> None:
        """Stop recording; what was recorded can still be read."""

    def counters(self) -> Counters:
        """The counts; final once detached."""

    def close(self) -> None:
        """Give everything back to the kernel."""
