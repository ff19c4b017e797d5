"""What is on the screen: a head, the table, the pane of details. Each draws what it was given last."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from isotrace.top import figures, painting
from isotrace.top.model import Snapshot
from isotrace.top.painting import ALARM, BUSY, DIM, HEAD, NAME, PLAIN, SORTED, STRONG
from isotrace.top.views import VIEWS, Arranged, Grid, Order

_REVERSE = Style(reverse=True, bold=True)
_CURSOR = Style(bgcolor="#2c3a57", bold=True)


def padded(segments: Iterable[Segment], width: int, base: Style) -> Strip:
    """The segments on one line of exactly ``width`` cells."""
    return Strip(segments).adjust_cell_length(width).apply_style(base)


def spread(left: list[Segment], right: list[Segment], width: int) -> list[Segment]:
    """Two groups at the two ends of a line; the left one gives way."""
    room = max(0, width - sum(segment.cell_length for segment in right) - 1)
    return [*Strip(left).adjust_cell_length(room), Segment(" "), *right]


class Head(Widget):
    """Three lines: what is watched, how much there is, which views there are."""

    DEFAULT_CSS = "Head { height: 3; }"

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._snapshot: Snapshot | None = None
        self._view, self._state, self._note = "call", "", ""

    def show(self, snapshot: Snapshot, view: str, state: str, note: str) -> None:
        """Draw this from now on. ``state`` is "paused" or why it ended, ``note`` what restricts the rows."""
        self._snapshot, self._view, self._state, self._note = snapshot, view, state, note
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Textual's line API."""
        lines = (self._first, self._second, self._tabs)
        return padded(lines[y]() if y < 3 else [], self.size.width, self.rich_style)

    def _first(self) -> list[Segment]:
        if self._snapshot is None:
            return [Segment("isotrace top ", STRONG), Segment(self._title, NAME)]
        state = [Segment(f"{self._state}  ", ALARM + STRONG)] if self._state else []
        processes = sum(1 for process in self._snapshot.processes.values() if not process.ended)
        words = f"{processes} process{'es' if processes != 1 else ''}  {figures.clock(self._snapshot.seconds)}"
        right = [*state, Segment(words, DIM)]
        room = self.size.width - sum(segment.cell_length for segment in right) - len("isotrace top ") - 1
        title = Segment(painting.fit(self._title, max(0, room)), NAME)
        return spread([Segment("isotrace top ", STRONG), title], right, self.size.width)

    def _second(self) -> list[Segment]:
        if self._snapshot is None:
            return [Segment("loading the kernel programs", DIM)]
        left = [
            Segment(figures.rate(self._snapshot.rate).rjust(7), BUSY),
            Segment(" calls/s ", DIM),
            Segment(figures.count(self._snapshot.calls).rjust(7), PLAIN),
            Segment(" in all  ", DIM),
        ]
        room = self.size.width - sum(segment.cell_length for segment in left)
        width = min(room, 120)
        return [*left, *painting.curve(self._snapshot.history.total.tolist(), max(2, width))]

    def _tabs(self) -> list[Segment]:
        left = []
        for number, (name, title) in enumerate(VIEWS, 1):
            chosen = name == self._view
            left += [Segment(f" {number} {title} ", _REVERSE if chosen else HEAD), Segment(" ")]
        return spread(left, [Segment(self._note, SORTED)] if self._note else [], self.size.width)


class TableView(Widget, can_focus=True):
    """Titles and as many rows as there is room for. The cursor stays on its row, wherever that goes."""

    DEFAULT_CSS = "TableView { height: 1fr; }"

    class Opened(Message):
        """A row was clicked that the cursor was on already."""

    def __init__(self) -> None:
        super().__init__()
        self._found = Arranged(Grid((), [], {}))
        self._order = Order()
        self._empty = ""
        self._cursor, self._top = 0, 0
        self._moved = False  # until the cursor is moved it stays on the first row

    def show(self, found: Arranged, order: Order, empty: str) -> None:
        """Draw these rows from now on; ``empty`` is said where there are none."""
        before = self.selected if self._moved else None
        self._found, self._order, self._empty = found, order, empty
        if before is not None:
            keys = found.grid.keys
            at = next((i for i, row in enumerate(found.rows) if keys[row] == before), None)
            self._cursor = at if at is not None else self._cursor
        self._clamp()
        self.refresh()

    @property
    def selected(self) -> Hashable | None:
        """The key of the row under the cursor."""
        rows = self._found.rows
        return self._found.grid.keys[rows[self._cursor]] if self._cursor < len(rows) else None

    @property
    def position(self) -> str:
        """Which of how many."""
        rows = len(self._found.rows)
        return f"{self._cursor + 1}/{rows}" if rows else "0"

    def move(self, steps: int) -> None:
        """Move the cursor."""
        self._cursor += steps
        self._clamp()
        self._moved = self._cursor > 0
        self.refresh()

    def restart(self) -> None:
        """Back to the first row, and stay there."""
        self._cursor = self._top = 0
        self._moved = False

    @property
    def page(self) -> int:
        """Rows that there is room for."""
        return max(1, self.size.height - 1)

    def _clamp(self) -> None:
        self._cursor = max(0, min(self._cursor, len(self._found.rows) - 1))
        self._top = max(min(self._top, self._cursor), self._cursor - self.page + 1)
        self._top = max(0, min(self._top, len(self._found.rows) - self.page))

    def on_resize(self) -> None:
        """Keep the cursor on the screen."""
        self._clamp()
        self.refresh()

    def on_mouse_scroll_down(self) -> None:
        """The wheel moves the cursor."""
        self.move(3)

    def on_mouse_scroll_up(self) -> None:
        """The wheel moves the cursor."""
        self.move(-3)

    def on_click(self, event: events.Click) -> None:
        """A click selects; a click on the selected row opens it."""
        row = self._top + event.y - 1
        if event.y == 0 or row >= len(self._found.rows):
            return
        if row == self._cursor:
            self.post_message(self.Opened())
        self.move(row - self._cursor)

    def render_line(self, y: int) -> Strip:
        """Textual's line API."""
        width = self.size.width
        columns = painting.layout(self._found.grid.columns, width)
        index = self._top + y - 1
        if y == 0:
            return padded(painting.heading(columns, self._order), width, self.rich_style)
        if index >= len(self._found.rows):
            text = self._empty if y == 2 and not self._found.rows else ""
            return padded([Segment(f"  {text}", DIM)], width, self.rich_style)
        strip = padded(painting.line(self._found, self._found.rows[index], columns), width, self.rich_style)
        if index != self._cursor:
            return strip
        # Without colours only the attribute is left to show where the cursor is.
        return Strip(Segment(s.text, (s.style or PLAIN) + self._cursor_style) for s in strip)

    @property
    def _cursor_style(self) -> Style:
        return Style(reverse=True) if self.app.no_color else _CURSOR


class Detail(Widget):
    """Latencies of the selected row at the left; what is going on now and what failed at the right."""

    DEFAULT_CSS = "Detail { height: 40%; min-height: 8; max-height: 20; display: none; border-top: solid #44506a; }"

    def __init__(self) -> None:
        super().__init__()
        self._title = ""
        self._buckets: list[int] = []
        self._right: list[tuple[str, Style]] = []

    def show(self, title: str, buckets: list[int], right: list[tuple[str, Style]]) -> None:
        """Draw this from now on."""
        self._title, self._buckets, self._right = title, buckets, right
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Textual's line API."""
        width = self.size.width
        left = min(46, width // 2 - 1)
        room = self.size.height - 1
        if y == 0:
            return padded([Segment(f" {self._title}", STRONG)], width, self.rich_style)
        bars = painting.histogram(self._buckets, room, left)
        bar = bars[y - 1] if y <= len(bars) else [Segment("  no call was timed", DIM)] if y == 1 else []
        text, style = self._right[y - 1] if y <= len(self._right) else ("", PLAIN)
        line = [
            *Strip(bar).adjust_cell_length(left),
            Segment("  "),
            Segment(painting.fit(text, width - left - 2), style),
        ]
        return padded(line, width, self.rich_style)
