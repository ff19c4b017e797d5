"""Who of isotrace's threads runs first, where there are fewer processors than work."""

from __future__ import annotations

import contextlib
import os
import threading

_BOOST = 10  # steps of nice


def go_first() -> None:
    """Let the calling thread, and those that it starts from now on, go before other work of the machine: for one that has
    little to do and must not be late. Without the right to (CAP_SYS_NICE) all stays as it is.
    """
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) - _BOOST)
