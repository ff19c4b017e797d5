"""Some of a recording's records, by the conditions that a live run takes: who, and which calls."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from isotrace.recording import encode, schema
from isotrace.trace import events, names, plan
from isotrace.trace.events import Batch
from isotrace.trace.target import Target

_NOBODY = 0xFFFFFFFF  # no user's number
_Mask = npt.NDArray[np.bool_]


@dataclass
class Descendants:
    """Who descends from a target, as records tell: births, and the parent of a process when it is first met."""

    family: set[int]
    _met: set[int] = field(default_factory=set)

    def learn(self, rows: npt.NDArray[np.void]) -> None:
        """Processes that ran before: ``rows`` have pid and ppid."""
        parents = list(zip(rows["pid"].tolist(), rows["ppid"].tolist(), strict=True))
        self._met.update(pid for pid, _ in parents)
        before = -1
        while before != len(self.family):
            before = len(self.family)
            self.family.update(pid for pid, ppid in parents if ppid in self.family)

    def members(self, found: npt.NDArray[np.void], matches: _Mask, births: _Mask) -> _Mask:
        """Which records are of members, where ``matches`` makes one; ``births`` are calls whose result is a child."""
        kept = np.zeros(len(found), dtype=bool)
        columns = [found[name].tolist() for name in ("pid", "ppid", "result")]
        family, met = self.family, self._met
        for index, (pid, ppid, child, match, birth) in enumerate(
            zip(*columns, matches.tolist(), births.tolist(), strict=True)
        ):
            if pid not in met and (ppid or pid in family):
                met.add(pid)
                if ppid in family:
                    family.add(pid)
            if match:
                family.add(pid)
            if pid in family:
                kept[index] = True
                if birth:
                    family.add(child)
                    met.add(child)
        return kept


class Chosen:
    """What of a recording is to be shown. ``calls`` None is all; ``until`` is in ns since the epoch."""

    def __init__(
        self,
        target: Target,
        calls: frozenset[str] | None = None,
        *,
        quiet: bool = False,
        until: int | None = None,
    ) -> None:
        self._target, self._quiet, self._until = target, quiet, until
        self._calls = None if calls is None else plan.selected(calls)
        self._tree = Descendants(set(target.tree)) if target.tree else None
        self._followed = Descendants(set()) if target.follow else None
        self._tasks: dict[int, tuple[int, int]] = {}  # process → parent and user, which refusals do not have

    def learn(self, rows: pa.RecordBatch) -> None:
        """Take what the rows that are no records tell."""
        if self._tree is None and self._followed is None:
            return
        found = encode.records(rows)
        before = found[found["kind"] == schema.PROCESS]
        matches = self._matches(before)
        if self._tree:
            self._tree.learn(before)
            matches &= np.isin(before["pid"], list(self._tree.family))
        if self._followed:
            self._followed.family.update(before["pid"][matches].tolist())
            self._followed.learn(before)

    def of(self, batch: Batch) -> Batch:
        """The records of ``batch`` that are wanted."""
        kept = self._members(self._completed(batch.events)) & self._kinds(batch.events)
        if self._until is not None:
            kept &= batch.events["time"].astype(np.int64) + batch.wall <= self._until
        return batch if kept.all() else batch.select(kept)

    def over(self, batch: Batch) -> bool:
        """Whether nothing after this batch can be wanted any more."""
        return self._until is not None and len(batch) > 0 and int(batch.events["time"].min()) + batch.wall > self._until

    def _completed(self, found: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The records, with parent and user of those that are refusals as other records of their processes have them."""
        refused = found["kind"] == events.REFUSED
        others = found[~refused & (found["kind"] != events.LOST)]
        _, last = np.unique(others["pid"][::-1], return_index=True)
        rows = others[::-1][last]
        who = zip(rows["ppid"].tolist(), rows["uid"].tolist(), strict=True)
        self._tasks.update(zip(rows["pid"].tolist(), who, strict=True))
        if refused.any():
            found = found.copy()
            for index in np.flatnonzero(refused).tolist():
                found["ppid"][index], found["uid"][index] = self._tasks.get(int(found["pid"][index]), (0, _NOBODY))
        return found

    def _matches(self, found: npt.NDArray[np.void]) -> _Mask:
        """The conditions on a task itself."""
        target = self._target
        kept = np.ones(len(found), dtype=bool)
        uids = () if target.uid is None else (target.uid,)
        for name, values in (("pid", target.pid), ("ppid", target.ppid), ("uid", uids)):
            if values:
                kept &= np.isin(found[name], values)
        if target.comm:
            comms, where = np.unique(found["comm"], return_inverse=True)
            kept &= np.array([names.match(target.comm, name) for name in comms.tolist()], dtype=bool)[where]
        return kept

    def _members(self, found: npt.NDArray[np.void]) -> _Mask:
        matches = self._matches(found)
        births = (found["kind"] == events.CALL) & plan.forks()[found["slot"]] & (found["result"] > 0)
        if self._tree:
            matches &= self._tree.members(found, np.zeros(len(found), dtype=bool), births)
        return self._followed.members(found, matches, births) if self._followed else matches

    def _kinds(self, found: npt.NDArray[np.void]) -> _Mask:
        kinds = found["kind"]
        kept = np.ones(len(found), dtype=bool)
        if self._calls is not None:
            of_none = (kinds == events.TASK_EXIT) | (kinds == events.SIGNAL) | (kinds == events.EXEC_NAME)
            kept &= of_none | self._calls[found["slot"]]
        if self._quiet:
            kept &= kinds != events.SIGNAL
        return kept
