"""The child of a self-test, before a run begins: it tries what is refused, and the programs refuse it with EUCLEAN.

That a program loads and attaches does not mean that it is called: LSM programs are not where bpf is no active LSM, and
a call may be entered by a function that isotrace does not know.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import mmap
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence

from isotrace.kernel import sandbox
from isotrace.process import children

_LOG = logging.getLogger(__package__)
REFUSED = errno.EUCLEAN
#: What ``ask`` gives where the child did not come to a trial: one before it took the child away.
UNKNOWN = 0xFFFF

Trial = Callable[[], int]
"""Something to try, which returns an errno or 0."""

_SECONDS = 60.0
_TICK = 0.001
_WAITS, _GO, _DONE = 1, 2, 3


def ask(trials: Sequence[Trial], arm: Callable[[int], None], prepare: Callable[[], None] = lambda: None) -> list[int]:
    """What each trial returns in a child that ``arm`` is given the pid of; 0 disarms.

    ``prepare`` runs in the child before that. Once armed the child may be refused anything, reading from a pipe too, so
    it answers in shared memory.
    """
    with mmap.mmap(-1, 1 + 2 * len(trials)) as shared:
        shared[1:] = UNKNOWN.to_bytes(2, "little") * len(trials)
        pid = children.fork()
        if pid == 0:
            _try(trials, shared, prepare)
        try:
            if _await(pid, shared, _WAITS):
                arm(pid)
                shared[0] = _GO
                _await(pid, shared, _DONE)
        finally:
            arm(0)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        found = [int.from_bytes(shared[at : at + 2], "little") for at in range(1, len(shared), 2)]
    counts = Counter("no answer" if one == UNKNOWN else errno.errorcode.get(one, "no error") for one in found)
    said = ", ".join(f"{count} × {name}" for name, count in counts.most_common())
    _LOG.debug("self-test in process %d, where %s means denied: %s", pid, errno.errorcode[REFUSED], said)
    return found


def _await(pid: int, shared: mmap.mmap, state: int) -> bool:
    """Whether the child comes to ``state``."""
    end = time.monotonic() + _SECONDS
    while shared[0] != state and time.monotonic() < end:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(_TICK)
    return shared[0] == state


def _try(trials: Sequence[Trial], shared: mmap.mmap, prepare: Callable[[], None]) -> None:
    try:
        os.setsid()
        sandbox.silence()
        os.closerange(3, 1 + max(map(int, os.listdir("/proc/self/fd"))))  # what refuses hangs on copies of some
        prepare()
        shared[0] = _WAITS
        while shared[0] != _GO:
            os.sched_yield()
        for index, trial in enumerate(trials):
            shared[1 + 2 * index : 3 + 2 * index] = trial().to_bytes(2, "little")
        shared[0] = _DONE
        signal.pause()
    finally:
        os._exit(0)


def errno_of(action: Callable[[], object]) -> int:
    """The errno that ``action`` raises, or 0."""
    try:
        action()
    except OSError as error:
        return error.errno or UNKNOWN
    return 0
