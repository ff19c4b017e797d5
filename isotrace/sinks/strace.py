"""The file that ``strace -f -o FILE`` writes, for programs that read those: ``PID TIME call(…) = result <duration>``.

A record comes when its call has returned. strace prints a line when the call begins, breaks it off with
``<unfinished ...>`` as soon as another thread has something to show, and goes on at the end with ``<... NAME resumed>``. So
lines are kept back for a moment, and written in the order in which calls began and ended.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Protocol

import numpy as np

from isotrace.catalog.model import Syscall
from isotrace.catalog.rings import PREFIX
from isotrace.decode.quote import comm
from isotrace.process.telling import say
from isotrace.render import stacks
from isotrace.render.halves import halves
from isotrace.render.lines import Decoded
from isotrace.render.stamps import stamp
from isotrace.sinks import refusals
from isotrace.sinks.formats import Beside
from isotrace.trace import events
from isotrace.trace.events import Batch

_ALIGN = 40  # the column of the equals sign
_HOLD = 250_000_000  # ns that what has returned waits for what began before and returns later
_NEVER = 1 << 63


class Output(Protocol):
    """Where lines go."""

    def write(self, data: bytes) -> object:
        """Write all of it."""


@dataclass(slots=True)
class _Entry:
    """A call that returned, and when (ns, monotonic). ``first`` is the thread that began it, by its number then."""

    tid: int
    first: int
    began: int
    ended: int
    decoded: Decoded
    position: int
    text: str
    who: str = ""  # behind the number of the thread

    @property
    def name(self) -> str:
        return self.decoded.name[self.position]

    def halves(self) -> tuple[str, str]:
        return halves(self.decoded, self.position)


@dataclass(slots=True)
class _Begun(_Entry):
    """A call that a thread was seen in."""


@dataclass(slots=True)
class _Notice:
    """Something that is no call; ``ends``: the thread, ``aside``: it belongs on standard error."""

    tid: int
    text: str
    ends: bool = False
    aside: bool = False
    who: str = ""


_Shown = _Entry | _Begun | _Notice
#: When (ns, monotonic), the number of the record, whether a call ends then, and what.
_Point = tuple[int, int, bool, _Shown]


_order = itemgetter(0, 1, 2)
_when = itemgetter(0)


class Strace:
    """Writes them. What is no line of strace's, a loss or a refusal, is said on standard error when it is its turn."""

    def __init__(self, output: Output, calls: Mapping[int, Syscall], beside: Beside) -> None:
        self._decoder = beside.decoder(calls)
        self._lines = _Lines(output, beside)
        self._refusals = refusals.Lines()
        self._points: list[_Point] = []
        self._count = 0  # of records
        self._taken: dict[int, tuple[int, int]] = {}  # number of a process → the thread that took it, and when
        self._written = 0  # all before this time has been written
        self._came = 0  # when a batch came last
        self._latest = 0  # the latest time of a record

    def write(self, batch: Batch) -> None:
        """Take the records of a batch, and write what is old enough."""
        if not len(batch):
            return
        if batch.wall != self._lines.wall:  # of another boot, or somebody has set the clock
            self._drain(_NEVER)
            self._lines.another(batch.wall)
            self._written = self._latest = 0
        self._came = time.monotonic_ns()
        self._take_notices(batch)
        self._take_calls(batch)
        self._count += len(batch)
        told = batch.events[np.isin(batch.events["kind"], (events.CALL, events.TASK_EXIT, events.SIGNAL))]
        if len(told):
            self._latest = max(self._latest, int(told["time"].max()))
            self._drain(self._latest - _HOLD)

    def flush(self) -> None:
        """Write what waits if nothing has come for a while."""
        if time.monotonic_ns() - self._came >= _HOLD:
            self._drain(self._latest + 1)

    def complete(self) -> None:
        """Write all that waits."""
        self._drain(_NEVER)
        self._lines.detach()

    # ---- what comes ---------------------------------------------------------------------------------------------------

    def _put(self, when: int, index: int, what: _Shown, ends: bool = False) -> None:
        self._points.append((when, self._count + index, ends, what))

    def _take_notices(self, batch: Batch) -> None:
        times, tids, kinds = (batch.events[name].tolist() for name in ("time", "tid", "kind"))
        takers = batch.events["args"][:, 0].tolist()
        for index, text in self._decoder.notices(batch):
            ends, lost = kinds[index] == events.TASK_EXIT, kinds[index] == events.LOST
            if ends and takers[index]:
                self._taken[tids[index]] = takers[index], times[index]
            if lost:
                text = self._of(batch, index) + text.strip("* ")
            self._put(times[index], index, _Notice(tids[index], text, ends, lost, self._decoder.who(batch, index)))
        for index, (record, held) in batch.refused.items():
            text = self._of(batch, index) + self._refusals.said(record, held)
            self._put(times[index], index, _Notice(tids[index], text, aside=True))

    @staticmethod
    def _of(batch: Batch, index: int) -> str:
        row = batch.events[index]
        return f"{row['tid']} {comm(bytes(row['comm']))}: "

    def _take_calls(self, batch: Batch) -> None:
        for decoded in self._decoder.decode(batch):
            if decoded.call and decoded.call.name.startswith(PREFIX):
                continue  # an operation of io_uring is no call of its thread's: strace does not show it
            names = ("tid", "time", "duration", "kind")
            columns = [decoded.rows.field(name) for name in names]
            texts = zip(decoded.rows.index, *columns, decoded.texts(), strict=True)
            for position, (index, tid, ended, spent, kind, text) in enumerate(texts):
                who = self._decoder.who(batch, index)
                if kind == events.UNFINISHED:
                    began = ended - spent
                    self._put(began, index, _Begun(tid, tid, began, ended, decoded, position, text, who))
                    continue
                entry = _Entry(tid, tid, ended - spent, ended, decoded, position, text, who)
                if self._taken and (taken := self._taken.get(tid)) and entry.began < taken[1] < ended:
                    entry.first = taken[0]
                if spent and entry.began >= self._written:
                    self._put(entry.began, index, entry)
                self._put(ended, index, entry, True)

    # ---- what goes ----------------------------------------------------------------------------------------------------

    def _drain(self, until: int) -> None:
        """Write what was before ``until``, but no beginning of a call whose end is not before that and would come next."""
        points = self._points
        points.sort(key=_order)
        cut = bisect_left(points, until, key=_when)
        lines, at = self._lines, 0
        while at < cut:
            _, _, ends, what = points[at]
            if isinstance(what, _Notice):
                say(what.text) if what.aside else lines.notice(what, points[at][0])
            elif isinstance(what, _Begun):
                lines.announce(what)
            elif ends:
                lines.end(what)
            elif points[at + 1][3] is what:  # nobody comes between: its end is somewhere behind it
                if at + 1 == cut:
                    break
                lines.whole(what)
                at += 1
            else:
                lines.begin(what)
            at += 1
        if at:
            self._written = max(self._written, points[at - 1][0])
            del points[:at]
        lines.send()


class _Lines:
    """strace's own rules: one line may be open, which another thread's breaks off."""

    def __init__(self, output: Output, beside: Beside) -> None:
        self._output, self._beside = output, beside
        self.wall = 0  # what to add to times for ns since the epoch
        self._parts: list[str] = []
        self._open: _Entry | None = None  # whose line has no end yet
        self._column = 0  # of that line's end
        self._begun: dict[int, _Entry] = {}  # by thread: whose beginning was written, and whose end was not
        self._last = 0  # when the line before began, for -r

    def another(self, wall: int) -> None:
        """Times are of another clock from here on; who was in a call may be somebody else by now."""
        self.wall = wall
        self._begun.clear()
        self._last = 0

    def send(self) -> None:
        """Write what there is."""
        if self._parts:
            data = "".join(self._parts).encode("ascii", "backslashreplace")
            self._parts.clear()
            self._output.write(data)

    def whole(self, entry: _Entry) -> None:
        """A call, from its beginning to its end."""
        if self._known(entry):
            return self.end(entry)
        return self._finish(self._head(entry.first, entry.began, entry.who) + entry.text, entry)

    def begin(self, entry: _Entry) -> None:
        """The first half of a call, unless that is known already."""
        if self._known(entry):
            return
        text = self._head(entry.first, entry.began, entry.who) + entry.halves()[0]
        self._parts.append(text)
        self._open, self._column = entry, len(text)
        self._begun[entry.first] = entry

    def announce(self, entry: _Begun) -> None:
        """A call that a thread is in, unless its beginning was written."""
        if entry.tid not in self._begun or self._begun[entry.tid].name != entry.name:
            self.begin(entry)

    def end(self, entry: _Entry) -> None:
        """The second half of a call whose first was written; otherwise all of it."""
        begun = self._begun.pop(entry.first, None)
        if begun is None or begun.name != entry.name:
            self._finish(self._head(entry.tid, entry.began, entry.who) + entry.text, entry)
        else:
            self._finish(self._resumed(begun, entry.tid, entry.ended, entry.who) + entry.halves()[1], entry)

    def notice(self, notice: _Notice, when: int) -> None:
        """A signal or an end. A thread that ends has left what it was in."""
        begun = self._begun.pop(notice.tid, None) if notice.ends else None
        if begun:
            self._leave(begun, when)
        self._parts.append(f"{self._head(notice.tid, when, notice.who)}{notice.text}\n")

    def detach(self) -> None:
        """Nobody is watched any more."""
        if self._open:
            self._parts.append(" <detached ...>\n")
            self._open = None
        self._begun.clear()
        self.send()

    def _known(self, entry: _Entry) -> bool:
        """Whether its beginning was written because the thread was seen in it."""
        begun = self._begun.get(entry.first)
        return isinstance(begun, _Begun) and begun.name == entry.name and entry.began <= begun.began

    def _leave(self, begun: _Entry, when: int) -> None:
        missing = " <unfinished ...>" if begun.halves()[1] != ")" else ""
        self._close(self._resumed(begun, begun.first, when, begun.who) + missing + ")", "?")

    def _resumed(self, begun: _Entry, tid: int, when: int, who: str) -> str:
        """What comes before the second half: nothing where the line of the first is still open."""
        return "" if self._open is begun else f"{self._head(tid, when, who)}<... {begun.name} resumed>"

    def _head(self, tid: int, moment: int, who: str) -> str:
        """What a line begins with; the line that is open is broken off."""
        if self._open:
            self._parts.append(" <unfinished ...>\n")
            self._open = None
        clock = stamp(moment + self.wall, self._beside.clock) if self._beside.clock else ""
        if self._beside.relative:
            passed = max(moment - self._last, 0) // 1000 if self._last else 0
            self._last = max(moment, self._last)
            since = f"{passed // 1_000_000:6}.{passed % 1_000_000:06}"
            clock = f"{clock} (+{since})" if clock else since
        thread = f"{tid}{who}"
        return f"{thread:<5} {clock} " if clock else f"{thread:<5} "

    def _finish(self, text: str, entry: _Entry) -> None:
        result, spent = entry.decoded.results[entry.position], entry.ended - entry.began
        took = f" <{spent / 1e9:.6f}>" if self._beside.durations and spent and result != "?" else ""
        stack = stacks.lines(entry.decoded.rows.blobs[entry.position]) if self._beside.stacks else ""
        self._close(text, result + took, stack)

    def _close(self, text: str, result: str, stack: str = "") -> None:
        """The end of a line that ``text`` begins, or goes on with, and the lines of its stack."""
        column = len(text) + (self._column if self._open else 0)
        self._parts.append(f"{text}{' ' * (_ALIGN - 1 - column)} = {result}{stack}\n")
        self._open = None
