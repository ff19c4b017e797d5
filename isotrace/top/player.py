"""A recording played as the live table: a clock of its own, which can stand still, run faster, and jump."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from isotrace.recording import parts
from isotrace.recording.choose import Chosen
from isotrace.recording.reader import Recording
from isotrace.run import replay
from isotrace.top.model import Snapshot
from isotrace.top.replayed import Replayed
from isotrace.top.source import Feeder, Requests, Source
from isotrace.trace.events import Batch

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)
_TICK = 0.25  # seconds between two snapshots
_HISTORY = 60  # seconds before the place that is jumped to that are looked at one by one, for the curves
_MANY = 16  # batches after which those that have ended are put together


class Tape:
    """The wanted records of recordings, taken up to a moment; ``begin`` and ``end`` are in ns since the epoch."""

    def __init__(self, paths: Sequence[str], wanted: Callable[[], Chosen]) -> None:
        """Raises ``IsotraceError``."""
        self._paths, self._wanted = paths, wanted
        recordings = [Recording(path) for path in paths]
        self.begin = min(recording.head.began for recording in recordings)
        self.end = max(max(recording.last() for recording in recordings), self.begin)
        for recording in recordings:
            recording.close()
        self.rewind()

    def rewind(self) -> None:
        """To the beginning."""
        self._recordings = [Recording(path) for path in self._paths]
        found = replay.chosen(self._recordings, self._wanted())
        self._batches = (batch for batch in found if batch is not None)
        self._waiting: Batch | None = None
        self._over = False

    def verdict(self) -> parts.Verdict:
        """What to say of the recordings, as far as they were played."""
        for recording in self._recordings:
            recording.left = recording.left or not self._over
        return parts.verdict(self._recordings)

    def until(self, moment: int) -> Iterator[Batch]:
        """What was recorded up to ``moment`` and has not been taken yet."""
        while True:
            batch = self._waiting or next(self._batches, None)
            self._waiting = None
            if batch is None:
                self._over = True
                return
            due = batch.events["time"].astype(np.int64) + batch.wall <= moment
            if not due.all():
                later = batch.select(~due)
                self._waiting = later
                if due.any():
                    yield batch.select(due)
                return
            yield batch


class Player(Feeder):
    """Plays a recording into the live table."""

    def __init__(self, tape: Tape) -> None:
        super().__init__(Requests())
        self.playing = True
        self._tape = tape
        self._speed = SPEEDS.index(1.0)
        self._at = 0.0  # seconds since the beginning
        self._jump: float | None = None
        self._lock = threading.Lock()
        self._restart()

    # ---- what whoever draws asks ------------------------------------------------------------------------------------

    @property
    def length(self) -> float:
        """Seconds of the recording."""
        return (self._tape.end - self._tape.begin) / 1e9

    @property
    def at(self) -> float:
        """Seconds since its beginning."""
        return self._at

    @property
    def speed(self) -> float:
        """How many times as fast as it was."""
        return SPEEDS[self._speed]

    def faster(self, steps: int) -> None:
        """Change the speed."""
        self._speed = min(max(self._speed + steps, 0), len(SPEEDS) - 1)
        self._wake.set()

    def pause(self) -> None:
        """Stand still, or go on; from the end on, from the beginning."""
        if self.playing or self._at < self.length:
            self.playing = not self.playing
        else:
            self.playing, self._jump = True, 0.0
        self._wake.set()

    def seek(self, seconds: float) -> None:
        """Jump, forward or back."""
        with self._lock:
            from_here = self._at if self._jump is None else self._jump
            self._jump = min(max(from_here + seconds, 0.0), self.length)
        self._wake.set()

    def _run(self, post: Callable[[Snapshot], object]) -> None:
        looked = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            post(self.step(now - looked))
            looked = now
            self._wake.wait(_TICK)
            self._wake.clear()

    def step(self, seconds: float) -> Snapshot:
        """What is to be seen so many seconds later."""
        with self._lock:
            jump, self._jump = self._jump, None
        if jump is not None:
            self._go_to(jump)
        elif self.playing:
            self._advance(min(self._at + seconds * self.speed, self.length))
        self.playing = self.playing and self._at < self.length
        return self._source.look(ended="end of the recording" if self._at >= self.length else "")

    def _restart(self) -> None:
        self._tape.rewind()
        self._tables = Replayed()
        self._at = 0.0
        self._source = Source(self._tables, lambda: self._at, self.requests, past=True)

    def _go_to(self, place: float) -> None:
        if place < self._at:
            self._restart()
        if place - self._at > _HISTORY:
            self._advance(place - _HISTORY)
            self._source.look()
        while self._at < place:
            self._advance(min(self._at + 1.0, place))
            self._source.look()
        self._advance(place)

    def _advance(self, place: float) -> None:
        moment = self._tape.begin + round(place * 1e9)
        for count, batch in enumerate(self._tape.until(moment), 1):
            self._tables.add(batch)
            if count % _MANY == 0:
                self._at = max(self._at, (int(batch.events["time"][-1]) + batch.wall - self._tape.begin) / 1e9)
                self._source.look()
        self._at = max(place, self._at)


def summary(recordings: Sequence[Recording], wanted: Chosen, view: str, style: str) -> int:
    """Write what ``isotrace top --once`` writes; returns the exit status."""
    from isotrace.top import summary as writing

    tables = Replayed()
    at = begin = min(recording.head.began for recording in recordings)
    source = Source(tables, lambda: (at - begin) / 1e9, past=True)
    source.requests.places = view == "file" or style == "json"
    found = (batch for batch in replay.chosen([*recordings], wanted) if batch is not None)
    for count, batch in enumerate(found, 1):
        tables.add(batch)
        at = max(at, int(batch.events["time"].max()) + batch.wall)
        if count % _MANY == 0:
            source.look()
    source.look()
    snapshot = source.look()
    if style == "json":
        writing.write_json(snapshot)
    else:
        writing.write_text(snapshot, view)
    return parts.verdict(recordings).say()
