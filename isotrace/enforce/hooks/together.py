"""Programs at the same hooks, of which some refuse and others report, each by its own rules (``waiting.split``).

So every part of a call that is opened for reading and writing, or that names two files, is judged by both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from isotrace.backends.attached import u32
from isotrace.enforce import Counts, Refused
from isotrace.enforce.hooks import guard
from isotrace.enforce.hooks.lsm import Hooks
from isotrace.kernel import bpf
from isotrace.process.launch import Execute

_LOOK = 0.1  # seconds


class Guarding(Hooks):
    """What refuses: the programs beside its own are isotrace's as well, and protected."""

    def _freeze(self) -> None:
        """Not before all are known."""

    def guard(self, parts: Sequence[Hooks], pids: Sequence[int] = ()) -> None:
        """Protect the programs and maps of ``parts`` too, and the processes ``pids``."""
        for pid in pids:
            bpf.map_update(self._loaded.maps["guarded"], u32(pid), u32(guard.OWN))
        for part in parts:
            guard.enter(self._loaded, part._loaded, part._links)
        super()._freeze()


class Together:
    """An ``Enforcer`` made of ``parts``, in the order in which a call meets them.

    The kernel runs those of one hook that were attached last first (hlist_add_head in bpf_trampoline_link_prog(), 5.5).
    """

    def __init__(self, parts: Sequence[Hooks]) -> None:
        self._parts = parts
        self._refusing = next((part for part in parts if isinstance(part, Guarding)), None)

    def starter(self) -> Execute | None:
        """The command starts by execve alone."""
        return None

    def open(self, pid: int | None) -> None:
        """Have all of that happen from now on. Raises ``IsotraceError``; then nothing of it does."""
        try:
            for part in reversed(self._parts):
                part.open(pid)
            if self._refusing is not None:
                self._refusing.guard(self._parts)
        except BaseException:
            self.close()
            raise

    def wait(self, seconds: float) -> None:
        """Return when something is waiting to be read, or after ``seconds`` at the latest."""
        first, *others = self._parts
        if not any(part.woken(0) for part in others):
            first.wait(min(seconds, _LOOK))

    def batches(self) -> Iterator[Sequence[Refused]]:
        """All records that have arrived by now."""
        for part in self._parts:
            yield from part.batches()

    def broken(self) -> str:
        """Why calls are judged no more, because of somebody else."""
        return next((why for part in self._parts if (why := part.broken())), "")

    def alive(self) -> bool:
        """Whether a process is left that a rule is for."""
        return self._parts[0].alive()

    def lift(self) -> None:
        """Have nothing of that happen any more."""
        for part in reversed(self._parts):
            part.lift()

    def counts(self) -> Counts:
        """Of all parts; a rule has its counts in one of them."""
        found = [part.counts() for part in self._parts]
        hits = {
            number: sum(one.hits.get(number, 0) for one in found) for number in {n for one in found for n in one.hits}
        }
        return Counts(
            hits,
            hits,
            lost=sum(one.lost for one in found),
            missed=sum(one.missed for one in found),
            not_followed=sum(one.not_followed for one in found),
        )

    def close(self) -> None:
        """Detach, and close every descriptor."""
        with ExitStack() as closing:
            for part in self._parts:
                closing.callback(part.close)
