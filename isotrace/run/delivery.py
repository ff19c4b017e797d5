"""Threads that give what is spooled to sinks, and to a file meanwhile, however long these take."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence

from isotrace.errors import IsotraceError
from isotrace.run.late import Late
from isotrace.run.spool import Item, Made, Spool, most
from isotrace.run.stats import Stats
from isotrace.sinks import Sink
from isotrace.trace.events import Batch
from isotrace.trace.ring import Chunk

_QUIET = 0.25  # seconds after which sinks are told that nothing has come
_SWITCH = 0.0005  # seconds that rendering, which is Python, holds up the reading of the ring


class Delivery:
    """``sinks`` take what ``put`` was given, in order, in a thread of their own; without sinks it is counted at once.

    Another thread writes into files what they are slow to take. What a sink raises (``IsotraceError``) ends that sink, and
    is raised by ``check`` once none is left. ``late`` completes what could not be read in the kernel,
    ``complete`` every batch, in the thread of the sinks.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        stats: Stats,
        late: Late | None = None,
        complete: Callable[[Batch], Batch] | None = None,
    ) -> None:
        self._sinks, self._stats = list(sinks), stats
        #: What sinks have raised, while others went on.
        self.failures: list[tuple[Sink, IsotraceError]] = []
        self._late, self._complete = late, complete
        self._spool = Spool(most=most())
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sinks", daemon=True)
        self._spilling = threading.Thread(target=self._spill, name="spool", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        if self._sinks:
            sys.setswitchinterval(_SWITCH)
            if self._late:
                self._late.start()
            self._thread.start()
            self._spilling.start()

    def put(self, item: Chunk | Made) -> None:
        """Take an item; waits for nobody."""
        if self._sinks:
            self._spool.put(self._late.take(item) if self._late and isinstance(item, Chunk) else item)
        elif isinstance(item, Chunk):
            self._stats.add(item.slots())

    @property
    def full(self) -> bool:
        """Whether nothing more should be put for now: see ``Spool``."""
        return self._spool.full

    @property
    def trouble(self) -> str:
        """Why what comes may find no room, in words; "" while it does."""
        return self._spool.trouble

    def check(self) -> None:
        """Raise what a sink has raised."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    @property
    def busy(self) -> bool:
        """Whether the sinks are still at it."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Nothing more will be put. The thread ends with the last of it."""
        self._spool.end()

    def join(self, seconds: float) -> None:
        """Wait for that."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while not self._spool.over:
                item = self._spool.get(_QUIET)
                if item is not None:
                    self._deliver(item)
                if not len(self._spool):
                    self._each(lambda sink: sink.flush())
            self._each(lambda sink: sink.complete())
        except BaseException as error:  # whoever looks after the run raises it
            self._failure = error

    def _spill(self) -> None:
        while self._spool.spill(_QUIET):
            pass

    def _each(self, call: Callable[[Sink], None]) -> None:
        """``call`` for each sink. One that fails has ended; with the last of them all ends."""
        for sink in list(self._sinks):
            try:
                call(sink)
            except IsotraceError as error:
                if len(self._sinks) == 1:
                    raise
                self._sinks.remove(sink)
                self.failures.append((sink, error))

    def _deliver(self, item: Item) -> None:
        batch = item.batch()
        batch = self._complete(batch) if self._complete else batch
        self._each(lambda sink: sink.write(batch))
        self._stats.add(batch.call_slots())  # only now is it delivered
