"""What the live table draws: frozen snapshots, made by source.py, read by views.py and the widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from isotrace.backends.counts import BUCKET_SHIFT, BUCKETS, Errors, Losses, Rows, unpack_keys
from isotrace.trace import events

#: Owners from here on are groups of processes that have ended; below it they are pids.
GROUPS = 1 << 31
SECONDS = 60  # of history

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Process:
    """A living process, or a group of ``members`` ended ones of one name, parent and container. ``name`` and ``container``
    are safe to print; the latter is "" in none, None if it is not known. ``inside`` is the number that a living one has in
    the pid namespace below isotrace's, 0 where it is in isotrace's.
    """

    owner: int
    name: str
    parent: int
    members: int = 1
    container: str | None = ""
    inside: int = 0

    @property
    def ended(self) -> bool:
        """Whether this is such a group."""
        return self.owner >= GROUPS


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of (owner, call), sorted by call: ``(n,)`` arrays and the rows they were made from; ``rate`` in calls/s."""

    rows: Rows
    rate: npt.NDArray[np.float64]
    owner: Ints
    slot: Ints

    @staticmethod
    def of(rows: Rows, rate: npt.NDArray[np.float64]) -> Table:
        """From rows sorted by their keys."""
        owner, slot, _ = unpack_keys(rows.keys)
        return Table(rows, rate, owner, slot)


@dataclass(frozen=True, eq=False)
class Places:
    """Files and addresses: ``kind`` and ``text`` as the kernel has them, counts, and who used them last."""

    kind: Ints
    text: list[bytes]
    calls: Ints
    errors: Ints
    time: Ints
    rate: npt.NDArray[np.float64]
    by: list[str]  # the name of the latest process
    slot: Ints
    forgotten: int = 0  # uses of places that were pushed out of the kernel's table since


@dataclass(frozen=True, eq=False)
class History:
    """Calls in each of the last 60 seconds, oldest first: in all, by slot ``(2048, 60)``, by owner (rows of ``owners``).

    ``frozen`` is by slot as well, of the process that is frozen, since it is.
    """

    total: Floats
    slots: Floats
    owners: Ints
    by_owner: Floats
    frozen: Floats | None = None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that there is to draw at one moment. ``seconds`` is the time since counting began or was set to zero."""

    seconds: float
    table: Table
    processes: Mapping[int, Process]
    errors: Errors
    error_rate: npt.NDArray[np.float64]
    history: History
    places: Places | None = None
    losses: Losses = field(default_factory=Losses)
    ended: str = ""
    blocked: tuple[str, ...] = ()  # what the selected process is inside of now
    frozen: int | None = None

    @property
    def calls(self) -> int:
        """Calls in all."""
        return int(self.table.rows.sums[:, 0].sum())

    @property
    def rate(self) -> float:
        """Calls a second now."""
        return float(self.table.rate.sum())


def edges() -> npt.NDArray[np.float64]:
    """``(33,)``: the bounds of the histogram's buckets in ns; the first is 0, the last stands for "and more"."""
    return np.array([0.0] + [float(1 << (BUCKET_SHIFT + i)) for i in range(BUCKETS)])


def percentile(
    buckets: npt.NDArray[np.uint64], longest: npt.NDArray[np.uint64], part: float
) -> npt.NDArray[np.float64]:
    """The time in ns below which ``part`` of the calls stay, one for each row of ``(n, 32)`` buckets.

    It is interpolated within a power of two and never above the longest call; 0 where no call was timed.
    """
    sums = np.cumsum(buckets, axis=1, dtype=np.float64)
    if not len(sums):
        return np.zeros(0)
    wanted = sums[:, -1] * part
    index = (sums < wanted[:, None]).sum(axis=1).clip(max=BUCKETS - 1)
    every = np.arange(len(sums))
    inside = buckets[every, index].astype(np.float64)
    before = sums[every, index] - inside
    bounds = edges()
    share = np.divide(wanted - before, inside, out=np.zeros_like(wanted), where=inside > 0)
    low = bounds[index]
    found = low + (bounds[index + 1] - low) * share
    timed: npt.NDArray[np.float64] = np.where(sums[:, -1] > 0, np.minimum(found, longest.astype(np.float64)), 0.0)
    return timed


def empty_history() -> History:
    """Nothing in the last minute."""
    none = np.zeros(SECONDS, np.float32)
    return History(
        none, np.zeros((events.SLOTS, SECONDS), np.float32), np.zeros(0, np.int64), np.zeros((0, SECONDS), np.float32)
    )


def empty() -> Snapshot:
    """A snapshot before anything was counted."""
    errors = Errors(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, dtype=[("when", "<u8")]))
    return Snapshot(0.0, Table.of(Rows.empty(), np.zeros(0)), {}, errors, np.zeros(0), empty_history())
