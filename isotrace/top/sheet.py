"""A table of text that fits a width: numbers are never cut, columns go in the order of their importance, names last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from isotrace.top.painting import fit

_GAP = 2
_SHORTEST = 12  # of a name
_LEAST = 24  # of a name, as long as another column can go


@dataclass(frozen=True)
class SheetColumn:
    """``kind``: how a cell that is too long is cut, a number not at all. Those of the highest ``rank`` are dropped first,
    the latest of several; of rank 0 none.
    """

    title: str
    cells: Sequence[str]
    kind: Literal["number", "text", "path"] = "number"
    rank: int = 0

    @property
    def width(self) -> int:
        """Of its widest cell."""
        return max(len(self.title), *map(len, self.cells)) if self.cells else len(self.title)


def lines(columns: Sequence[SheetColumn], width: int | None = None) -> Iterator[str]:
    """The line of titles and one a row, each at most ``width`` wide where the columns of rank 0 allow that."""
    shown = list(columns)
    while width is not None and _width(shown) > width and any(one.rank for one in shown):
        shown.remove(max(reversed(shown), key=lambda one: one.rank))
    widths = [one.width for one in shown]
    over = sum(widths) + _GAP * (len(shown) - 1) - width if width is not None else 0
    for at in sorted(range(len(shown)), key=lambda at: -widths[at]):
        if over > 0 and shown[at].kind != "number":
            cut = min(over, max(0, widths[at] - _SHORTEST))
            widths[at], over = widths[at] - cut, over - cut
    rows = zip(*(one.cells for one in shown), strict=True)
    for row in ([one.title for one in shown], *rows):
        yield (" " * _GAP).join(map(_cell, row, widths, shown)).rstrip()


def _width(columns: Sequence[SheetColumn]) -> int:
    """What they take with names as short as they can be."""
    names = (min(one.width, _LEAST) if one.kind != "number" else one.width for one in columns)
    return sum(names) + _GAP * (len(columns) - 1)


def _cell(text: str, width: int, column: SheetColumn) -> str:
    if column.kind == "number":
        return text.rjust(width)
    return fit(text, width, tail=column.kind == "path")
