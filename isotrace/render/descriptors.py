"""What the descriptors of a call are, behind their numbers: ``log -y``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from isotrace.catalog.alternatives import chooser, result_arg
from isotrace.catalog.model import Syscall
from isotrace.decode.descriptors import UNKNOWN, descriptor
from isotrace.render.rows import Column, Rows
from isotrace.trace.captures import MADE_NONE, MADE_PAIR, MADE_RESULT, made_by
from isotrace.trace.events import CALL, PART_FILE, RESULT_ARG, Blob

_MEMO = 4096
_KINDS = ("fd", "dirfd")


class Descriptors:
    """Says what the descriptors of a call are, as strace does with -y, and with -yy where ``level`` is 2."""

    def __init__(self, call: Syscall, level: int) -> None:
        self._call, self._details = call, level > 1
        self._places = [index for index, arg in enumerate(call.args) if arg.kind in _KINDS]
        self._made = made_by(call)
        self._known: dict[bytes, str] = {}

    def beside(self, rows: Rows, args: list[Column], results: Column) -> tuple[list[Column], Column]:
        """The columns of arguments and the results, with what the descriptors among them are."""
        args = args.copy()
        for place in self._places:
            texts = map(self._text, rows.memory(place, PART_FILE))
            args[place] = [number + text for number, text in zip(args[place], texts, strict=True)]
        if self._made == MADE_RESULT:
            results = self._results(rows, results)
        elif self._made != MADE_NONE:
            place = self._made - MADE_PAIR
            args[place] = list(map(self._pair, args[place], rows.parts(place, PART_FILE), rows.unfilled))
        return args, results

    def _text(self, blob: Blob | None) -> str:
        if blob is None:
            return UNKNOWN
        text = self._known.get(blob.data)
        if text is None:
            if len(self._known) >= _MEMO:
                self._known.clear()
            text = self._known[blob.data] = descriptor(blob.data, self._details)
        return text

    def _results(self, rows: Rows, results: Column) -> Column:
        found = zip(results, rows.memory(RESULT_ARG, PART_FILE), self._are_made(rows), strict=True)
        return [result + self._text(blob) if made else result for result, blob, made in found]

    def _are_made(self, rows: Rows) -> Iterable[bool]:
        """Whether each call's result is a descriptor."""
        returned = [kind == CALL and result >= 0 for kind, result in zip(rows.field("kind"), rows.results, strict=True)]
        if self._call.ret == "fd":
            return returned
        which = chooser(self._call, result_arg(self._call))
        return [done and arg.kind == "fd" for done, arg in zip(returned, which.each(rows.registers), strict=True)]

    def _pair(self, shown: str, blobs: list[Blob], unfilled: bool) -> str:
        """``[3, 4]`` as ``[3<pipe:[1]>, 4<pipe:[1]>]``."""
        if unfilled or not re.fullmatch(r"\[-?\d+, -?\d+\]", shown):
            return shown
        files = [*map(self._text, blobs), UNKNOWN, UNKNOWN]
        return f"[{', '.join(number + file for number, file in zip(shown[1:-1].split(', '), files, strict=False))}]"
