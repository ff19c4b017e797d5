"""The live table of a recording: the keys of the other one, and those of a player."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from isotrace.top import figures
from isotrace.top.app import TopApp
from isotrace.top.dialogs import Help
from isotrace.top.player import Player
from isotrace.top.refusing import Answer, Proposal, ViewState, Wanted

_SECONDS = 10.0  # of a jump
_OVER = "this is a recording: what it shows is over, and nothing of it can be denied"

_HELP = """\
[b]Time[/b]     ← → ten seconds back, on    shift ← → a minute    home end
         p or space: stand still, go on    + - faster, slower
[b]Views[/b]    1 calls  2 processes  3 files & addresses  4 errors  Tab next
[b]Rows[/b]     ↑ ↓ PgUp PgDn, mouse    Enter details   Esc close
[b]Order[/b]    < > or s: by another column      r the other way round
[b]Filter[/b]   / and type; Enter keeps it, Esc drops it
[b]Count[/b]    z set all counts to zero
[b]Process[/b]  f on a process: only its calls; f again: all
[b]Leave[/b]    q

calls/s is of the time between two looks, as it was recorded.
                                             [dim]any key closes this[/dim]"""


class Nothing:
    """Refuses nothing."""

    def __init__(self) -> None:
        self.view_state = ViewState()
        self.failure: BaseException | None = None

    def begin(self, tell: Callable[[Answer], object]) -> None:
        """Nothing will be told."""

    def explain(self, wanted: Wanted) -> None:
        """Nobody asks."""

    def refuse(self, proposal: Proposal) -> None:
        """Nobody asks."""

    def lift(self, number: int) -> None:
        """Nobody asks."""

    def finish(self) -> None:
        """Nothing is refused."""


class ReplayHelp(Help):
    """What the keys are here."""

    def content(self) -> Text:
        """A text."""
        return Text.from_markup(_HELP)


class ReplayApp(TopApp):
    """``isotrace top --from``."""

    KEYS = (
        "↑↓ Enter detail  ←→ seek  p pause  +- speed  <> sort  / filter  z zero  f process  ? help  q quit",
        "Enter detail  ←→ seek  p pause  +- speed  / filter  ? help  q quit",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", f"seek({-_SECONDS})"),
        Binding("right", f"seek({_SECONDS})"),
        Binding("shift+left", f"seek({-6 * _SECONDS})"),
        Binding("shift+right", f"seek({6 * _SECONDS})"),
        Binding("home", "seek(-1e9)"),
        Binding("end", "seek(1e9)"),
        Binding("plus,equals_sign", "speed(1)"),
        Binding("minus", "speed(-1)"),
    ]

    def __init__(self, player: Player, title: str, view: str) -> None:
        self._player = player
        super().__init__(player, title, view, Nothing())

    def _state(self) -> str:
        mark = "■" if self._player.at >= self._player.length else "▶" if self._player.playing else "‖"
        return f"{mark} {self._player.speed:g}×  of {figures.clock(self._player.length)}"

    def action_pause(self) -> None:
        """Stand still, or go on."""
        self._player.pause()
        self.draw()

    def action_seek(self, seconds: float) -> None:
        """Jump."""
        self._player.seek(seconds)

    def action_speed(self, steps: int) -> None:
        """Faster or slower."""
        self._player.faster(steps)
        self.draw()

    def action_refuse(self) -> None:
        """Say why not."""
        self._say(_OVER)

    def action_refusals(self) -> None:
        """Say why not."""
        self._say(_OVER)

    def action_lift(self) -> None:
        """Say why not."""
        self._say(_OVER)

    def action_help(self) -> None:
        """What the keys are."""
        self.push_screen(ReplayHelp())


def run(player: Player, title: str, view: str) -> None:
    """Show it until the user has seen enough. Raises what failed."""
    app = ReplayApp(player, title, view)
    app.run()
    if app.failure is not None:
        raise app.failure
