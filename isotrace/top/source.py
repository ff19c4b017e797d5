"""Makes snapshots from the kernel's tables. One thread calls it; whoever draws gets frozen results only."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from isotrace.backends.counts import Errors, Losses, Rows
from isotrace.decode import quote
from isotrace.render.lines import Decoder
from isotrace.top import ledger
from isotrace.top.failures import without_faults
from isotrace.top.ledger import Groups
from isotrace.top.model import GROUPS, SECONDS, Floats, History, Places, Process, Snapshot, Table, empty
from isotrace.trace import events, unfinished
from isotrace.trace.plan import all_calls, slots_for
from isotrace.trace.target import PROC

_MOST_BLOCKED = 32  # processes that are looked at for the detail pane
_SHOWN_PLACES = 1000
_REMEMBERED = 8192
_LONGEST_PAUSE = 5.0  # seconds


class Tables(Protocol):
    """What is read: ``backends.counts.Counting``, or recorded tables in tests."""

    has_places: bool
    capacity: int  # rows

    def rows(self) -> Rows:
        """Calls, sorted by key."""

    def errors(self) -> Errors:
        """Failures, sorted by key."""

    def places(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """Files and addresses with their counts."""

    def touched(self) -> int:
        """Uses of places in all."""

    def names(self) -> dict[int, tuple[bytes, int]]:
        """Process → name, parent."""

    def whereabouts(self) -> dict[int, tuple[str | None, int]]:
        """Process → container, number in the pid namespace below isotrace's, as ``backends.counts`` has it, where told."""

    def gone(self) -> set[int]:
        """Processes that have ended, as the kernel saw it."""

    def forget(self, rows: Rows, errors: Errors, pids: set[int]) -> None:
        """Remove what is counted elsewhere from now on."""

    def forget_places(self) -> None:
        """Empty the table of places."""

    def losses(self) -> Losses:
        """What did not fit."""


_Named = tuple[bytes, int, str | None, int]  # name, parent, container, number in the pid namespace below


def _process(pid: int, name: bytes, parent: int, container: str | None, inside: int) -> Process:
    where = None if container is None else quote.safe(container)
    return Process(pid, quote.comm(name), parent, container=where, inside=inside)


@dataclass
class Requests:
    """What whoever draws wants to see; written by the one thread, read by the other."""

    places: bool = False
    frozen: int | None = None
    zero: bool = False
    selected: tuple[int | None, int | None] | None = None  # (owner, slot) for the detail pane


def living_now() -> set[int]:
    """The processes there are."""
    return {int(name) for name in os.listdir(PROC) if name.isdecimal()}


_Came = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]  # slot, owner, calls


@dataclass
class _Minute:
    """The last 60 seconds, filled second by second."""

    slots: Floats = field(default_factory=lambda: np.zeros((events.SLOTS, SECONDS), np.float32))
    owners: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    by_owner: Floats = field(default_factory=lambda: np.zeros((0, SECONDS), np.float32))
    frozen: Floats | None = None
    pending: list[_Came] = field(default_factory=list)
    since: float = 0.0
    snapshot: History | None = None

    def add(self, came: _Came, seconds: float, frozen: int | None) -> History:
        """Count what ``came`` within the last ``seconds``; returns the minute as it is then."""
        self.pending.append(came)
        self.since += seconds
        if self.since >= 0.99 or self.snapshot is None:
            self._push(max(1, round(self.since)), frozen)
        assert self.snapshot is not None
        return self.snapshot

    def _push(self, steps: int, frozen: int | None) -> None:
        steps = min(steps, SECONDS)
        slot, owner, calls = (np.concatenate(parts) for parts in zip(*self.pending, strict=True))
        calls = calls / steps
        self.pending, self.since = [], 0.0
        self.slots = _shifted(self.slots, np.bincount(slot, calls, events.SLOTS), steps)
        self._push_owners(owner, calls, steps)
        if frozen is None:
            self.frozen = None
        else:
            own = owner == frozen
            before = self.frozen if self.frozen is not None else np.zeros_like(self.slots)
            self.frozen = _shifted(before, np.bincount(slot[own], calls[own], events.SLOTS), steps)
        self.snapshot = History(self.slots.sum(axis=0), self.slots, self.owners, self.by_owner, self.frozen)

    def _push_owners(self, owner: npt.NDArray[np.int64], calls: npt.NDArray[np.float64], steps: int) -> None:
        present, which = np.unique(owner, return_inverse=True)
        kept = self.owners[self.by_owner.any(axis=1)] if len(self.owners) else self.owners
        owners = np.union1d(present, kept)
        before = ledger.aligned(owners.astype(np.uint64), self.owners.astype(np.uint64), self.by_owner)
        now = np.zeros(len(owners))
        now[np.searchsorted(owners, present)] = np.bincount(which, calls, len(present))
        self.owners, self.by_owner = owners, _shifted(before, now, steps)


def _shifted(minute: Floats, now: npt.NDArray[np.float64] | npt.NDArray[np.signedinteger[Any]], steps: int) -> Floats:
    found = np.empty_like(minute)
    found[:, : SECONDS - steps] = minute[:, steps:]
    found[:, SECONDS - steps :] = now[:, None]
    return found


class Source:
    """The state between two looks: what was seen before, who has ended, what was set to zero."""

    def __init__(
        self,
        tables: Tables,
        clock: Callable[[], float] = time.monotonic,
        requests: Requests | None = None,
        past: bool = False,
    ) -> None:
        """With ``past`` the tables are of a recording: the processes that there are now have nothing to do with it."""
        self.requests = requests or Requests()
        self._past = past
        self.room_for = 60.0  # seconds until processes that start and end have filled half of the kernel's table
        self.retired = 0
        self._tables, self._clock = tables, clock
        self._began = self._looked = clock()
        self._seen: dict[str, tuple[ledger.Keys, npt.NDArray[np.uint64]]] = {}
        self._base, self._base_errors = Rows.empty(), empty().errors
        self._gone, self._gone_errors = Rows.empty(), empty().errors
        self._groups = Groups()
        self._raw_names: dict[int, _Named] = {}
        self._known: dict[int, Process] = {}
        self._met: set[int] = set()
        self._late: dict[int, str] = {}  # names of the latest to have ended
        self._minute = _Minute()
        self._places_before: dict[bytes, int] = {}
        self._places_looked = self._began
        self._places: Places | None = None
        self._touched_before = 0
        self._decoder = Decoder(all_calls())
        self._slots = slots_for(None, 64)

    def look(self, ended: str = "") -> Snapshot:
        """Read everything once."""
        gone = self._tables.gone()  # before the tables: a process that had ended by then makes no more calls
        if not self._past:
            gone |= self._met - living_now()  # where there was no room for its name
        rows, errors = self._tables.rows(), self._tables.errors()
        now = self._clock()
        span = max(now - self._looked, 1e-3)
        self._looked = now
        self._learn_names()
        came, failed = (
            self._since("rows", rows.keys, rows.sums[:, 0]),
            self._since("errors", errors.keys, errors.counts),
        )
        if self.requests.zero:
            self._zero(rows, errors, now)
            came, failed = came * 0, failed * 0
        before, errors_before = self._base, self._base_errors  # retiring takes those that ended out of them
        moved = self._retire(rows, errors, gone)
        self.room_for = 0.5 * self._tables.capacity * span / max(1, self.retired)
        whole, calls = self._whole(ledger.less(rows, before), rows, came, moved)
        errors, failures = self._whole_errors(ledger.less_errors(errors, errors_before), errors, failed, moved)
        table = Table.of(whole, calls / span)
        return Snapshot(
            seconds=now - self._began,
            table=table,
            processes=self._known | self._groups.processes(),
            errors=errors,
            error_rate=failures / span,
            history=self._minute.add((table.slot, table.owner, calls), span, self.requests.frozen),
            places=self._look_at_places(now, bool(ended)) if self._tables.has_places else None,
            losses=self._tables.losses(),
            ended=ended,
            blocked=self._blocked(table),
            frozen=self.requests.frozen,
        )

    def _since(self, name: str, keys: ledger.Keys, calls: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
        before_keys, before = self._seen.get(name, (np.zeros(0, np.uint64), np.zeros(0, np.uint64)))
        self._seen[name] = (keys, calls)
        return (calls - ledger.aligned(keys, before_keys, before)).astype(np.float64)

    def _zero(self, rows: Rows, errors: Errors, now: float) -> None:
        self.requests.zero = False
        self._base, self._base_errors, self._began = rows, errors, now
        self._gone, self._gone_errors = Rows.empty(), empty().errors
        self._groups.clear()
        self._minute = _Minute()
        self._touched_before = self._tables.touched()
        self._tables.forget_places()
        self._places, self._places_before = None, {}

    # ---- processes ------------------------------------------------------------------------------------------------

    def _learn_names(self) -> None:
        rows = self._tables.names()
        places = self._tables.whereabouts()  # behind the names: it has whoever has one
        names = {pid: (*row, *places.get(pid, (None, 0))) for pid, row in rows.items()}
        if names == self._raw_names:
            return
        before = self._raw_names
        self._known = {
            pid: self._known[pid] if before.get(pid) == row else _process(pid, *row)
            for pid, row in names.items()
            if pid in self._known or before.get(pid) != row
        }
        self._raw_names = names

    def _retire(self, rows: Rows, errors: Errors, dead: set[int]) -> dict[int, int]:
        """Move the rows of processes that have ended into the groups. Returns what owner becomes what other."""
        # Whoever is met for the first time may have been born after the look at /proc.
        self._met = (set(np.unique(rows.keys & ledger.PID).tolist()) | set(self._known)) - dead
        self.retired = 0
        if not dead:
            return {}
        moved = self._groups.retire(dead, self._known)
        gone = np.array(sorted(dead), dtype=np.uint64)
        of_dead, errors_of_dead = np.isin(rows.keys & ledger.PID, gone), np.isin(errors.keys & ledger.PID, gone)
        self.retired = int(of_dead.sum())
        self._tables.forget(rows.take(of_dead), errors.take(errors_of_dead), dead)
        for name, keys, kept in (("rows", rows.keys, ~of_dead), ("errors", errors.keys, ~errors_of_dead)):
            self._seen[name] = (keys[kept], self._seen[name][1][kept])
        if len(self._base):  # a number may be used again
            self._base = self._base.take(~np.isin(self._base.keys & ledger.PID, gone))
            self._base_errors = self._base_errors.take(~np.isin(self._base_errors.keys & ledger.PID, gone))
        for pid in dead:
            if process := self._known.pop(pid, None):
                self._late[pid] = process.name
        while len(self._late) > _REMEMBERED:
            self._late.pop(next(iter(self._late)))
        self._raw_names = {pid: row for pid, row in self._raw_names.items() if pid not in dead}
        return moved

    def _whole(
        self, shown: Rows, rows: Rows, came: npt.NDArray[np.float64], moved: Mapping[int, int]
    ) -> tuple[Rows, npt.NDArray[np.float64]]:
        """Living and ended in one table; ``shown`` are the ``rows`` less what they had before the last zero."""
        came = came if shown is rows else ledger.aligned(shown.keys, rows.keys, came)
        old = Rows(ledger.renamed(self._gone.keys, moved), self._gone.sums, self._gone.longest, self._gone.buckets)
        nothing = np.zeros(len(old))
        keys = ledger.renamed(shown.keys, moved)
        whole, calls = ledger.merged([(Rows(keys, shown.sums, shown.longest, shown.buckets), came), (old, nothing)])
        if moved:
            self._gone = whole.take((whole.keys & ledger.PID) >= GROUPS)
        return whole, calls

    def _whole_errors(
        self, shown: Errors, errors: Errors, came: npt.NDArray[np.float64], moved: Mapping[int, int]
    ) -> tuple[Errors, npt.NDArray[np.float64]]:
        came = came if shown is errors else ledger.aligned(shown.keys, errors.keys, came)
        old = Errors(ledger.renamed(self._gone_errors.keys, moved), self._gone_errors.counts, self._gone_errors.latest)
        new = Errors(ledger.renamed(shown.keys, moved), shown.counts, shown.latest)
        parts = [(part, extra) for part, extra in ((new, came), (old, np.zeros(len(old)))) if len(part)]
        if not parts:
            return shown, came
        whole, counts = ledger.merged_errors(parts)
        if moved:
            self._gone_errors = whole.take((whole.keys & ledger.PID) >= GROUPS)
        return whole, counts

    # ---- what is read only when somebody looks at it -----------------------------------------------------------------

    def _look_at_places(self, now: float, last: bool) -> Places | None:
        if not self.requests.places or (self._places and not last and now - self._places_looked < 0.9):
            return self._places if self.requests.places else None
        span = max(now - self._places_looked, 1e-3)
        uses = self._tables.touched() - self._touched_before
        keys, touches = self._tables.places()
        every = [raw.tobytes() for raw in keys]
        calls = touches["calls"].astype(np.int64)
        before = np.array([self._places_before.get(key, 0) for key in every], dtype=np.int64)
        rate = np.maximum(calls - before, 0) / span if self._places else np.zeros(len(calls))
        self._places_before, self._places_looked = dict(zip(every, calls.tolist(), strict=True)), now
        self._places = self._most_used(every, touches, calls, rate, max(0, uses - int(calls.sum())))
        return self._places

    def _most_used(
        self,
        every: list[bytes],
        touches: npt.NDArray[np.void],
        calls: npt.NDArray[np.int64],
        rate: npt.NDArray[np.float64],
        forgotten: int,
    ) -> Places:
        kept = np.argsort(-calls, kind="stable")[:_SHOWN_PLACES]
        raw = [every[i] for i in kept.tolist()]
        columns = {name: touches[name][kept].astype(np.int64) for name in ("errors", "time", "pid", "slot")}
        return Places(
            kind=np.array([int.from_bytes(key[:4], "little") for key in raw], dtype=np.int64),
            text=[key[4:] for key in raw],
            calls=calls[kept],
            errors=columns["errors"],
            time=columns["time"],
            rate=rate[kept],
            by=self._names_of(columns["pid"].tolist()),
            slot=columns["slot"],
            forgotten=forgotten,
        )

    def _names_of(self, pids: list[int]) -> list[str]:
        known = {pid: process.name for pid, process in self._known.items()} | self._late
        if not known.keys() >= set(pids):  # born since the names were read
            known |= {pid: quote.comm(comm) for pid, (comm, _) in self._tables.names().items() if pid not in known}
        return [known.get(pid, str(pid)) for pid in pids]

    def _blocked(self, table: Table) -> tuple[str, ...]:
        if self.requests.selected is None or self._past:
            return ()
        owner, slot = self.requests.selected
        pids: Iterable[int] = [owner] if owner is not None else np.unique(table.owner[table.slot == slot]).tolist()
        pids = [pid for pid in pids if pid < GROUPS][:_MOST_BLOCKED]
        wanted = self._slots if slot is None else {slot: self._slots[slot]} if slot in self._slots else {}
        batch = unfinished.batch(pids, wanted)
        found: list[str] = []
        for group in self._decoder.decode(batch):
            tids = group.rows.field("tid")
            found += [f"{tid}  {without_faults(text)}" for tid, text in zip(tids, group.texts(), strict=True)]
        return tuple(sorted(found))


class Feeder:
    """An ``app.Feed`` with a thread: ``_run`` posts snapshots there until ``_stop`` is set; ``_wake`` asks for one now."""

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.failure: BaseException | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, post: Callable[[Snapshot], object]) -> None:
        """Start the thread; it calls ``post``."""
        self._thread = threading.Thread(target=self._guarded, args=(post,), daemon=True, name="snapshots")
        self._thread.start()

    def refresh(self) -> None:
        """Look at once: a request has changed."""
        self._wake.set()

    def finish(self) -> None:
        """Stop and wait."""
        self._stop.set()
        self._wake.set()
        if self._thread:
            self._thread.join()

    def _guarded(self, post: Callable[[Snapshot], object]) -> None:
        try:
            self._run(post)
        except BaseException as error:  # nothing of this thread may reach the screen: whoever draws reports it
            self.failure = error

    def _run(self, post: Callable[[Snapshot], object]) -> None:
        raise NotImplementedError


class Worker(Feeder):
    """Looks again and again in a thread of its own, and hands each snapshot to whoever draws.

    A look costs CPU time, and so does drawing it: the pause grows with that, so that isotrace stays below ``share`` of a
    core.
    """

    def __init__(self, source: Source, ended: Callable[[], str | None], interval: float, share: float = 0.015) -> None:
        super().__init__(source.requests)
        self._source, self._ended = source, ended
        self._interval, self._share = interval, share

    def _run(self, post: Callable[[Snapshot], object]) -> None:
        while not self._stop.is_set():
            used = time.process_time()
            post(self._source.look(ended=self._ended() or ""))
            self._stop.wait(0.05)  # by then it is drawn: that counts as well
            used = time.process_time() - used
            pause = max(self._interval, min(used / self._share, _LONGEST_PAUSE, self._source.room_for))
            self._wake.wait(pause - 0.05)
            self._wake.clear()
