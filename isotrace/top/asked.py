"""The part of a run that shows the live table, with questions over it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from isotrace.asking.replies import Replies
from isotrace.backends.counts import Counting as Backend
from isotrace.process.launch import Command
from isotrace.process.telling import Screen
from isotrace.run.asking import Held, Here, without_terminal
from isotrace.top.counting import LiveTable
from isotrace.trace.target import Target

if TYPE_CHECKING:
    from isotrace.asking.dialogue import Talker

_INTERVAL = 0.5  # seconds between two looks at the counts


class AskedTable(LiveTable):
    """``replies`` is what the dialogue talks to, once that is there; lines written to ``held`` come after it."""

    def __init__(self, backend: Backend, target: Target, command: Command | None, held: Held | None) -> None:
        super().__init__(backend, target, command, "call", _INTERVAL, None)
        self.replies: Replies | None = None
        self._held, self._lines = held, Screen()
        self.screen = self._on_screen

    def _on_screen(self, reason: Callable[[], str | None], stopped: threading.Event) -> None:
        with self._lines:
            self._show(reason, stopped)
        without_terminal(reason, stopped)

    def talker(self) -> Talker:
        """Of the desk of this run."""
        from isotrace.asking.dialogue import Talker

        assert self.replies is not None, "those who are asked are made before the screen is taken"
        return Talker(Here(self.replies, self._lines), lambda: None)

    def close(self) -> None:
        """Give everything back, and show what was held."""
        try:
            super().close()
        finally:
            if self._held:
                self._held.release()
