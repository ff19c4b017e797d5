"""The part of a run that counts, and what it shows: a summary at the end, or the live table."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from isotrace.backends.counts import Counting as Backend
from isotrace.errors import IsotraceError
from isotrace.process import forkserver, libc
from isotrace.process.launch import Command
from isotrace.process.telling import Screen
from isotrace.run.lifecycle import Part
from isotrace.top.source import Source, Worker
from isotrace.trace.target import Target

if TYPE_CHECKING:  # textual takes a while to import
    from isotrace.asking.dialogue import Talker

_SETTLE = 0.02  # seconds for a program that still runs on another CPU after it was detached
_LONGEST_END = 30.0  # seconds between a signal and the end of the table
_HUNG_UP = 129  # as a shell tells of SIGHUP
_M_MMAP_THRESHOLD = -3  # malloc.h


def _give_memory_back() -> None:
    """Let glibc return each large array when it is freed, instead of raising its threshold with the first."""
    with contextlib.suppress(AttributeError):
        libc.error_of("mallopt", _M_MMAP_THRESHOLD, 1 << 18)


class Counting(Part):
    """The kernel's tables at work; what they hold is shown by those that inherit from this."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def open(self, pid: int | None) -> None:
        """Attach."""
        self._backend.open(pid)

    def start(self) -> None:
        """Everything is in its place now."""
        self._source = Source(self._backend)
        _give_memory_back()

    def serve(self, seconds: float) -> None:
        """Whoever draws looks by itself."""
        time.sleep(seconds)

    def alive(self) -> bool:
        """Whether a process in the kernel's map of followed pids is more than a zombie."""
        return self._backend.alive()

    def stop(self, reason: str) -> None:
        """Count no more."""
        self._backend.detach()

    def finish(self) -> None:
        """The table said it all."""

    def close(self) -> None:
        """Give everything back to the kernel."""
        self._backend.close()


class Summary(Counting):
    """Shows once, at the end. ``view`` is what the rows of the text are, ``style`` text or json.

    ``interval``: the longest time between two looks, in seconds.
    """

    def __init__(self, backend: Backend, view: str, style: str, interval: float) -> None:
        super().__init__(backend)
        self._view, self._style, self._interval = view, style, interval

    def start(self) -> None:
        """Nobody looks at files and addresses but where they are the rows."""
        super().start()
        self._source.requests.places = self._view == "file" or self._style == "json"
        self._looked = time.monotonic()

    def serve(self, seconds: float) -> None:
        """Look now and then, so that the rows of processes that end make room."""
        time.sleep(seconds)
        if time.monotonic() - self._looked > min(self._interval, self._source.room_for):
            self._source.look()
            self._looked = time.monotonic()

    def stop(self, reason: str) -> None:
        """Count no more, and write the summary."""
        from isotrace.top import summary

        self._backend.detach()
        time.sleep(_SETTLE)
        self._source.look()  # who is met at the last look can be known to have ended only at the next
        snapshot = self._source.look(ended=reason)
        if self._style == "json":
            summary.write_json(snapshot)
        else:
            summary.write_text(snapshot, self._view)


class LiveTable(Counting):
    """Has the terminal until the user, or the end of the run, ends it. ``output``: the file that a command writes to."""

    def __init__(
        self, backend: Backend, target: Target, command: Command | None, view: str, interval: float, output: str | None
    ) -> None:
        super().__init__(backend)
        self._target, self._command = target, command
        self._view, self._interval, self._output = view, interval, output
        self.screen = self._show_and_tell
        self._said: Screen | None = None

    def _show_and_tell(self, reason: Callable[[], str | None], stopped: threading.Event) -> None:
        """The same; what is said meanwhile comes in the footer, and when the table is over."""
        with Screen() as self._said:
            self._show(reason, stopped)

    def _show(self, reason: Callable[[], str | None], stopped: threading.Event) -> None:
        """Draw until the end. Raises ``IsotraceError``, or what failed."""
        from isotrace.top import family
        from isotrace.top.app import TopApp
        from isotrace.top.refuser import Refuser

        for name in ("COLUMNS", "LINES"):  # the size of a terminal that may change
            os.environ.pop(name, None)
        backend, pid = self._backend, self._command.pid if self._command else None
        worker = Worker(self._source, reason, self._interval)
        found = forkserver.current()
        refuser = Refuser(family.running(self._target, pid, backend.pids), backend.names, [found.pid] if found else [])
        app = TopApp(worker, str(self._target), self._view, refuser, self._note(), self.talker())
        app.stopped = stopped
        if self._said:
            app.news = self._said.news
        over = threading.Event()
        threading.Thread(target=self._insist, args=(stopped, over), daemon=True).start()
        app.run()
        over.set()
        if app.failure is not None:
            raise app.failure
        if app.return_code:
            raise IsotraceError(
                "the live table failed", "--once gives the counts without it; please report what is above"
            )

    def talker(self) -> Talker | None:
        """Who looks at questions that come over the table; None where nothing is asked."""
        return None

    def _note(self) -> str:
        if (waited := self._target.waited) and not waited.now:
            return f"waiting for {waited.name}"
        where = f"to {self._output}" if self._output else "nowhere (--output FILE keeps it)"
        return f"the command's output goes {where}" if self._command else ""

    def _insist(self, stopped: threading.Event, over: threading.Event) -> None:
        """End isotrace where the table does not end itself after a signal: it may wait for a terminal that is gone."""
        stopped.wait()
        if not over.wait(_LONGEST_END):
            if self._command:
                self._command.end()
            os._exit(_HUNG_UP)
