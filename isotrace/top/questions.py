"""Questions over the live table (``isotrace ask --top``): the dialogue comes by itself, and goes when all are answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from textual.app import App

from isotrace.asking.dialogue import NOTHING, Asking, Talker
from isotrace.units import many


@dataclass
class QuestionKeys:
    """``talker`` looks at the questions, None where nobody asks; ``say`` shows a line in the footer.

    ``busy`` says that the table is asked something that no question may come over.
    """

    app: App[None]
    talker: Talker | None
    title: str
    say: Callable[[str], None]
    busy: Callable[[], bool]
    found: dict[str, Any] = field(default_factory=lambda: NOTHING)
    _asking: Asking | None = None
    _left: bool = False  # who is asked has gone back to the table: it does not come by itself until all is answered

    @property
    def summary(self) -> str:
        """For the footer: how many wait while the table is looked at."""
        count = self.found["count"]
        return f"{many(count, 'question')}, {many(self.found['calls'], 'call')} wait: a shows them" if count else ""

    @property
    def failure(self) -> BaseException | None:
        """Why nobody can be asked any more."""
        return self.talker.failure if self.talker else None

    def begin(self) -> None:
        """Look from now on."""
        if self.talker:
            self.talker.begin(lambda found, said: self.app.call_from_thread(self._take, found, said), lambda: None)

    def finish(self) -> None:
        """Look no more."""
        if self.talker:
            self.talker.finish()

    def open(self) -> None:
        """The key of the table."""
        if self.talker is None:
            self.say("nobody is asked here: isotrace ask --top asks")
        elif not self.found["count"]:
            self.say("nothing is asked now")
        else:
            self._show()

    def _take(self, found: dict[str, Any], said: str) -> None:
        changed = found["count"] != self.found["count"]
        self.found = found
        if self._asking is not None:
            self._asking.take(found, said)
            if not found["count"]:
                self._close()
        elif not found["count"]:
            self._left = False
        elif not self._left and len(self.app.screen_stack) == 1 and not self.busy():
            self._show()
        if said or changed:
            self.say(said)

    def _show(self) -> None:
        assert self.talker is not None, "without one nothing is found"
        self._asking = Asking(self.title, self.talker.answer, self._leave, over=True)
        self._asking.take(self.found, "")
        self.app.push_screen(self._asking)

    def _leave(self) -> None:
        self._left = True
        self._close()

    def _close(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.dismiss()
