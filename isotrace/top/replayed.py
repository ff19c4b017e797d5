"""The tables of the live table, counted from the records of a recording as bpf/counts.c counts calls."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from isotrace.backends.counts import (
    ADDRESS,
    BUCKET_SHIFT,
    BUCKETS,
    ERROR,
    PATH,
    PLACE,
    PLACE_TEXT,
    TOUCH,
    Errors,
    Losses,
    Rows,
    described,
)
from isotrace.backends.counts import CALL as DESCRIBED
from isotrace.recording import captures
from isotrace.top import ledger
from isotrace.trace import events, plan, whereabouts
from isotrace.trace.events import PART_SELF, Batch

_TEXT = 63  # bytes of a failure's path, and a NUL
_Mask = npt.NDArray[np.bool_]


@cache
def _described() -> npt.NDArray[np.void]:
    """``(SLOTS,)``: what bpf/counts.c knows of each call."""
    found = np.zeros(events.SLOTS, dtype=DESCRIBED)
    for slot, call in plan.all_calls().items():
        found[slot] = np.frombuffer(described(call, True), dtype=DESCRIBED)[0]
    return found


@cache
def _places() -> npt.NDArray[np.uint16]:
    """Slot → the argument that names a file or an address."""
    table = _described()
    return np.where(table["place"] > 0, captures.place(0, PART_SELF) + table["arg"], captures.NOWHERE).astype(np.uint16)


class NotRecorded(Losses):
    """``calls`` that have no record."""

    def lines(self) -> list[str]:
        """A sentence, if there are any."""
        return [f"{self.calls} calls were lost when this was recorded"] if self.calls else []


class Replayed:
    """Counts what ``add`` is given."""

    has_places = True
    capacity = 1 << 62

    def __init__(self) -> None:
        self._rows = Rows.empty()
        self._errors = Errors(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, dtype=ERROR))
        self._names: dict[int, tuple[bytes, int]] = {}
        self._places: dict[int, tuple[str | None, int]] = {}
        self._gone: set[int] = set()
        self._touches: dict[tuple[int, bytes], np.void] = {}
        self._touched = self.lost = 0
        self._given: dict[int, bytes | None] = {}  # by task: the path that an execve was given

    def add(self, batch: Batch) -> None:
        """Count the records of a batch."""
        found = batch.events
        is_call = found["kind"] == events.CALL
        failed = events.failed(found)
        texts = self._texts(batch)
        self._name(found)
        self._place(batch)
        self._count(found, is_call, failed)
        self._fail(found, failed, texts)
        self._touch(found, failed, texts)
        self._gone.update(found["pid"][events.ends(found) & (found["pid"] == found["tid"])].tolist())
        self.lost += int(found["result"][found["kind"] == events.LOST].sum())

    # ---- counting -------------------------------------------------------------------------------------------------

    def _count(self, found: npt.NDArray[np.void], is_call: _Mask, failed: _Mask) -> None:
        rows = found[is_call]
        keys = rows["slot"].astype(np.uint64) << np.uint64(32) | rows["pid"]
        moved = np.where(_described()["bytes"][rows["slot"]] & (rows["result"] > 0), rows["result"], 0)
        ones = np.ones(len(rows), dtype=np.uint64)
        columns = (ones, failed[is_call].astype(np.uint64), moved.astype(np.uint64), rows["duration"])
        buckets = np.zeros((len(rows), BUCKETS), dtype=np.uint32)
        timed = np.flatnonzero(rows["duration"])
        magnitude = np.frexp(rows["duration"][timed].astype(np.float64))[1]  # as bpf_log2l: of 1 it is 1
        buckets[timed, (magnitude - BUCKET_SHIFT).clip(0, BUCKETS - 1)] = 1
        new = Rows(keys, np.stack(columns, axis=1), rows["duration"].copy(), buckets)
        parts = [(one, np.zeros(len(one))) for one in (self._rows, new)]
        self._rows, _ = ledger.merged(parts)

    def _fail(self, found: npt.NDArray[np.void], failed: _Mask, texts: list[bytes | None]) -> None:
        index = np.flatnonzero(failed)
        if not len(index):
            return
        rows = found[index]
        numbers = (-rows["result"]).astype(np.uint64)
        keys = numbers << np.uint64(48) | rows["slot"].astype(np.uint64) << np.uint64(32) | rows["pid"]
        latest = np.zeros(len(rows), dtype=ERROR)
        latest["when"], latest["args"] = rows["time"], rows["args"]
        paths = _described()["place"][rows["slot"]] == PATH
        latest["text"] = [
            (texts[i] or b"")[:_TEXT] if path else b"" for i, path in zip(index.tolist(), paths.tolist(), strict=True)
        ]
        new = Errors(keys, np.ones(len(rows), dtype=np.uint64), latest)
        self._errors, _ = ledger.merged_errors([(one, np.zeros(len(one))) for one in (self._errors, new)])

    def _name(self, found: npt.NDArray[np.void]) -> None:
        """The name of each process is its leader's latest; another thread's where that has not called yet."""
        found = found[found["kind"] != events.REFUSED]  # who has no parent in it
        for rows, certain in ((found, False), (found[found["pid"] == found["tid"]], True)):
            last = rows[::-1]
            _, index = np.unique(last["pid"], return_index=True)
            columns = (last[name][index].tolist() for name in ("pid", "comm", "ppid"))
            for pid, comm, ppid in zip(*columns, strict=True):
                if pid and (certain or pid not in self._names):
                    self._names[pid] = (comm, ppid)

    def _place(self, batch: Batch) -> None:
        """Where each process was at its latest record, where that was recorded."""
        told = np.flatnonzero(batch.whereabouts)[::-1]
        pids, index = np.unique(batch.events["pid"][told], return_index=True)
        for pid, at in zip(pids.tolist(), told[index].tolist(), strict=True):
            if found := whereabouts.at(batch, at):
                self._places[pid] = found.container, found.pid

    # ---- files and addresses ----------------------------------------------------------------------------------------

    def _texts(self, batch: Batch) -> list[bytes | None]:
        """The path or address of each record; of an execve that failed the path that it was given."""
        found = batch.events
        which = _places()[found["slot"]]
        which = np.where((found["kind"] == events.CALL) | (found["kind"] == events.EXEC_ENTER), which, captures.NOWHERE)
        which = np.where(found["kind"] == events.EXEC_NAME, captures.place(0, PART_SELF), which).astype(np.uint16)
        at = batch.starts + events.EVENT.itemsize
        picked = captures.pick(pa.py_buffer(batch.data), at, found["blobs"], which)
        texts: list[bytes | None] = [None if raw is None else raw for raw in picked.to_pylist()]
        kinds, slots = found["kind"], found["slot"]
        execs = (kinds == events.EXEC_ENTER) | ((kinds == events.CALL) & plan.execs()[slots])
        for index in np.flatnonzero(execs).tolist():
            task = int(found["args"][index, 5])
            if kinds[index] == events.EXEC_ENTER:
                self._given[task], texts[index] = texts[index], None
            else:
                given = self._given.pop(task, None)
                texts[index] = given if found["result"][index] < 0 else None
        return texts

    def _touch(self, found: npt.NDArray[np.void], failed: _Mask, texts: list[bytes | None]) -> None:
        names = ("kind", "slot", "pid", "duration", "result")
        columns = (found[name].tolist() for name in names)
        paths = _described()["place"].tolist()
        for text, bad, kind, slot, pid, spent, result in zip(texts, failed.tolist(), *columns, strict=True):
            if not text or (kind != events.CALL and kind != events.EXEC_NAME):
                continue
            is_path = kind == events.EXEC_NAME or paths[slot] == PATH
            key = (PATH, text.rstrip(b"\0")[: PLACE_TEXT - 1]) if is_path else (ADDRESS, text[:PLACE_TEXT])
            if not key[1] or (not is_path and len(text) <= 2):
                continue
            touch = self._touches.get(key)
            if touch is None:
                touch = self._touches[key] = np.zeros(1, dtype=TOUCH)[0]
            self._touched += 1
            touch["calls"] += 1
            touch["time"] += spent
            touch["pid"], touch["slot"] = pid, slot
            if bad:
                touch["errors"] += 1
                touch["number"] = -result

    # ---- what source.Tables asks --------------------------------------------------------------------------------------

    def rows(self) -> Rows:
        """Calls, sorted by key."""
        return self._rows

    def errors(self) -> Errors:
        """Failures, sorted by key."""
        return self._errors

    def places(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """Files and addresses with their counts."""
        keys = np.zeros(len(self._touches), dtype=PLACE)
        for row, (kind, text) in zip(keys, self._touches, strict=True):
            row["kind"], row["text"] = kind, text.ljust(PLACE_TEXT, b"\0")
        return keys, np.array(list(self._touches.values()), dtype=TOUCH)

    def touched(self) -> int:
        """Uses of places in all."""
        return self._touched

    def names(self) -> dict[int, tuple[bytes, int]]:
        """Process → name, parent, of those that have rows."""
        return dict(self._names)

    def whereabouts(self) -> dict[int, tuple[str | None, int]]:
        """Process → container, number in the pid namespace below isotrace's, where that was recorded."""
        return dict(self._places)

    def gone(self) -> set[int]:
        """Processes that have ended."""
        return set(self._gone)

    def forget(self, rows: Rows, errors: Errors, pids: set[int]) -> None:
        """Remove what is counted elsewhere from now on."""
        self._rows = self._rows.take(~np.isin(self._rows.keys, rows.keys))
        self._errors = self._errors.take(~np.isin(self._errors.keys, errors.keys))
        self._gone -= pids
        for pid in pids:
            self._names.pop(pid, None)
            self._places.pop(pid, None)

    def forget_places(self) -> None:
        """Empty the table of places."""
        self._touches.clear()

    def losses(self) -> Losses:
        """What the recording lacks."""
        return NotRecorded(calls=self.lost)
