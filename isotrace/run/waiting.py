"""The part of a run that looks for what is waited for, in a thread of its own, beside the reader of a ring.

What is found is in the kernel's maps at once, before anything is said of it.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

from isotrace.containers.cgroups import populated
from isotrace.containers.find import NotThere
from isotrace.containers.whose import whose
from isotrace.decode.quote import safe
from isotrace.errors import IsotraceError
from isotrace.kernel import procfs
from isotrace.kernel.inotify import Directories
from isotrace.process.priority import go_first
from isotrace.process.telling import say
from isotrace.run.lifecycle import Part
from isotrace.trace.target import place_of
from isotrace.trace.waited import Waited

#: Seconds between two looks where nothing wakes the thread: while it is waited for, also where nothing can, and later.
_LOOK, _LOOK_OFTEN, _LOOK_SELDOM = 0.1, 0.03, 0.25
_SHARE = 20  # of which one is what looking may take of a processor while nothing happens
_AT_ONCE, _MOST = 0.05, 0.25  # seconds of looking without a rest, and how much of a processor it may be at the most
_LONGEST = 2.0
_STANDS = 1.0  # seconds that a doubt stands before it is said: a file may just be being written
_LINES = 16  # of such, in all
_LAST = 2.0  # seconds for the last lines


class Rest:
    """How long not to look, whatever happens: who makes things happen may be a target, and does it without a pause."""

    def __init__(self) -> None:
        self._tired, self._last = 0.0, 0.0

    def after(self, took: float, now: float) -> float:
        """Seconds, after a look that took so long and is just over; ``now`` is time.monotonic()'s."""
        self._tired = max(0.0, self._tired - _MOST * (now - self._last)) + took
        self._last = now
        return min(max(0.0, (self._tired - _AT_ONCE) / _MOST), _LONGEST)


class Waiting(Part):
    """``missed`` says what was not done to calls before it was found: "seen". ``quiet``: only troubles are said."""

    def __init__(self, waited: Waited, missed: str, quiet: bool = False) -> None:
        self._waited, self._missed, self._quiet = waited, missed, quiet
        self._directories: Directories | None = None
        self._stop_read = self._stop_write = -1
        self._threads: list[threading.Thread] = []
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._told_waiting = self._stopped = False
        self._doubts: dict[str, float] = {}
        self._told: set[str] = set()
        self._next_search = 0.0  # by time.monotonic(), while it runs
        self._moment = 0.0  # what the last look took, in seconds

    def open(self, pid: int | None) -> None:
        """Nothing of it is in the kernel by itself."""

    def start(self) -> None:
        """Look once, say how things are, and go on looking."""
        self._directories = Directories()
        self._stop_read, self._stop_write = os.pipe2(os.O_CLOEXEC)
        if self._waited.now:
            self._say_runs()
        self._look(self._directories)
        self._threads = [
            threading.Thread(target=self._write, name="waiting said", daemon=True),
            threading.Thread(target=self._run, args=(self._directories,), name="waiting", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def serve(self, seconds: float) -> None:
        """The thread does it."""
        if seconds:
            time.sleep(seconds)

    def alive(self) -> bool:
        """It concerns nobody by itself."""
        return False

    def stop(self, reason: str) -> None:
        """Look no more, and say the rest."""
        if self._threads and not self._stopped:
            self._stopped = True
            os.write(self._stop_write, b"\0")
            self._threads[1].join()
            self._lines.put(None)
            self._threads[0].join(_LAST)

    def finish(self) -> None:
        """All is said."""

    def close(self) -> None:
        """Give everything back."""
        self.stop("")
        if self._directories:
            self._directories.close()
            os.close(self._stop_read)
            os.close(self._stop_write)
            self._directories = None

    def _write(self) -> None:
        """In a thread of its own: where nobody reads what is said, looking goes on."""
        while (line := self._lines.get()) is not None:
            say(line)

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _run(self, directories: Directories) -> None:
        go_first()
        rest = Rest()
        while not _is_set(self._stop_read, rest.after(self._moment, time.monotonic())):
            if not directories.news():
                directories.wait(self._pause(directories), self._stop_read)
                directories.news()
            self._look(directories)

    def _pause(self, directories: Directories) -> float:
        """Seconds until the next look where nothing happens."""
        if self._waited.now:
            return _LOOK_SELDOM
        return min(max(_LOOK if directories.works else _LOOK_OFTEN, _SHARE * self._moment), _LONGEST)

    def _look(self, directories: Directories) -> None:
        """See where it is, again where a directory is watched only now: something may have come before."""
        for _ in range(4):
            began = time.monotonic()
            doubts: list[str] = []
            try:
                self._see(doubts)
                again = directories.watch({**self._waited.search.places, **self._own_places()})
            except Exception as error:  # whatever it is, what is watched goes on being watched
                doubts.append(f"cannot look for {self._waited.name} ({error!r})")
                again = False
            self._doubt(doubts)
            self._moment = time.monotonic() - began
            if not again:
                return

    def _own_places(self) -> dict[str, bool]:
        now = self._waited.now
        return {str(now.path): True} if now else {}

    def _see(self, doubts: list[str]) -> None:
        waited = self._waited
        if waited.now and waited.runs():
            if time.monotonic() < self._next_search:  # whatever other containers do
                doubts += self._doubts
                return
        elif waited.now:
            self._say(f"{waited.name} ended")
            waited.switch(None)
            self._told_waiting = False
        missing: IsotraceError | None = None
        began = time.monotonic()
        try:
            found = waited.search()
        except IsotraceError as error:
            missing = error
        else:
            doubts += [f"not readable: {line}" for line in found.troubles]
            whose().tell(found)
            self._begin(found.cgroup)
        took = time.monotonic() - began
        self._next_search = time.monotonic() + min(max(_LOOK_SELDOM, _SHARE * took), _LONGEST)
        if missing and not waited.now:
            doubts += _why(missing, waited.name)
        if not waited.now and not self._told_waiting:
            self._told_waiting = True
            self._say(f"waiting for {waited.name}{_like(missing)}")

    def _begin(self, path: Path) -> None:
        """It is there, if it is not what is watched already."""
        waited = self._waited
        if waited.now and waited.now.path == path and waited.now.stands():
            return
        try:
            place = place_of(path)
        except OSError:  # it has just gone
            return
        if waited.ends and not populated(path):
            return
        waited.switch(place)
        self._say_runs()

    def _say_runs(self) -> None:
        assert self._waited.now
        path = self._waited.now.path
        line = f"{self._waited.name} {'runs' if self._waited.ends else 'is there'}: {safe(str(path))}"
        if age := _age(path):
            line += f"; its first process had run for {age}: its calls until now were not {self._missed}"
        self._say(line)

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._lines.put(line)

    # ---- what is in doubt --------------------------------------------------------------------------------------------

    def _doubt(self, lines: Sequence[str]) -> None:
        """Say each once, where it stands for a while."""
        now = time.monotonic()
        self._doubts = {line: self._doubts.get(line, now) for line in lines}
        for line, since in self._doubts.items():
            if now - since >= _STANDS and line not in self._told and len(self._told) < _LINES:
                self._told.add(line)
                self._lines.put(line)


def _is_set(fd: int, seconds: float) -> bool:
    """Whether it can be read, within ``seconds``."""
    return bool(select.select([fd], [], [], seconds)[0])


def _why(error: IsotraceError, name: str) -> Sequence[str]:
    """Why it is not there; that it is only not there yet needs no more words than that it is waited for."""
    if isinstance(error, NotThere):
        return error.details
    more = f": {', '.join(error.details)}" if error.details else ""
    return [f"{name} is still waited for: {error.message}{more}"]


def _like(error: IsotraceError | None) -> str:
    """That there is none of that name, where others have one that is like it."""
    if not isinstance(error, NotThere) or not error.near:
        return ""
    return f": {error.message} yet; there {'is' if len(error.near) == 1 else 'are'}: {', '.join(error.near)}"


def _age(path: Path) -> str:
    """How long ago the first process in a cgroup, or below it, began; "" where there is none. Ticks are 10 ms."""
    began = min((start for pid in _members(path) if (start := procfs.started(pid))), default=0)
    if not began:
        return ""
    seconds = max(time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK"), 0.01)
    for size, unit in ((172800, "d"), (7200, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / (size / 2):.0f} {unit}"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def _members(path: Path) -> Iterator[int]:
    for directory, _, _ in os.walk(path):
        with contextlib.suppress(OSError):  # gone, or a threaded one, whose threads the one above has
            yield from map(int, Path(directory, "cgroup.procs").read_bytes().split())
