"""The kernel's tables made by hand, for tests of `isotrace top` that need no kernel."""

from __future__ import annotations

import numpy as np

from isotrace.backends.counts import BUCKETS, ERROR, PLACE, PLACE_TEXT, TOUCH, Errors, Losses, Rows
from isotrace.trace.plan import all_calls

SLOT = {call.name: slot for slot, call in sorted(all_calls().items(), reverse=True) if slot < 1024}


def rows(*entries) -> Rows:
    """(pid, call, calls, fields…): errors, bytes, and latencies as {bucket: calls}."""
    found = []
    for pid, call, calls, *more in entries:
        fields = more[0] if more else {}
        buckets = np.zeros(BUCKETS, np.uint32)
        for bucket, number in fields.get("buckets", {4: calls}).items():
            buckets[bucket] = number
        sums = [calls, fields.get("errors", 0), fields.get("bytes", 0), fields.get("time", calls * 1000)]
        found.append((SLOT[call] << 32 | pid, sums, fields.get("longest", 2000), buckets))
    found.sort(key=lambda row: row[0])
    if not found:
        return Rows.empty()
    keys, sums, longest, buckets = zip(*found, strict=True)
    return Rows(
        np.array(keys, np.uint64), np.array(sums, np.uint64), np.array(longest, np.uint64), np.array(buckets, np.uint32)
    )


def errors(*entries) -> Errors:
    """(pid, call, errno, count, path, args)."""
    found = []
    for pid, call, number, count, path, *args in entries:
        latest = np.zeros(1, ERROR)
        latest["count"], latest["when"], latest["text"] = count, len(found) + 1, path
        latest["args"][0, : len(args)] = np.array(args, np.uint64)
        found.append((number << 48 | SLOT[call] << 32 | pid, count, latest))
    found.sort(key=lambda row: row[0])
    return Errors(
        np.array([key for key, _, _ in found], np.uint64),
        np.array([count for _, count, _ in found], np.uint64),
        np.concatenate([np.zeros(0, ERROR), *(latest for _, _, latest in found)]),
    )


class Recorded:
    """Tables that a test sets; ``forget`` removes as the kernel would."""

    has_places = True
    capacity = 65536

    def __init__(self) -> None:
        self.table, self.failures = rows(), errors()
        self.comms: dict[int, tuple[bytes, int]] = {}
        self.where: dict[int, tuple[str | None, int]] = {}
        self.used: list[tuple[int, bytes, int]] = []
        self.pushed_out = 0
        self.lost = Losses()
        self.ended: set[int] = set()

    def rows(self) -> Rows:
        return self.table

    def errors(self) -> Errors:
        return self.failures

    def gone(self):
        return set(self.ended)

    def names(self):
        return dict(self.comms)

    def whereabouts(self):
        return dict(self.where)

    def places(self):
        keys, touches = np.zeros(len(self.used), PLACE), np.zeros(len(self.used), TOUCH)
        for i, (kind, text, calls) in enumerate(self.used):
            keys[i] = (kind, np.void(text.ljust(PLACE_TEXT, b"\0")))
            touches[i] = (calls, 1, calls * 500, next(iter(self.comms), 1), SLOT["openat"], 2)
        return keys, touches

    def touched(self) -> int:
        return sum(calls for _, _, calls in self.used) + self.pushed_out

    def forget(self, gone: Rows, failures: Errors, pids: set[int]) -> None:
        self.table = self.table.take(~np.isin(self.table.keys, gone.keys))
        self.failures = self.failures.take(~np.isin(self.failures.keys, failures.keys))
        self.comms = {pid: row for pid, row in self.comms.items() if pid not in pids}

    def forget_places(self) -> None:
        self.used = []

    def losses(self) -> Losses:
        return self.lost


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
