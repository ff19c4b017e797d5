"""A view's rows as lines of styled text. Pure; colours here, sizes from whoever draws."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style

from isotrace.top import figures
from isotrace.top.views import Arranged, Column, Grid, Order

PLAIN = Style()
DIM = Style(color="#7a8699")
STRONG = Style(bold=True)
NAME = Style(color="#7dcfff")
BUSY = Style(color="#e0e6f0", bold=True)
ALARM = Style(color="#ff6b6b")
CURVE = Style(color="#5f9fff")
NOW = Style(color="#9fe0ff", bold=True)
BAR = Style(color="#4fc3a1")
TREE = Style(color="#566178")
HEAD = Style(color="#9aa7bd", bold=True)
SORTED = Style(color="#ffd166", bold=True, underline=True)
GOOD = Style(color="#8bd17c")
WARM = Style(color="#e8c468")
HOT = Style(color="#f2995c")
STUCK = Style(color="#d78bff")

_RIGHT = frozenset({"rate", "count", "failures", "pid", "time", "bytes"})


def layout(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that fit in ``width`` cells, with the width of each; one cell stays free between two."""
    shown = [column for column in columns if column.needs <= width]
    spare = max(0, width - sum(column.width + 1 for column in shown) + 1)
    parts = sum(column.grows for column in shown)
    widths = [column.width + (spare * column.grows // parts if parts else 0) for column in shown]
    rest = spare - sum(widths) + sum(column.width for column in shown)
    widest = max(range(len(shown)), key=lambda i: (shown[i].grows, i), default=None)
    if widest is not None and parts:
        widths[widest] += rest
    return list(zip(shown, widths, strict=True))


def heading(columns: Sequence[tuple[Column, int]], order: Order) -> list[Segment]:
    """The line of titles; the column that sorts is marked."""
    found: list[Segment] = []
    for column, width in columns:
        chosen = column.name == order.column
        title = column.title
        if chosen and len(title) < width:
            title += "▼" if order.descending else "▲"
        text = title[:width].rjust(width) if column.kind in _RIGHT else title[:width].ljust(width)
        found += [Segment(text, SORTED if chosen else HEAD), Segment(" ", PLAIN)]
    return found[:-1]


def line(found: Arranged, row: int, columns: Sequence[tuple[Column, int]]) -> list[Segment]:
    """One row."""
    grid, segments = found.grid, list[Segment]()
    ended = row in grid.ended
    for place, (column, width) in enumerate(columns):
        if place == 0:
            segments += _label(found.prefixes.get(row, ""), str(grid.values[column.name][row]), width, column, ended)
        else:
            segments += _cell(grid, column, row, width)
        segments.append(Segment(" ", PLAIN))
    return segments[:-1]


def _label(prefix: str, text: str, width: int, column: Column, ended: bool) -> list[Segment]:
    prefix = prefix[: max(0, width - 6)]
    return [
        Segment(prefix, TREE),
        Segment(fit(text, width - len(prefix), tail=column.kind == "path"), DIM if ended else NAME),
    ]


def fit(text: str, width: int, tail: bool = False) -> str:
    """``text`` in exactly ``width`` cells; what does not fit is shown by an ellipsis. A path keeps its end."""
    if len(text) <= width:
        return text.ljust(width)
    if width < 2:
        return text[:width]
    return "…" + text[1 - width :] if tail else text[: width - 1] + "…"


def _cell(grid: Grid, column: Column, row: int, width: int) -> list[Segment]:
    if column.kind == "spark":
        return _curve(grid, row, width)
    value = grid.values[column.name][row]
    if isinstance(value, str):
        return [Segment(fit(value, width), PLAIN)]
    if column.kind == "share":
        return _share(float(value), width)
    text, style = number(column.kind, float(value))
    return [Segment(text[:width].rjust(width), style)]


def number(kind: str, value: float) -> tuple[str, Style]:
    """A value of a column as text, and its colour."""
    if kind == "rate":
        return figures.rate(value), BUSY if value >= 1 else DIM
    if kind == "failures":
        return (figures.count(value), ALARM) if value else ("", DIM)
    if kind == "time":
        return figures.duration(value), heat(value)
    if kind == "bytes":
        return figures.size(value), PLAIN
    if kind == "pid":
        return (f"{value:.0f}" if value else ""), DIM
    return figures.count(value), PLAIN


def heat(ns: float) -> Style:
    """The colour of a latency: a call that waits for something is another matter than one that computes."""
    for bound, style in ((1e4, GOOD), (1e6, WARM), (1e8, HOT)):
        if ns < bound:
            return style
    return STUCK


def _share(value: float, width: int) -> list[Segment]:
    bar = width - 5
    return [Segment(figures.bar(value, bar), BAR), Segment(f"{100 * value:4.0f}%" if value else "     ", DIM)]


def _curve(grid: Grid, row: int, width: int) -> list[Segment]:
    if grid.history is None:
        return [Segment(" " * width, PLAIN)]
    return curve(grid.history[row].tolist(), width)


def curve(values: list[float], width: int) -> list[Segment]:
    """The last minute; its last cell, which is now, stands out."""
    text = figures.spark(values, width)
    return [Segment(text[:-1], CURVE), Segment(text[-1:], NOW)]


def histogram(buckets: Sequence[int], room: int, width: int) -> list[list[Segment]]:
    """At most ``room`` lines: from, to, a bar, how many. The emptier end is folded when there is not room for all."""
    found = [(i, i, int(n)) for i, n in enumerate(buckets)]
    while found and not found[0][2]:
        found.pop(0)
    while found and not found[-1][2]:
        found.pop()
    while len(found) > max(1, room):
        at = 0 if found[0][2] <= found[-1][2] else len(found) - 2
        (low, _, a), (_, high, b) = found[at], found[at + 1]
        found[at : at + 2] = [(low, high, a + b)]
    most = max((n for _, _, n in found), default=1)
    last = len(buckets) - 1
    return [_bucket(low, high, n, n / most, width, high == last) for low, high, n in found]


def _bucket(low: int, high: int, calls: int, share: float, width: int, endless: bool) -> list[Segment]:
    begin, end = (64 << low) if low else 0, 128 << high
    text = f"{figures.duration(begin) or '0'}–{'' if endless else figures.duration(end)}"
    return [
        Segment(text.rjust(12) + " ", heat(begin + 1)),
        Segment(figures.bar(share, max(4, width - 21)), BAR),
        Segment(figures.count(calls).rjust(8), PLAIN),
    ]
