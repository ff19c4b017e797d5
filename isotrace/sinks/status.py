"""--status and --failed: only calls that ended so."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from isotrace.decode.errnos import errno_name
from isotrace.errors import UsageError
from isotrace.policy.names import parse_errno
from isotrace.sinks import Sink
from isotrace.trace import events, plan
from isotrace.trace.events import Batch

_ERRORS = 4096  # a failed call's result is minus a number below that
_SUCCESS = frozenset({0})
_FAILURE = frozenset(range(1, _ERRORS))


def parse(text: str) -> frozenset[int]:
    """``failed,!EAGAIN`` as numbers of errors, 0 for success; terms as in ``--calls``. Raises ``UsageError``."""
    found: frozenset[int] = frozenset()
    for index, term in enumerate(text.split(",")):
        taken, name = term.strip().startswith("!"), term.strip().removeprefix("!")
        if taken:
            found = (found if index else _SUCCESS | _FAILURE) - _numbers(name)
        else:
            found |= _numbers(name)
    if not found:
        raise UsageError(f"no call ends as --status {text!r} says", "write it like failed,!EAGAIN or EPERM,EACCES")
    return found


def _numbers(name: str) -> frozenset[int]:
    if name in ("failed", "successful"):
        return _FAILURE if name == "failed" else _SUCCESS
    own = {errno_name(number): number for number in range(1, 1024)}
    return frozenset({own[name.upper()] if name.upper() in own and not name.isdecimal() else parse_errno(name)})


class Status:
    """Passes on to ``sink`` the calls that ended so (``parse``), what an execve consists of, losses and refusals.

    Calls that never return, exit and exit_group, have neither failed nor succeeded.
    """

    def __init__(self, sink: Sink, wanted: frozenset[int]) -> None:
        self._sink = sink
        self._wanted = np.zeros(_ERRORS, dtype=bool)
        self._wanted[list(wanted)] = True

    def write(self, batch: Batch) -> None:
        """Take the records of a batch."""
        kinds = batch.events["kind"]
        kept = np.isin(kinds, (events.EXEC_ENTER, events.EXEC_NAME, events.LOST, events.REFUSED))
        self._sink.write(batch.select(kept | self._ended(batch.events)))

    def _ended(self, rows: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
        numbers = np.where(events.failed(rows), -rows["result"], 0)
        returned = (rows["kind"] == events.CALL) & ~plan.endless()[rows["slot"]]
        found: npt.NDArray[np.bool_] = self._wanted[numbers] & returned
        return found

    def flush(self) -> None:
        """Nothing more is waiting."""
        self._sink.flush()

    def complete(self) -> None:
        """Nothing more will come."""
        self._sink.complete()
