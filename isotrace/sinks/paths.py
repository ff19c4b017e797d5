"""--path: only calls that name such a path, or are on a descriptor of it."""

from __future__ import annotations

import fnmatch
import os
import re
import socket
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from isotrace.decode.descriptors import place
from isotrace.trace import events, plan
from isotrace.trace.captures import files_of, made_by
from isotrace.trace.events import Batch, Blob

_KNOWN = 65536  # paths whose verdict is remembered
_UNIX = socket.AF_UNIX.to_bytes(2, "little")
_KINDS = ("path", "sockaddr", "inmsg")


class Paths:
    """Chooses the calls with a path, a unix socket's address or a descriptor that one of ``patterns`` matches.

    Paths and addresses as the caller gave them; descriptors, where records have what they are, by the whole path. ``*``
    is any bytes, ``/`` among them. What could not be read may be what is looked for, and is chosen.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._wanted = re.compile(b"|".join(_regex(pattern) for pattern in patterns))
        self._verdicts: dict[bytes, bool] = {}
        self._execs: dict[tuple[int, int], bool] = {}  # by task and process: whether the execve that it is in is wanted

    def choose(self, batch: Batch) -> npt.NDArray[np.bool_]:
        """Which records of a batch, ``(n,)``, are such calls."""
        rows = batch.events
        kinds, slots = rows["kind"], rows["slot"]
        execs = np.isin(kinds, (events.EXEC_ENTER, events.EXEC_NAME))
        calls = (kinds == events.CALL) | (kinds == events.UNFINISHED)
        kept = np.zeros(len(batch), dtype=bool)
        for index in np.flatnonzero(execs | calls & _naming()[slots]).tolist():
            row, named = rows[index], self._named(batch, index)
            if execs[index]:
                self._begin(row, named)
            elif plan.execs()[row["slot"]] and row["kind"] == events.CALL:
                begun = self._execs.pop(_task(row), True)
                kept[index] = named if row["result"] else begun
            else:
                kept[index] = named
        return kept

    def _begin(self, row: np.void, named: bool) -> None:
        """An execve has begun, or the file that it runs is known."""
        task = _task(row)
        if row["kind"] == events.EXEC_NAME:
            named = named or self._execs.get(task, False)
        elif len(self._execs) >= _KNOWN:
            self._execs.clear()
        self._execs[task] = named

    def _named(self, batch: Batch, index: int) -> bool:
        row = batch.events[index]
        places = {0: "path"} if row["kind"] == events.EXEC_NAME else _places()[int(row["slot"])]
        return any(self._matches(places.get(blob.arg), blob) for blob in batch.blobs(index))

    def _matches(self, kind: str | None, blob: Blob) -> bool:
        if blob.part == events.PART_FILE:
            path = place(blob.data)
            return path is None or self._is_wanted(path)
        if kind is None or blob.part != (events.PART_NAME if kind == "inmsg" else events.PART_SELF):
            return False
        if blob.state == events.FAULT:
            return True
        return self._is_wanted(blob.data if kind == "path" else blob.data[2:] if blob.data[:2] == _UNIX else b"")

    def _is_wanted(self, data: bytes) -> bool:
        if data not in self._verdicts:
            if len(self._verdicts) >= _KNOWN:
                self._verdicts.clear()
            text = data.partition(b"\0")[0]
            self._verdicts[data] = bool(text) and self._wanted.fullmatch(text) is not None
        return self._verdicts[data]


def _task(row: np.void) -> tuple[int, int]:
    return int(row["args"][5]), int(row["pid"])


def _regex(pattern: str) -> bytes:
    """``fnmatch`` has regular expressions for bytes as well, but does not give them away."""
    text = fnmatch.translate(os.fsencode(pattern).decode("latin-1"))
    return text.encode("latin-1")


@cache
def _places() -> dict[int, dict[int, str]]:
    """Slot → the arguments that are paths, or have an address that may be a unix socket's, with their kinds."""
    return {
        slot: {index: arg.kind for index, arg in enumerate(call.args) if arg.kind in _KINDS}
        for slot, call in plan.all_calls().items()
    }


@cache
def _naming() -> npt.NDArray[np.bool_]:
    """Which slots hold calls that can name one, or have descriptors."""
    return plan.slots(
        lambda call: any(arg.kind in _KINDS for arg in call.args) or bool(files_of(call) or made_by(call))
    )
