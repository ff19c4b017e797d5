"""The arguments and the environment of an execve, put together from a capture for each string."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isotrace.decode import scalars
from isotrace.render.texts import fault, many, string
from isotrace.trace.events import CUT, FAULT, PART_IOV, PART_SELF, Blob

#: As many strings are copied where all are not asked for, and shown where arrays are abbreviated.
STRINGS = 32


@dataclass(frozen=True)
class _Strings:
    """The captures of an argv or envp: a string each, the last one perhaps a place that could not be read (PART_IOV).

    ``end`` stands behind them where all were asked for: its state is CUT if there were more than there was room for.
    """

    blobs: list[Blob]
    end: Blob | None

    @property
    def readable(self) -> bool:
        """Whether every place could be read, though perhaps not what is there."""
        return not any(blob.part == PART_IOV for blob in self.blobs)

    @property
    def more(self) -> bool:
        """Whether there may be more of them."""
        return self.end.state == CUT if self.end else len(self.blobs) >= STRINGS

    @property
    def all(self) -> list[Blob]:
        return [*self.blobs, *([self.end] if self.end else [])]


def _split(blobs: Sequence[Blob]) -> _Strings:
    if blobs and blobs[-1].part == PART_IOV and blobs[-1].state != FAULT:
        return _Strings(list(blobs[:-1]), blobs[-1])
    return _Strings(list(blobs), None)


def arguments(blobs: Sequence[Blob], address: int, full: bool) -> str:
    """An argv, up to STRINGS of it unless ``full``."""
    if not address:
        return "NULL"
    if blobs and blobs[0].part == PART_IOV and blobs[0].state == FAULT:
        return fault(address)
    found = _split(blobs)
    shown = found.blobs if full else found.blobs[:STRINGS]
    return many(map(_one, shown), found.more or len(shown) < len(found.blobs))


def environment(blobs: Sequence[Blob], address: int, full: bool) -> str:
    """An envp: how many variables there are, or, where they were copied and are asked for, all of them.

    Behind the last that could be read there is no NULL where that stands in memory that could not: "unterminated".
    """
    count = next((blob for blob in blobs if blob.part == PART_SELF), None)
    strings = [blob for blob in blobs if blob.part != PART_SELF]
    if full and strings and not (strings[0].part == PART_IOV and strings[0].state == FAULT):
        return arguments(strings, address, True)
    if count is None or (full and strings) or (count.state == FAULT and not count.full):
        return scalars.ptr(address)
    end = ", unterminated" if count.state == FAULT else ""
    return f"{address:#x} /* {count.full} var{'s' if count.full != 1 else ''}{end} */"


def _one(blob: Blob) -> str:
    if blob.part == PART_IOV:
        return "<fault>"
    return fault(blob.full) if blob.state == FAULT else string(blob)


def argv_given(before: Sequence[Blob], after: Sequence[Blob], script: bool) -> list[Blob]:
    """The arguments as an execve was given them: ``before``, with what could not be read then from the program's own.

    A script's interpreter gets more: its own name, an option perhaps, and the script's path for the first argument.
    """
    old, new = _split(before), _split(after)
    if script and (not old.readable or new.more):
        return old.all
    if not old.readable:
        known = old.blobs[:-1]
        return _Strings(known + new.blobs[len(known) :], new.end).all
    shift = len(new.blobs) - len(old.blobs) if script else 0
    same = [_readable(blob, new.blobs, i + shift, i > 0 or not script) for i, blob in enumerate(old.blobs)]
    return _Strings(same, old.end).all


def _readable(blob: Blob, others: Sequence[Blob], index: int, same: bool) -> Blob:
    return others[index] if blob.state == FAULT and same and index < len(others) else blob


def environment_given(before: Sequence[Blob], after: Sequence[Blob]) -> list[Blob]:
    """The same of the environment, which a script's interpreter gets as it was given."""
    counts = [blob for blob in before if blob.part == PART_SELF]
    strings = [blob for blob in before if blob.part != PART_SELF]
    lacking = not strings or any(blob.state == FAULT for blob in strings)
    return [*counts, *(after if lacking and after else strings)]
