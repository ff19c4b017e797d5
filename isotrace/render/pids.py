"""The names of processes behind their numbers: ``log --decode-pids=comm``."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from isotrace.catalog.model import Syscall
from isotrace.decode.quote import comm
from isotrace.render.rows import Column, Rows
from isotrace.trace import events, plan
from isotrace.trace.events import Batch

_KNOWN = 65536  # threads whose names are remembered
#: What a record's ``pad`` says of who is in the namespace where numbers are those of records.
_OURS = 1
_SENDER = re.compile(r"\bsi_pid=(\d+)")


class Names:
    """What threads were called when they were seen last, by their own records.

    Who was not seen, or has ended, has no name.
    """

    def __init__(self) -> None:
        self._before: dict[int, bytes] = {}
        self._places: dict[int, list[int]] = {}  # thread → its records in the batch
        self._comms: list[bytes] = []
        self._ends: list[bool] = []
        self._enters: list[bool] = []

    def take(self, batch: Batch) -> None:
        """Go on to a batch, which is behind the one before."""
        for tid, places in self._places.items():
            if self._ends[places[-1]]:
                self._before.pop(tid, None)
            else:
                self._before[tid] = self._comms[places[-1]]
        if len(self._before) > _KNOWN:
            self._before.clear()
        self._ends = (batch.events["kind"] == events.TASK_EXIT).tolist()
        found: dict[int, list[int]] = defaultdict(list)
        rows, kinds = batch.events, batch.events["kind"]
        own = ((kinds != events.LOST) & (kinds != events.REFUSED)).tolist()
        bears = (kinds == events.CALL) & plan.forks()[rows["slot"]] & (rows["pad"] == _OURS) & (rows["result"] > 0)
        born = np.where(bears, rows["result"], 0).tolist()
        for index, tid in enumerate(rows["tid"].tolist()):
            if own[index]:
                found[tid].append(index)
            child = born[index]
            if child and not self._lives(child, found):  # who is born has the name of who bore it
                found[child].append(index)
        self._places, self._comms = dict(found), batch.events["comm"].tolist()
        self._enters = (kinds == events.EXEC_ENTER).tolist()

    def _lives(self, tid: int, places: Mapping[int, list[int]]) -> bool:
        """Whether a thread is known, by what has been looked at so far, and has not ended."""
        seen = places.get(tid)
        return not self._ends[seen[-1]] if seen else tid in self._before

    def began(self, index: int, tid: int) -> str:
        """What the thread was called when the call of record ``index`` began: an execve, whose beginning has a record, ends
        under the name of another program.
        """
        places = self._places.get(tid, [])
        seen = bisect_right(places, index)
        for place in reversed(places[max(seen - 3, 0) : seen]):
            if self._enters[place]:
                return comm(self._comms[place])
        return comm(self._comms[index])

    def at(self, index: int, number: int) -> str:
        """``<bash>`` of a thread as it was when record ``index`` of the batch was made; "" where that is not known."""
        name = self._before.get(number)
        places = self._places.get(number, [])
        if seen := bisect_right(places, index):
            last = places[seen - 1]
            name = None if self._ends[last] and last != index else self._comms[last]
        return f"<{comm(name)}>" if name is not None else ""


class Pids:
    """Puts names behind the numbers of processes in the calls of one kind."""

    def __init__(self, call: Syscall, names: Names) -> None:
        self._names = names
        self._places = [index for index, arg in enumerate(call.args) if arg.kind == "pid"]
        self._returns = call.ret == "pid"

    def beside(self, rows: Rows, args: list[Column], results: Column) -> tuple[list[Column], Column]:
        """The columns of arguments and the results, with the names of those that are known."""
        ours = [level == _OURS for level in rows.field("pad")]
        if not any(ours):
            return args, results
        args = args.copy()
        for place in self._places:
            args[place] = self._named(rows, args[place], ours)
        if self._returns:
            results = self._named(rows, results, ours)
        return args, results

    def _named(self, rows: Rows, texts: Column, ours: list[bool]) -> Column:
        return [
            text + self._names.at(index, int(text)) if here and text.isdecimal() and text.isascii() else text
            for index, text, here in zip(rows.index, texts, ours, strict=True)
        ]


def with_sender(text: str, batch: Batch, index: int, names: Names) -> str:
    """A signal with the name of who sent it: ``si_pid=12<sh>``."""
    if batch.events["pad"][index] != _OURS:
        return text
    return _SENDER.sub(lambda match: match[0] + names.at(index, int(match[1])), text)
