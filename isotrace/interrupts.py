"""Signals to isotrace itself. A thread waits for them, so that a second Ctrl-C ends even a write that is stuck."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable

_CAUGHT = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
_FROM_KERNEL = 128  # SI_KERNEL: the terminal sent it, to the whole foreground process group


def one_thread() -> None:
    """Keep numpy from starting a pool of threads: call this before it is imported, and after the command was forked.

    A signal goes to any thread that does not block it, and theirs would not; besides, they would cost memory.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


def hold() -> None:
    """Block what ``Interrupts`` waits for. Call it before anything starts threads: they have the mask of who starts them,
    and a signal goes to any thread that does not block it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _CAUGHT)


class Interrupts:
    """``stopped`` is set by the first ending signal; the second ends the process with status 130.

    With ``forward``, signals are passed on instead, except those that the terminal has sent to the command as well;
    ending signals stop isotrace only when they come again.
    """

    def __init__(self, forward: Callable[[int], None] | None = None) -> None:
        self.stopped = threading.Event()
        self._forward = forward
        self._count = 0
        hold()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while True:
            self._handle(signal.sigwaitinfo(_CAUGHT))

    def _handle(self, info: signal.struct_siginfo) -> None:
        number = info.si_signo
        if self._forward and info.si_code != _FROM_KERNEL:
            with contextlib.suppress(ProcessLookupError):
                self._forward(number)
        if number not in _ENDING:
            return
        self._count += 1
        if self._count > (2 if self._forward else 1):
            os.write(2, b"isotrace: interrupted again: ended at once, what was not yet written is lost\n")
            os._exit(130)
        if not self._forward or self._count > 1:
            self.stopped.set()
