"""The whole paths that the paths of a call are, behind those that the caller gave: ``log --resolve``."""

from __future__ import annotations

from isotrace.catalog.model import Syscall
from isotrace.catalog.rings import PREFIX
from isotrace.decode.descriptors import ALONE, CUT, DELETED, UNSURE, joined, taken_apart
from isotrace.decode.quote import quote
from isotrace.render.rows import Column, Rows
from isotrace.trace.captures import bases_of
from isotrace.trace.events import CALL, FAULT, PART_BASE, WHOLE, Blob
from isotrace.trace.plan import EXECS

BASE_ROOT = -101 & 0xFFFFFFFFFFFFFFFF  # of bpf/event.h, as Blob.full has it
UNKNOWN = " /* ? */"
#: Calls that change a process's working or root directory: when they end it is another, and its count two higher.
_MOVING = frozenset({"chdir", "chroot"})
_HOW, _IN_ROOT = 2, 0x10  # of openat2, in bytes 16…23: the directory counts as the root of the whole path


class Resolved:
    """Says of each relative path of a call which it is, where that was the same when the call began and ended."""

    def __init__(self, call: Syscall) -> None:
        self._places = [base.arg for base in bases_of(call)]
        self._name, self._moving = call.name, call.name in _MOVING
        # Absolute ones of these are left as they are: where they begin is not looked at.
        self._whole = call.name in EXECS or call.name.startswith(PREFIX)

    def beside(self, rows: Rows, args: list[Column]) -> list[Column]:
        """The columns of arguments, with the whole paths behind those that are others."""
        args, known = args.copy(), self._begin_there(rows)
        moved = [self._moving and kind == CALL and not result for kind, result in self._ends(rows)]
        for place in self._places:
            bases = [found if sure else [] for found, sure in zip(rows.parts(place, PART_BASE), known, strict=True)]
            args[place] = list(map(self._with_whole, args[place], rows.memory(place), bases, moved))
        return args

    def _with_whole(self, text: str, path: Blob | None, bases: list[Blob], moved: bool) -> str:
        left = self._whole and path and path.data.startswith(b"/")
        return text if left else text + _said(path, bases, moved)

    def _begin_there(self, rows: Rows) -> list[bool]:
        """Of which calls it is known where paths begin: with RESOLVE_IN_ROOT `/` and `..` mean something else."""
        if self._name != "openat2":
            return [True] * len(rows)
        hows = rows.memory(_HOW)
        return [how is not None and len(how.data) >= 24 and not how.data[16] & _IN_ROOT for how in hows]

    def _ends(self, rows: Rows) -> list[tuple[int, int]]:
        return list(zip(rows.field("kind"), rows.results, strict=True))


def _said(path: Blob | None, bases: list[Blob], moved: bool) -> str:
    """What to add to a path; "" where it is whole, empty, or itself not known."""
    if path is None or path.state == FAULT or not (given := path.data.partition(b"\0")[0]):
        return ""
    found = whole(given, bases, moved) if path.state == WHOLE else None
    if found is None:
        return UNKNOWN
    return "" if found == given else f" /* {quote(found)} */"


def whole(given: bytes, bases: list[Blob], moved: bool = False) -> bytes | None:
    """The path that ``given`` is, from the root of the mount namespace up; None where that is not known.

    ``bases``: where it began when the call began and when it ended, PART_BASE. ``moved``: the call itself changed that.
    """
    if len(bases) != 2 or any(base.state != WHOLE for base in bases):
        return None
    before, after = (taken_apart(base.data) for base in bases)
    if before is None or after is None or (bases[1].full == BASE_ROOT) != given.startswith(b"/"):
        return None
    if (
        bases[0].full != bases[1].full
    ):  # the path was not in memory yet when the call began, and looked like a relative one
        alone = after[0].other == before[0].other and after[1] == b"" and not after[0].state
        return given if alone else None
    if before[0].state & (UNSURE | CUT | DELETED | ALONE) or after[0].state & UNSURE:
        return None
    if after[0].other - before[0].other != (2 if moved else 0) or (before != after and not moved):
        return None
    base = joined(before[1])
    return base.removesuffix(b"/") + b"/" + given.removeprefix(b"/")
