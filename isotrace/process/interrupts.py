"""Signals to isotrace itself. A thread waits for them, so that a second Ctrl-C ends even a write that is stuck.

What a terminal sends may be the command's doing where that has the terminal as well: it can type there (TIOCSTI),
choose what is typed to interrupt, and have the terminal answer with just that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator

from isotrace.errors import IsotraceError
from isotrace.process.telling import tell

#: Whoever started isotrace keeps this from it (nohup).
_IGNORED = {number for number in (signal.SIGHUP,) if signal.getsignal(number) is signal.SIG_IGN}
_CAUGHT = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
#: What asks for an end; and where a terminal that is closed (SIGHUP) is an output that is gone, and ends nothing.
ALL_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT} - _IGNORED)
LASTING = ALL_ENDING - {signal.SIGHUP}
#: Where the command has the terminal as well it may have that stop whoever writes in the background (stty tostop).
_KEPT_OUT = {signal.SIGTTOU}
_FROM_KERNEL = 128  # SI_KERNEL: the terminal sent it, to the whole foreground process group


def one_thread() -> None:
    """Keep numpy from starting a pool of threads: call this before it is imported, and after the command was forked.

    A signal goes to any thread that does not block it, and theirs would not; besides, they would cost memory.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


def import_in_one_thread() -> None:
    """Import numpy so, and leave the variables as they were for a command that is forked later."""
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    one_thread()
    import numpy  # noqa: F401

    del os.environ["OPENBLAS_NUM_THREADS"]
    if before is not None:
        os.environ["OPENBLAS_NUM_THREADS"] = before


def hold() -> None:
    """Block what ``Interrupts`` waits for, and what a terminal stops writers by. Call it before anything starts threads:
    they have the mask of who starts them, and a signal goes to any thread that does not block it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _CAUGHT | _KEPT_OUT)


class Interrupted(IsotraceError):
    """A signal asked for an end before anything had begun."""

    status = 130


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """While this thread is the only one: the first ending signal raises ``Interrupted`` in it. Then they are held back."""

    def end(number: int, _frame: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _CAUGHT)
        raise Interrupted(f"{signal.Signals(number).name} before anything was started")

    before = {number: signal.signal(number, end) for number in ALL_ENDING}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL_ENDING)
    try:
        yield
    finally:
        hold()
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupts:
    """``stopped`` is set by the first ending signal; the second ends the process with status 130.

    With ``forward``, signals are passed on instead, except those that the terminal has sent to the command as well;
    ending signals stop isotrace only when they come again, or when ``forward`` says by False that nobody is there to get
    them. ``ending`` asks for an end; with ``shared`` the terminal is the command's, too, and cannot ask for it.
    """

    def __init__(
        self,
        forward: Callable[[int], bool] | None = None,
        ending: Collection[signal.Signals] = ALL_ENDING,
        shared: bool = False,
    ) -> None:
        self.stopped = threading.Event()
        self._forward, self._ending, self._shared = forward, ending, shared
        self._count = 0
        hold()
        threading.Thread(target=self._wait, daemon=True).start()

    def insist(self) -> None:
        """The next ending signal ends the process, though it be the first."""
        self._count = 2

    def _wait(self) -> None:
        while True:
            self._handle(signal.sigwaitinfo(_CAUGHT))

    def _handle(self, info: signal.struct_siginfo) -> None:
        number, terminal = info.si_signo, info.si_code == _FROM_KERNEL
        if terminal and self._shared:
            if number in self._ending:
                tell([f"the terminal's keys go to the command; to end isotrace: kill {os.getpid()}"])
            return
        passed = True
        if self._forward and not terminal:
            with contextlib.suppress(ProcessLookupError):
                passed = self._forward(number)
        if number not in self._ending:
            return
        self._count += 1 if passed else 2
        if self._count > (2 if self._forward else 1):
            tell(["interrupted again: ended at once, what was not yet written is lost"])
            os._exit(130)
        if not self._forward or self._count > 1 or not passed:
            self.stopped.set()
