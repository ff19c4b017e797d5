"""Calls as slices on the track of their thread, births as flows: what Perfetto and Chrome draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isotrace.decode import quote
from isotrace.decode.signals import signal
from isotrace.recording.reader import Recording
from isotrace.render.lines import Decoder
from isotrace.trace import events, plan, rings
from isotrace.trace.events import Batch


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread gets a name: when it is first met, and whenever that changes."""

    pid: int
    tid: int
    name: str


@dataclass(frozen=True, slots=True)
class Slice:
    """A call: ``began`` in ns, monotonic. ``child`` is whom it gave birth to; ``born`` that it is its process's first."""

    pid: int
    tid: int
    began: int
    spent: int
    name: str
    text: str
    result: str
    failed: bool
    child: int = 0
    born: bool = False


@dataclass(frozen=True, slots=True)
class Instant:
    """Something without a length: a signal, an end, a loss."""

    pid: int
    tid: int
    at: int
    name: str


Event = Thread | Slice | Instant


class Events:
    """The events of recordings, in the order of their rows."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._recordings = recordings
        self._decoder = Decoder(plan.all_calls())
        self._operations = rings.calls().keys()
        self._names: dict[int, bytes] = {}  # of threads
        self._awaited: set[int] = set()  # children of births that were seen
        self._met: set[int] = set()
        self.calls = 0
        self.wall = recordings[0].head.began if recordings else 0

    def __iter__(self) -> Iterator[Event]:
        for recording in self._recordings:
            for rows in recording.arrow():
                for batch in recording.batches_of(rows):
                    yield from self._of(batch)

    def _of(self, batch: Batch) -> Iterator[Event]:
        texts = self._texts(batch)
        names = ("kind", "pid", "tid", "comm", "time", "duration", "result", "slot")
        columns = [batch.events[name].tolist() for name in names]
        births = self._births(batch)
        for index, (kind, pid, tid, comm, time, spent, result, slot) in enumerate(zip(*columns, strict=True)):
            if tid and self._names.get(tid) != comm:
                self._names[tid] = comm
                yield Thread(pid, tid, quote.comm(comm))
            if (shown := texts.get(index)) is not None:
                name, text, value = shown
                self.calls += kind == events.CALL
                born = pid in self._awaited and pid not in self._met
                self._met.add(pid)
                child = result if births[index] else 0
                if child:
                    self._awaited.add(child)
                failed = -4096 < result < 0
                if slot in self._operations:  # they overlap with their thread's calls: a mark where they are complete
                    spent = 0
                yield Slice(pid, tid, time - spent, spent, name, text, value, failed, child, born)
            elif kind == events.SIGNAL:
                yield Instant(pid, tid, time, signal(result))
            elif kind == events.TASK_EXIT:
                yield Instant(pid, tid, time, f"killed by {signal(result & 127)}" if result & 127 else "exit")
            elif kind == events.LOST:
                call = plan.all_calls().get(slot)
                yield Instant(pid, tid, time, f"{result} {call.name if call else 'unknown'} calls lost")

    def _texts(self, batch: Batch) -> dict[int, tuple[str, str, str]]:
        """Index → name, call, result of the calls that returned."""
        found: dict[int, tuple[str, str, str]] = {}
        for decoded in self._decoder.decode(batch):
            if batch.events["kind"][decoded.rows.index[0]] == events.CALL:
                columns = (decoded.rows.index, decoded.name, decoded.texts(), decoded.results)
                found |= {i: (name, text, result) for i, name, text, result in zip(*columns, strict=True)}
        return found

    @staticmethod
    def _births(batch: Batch) -> list[bool]:
        """Which calls made a process: threads are no births."""
        rows = batch.events
        made = (rows["kind"] == events.CALL) & plan.forks()[rows["slot"]] & (rows["result"] > 0)
        found: list[bool] = made.tolist()
        return found
