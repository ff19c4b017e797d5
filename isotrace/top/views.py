"""Snapshots as grids: by call, by process, by file or address, by error. Pure; nothing here knows of a terminal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from isotrace.backends.counts import BUCKETS, PATH, PLACE_TEXT, unpack_keys
from isotrace.decode import quote
from isotrace.decode.errnos import errno_name, errno_text
from isotrace.decode.sockaddr import endpoint
from isotrace.top.model import SECONDS, Floats, Places, Process, Snapshot, Table, percentile
from isotrace.trace import events
from isotrace.trace.plan import all_calls


@dataclass(frozen=True)
class Column:
    """``kind`` says how values are written: text, path, rate, count, failures, pid, time, bytes, share or spark."""

    name: str
    title: str
    kind: str
    width: int
    grows: int = 0  # its share of what is left of the line
    needs: int = 0  # shown only where the line is at least so wide


@dataclass(frozen=True, eq=False)
class Grid:
    """Rows of one view, not yet in order: ``values`` has a ``(n,)`` array or a list of texts for every column."""

    columns: tuple[Column, ...]
    keys: Sequence[Hashable]
    values: Mapping[str, npt.NDArray[np.float64] | list[str]]
    history: Floats | None = None
    parents: Sequence[int] | None = None  # of a tree: the index of each row's parent, or -1
    ended: frozenset[int] = frozenset()  # rows of what is no longer there

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class Order:
    """How rows are arranged: by which column, which way, and only those that contain ``needle``."""

    column: str = "rate"
    descending: bool = True
    needle: str = ""


@dataclass(frozen=True, eq=False)
class Arranged:
    """The rows to draw, in order, with what goes before the first column's text (the branches of a tree)."""

    grid: Grid
    rows: list[int] = field(default_factory=list)
    prefixes: Mapping[int, str] = field(default_factory=dict)


_RATE = Column("rate", "calls/s", "rate", 8)
_CALLS = Column("calls", "total", "count", 7)
_ERRORS = Column("errors", "errs", "failures", 6)
_BYTES = Column("bytes", "bytes", "bytes", 6)
_SPARK = Column("history", "last minute", "spark", 11, grows=3)
CALL_COLUMNS = (
    Column("name", "call", "text", 16, grows=1),
    *(_RATE, _CALLS, _ERRORS),
    *(Column(name, title, "time", 6) for name, title in (("p50", "p50"), ("p99", "p99"), ("longest", "max"))),
    _BYTES,
    Column("time", "in call", "time", 8, needs=100),
    Column("share", "of time", "share", 15, needs=120),
    _SPARK,
)
PROCESS_COLUMNS = (
    Column("name", "process", "text", 18, grows=1),
    Column("pid", "pid", "pid", 7),
    Column("share", "share", "share", 10),
    *(_RATE, _CALLS, _ERRORS),
    Column("p50", "p50", "time", 6, needs=100),
    Column("p99", "p99", "time", 6, needs=88),
    Column("longest", "max", "time", 6, needs=100),
    Column("bytes", "bytes", "bytes", 6, needs=110),
    _SPARK,
)
#: The same where a process is in a container or a pid namespace.
INSIDE_COLUMNS = (
    Column("name", "process", "text", 16, grows=1),
    Column("container", "container", "text", 12, grows=1, needs=72),
    Column("pid", "pid", "pid", 7),
    Column("inside", "inside", "pid", 6, needs=80),
    Column("share", "share", "share", 10, needs=110),
    *(_RATE, _CALLS, _ERRORS),
    *PROCESS_COLUMNS[6:-1],
    replace(_SPARK, needs=100),
)
CONTAINER_COLUMNS = (
    Column("name", "container", "text", 18, grows=1),
    Column("processes", "procs", "count", 6),
    Column("share", "share", "share", 10),
    *(_RATE, _CALLS, _ERRORS),
    *PROCESS_COLUMNS[6:-1],
    _SPARK,
)
PLACE_COLUMNS = (
    Column("name", "file or address", "path", 24, grows=4),
    *(_RATE, _CALLS, _ERRORS),
    Column("mean", "mean", "time", 6),
    Column("last_call", "last call", "text", 12),
    Column("last_by", "by", "text", 8, grows=1),
)
ERROR_COLUMNS = (
    Column("name", "error", "text", 12),
    Column("call", "call", "text", 14),
    Column("rate", "errs/s", "rate", 8),
    _CALLS,
    Column("processes", "procs", "count", 6),
    Column("meaning", "meaning", "text", 25, grows=1),
    Column("latest", "the latest one", "text", 24, grows=3, needs=110),
)


@cache
def call_name(slot: int) -> str:
    """The call of a slot as the table names it."""
    call = all_calls().get(slot)
    if call is None:
        number = slot % events.SLOT_I386
        return "unknown" if number == events.SLOT_UNKNOWN else f"syscall_{number:#x}"
    return f"{call.name} [i386]" if call.abi == "i386" else call.name


def _groups(keys: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where equal neighbours begin, and their keys."""
    if not len(keys):
        return np.zeros(0, np.int64), keys
    at = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return at, keys[at]


def _totals(table: Table, at: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64] | list[str]]:
    """The columns of counts, added up from each of ``at`` to the next."""
    if not len(at):
        return {c: np.zeros(0) for c in ("calls", "errors", "bytes", "time", "longest", "p50", "p99", "rate")}
    sums = np.add.reduceat(table.rows.sums, at, axis=0).astype(np.float64)
    longest = np.maximum.reduceat(table.rows.longest, at)
    buckets = np.add.reduceat(table.rows.buckets, at, axis=0, dtype=np.uint64)
    return {
        **{name: sums[:, i] for i, name in enumerate(("calls", "errors", "bytes", "time"))},
        "longest": longest.astype(np.float64),
        "p50": percentile(buckets, longest, 0.50),
        "p99": percentile(buckets, longest, 0.99),
        "rate": np.add.reduceat(table.rate, at),
    }


def _taken(table: Table, which: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Table:
    return Table(table.rows.take(which), table.rate[which], table.owner[which], table.slot[which])


def _share(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    total = values.sum()
    return values / total if total else values * 0.0


def by_call(snapshot: Snapshot, owner: int | None = None) -> Grid:
    """One row a call, of all processes or of ``owner``."""
    table = snapshot.table if owner is None else _taken(snapshot.table, snapshot.table.owner == owner)
    at, slots = _groups(table.slot)
    values = _totals(table, at)
    values["name"] = [call_name(slot) for slot in slots.tolist()]
    values["share"] = _share(np.asarray(values["time"], dtype=np.float64))
    minute = snapshot.history.slots if owner is None else snapshot.history.frozen
    return Grid(CALL_COLUMNS, slots.tolist(), values, minute[slots] if minute is not None else None)


def calls_of(snapshot: Snapshot, owner: int) -> list[tuple[int, int]]:
    """(slot, calls) of one process, the most frequent call first."""
    own = snapshot.table.owner == owner
    pairs = zip(snapshot.table.slot[own].tolist(), snapshot.table.rows.sums[own, 0].tolist(), strict=True)
    return sorted(pairs, key=lambda pair: -pair[1])


def by_process(snapshot: Snapshot) -> Grid:
    """One row a process or group of ended processes; its parents are rows as well."""
    order = np.argsort(snapshot.table.owner, kind="stable")
    table = _taken(snapshot.table, order)
    at, found = _groups(table.owner)
    owners = found.tolist()
    values = _totals(table, at)
    of = [snapshot.processes.get(owner) or Process(owner, "?", 0) for owner in owners]
    values["name"] = [_process_name(process) for process in of]
    values["pid"] = np.array([0.0 if process.ended else float(process.owner) for process in of])
    values["container"] = [_container_name(process.container, "") for process in of]
    values["inside"] = np.array([float(process.inside) for process in of])
    values["share"] = _busy_share(values)
    index = {owner: i for i, owner in enumerate(owners)}
    ended = frozenset(i for i, process in enumerate(of) if process.ended)
    parents = [index.get(process.parent, -1) for process in of]
    placed = any(process.inside or process.container for process in of)
    columns = INSIDE_COLUMNS if placed else PROCESS_COLUMNS
    return Grid(columns, owners, values, _history_of(snapshot, found), parents, ended)


def _busy_share(values: Mapping[str, npt.NDArray[np.float64] | list[str]]) -> npt.NDArray[np.float64]:
    """Of the calls now, or of all where there are none now."""
    busy = np.asarray(values["rate"], dtype=np.float64)
    return _share(busy if busy.any() else np.asarray(values["calls"], dtype=np.float64))


def by_container(snapshot: Snapshot) -> Grid:
    """One row a container, one for processes in none, and one for those of which that is not known."""
    known = snapshot.processes
    of_owner = {owner: known[owner].container if owner in known else None for owner in snapshot.table.owner.tolist()}
    names = sorted(set(of_owner.values()), key=lambda name: (name is None, name or ""))
    number = {name: i for i, name in enumerate(names)}
    which = np.array([number[of_owner[owner]] for owner in snapshot.table.owner.tolist()], dtype=np.int64)
    order = np.argsort(which, kind="stable")
    at, _ = _groups(which[order])
    values = _totals(_taken(snapshot.table, order), at)
    values["name"] = [_container_name(name, "(none)") for name in names]
    members: Counter[str | None] = Counter()
    for owner, name in of_owner.items():
        members[name] += known[owner].members if owner in known else 1
    values["processes"] = np.array([float(members[name]) for name in names])
    values["share"] = _busy_share(values)
    minute = np.zeros((len(names), SECONDS), np.float32)
    for row, owner in zip(snapshot.history.by_owner, snapshot.history.owners.tolist(), strict=True):
        if owner in of_owner:
            minute[number[of_owner[owner]]] += row
    return Grid(CONTAINER_COLUMNS, names, values, minute)


def _container_name(name: str | None, none: str) -> str:
    return "?" if name is None else name or none


def _history_of(snapshot: Snapshot, owners: npt.NDArray[np.int64]) -> Floats:
    minute = np.zeros((len(owners), SECONDS), np.float32)
    known = snapshot.history.owners
    if len(known) and len(owners):
        at = np.searchsorted(known, owners).clip(max=len(known) - 1)
        hit = known[at] == owners
        minute[hit] = snapshot.history.by_owner[at[hit]]
    return minute


def _process_name(process: Process) -> str:
    if not process.ended:
        return process.name
    return f"{process.name} ×{process.members} ended" if process.members > 1 else f"{process.name} ended"


def owner_name(snapshot: Snapshot, owner: int) -> str:
    """A process for a title: its name and pid."""
    process = snapshot.processes.get(owner)
    if process is None:
        return str(owner)
    return _process_name(process) if process.ended else f"{process.name} {process.owner}"


def by_place(snapshot: Snapshot) -> Grid:
    """One row a file, as the program named it, or an address."""
    places = snapshot.places
    if places is None:
        return Grid(PLACE_COLUMNS, [], {column.name: np.zeros(0) for column in PLACE_COLUMNS})
    names = place_names(places)
    mean = np.divide(places.time, places.calls, out=np.zeros(len(places.calls)), where=places.calls > 0)
    values: dict[str, npt.NDArray[np.float64] | list[str]] = {
        "name": names,
        "rate": places.rate,
        "calls": places.calls.astype(np.float64),
        "errors": places.errors.astype(np.float64),
        "mean": mean,
        "last_call": [call_name(slot) for slot in places.slot.tolist()],
        "last_by": places.by,
    }
    return Grid(PLACE_COLUMNS, list(zip(places.kind.tolist(), places.text, strict=True)), values)


def place_names(places: Places) -> list[str]:
    """The places as they are printed: everything but plain ASCII is escaped."""
    return [_place_name(kind, text) for kind, text in zip(places.kind.tolist(), places.text, strict=True)]


def _place_name(kind: int, text: bytes) -> str:
    if kind == PATH:
        path, _, _ = text.partition(b"\0")
        return quote.escape(path) + ("…" if len(path) == PLACE_TEXT - 1 else "")
    return endpoint(text)


def by_error(snapshot: Snapshot, owner: int | None = None) -> Grid:
    """One row an errno and call, of all processes or of ``owner``."""
    errors, rate = snapshot.errors, snapshot.error_rate
    if owner is not None:
        own = unpack_keys(errors.keys)[0] == owner
        errors, rate = errors.take(own), rate[own]
    kinds = (errors.keys >> np.uint64(32)).astype(np.int64)  # sorted: the process is the lowest part
    at, found = _groups(kinds)
    pairs = [(kind >> 16, kind & 0xFFFF) for kind in found.tolist()]
    values: dict[str, npt.NDArray[np.float64] | list[str]] = {
        "name": [errno_name(number) for number, _ in pairs],
        "call": [call_name(slot) for _, slot in pairs],
        "rate": np.add.reduceat(rate, at) if len(at) else np.zeros(0),
        "calls": np.add.reduceat(errors.counts, at).astype(np.float64) if len(at) else np.zeros(0),
        "processes": np.diff(np.append(at, len(kinds))).astype(np.float64),
        "meaning": [_meaning(number) for number, _ in pairs],
        "latest": [],
    }
    values["latest"] = _latest_texts(errors.latest, at, pairs)
    return Grid(ERROR_COLUMNS, pairs, values)


def _meaning(number: int) -> str:
    _, bracket, text = errno_text(number).partition("(")
    return text.rstrip(")") if bracket else ""


def _latest_texts(
    latest: npt.NDArray[np.void], at: npt.NDArray[np.int64], pairs: Sequence[tuple[int, int]]
) -> list[str]:
    from isotrace.top.failures import failure_text

    ends = np.append(at[1:], len(latest))[: len(at)]
    found = []
    for begin, end, (number, slot) in zip(at.tolist(), ends.tolist(), pairs, strict=True):
        newest = begin + int(latest["when"][begin:end].argmax())
        found.append(failure_text(slot, number, latest[newest], with_result=False))
    return found


# ---- arrangement --------------------------------------------------------------------------------------------------


def arranged(grid: Grid, order: Order) -> Arranged:
    """The rows that match, sorted. A tree keeps its shape: siblings are sorted, and a filter flattens it."""
    ranks = _ranked(grid, order)
    if order.needle:
        needle = order.needle.lower()
        texts = [values for values in grid.values.values() if isinstance(values, list)]
        ranks = [row for row in ranks if any(needle in column[row].lower() for column in texts)]
    if grid.parents is None or order.needle:
        return Arranged(grid, ranks)
    return _as_tree(grid, ranks)


def _ranked(grid: Grid, order: Order) -> list[int]:
    values = grid.values.get(order.column)
    if order.column == "history" and grid.history is not None:
        values = grid.history.sum(axis=1).astype(np.float64)
    if values is None or not len(values):
        return list(range(len(grid)))
    if isinstance(values, list):
        return sorted(range(len(values)), key=lambda row: values[row].lower(), reverse=order.descending)
    first = -values if order.descending else values
    second = -np.asarray(grid.values["calls"], dtype=np.float64)
    ranks: list[int] = np.lexsort((second, first)).tolist()
    return ranks


def _as_tree(grid: Grid, ranks: list[int]) -> Arranged:
    parents = grid.parents or ()
    children: defaultdict[int, list[int]] = defaultdict(list)
    for row in ranks:
        children[parents[row]].append(row)
    rows: list[int] = []
    prefixes: dict[int, str] = {}
    waiting = [(row, "", "") for row in reversed(children[-1])]
    while waiting:
        row, before, below = waiting.pop()
        if row in prefixes:
            continue
        rows.append(row)
        prefixes[row] = before
        own = children[row]
        for place, child in enumerate(reversed(own)):
            last = place == 0
            waiting.append((child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")))
    seen = set(rows)
    return Arranged(grid, rows + [row for row in ranks if row not in seen], prefixes)


VIEWS: tuple[tuple[str, str], ...] = (
    ("call", "calls"),
    ("process", "processes"),
    ("file", "files & addresses"),
    ("error", "errors"),
    ("container", "containers"),
)
_GRIDS: Mapping[str, Callable[[Snapshot], Grid]] = {
    "call": lambda snapshot: by_call(snapshot, snapshot.frozen),
    "process": by_process,
    "file": by_place,
    "error": lambda snapshot: by_error(snapshot, snapshot.frozen),
    "container": by_container,
}


def grid_of(view: str, snapshot: Snapshot) -> Grid:
    """The grid of one of ``VIEWS``."""
    return _GRIDS[view](snapshot)


def histogram(snapshot: Snapshot, owner: int | None, slot: int | None) -> npt.NDArray[np.int64]:
    """``(32,)``: the latencies of an owner, a call, or both."""
    table = snapshot.table
    which = np.ones(len(table.rows), dtype=bool)
    if owner is not None:
        which &= table.owner == owner
    if slot is not None:
        which &= table.slot == slot
    if not which.any():
        return np.zeros(BUCKETS, np.int64)
    found: npt.NDArray[np.int64] = table.rows.buckets[which].sum(axis=0, dtype=np.int64)
    return found
