"""What lies over the table for a moment: help, a choice, a question, the list of refusals. Each draws what it was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Static

from isotrace.top import figures
from isotrace.top.painting import HEAD, PLAIN, STRONG, fit
from isotrace.top.refusing import ActiveRefusal, Proposal, Status

Result = TypeVar("Result")
_HERE = Style(reverse=True)

_HELP = """\
[b]Views[/b]    1 calls  2 processes  3 files & addresses  4 errors
         5 containers                         Tab next
[b]Rows[/b]     ↑ ↓ PgUp PgDn Home End, mouse    Enter details   Esc close
[b]Order[/b]    ← → or s: by another column      r the other way round
[b]Filter[/b]   / and type; Enter keeps it, Esc drops it
[b]Time[/b]     p pause    z set all counts to zero
[b]Process[/b]  f on a process: only its calls; f again: all
[b]Deny[/b]     d the call of this row    D list denials    u lift one
[b]Asked[/b]    a what waits for an answer (isotrace ask --top)
[b]Leave[/b]    q; nothing stays denied

calls/s is of the latest look, the curve of the last minute. p50 and
p99 come from a histogram of powers of two; max is exact. A call's
time is from entry to return, so one that waits counts its waiting.
Calls that did not return yet are not in the table: Enter shows them.
Files are as the program named them. A denied call counts as an error.
                                             [dim]any key closes this[/dim]"""


class Box(ModalScreen[Result]):
    """A box in the middle of the screen. The first answer counts: more keys may come before it is gone."""

    DEFAULT_CSS = """
    Box { align: center middle; }
    Box Static {
        width: auto; max-width: 100%; height: auto; max-height: 100%;
        border: round #5f9fff; padding: 0 1; background: $surface;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._answered = False

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(self.content())

    def content(self) -> Text:
        """What is in it now."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw the content as it is now."""
        if self.is_mounted:
            self.query_one(Static).update(self.content())

    def on_resize(self) -> None:
        """As much as there is room for."""
        self.redraw()

    def answer(self, result: Result | None) -> None:
        """Close with this result."""
        if not self._answered:
            self._answered = True
            self.dismiss(result)

    @property
    def room(self) -> tuple[int, int]:
        """Columns and lines inside the border."""
        return max(20, min(self.app.size.width - 4, 110)), max(4, self.app.size.height - 4)


class Help(Box[None]):
    """The keys, and what the figures mean."""

    def content(self) -> Text:
        """A text."""
        return Text.from_markup(_HELP)

    def on_key(self, event: Key) -> None:
        """Any key closes it."""
        event.stop()
        self.answer(None)


def _wrapped(lines: Sequence[tuple[str, Style]], width: int) -> list[tuple[str, Style]]:
    """The lines, folded at words."""
    found: list[tuple[str, Style]] = []
    for text, style in lines:
        indent = len(text) - len(text.lstrip())
        rest, lead = text, 0
        while len(rest) + lead > width:
            at = rest.rfind(" ", indent + 1, width - lead + 1)
            at = at if at > indent else width - lead
            found.append((" " * lead + rest[:at], style))
            rest, lead = rest[at:].lstrip(), indent + 2
        found.append((" " * lead + rest, style))
    return found


def _joined(lines: Sequence[tuple[str, Style]]) -> Text:
    return Text("\n", no_wrap=True).join(Text(text, style) for text, style in lines)


class Question(Box[bool]):
    """Whether a call is to be refused as proposed; where it cannot be, why. What there is no room for is below."""

    _STEPS: ClassVar[dict[str, int]] = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}

    def __init__(self, proposal: Proposal) -> None:
        super().__init__()
        self._proposal = proposal
        self._whole, self._top = False, 0

    def content(self) -> Text:
        """Mechanism, guarantees, limits."""
        proposal, (width, height) = self._proposal, self.room
        call = proposal.wanted.call
        title = f"Deny {call}?" if proposal.possible else f"{call} cannot be denied here"
        body = _wrapped([(line, PLAIN) for line in (proposal.details if self._whole else proposal.lines)], width)
        room = max(1, height - 2)
        self._top = max(0, min(self._top, len(body) - room))
        shown = body[self._top : self._top + room]
        return _joined([(title, STRONG), *shown, (self._keys(len(body) > room), HEAD)])

    def _keys(self, scrolls: bool) -> str:
        said = ["y denies it"] if self._proposal.possible else []
        said += ["↑↓ more"] if scrolls else []
        said += [f"v {'in short' if self._whole else 'in full'}"] if self._proposal.details else []
        return "    ".join([*said, "any other key: no" if self._proposal.possible else "any other key closes this"])

    def on_key(self, event: Key) -> None:
        """Only y is a yes: a key that was meant for the table never is."""
        event.stop()
        if event.key in self._STEPS:
            self._top += self._STEPS[event.key]
        elif event.key == "v" and self._proposal.details:
            self._whole, self._top = not self._whole, 0
        else:
            self.answer(event.key == "y" and self._proposal.possible)
            return
        self.redraw()


class Pick(Box[int]):
    """Lines of which one is under the cursor."""

    _STEPS: ClassVar[dict[str, int]] = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -10, "pagedown": 10}

    def __init__(self) -> None:
        super().__init__()
        self._cursor = 0

    def rows(self, width: int) -> list[str]:
        """The lines."""
        raise NotImplementedError

    def content(self) -> Text:
        """A title, as many lines as there is room for, the keys."""
        width, height = self.room
        rows = self.rows(width)
        self._cursor = max(0, min(self._cursor, len(rows) - 1))
        room = max(1, height - 2)
        top = max(0, min(self._cursor - room // 2, len(rows) - room))
        shown = [(row, _HERE if top + i == self._cursor else PLAIN) for i, row in enumerate(rows[top : top + room])]
        return _joined([(self.title_line, STRONG), *shown, (self.keys_line, HEAD)])

    title_line = ""
    keys_line = ""

    def on_key(self, event: Key) -> None:
        """Move, or take, or leave."""
        event.stop()
        if event.key in self._STEPS:
            self._cursor += self._STEPS[event.key]
            self.redraw()
        else:
            self.pressed(event.key)

    def pressed(self, key: str) -> None:
        """Another key."""
        raise NotImplementedError


class Calls(Pick):
    """Which call of a process; the answer is the index."""

    keys_line = "↑↓ Enter chooses    any other key: none"

    def __init__(self, whom: str, calls: Sequence[tuple[str, int]]) -> None:
        super().__init__()
        self.title_line = f"Deny what to {whom}?"
        self._calls = calls

    def rows(self, width: int) -> list[str]:
        """Names and counts."""
        return [f" {name:<24} {figures.count(calls):>8} calls " for name, calls in self._calls]

    def pressed(self, key: str) -> None:
        """Enter takes it."""
        self.answer(self._cursor if key == "enter" else None)


class Listing(Pick):
    """What is refused, with hits, as it changes; ``lift`` is called with the number of one."""

    keys_line = "↑↓ choose    u lifts it    any other key closes this"

    def __init__(self, status: Status, lift: Callable[[int], None]) -> None:
        super().__init__()
        self._lift = lift
        self._status = status

    @property
    def title_line(self) -> str:  # type: ignore[override]
        """How many."""
        count = sum(not refusal.ended for refusal in self._status.refusals)
        return f"Denied now: {count}" if self._status.refusals else "Nothing is denied"

    def show(self, status: Status) -> None:
        """Draw this from now on."""
        self._status = status
        self.redraw()

    def rows(self, width: int) -> list[str]:
        """One refusal a line."""
        return [fit(_listed(refusal), width) for refusal in self._status.refusals]

    def pressed(self, key: str) -> None:
        """u lifts."""
        refusals = self._status.refusals
        if key == "u" and refusals:
            self._lift(refusals[self._cursor].number)
        else:
            self.answer(None)


def _listed(refusal: ActiveRefusal) -> str:
    wanted = refusal.wanted
    words = f"{refusal.number}  {wanted.call} → EPERM  {figures.count(refusal.hits)} hits"
    words += f"  {refusal.mechanism}  {wanted.whom}"
    words += f"  not judged: {figures.count(refusal.unjudged)}" if refusal.unjudged else ""
    if refusal.ended:
        return f"{words}  ({refusal.ended})"
    return f"{words}  latest: {refusal.latest}" if refusal.latest else words
