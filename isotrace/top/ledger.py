"""Arithmetic on tables of counts: what came since the last look, what belongs together, who has ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from isotrace.backends.counts import BUCKET_SHIFT, BUCKETS, Errors, Rows
from isotrace.top.model import GROUPS, Process

Keys = npt.NDArray[np.uint64]
Values = TypeVar("Values", bound=npt.NDArray[np.generic])
PID = np.uint64(0xFFFFFFFF)  # the part of a key that is the owner
_MOST_GROUPS = 512
_MOST_TOMBSTONES = 8192
_DEEPEST = 4
OTHERS = "(others)"


def aligned(keys: Keys, known: Keys, values: Values) -> Values:
    """The ``values`` of ``known`` (sorted) in the order of ``keys``; zero for keys that are not known."""
    found = np.zeros((len(keys), *values.shape[1:]), dtype=values.dtype)
    if len(known):
        at = np.searchsorted(known, keys).clip(max=len(known) - 1)
        hit = known[at] == keys
        found[hit] = values[at[hit]]
    return found  # type: ignore[return-value]


def less(rows: Rows, base: Rows) -> Rows:
    """``rows`` without what ``base`` counted. The longest call since then is known as closely as its bucket."""
    if not len(base):
        return rows
    sums = rows.sums - aligned(rows.keys, base.keys, base.sums)
    buckets = rows.buckets - aligned(rows.keys, base.keys, base.buckets)
    highest = BUCKETS - 1 - (buckets[:, ::-1] > 0).argmax(axis=1)
    bound = np.where(buckets.any(axis=1), np.uint64(1) << (highest + BUCKET_SHIFT).astype(np.uint64), np.uint64(0))
    same = rows.longest == aligned(rows.keys, base.keys, base.longest)
    longest = np.where(same, np.minimum(rows.longest, bound), rows.longest)
    kept = sums[:, 0] > 0
    return Rows(rows.keys, sums, longest, buckets).take(kept)


def less_errors(errors: Errors, base: Errors) -> Errors:
    """``errors`` without what ``base`` counted."""
    if not len(base):
        return errors
    counts = errors.counts - aligned(errors.keys, base.keys, base.counts)
    return Errors(errors.keys, counts, errors.latest).take(counts > 0)


def _starts(keys: Keys) -> npt.NDArray[np.int64]:
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)


def merged(parts: Iterable[tuple[Rows, npt.NDArray[np.float64]]]) -> tuple[Rows, npt.NDArray[np.float64]]:
    """All rows in one table, sorted, those of one key added up; the second of each pair is added up alike."""
    pairs = [pair for pair in parts if len(pair[0])]
    if not pairs:
        return Rows.empty(), np.zeros(0)
    if len(pairs) == 1 and not (pairs[0][0].keys[1:] <= pairs[0][0].keys[:-1]).any():
        return pairs[0]
    rows = Rows(
        *(np.concatenate([getattr(r, name) for r, _ in pairs]) for name in ("keys", "sums", "longest", "buckets"))
    )
    extra = np.concatenate([e for _, e in pairs])
    if (rows.keys[1:] <= rows.keys[:-1]).any():
        order = np.argsort(rows.keys, kind="stable")
        rows, extra = rows.take(order), extra[order]
    at = _starts(rows.keys)
    if len(at) == len(rows):
        return rows, extra
    return Rows(
        rows.keys[at],
        np.add.reduceat(rows.sums, at, axis=0),
        np.maximum.reduceat(rows.longest, at),
        np.add.reduceat(rows.buckets, at, axis=0),
    ), np.add.reduceat(extra, at)


def merged_errors(parts: Iterable[tuple[Errors, npt.NDArray[np.float64]]]) -> tuple[Errors, npt.NDArray[np.float64]]:
    """The same for errors; of those with one key the latest failure stays."""
    pairs = list(parts)
    keys = np.concatenate([e.keys for e, _ in pairs])
    counts = np.concatenate([e.counts for e, _ in pairs])
    latest = np.concatenate([e.latest for e, _ in pairs])
    extra = np.concatenate([x for _, x in pairs])
    if not len(keys):
        return Errors(keys, counts, latest), extra
    order = np.lexsort((latest["when"], keys))
    keys, counts, latest, extra = keys[order], counts[order], latest[order], extra[order]
    at = _starts(keys)
    last = np.append(at[1:], len(keys)) - 1
    return Errors(keys[at], np.add.reduceat(counts, at), latest[last]), np.add.reduceat(extra, at)


def renamed(keys: Keys, owners: Mapping[int, int]) -> Keys:
    """``keys`` with their owners replaced where ``owners`` has another."""
    if not owners or not len(keys):
        return keys
    old = np.array(sorted(owners), dtype=np.uint64)
    new = np.array([owners[int(pid)] for pid in old], dtype=np.uint64)
    pids = keys & PID
    at = np.searchsorted(old, pids).clip(max=len(old) - 1)
    return np.where(old[at] == pids, (keys & ~PID) | new[at], keys)


#: What a group's members have in common: the parent, the name, the container.
_Key = tuple[int, str, str | None]


class Groups:
    """Ended processes, counted together where name, parent and container are the same: a loop that starts programs stays
    one row.
    """

    def __init__(self) -> None:
        self._of: dict[_Key, int] = {}
        self._key: dict[int, _Key] = {}
        self._members: dict[int, int] = {}
        self._next = GROUPS
        self._tombstones: dict[int, int] = {}  # the latest pids to have ended → their groups

    def processes(self) -> dict[int, Process]:
        """Owner → group."""
        found = {}
        for owner, members in self._members.items():
            parent, name, container = self._key[owner]
            found[owner] = Process(owner, name, parent, members, container)
        return found

    def clear(self) -> None:
        """Forget them all."""
        self._of.clear()
        self._key.clear()
        self._members.clear()

    def retire(self, dead: set[int], living: Mapping[int, Process]) -> dict[int, int]:
        """Put processes that have ended into groups. Returns what owner becomes what other, groups included."""
        moved: dict[int, int] = {}
        for pid in dead:
            self._retire(pid, dead, living, moved)
        while orphans := [(owner, *key) for owner, key in self._key.items() if key[0] in moved]:
            owner, parent, name, container = orphans[0]
            moved[owner] = self._rehang(owner, (moved[parent], name, container))
        return {old: _last(new, moved) for old, new in moved.items()}

    def _retire(self, pid: int, dead: set[int], living: Mapping[int, Process], moved: dict[int, int]) -> int:
        chain = [pid]
        while (parent := _parent(chain[-1], living)) in dead and parent not in moved and parent not in chain:
            chain.append(parent)
        for one in reversed(chain):
            if one not in moved:
                parent = _parent(one, living)
                name, container = (living[one].name, living[one].container) if one in living else ("?", None)
                parent = moved[parent] if parent in moved else self._found(parent, living)
                moved[one] = self._group((parent, name, container))
                self._members[moved[one]] += 1
                self._tombstones[one] = moved[one]
        while len(self._tombstones) > _MOST_TOMBSTONES:
            self._tombstones.pop(next(iter(self._tombstones)))
        return moved[pid]

    def _found(self, parent: int, living: Mapping[int, Process]) -> int:
        """The owner that a parent is now: itself, the group that it went into, or nobody."""
        if parent in living:
            return parent
        tombstone = self._tombstones.get(parent, 0)
        return tombstone if tombstone in self._key else 0

    def _group(self, key: _Key) -> int:
        parent, *rest = key
        if parent in self._key and self._key[parent][1:] == tuple(rest):
            return parent  # a program that forks and exits, over and over, is no chain of groups
        if self._depth(parent) >= _DEEPEST:
            key = 0, key[1], key[2]
        if key not in self._of and len(self._of) >= _MOST_GROUPS:
            key = 0, OTHERS, key[2]
        if key not in self._of and len(self._of) >= 2 * _MOST_GROUPS:
            key = 0, OTHERS, None
        if key not in self._of:
            owner = self._next
            self._next += 1
            self._of[key], self._key[owner], self._members[owner] = owner, key, 0
        return self._of[key]

    def _depth(self, owner: int) -> int:
        depth = 0
        while owner in self._key and depth < _DEEPEST:
            owner, depth = self._key[owner][0], depth + 1
        return depth

    def _rehang(self, owner: int, key: _Key) -> int:
        """The parent of a group has ended, too."""
        del self._of[self._key.pop(owner)]
        members = self._members.pop(owner)
        into = self._group(key)
        self._members[into] += members
        return into


def _last(owner: int, moved: Mapping[int, int]) -> int:
    while owner in moved:
        owner = moved[owner]
    return owner


def _parent(pid: int, living: Mapping[int, Process]) -> int:
    return living[pid].parent if pid in living else 0
