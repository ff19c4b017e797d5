"""The live table: keys in, snapshots in, lines out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Protocol

from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.message import Message
from textual.widgets import Input, Static

from isotrace.asking import drawing
from isotrace.asking.dialogue import Talker, hung_up, stay
from isotrace.top import figures, views
from isotrace.top.dialogs import Help
from isotrace.top.failures import recent
from isotrace.top.model import Snapshot, empty
from isotrace.top.painting import ALARM, DIM, HEAD, PLAIN
from isotrace.top.questions import QuestionKeys
from isotrace.top.refusal_keys import RefusalKeys
from isotrace.top.refusing import Answer, Refusing, Status
from isotrace.top.source import Requests
from isotrace.top.views import VIEWS, Order
from isotrace.top.widgets import Detail, Head, TableView

SMALLEST = (60, 12)
_NOTE_SECONDS = 8.0
_CHECK = 0.25  # seconds between two looks at whether a signal has come

_KEYS = "↑↓ Enter detail  ←→ sort  / filter  p pause  z zero  f process  d deny  ? help  q quit"
_LESS_KEYS = "Enter detail  ←→ sort  / filter  d deny  f process  ? help  q quit"

_EMPTY = {
    "call": "nothing was called yet",
    "process": "nothing was called yet",
    "file": "no file or address was named yet",
    "error": "nothing has failed",
    "container": "nothing was called yet",
}
_SORT = {"file": "calls"}


class Feed(Protocol):
    """Where snapshots come from: ``source.Worker``, or a recording."""

    requests: Requests
    failure: BaseException | None

    def begin(self, post: Callable[[Snapshot], object]) -> None:
        """Post snapshots from now on, from a thread of its own."""

    def refresh(self) -> None:
        """Make one now."""

    def finish(self) -> None:
        """Make no more."""


class Arrived(Message):
    """A snapshot is there."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot


class Answered(Message):
    """Whoever refuses has an answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class Needle(Input):
    """What rows must contain. The key after Enter is the table's already, however soon it comes: no message is waited for."""

    def __init__(self, keep: Callable[[str], None]) -> None:
        super().__init__(id="needle", placeholder="filter: type, Enter keeps, Esc drops", select_on_focus=False)
        self._keep = keep

    async def action_submit(self) -> None:
        """Keep what was typed."""
        self._keep(self.value)


class TopApp(App[None]):
    """``isotrace top``. ``stopped`` is set from outside when a signal wants it to end."""

    KEYS: ClassVar[tuple[str, str]] = (_KEYS, _LESS_KEYS)  # what the footer says, and where there is little room
    ENABLE_COMMAND_PALETTE = False
    TITLE = "isotrace top"
    CSS = """
    Screen { layers: base; }
    #foot { height: 1; }
    #needle { height: 1; border: none; padding: 0; display: none; }
    #small { display: none; width: 100%; height: 100%; content-align: center middle; text-align: center; }
    Screen.small #all { display: none; }
    Screen.small #small { display: block; }
    Detail.open { display: block; }
    #all { height: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"view('{name}')", title) for number, (name, title) in enumerate(VIEWS, 1)),
        Binding("tab", "next_view(1)", priority=True),
        Binding("shift+tab", "next_view(-1)", priority=True),
        Binding("up", "move(-1)"),
        Binding("down", "move(1)"),
        Binding("pageup", "page(-1)"),
        Binding("pagedown", "page(1)"),
        Binding("home", "move(-1000000)"),
        Binding("end", "move(1000000)"),
        Binding("s,right,greater_than_sign", "sort(1)"),
        Binding("left,less_than_sign", "sort(-1)"),
        Binding("r", "reverse"),
        Binding("slash", "filter"),
        Binding("p,space", "pause"),
        Binding("z", "zero"),
        Binding("f", "freeze"),
        Binding("enter", "detail"),
        Binding("escape", "close"),
        Binding("d", "refuse"),
        Binding("D,upper_d", "refusals"),
        Binding("u", "lift"),
        Binding("a", "questions"),
        Binding("question_mark,h", "help"),
        Binding("q,ctrl+c", "leave", priority=False),
    ]

    def __init__(
        self, feed: Feed, title: str, view: str, refusing: Refusing, note: str = "", talker: Talker | None = None
    ) -> None:
        """``note`` is said in the footer at first; ``talker`` looks at questions that come over the table."""
        # Without this NO_COLOR gives shades of grey.
        super().__init__(driver_class=drawing.driver(), ansi_color="NO_COLOR" in os.environ or None)
        self.stopped: threading.Event | None = None
        self.failure: BaseException | None = None
        #: What is to be said in the footer, since the last time.
        self.news: Callable[[], list[str]] = list
        self._feed, self._refusals = feed, RefusalKeys(self, refusing, title, self._say)
        self._questions = QuestionKeys(self, talker, title, self._say, self._types)
        self._view, self._paused, self._open = view, False, False
        self._message = note
        self._orders = {name: Order(_SORT.get(name, "rate")) for name, _ in VIEWS}
        self._latest = self._drawn = empty()
        self._head, self._table, self._detail = Head(title), TableView(), Detail()
        feed.requests.places = view == "file"

    def compose(self) -> ComposeResult:
        """Head, table, details, foot."""
        with Vertical(id="all"):
            yield self._head
            yield self._table
            yield self._detail
            yield Needle(self._keep_filter)
            yield Static(id="foot")
        yield Static(id="small")

    def on_mount(self) -> None:
        """Begin."""
        if not self.is_headless:
            stay()
        self._table.focus()
        self._feed.begin(lambda snapshot: self.post_message(Arrived(snapshot)))
        self.set_interval(_CHECK, self._check)
        self._write_foot()
        self._refusals.begin(lambda answer: self.post_message(Answered(answer)))
        self._questions.begin()
        note = self._message
        self.set_timer(_NOTE_SECONDS, lambda: self._say("") if self._message == note else None)

    def on_unmount(self) -> None:
        """No more snapshots and questions, and nothing refused."""
        threading.Thread(target=self._questions.finish, daemon=True).start()
        self._refusals.refusing.finish()
        self._feed.finish()

    def _check(self) -> None:
        if (self.stopped is not None and self.stopped.is_set()) or (not self.is_headless and hung_up()):
            self.exit()
        self.failure = self._feed.failure or self._refusals.refusing.failure or self._questions.failure
        if self.failure is not None:
            self.exit()
        if news := self.news():
            self._say("; ".join(news))

    def on_resize(self, event: Resize) -> None:
        """Say so where there is no room for a table."""
        width, height = event.size
        self.screen_stack[0].set_class(width < SMALLEST[0] or height < SMALLEST[1], "small")
        text = f"isotrace top needs {SMALLEST[0]}×{SMALLEST[1]} cells\nthis terminal has {width}×{height}"
        self.query_one("#small", Static).update(text)
        self._write_foot()

    # ---- snapshots ------------------------------------------------------------------------------------------------

    def on_arrived(self, event: Arrived) -> None:
        """Draw it, unless paused."""
        self._latest = event.snapshot
        self._refusals.see(event.snapshot)
        if not self._paused:
            self._drawn = event.snapshot
            self.draw()

    def draw(self) -> None:
        """Give every widget its part of the snapshot."""
        snapshot, order = self._drawn, self._orders[self._view]
        grid = views.grid_of(self._view, snapshot)
        self._table.show(views.arranged(grid, order), order, self._emptiness(order))
        self._head.show(snapshot, self._view, self._state(), self._restriction(order))
        if self._open:
            self._draw_detail()
        self._write_foot()

    def _emptiness(self, order: Order) -> str:
        return f"nothing contains {order.needle!r}" if order.needle else _EMPTY[self._view]

    def _state(self) -> str:
        state = f"■ {self._drawn.ended}" if self._drawn.ended else "paused" if self._paused else ""
        return "  ".join(part for part in (self._refusals.summary, state) if part)

    def _restriction(self, order: Order) -> str:
        said = [f"/{order.needle}"] if order.needle else []
        if self._drawn.frozen is not None and self._view in ("call", "error"):
            said.append(f"only {views.owner_name(self._drawn, self._drawn.frozen)}")
        if self._view == "file" and self._drawn.places and self._drawn.places.forgotten:
            said.append(f"{figures.count(self._drawn.places.forgotten)} pushed out")
        return "  ".join(said)

    def _write_foot(self) -> None:
        most, least = self.KEYS
        keys = most if self.size.width >= len(most) + 12 else least
        losses = self._drawn.losses.lines()
        alarm = self._message or self._questions.summary or self._refusals.doing or (losses[0] if losses else "")
        text, style = (alarm, ALARM) if alarm else (keys, DIM)
        width = max(1, self.size.width - 9)
        line = Text.assemble((text[:width].ljust(width), style), (self._table.position.rjust(9), HEAD), no_wrap=True)
        self.query_one("#foot", Static).update(line)

    def _say(self, text: str) -> None:
        self._message = text
        self._write_foot()

    # ---- what a row stands for ----------------------------------------------------------------------------------------

    def _chosen(self) -> tuple[int | None, int | None]:
        """(owner, slot) of the row under the cursor, as far as its view tells."""
        key = self._table.selected
        frozen = self._drawn.frozen
        if self._view == "call" and isinstance(key, int):
            return frozen, key
        if self._view == "process" and isinstance(key, int):
            return key, None
        if self._view == "error" and isinstance(key, tuple):
            return frozen, int(key[1])
        return None, None

    def _draw_detail(self) -> None:
        owner, slot = self._chosen()
        if owner is None and slot is None:
            self._detail.show("no details of this row", [], [])
            return
        names = [views.call_name(slot)] if slot is not None else []
        names += [views.owner_name(self._drawn, owner)] if owner is not None else []
        if self._feed.requests.selected != (owner, slot):
            self._feed.requests.selected = (owner, slot)
            self._feed.refresh()
        buckets = [int(n) for n in views.histogram(self._drawn, owner, slot)]
        self._detail.show("  of  ".join(names), buckets, self._happenings(owner, slot))

    def _happenings(self, owner: int | None, slot: int | None) -> list[tuple[str, Style]]:
        blocked = [(f"  {text}", PLAIN) for text in self._drawn.blocked[:6]]
        failures = [(f"  {figures.count(count)}× {text}", PLAIN) for count, text in recent(self._drawn, owner, slot)]
        lines: list[tuple[str, Style]] = [("inside the kernel now (tid, call)", HEAD), *(blocked or [("  none", DIM)])]
        return [*lines, ("failed, the latest of each kind first", HEAD), *(failures or [("  none", DIM)])]

    # ---- keys -----------------------------------------------------------------------------------------------------

    def action_view(self, name: str) -> None:
        """Another view."""
        if name == self._view:
            return
        self._view, self._message = name, ""
        self._table.restart()
        self._feed.requests.places = name == "file"
        self._feed.refresh()
        self.draw()

    def action_next_view(self, step: int) -> None:
        """The view after or before."""
        names = [name for name, _ in VIEWS]
        self.action_view(names[(names.index(self._view) + step) % len(names)])

    def action_move(self, steps: int) -> None:
        """Move the cursor."""
        self._message = ""
        self._table.move(steps)
        self._write_foot()
        if self._open:
            self._draw_detail()

    def action_page(self, pages: int) -> None:
        """A screenful up or down."""
        self.action_move(pages * self._table.page)

    def _arrange(self, order: Order) -> None:
        self._orders[self._view] = order
        self._message = ""
        self.draw()

    def action_sort(self, step: int) -> None:
        """Sort by the next or previous column that can be seen."""
        order = self._orders[self._view]
        names = [column.name for column in self._columns() if column.needs <= self.size.width]
        at = names.index(order.column) if order.column in names else 0
        chosen = names[(at + step) % len(names)]
        kinds = {column.name: column.kind for column in self._columns()}
        self._arrange(replace(order, column=chosen, descending=kinds[chosen] not in ("text", "path")))

    def _columns(self) -> tuple[views.Column, ...]:
        return views.grid_of(self._view, self._drawn).columns

    def action_reverse(self) -> None:
        """The other way round."""
        order = self._orders[self._view]
        self._arrange(replace(order, descending=not order.descending))

    def action_filter(self) -> None:
        """Type what rows must contain."""
        needle = self.query_one("#needle", Input)
        needle.value = self._orders[self._view].needle
        needle.display = True
        self.screen.set_focus(needle)  # at once: the next key is its already

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if event.input.display:
            self._arrange(replace(self._orders[self._view], needle=event.value))

    def _types(self) -> bool:
        return self.query_one("#needle", Input).display

    def _keep_filter(self, needle: str) -> None:
        self._close_filter()
        self._arrange(replace(self._orders[self._view], needle=needle))

    def _close_filter(self) -> None:
        self.query_one("#needle", Input).display = False
        self.screen.set_focus(self._table)

    def action_pause(self) -> None:
        """Stop drawing, or go on with what is there by now."""
        self._paused = not self._paused
        self._drawn = self._drawn if self._paused else self._latest
        self.draw()

    def action_zero(self) -> None:
        """Count from nothing again."""
        self._feed.requests.zero = True
        self._feed.refresh()

    def action_freeze(self) -> None:
        """Only one process, or all again."""
        if self._feed.requests.frozen is not None:
            self._feed.requests.frozen = None
        elif self._view == "process" and isinstance(key := self._table.selected, int):
            self._feed.requests.frozen = key
            self._view = "call"
            self._table.restart()
        else:
            self._say("go to the processes (2) and press f on one of them")
            return
        self._drawn = replace(self._drawn, frozen=self._feed.requests.frozen)
        self._feed.refresh()
        self.draw()

    def action_detail(self) -> None:
        """Open the pane, or close it."""
        self._open = not self._open
        self._detail.set_class(self._open, "open")
        if self._open:
            self._draw_detail()
        else:
            self._feed.requests.selected = None

    def on_table_view_opened(self) -> None:
        """The mouse can do it, too."""
        self.action_detail()

    def action_close(self) -> None:
        """Leave what was entered last: the filter, the pane, the filter that was kept, the process."""
        order = self._orders[self._view]
        if self.query_one("#needle", Input).display:
            self._close_filter()
            self._arrange(replace(order, needle=""))
        elif self._open:
            self.action_detail()
        elif order.needle:
            self._arrange(replace(order, needle=""))
        elif self._feed.requests.frozen is not None:
            self.action_freeze()
        elif self._message:
            self._say("")

    def on_answered(self, event: Answered) -> None:
        """Show it."""
        if isinstance(event.answer, Status):
            self._refusals.told(event.answer)
        else:
            self._refusals.proposed(event.answer, self._types())
        self.draw()

    def action_refuse(self) -> None:
        """Refuse the call of this row, after the mechanism was shown and confirmed."""
        self._refusals.refuse(self._latest, *self._chosen())

    def action_refusals(self) -> None:
        """List those in force."""
        self._refusals.list()

    def action_lift(self) -> None:
        """Lift one."""
        self._refusals.lift()

    def action_questions(self) -> None:
        """What is asked."""
        self._questions.open()

    def action_help(self) -> None:
        """What the keys are."""
        self.push_screen(Help())

    def action_leave(self) -> None:
        """Quit."""
        self.exit()
