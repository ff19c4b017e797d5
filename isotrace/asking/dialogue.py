"""The dialogue: questions on a whole terminal, answered by one key each. It draws what it is given."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.events import Key
from textual.widgets import Static

from isotrace.errors import IsotraceError, UsageError
from isotrace.units import many

_TICK = 0.25  # seconds between two looks
_UNSEEN = 0.7  # for which a question that has come under the cursor by itself is not answered: the key was for another
_VERDICTS = {"a": "allow", "d": "deny", "k": "kill"}
_SCOPES = {"o": "once", "p": "process", "g": "program", "t": "10m", "w": "always"}
_SAID = {
    "once": "this once",
    "process": "the process",
    "program": "the program",
    "10m": "10 minutes",
    "always": "always",
}
_PLAIN, _DIM, _STRONG = Style(), Style(dim=True), Style(bold=True)
_HERE, _HEAD = Style(reverse=True), Style(color="#5f9fff")
_QUEUE = 6  # lines of it, where there is no room for more


class Source(Protocol):
    """Where questions come from: the desk of this run, or of another by its socket."""

    def listed(self) -> dict[str, Any]:
        """As ``Replies.listed``. Raises ``IsotraceError`` where nobody asks any more."""

    def answer(self, name: str, words: list[str]) -> str:
        """Answer one; says what came of it. Raises ``UsageError``."""


class Talker:
    """Looks at the questions, and gives answers, in a thread. ``post`` takes what is listed and what is to be said."""

    def __init__(self, source: Source, reason: Callable[[], str | None]) -> None:
        self.failure: BaseException | None = None
        self._source, self._reason = source, reason
        self._answers: queue.SimpleQueue[tuple[str, list[str]] | None] = queue.SimpleQueue()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dialogue", daemon=True)

    def begin(self, post: Callable[[dict[str, Any], str], object], end: Callable[[], object]) -> None:
        """Start; ``end`` is called when there is nothing to ask about any more."""
        self._post, self._end = post, end
        self._thread.start()

    def answer(self, name: str, words: list[str]) -> None:
        """Answer, and look again."""
        self._answers.put((name, words))

    def finish(self) -> None:
        """Stop talking."""
        self._over.set()
        self._answers.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._over.is_set() and self._reason() is None:
                said = self._one()
                if not self._over.is_set():
                    self._post(self._source.listed(), said)
        except BaseException as error:
            self.failure = error
        if not self._over.is_set():
            self._end()

    def _one(self) -> str:
        try:
            asked = self._answers.get(timeout=_TICK)
        except queue.Empty:
            return ""
        if asked is None:
            return ""
        try:
            return self._source.answer(*asked)
        except UsageError as error:
            return error.message


class Dialogue(App[None]):
    """``title`` says whose questions they are."""

    CSS = "Screen { overflow: hidden; } Static { height: 1fr; }"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, talker: Talker, title: str) -> None:
        super().__init__()
        self._talker, self._title = talker, title
        self.stopped = threading.Event()
        self._found: dict[str, Any] = {"questions": [], "count": 0, "calls": 0}
        self._number, self._scope, self._rule = 0, "once", 0
        self._since = 0.0
        self._said: list[str] = []

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(id="all")

    def on_mount(self) -> None:
        """Begin to look."""
        self._talker.begin(lambda found, said: self.call_from_thread(self._take, found, said), self._end)
        self.set_interval(_TICK, self._look_at_stop)
        self._draw()

    def _end(self) -> None:
        self.call_from_thread(self.exit)

    def _look_at_stop(self) -> None:
        if self.stopped.is_set():
            self.exit()

    def on_unmount(self) -> None:
        """Nobody is answered any more."""
        threading.Thread(target=self._talker.finish, daemon=True).start()

    def _take(self, found: dict[str, Any], said: str) -> None:
        """What is asked now. The cursor stays at its question; where that is over it goes to the oldest."""
        self._found = found
        numbers = [one["question"] for one in found["questions"]]
        if self._number not in numbers:
            self._go_to(numbers[0] if numbers else 0, by_itself=True)
        if said:
            self._said = [*self._said[-20:], said]
        self._draw()

    def _go_to(self, number: int, by_itself: bool) -> None:
        if number != self._number:
            self._since = time.monotonic() if by_itself else 0.0
            self._number, self._scope, self._rule = number, "once", 0

    @property
    def _here(self) -> dict[str, Any] | None:
        return next((one for one in self._found["questions"] if one["question"] == self._number), None)

    def on_key(self, event: Key) -> None:
        """An answer, for what it is, another question, or the end."""
        event.stop()
        if event.key in ("q", "ctrl+c"):
            self.exit()
        elif event.key in ("up", "down"):
            self._move(1 if event.key == "down" else -1)
        elif event.key in _VERDICTS:
            self._answer(_VERDICTS[event.key])
        elif event.key in _SCOPES and self._here:
            self._scope = _SCOPES[event.key]
            if self._scope == "always" and not _rules(self._here):
                self._said, self._scope = (
                    [*self._said, "no rule can be written: isotrace ask --policy FILE has some"],
                    "once",
                )
        elif event.key in ("1", "2", "3"):
            self._scope, self._rule = "always", int(event.key) - 1
        self._draw()

    def _move(self, step: int) -> None:
        numbers = [one["question"] for one in self._found["questions"]]
        if self._number in numbers:
            at = min(max(0, numbers.index(self._number) + step), len(numbers) - 1)
            self._go_to(numbers[at], by_itself=False)

    def _answer(self, verdict: str) -> None:
        one = self._here
        if one is None:
            return
        if time.monotonic() - self._since < _UNSEEN:
            self._said = [*self._said, "another question has come here: look at it first"]
            return
        words = [verdict] if self._scope == "once" else [verdict, self._scope]
        if self._scope == "always":
            word = next(iter(_rules(one)[self._rule : self._rule + 1]), "")
            rule = next((text for text in one["always"][verdict] if text.partition(" ")[2] == word), "")
            if not rule:
                self._said = [*self._said, f"no such rule can {verdict} it"]
                return
            words.append(rule)
        self._scope, self._rule = "once", 0
        self._talker.answer(one["id"], words)

    def on_resize(self) -> None:
        """As much as there is room for."""
        self._draw()

    def _draw(self) -> None:
        if self.is_running:
            lines = screen(self._found, self._number, self._scope, self._rule, self._said, self._title, self.size)
            self.query_one("#all", Static).update(Text("\n", no_wrap=True).join(lines))


def screen(
    found: dict[str, Any], number: int, scope: str, rule: int, said: Sequence[str], title: str, size: tuple[int, int]
) -> list[Text]:
    """The whole screen, in lines: what is in ``found`` is escaped already."""
    width, height = max(40, size[0]), max(12, size[1])
    right = f"{many(found['count'], 'question')}, {many(found['calls'], 'call')} wait"
    head = f"isotrace ask  {title}"[: width - len(right) - 2]
    lines = [Text(head + " " * max(2, width - len(head) - len(right)) + right, _STRONG)]
    questions = found["questions"]
    here = next((one for one in questions if one["question"] == number), None)
    if here is None:
        lines += [Text(""), Text("Nothing is asked now.", _DIM), Text("")]
        lines += [Text(line[:width], _DIM) for line in said[-(height - 6) :]]
        return [*lines, *(Text("") for _ in range(height - len(lines) - 1)), Text("q quit", _HEAD)]
    about = _about(here, scope, rule, width)
    room = max(1, min(len(questions), max(_QUEUE, height - len(about) - 5), height - 10))
    at = next(index for index, one in enumerate(questions) if one is here)
    first = min(max(0, at - room + 1), max(0, len(questions) - room))
    lines += [_row(one, one is here, width) for one in questions[first : first + room]]
    lines.append(Text("─" * width, _DIM))
    left = height - len(lines) - 2
    lines += about[:left] if len(about) <= left else [*about[: left - 1], Text("…", _DIM)]
    lines += [Text("") for _ in range(height - len(lines) - 2)]
    lines.append(Text((said[-1] if said else "")[:width], _HEAD))
    lines.append(Text("a allow d deny k kill · for: o once p process g program t 10m w always · ↑↓ q"[:width], _HEAD))
    return lines


def _row(one: dict[str, Any], here: bool, width: int) -> Text:
    count = f" {one['waiting']}×" if one["waiting"] > 1 else ""
    text = f"{one['seconds_left']:4.0f}s  {one['comm']} {one['pid']}  {one['covers']}"
    room = width - len(count)
    return Text((text if len(text) <= room else text[: room - 1] + "…").ljust(room) + count, _HERE if here else _PLAIN)


def _about(one: dict[str, Any], scope: str, rule: int, width: int) -> list[Text]:
    thread = f" thread {one['tid']}" if one["tid"] != one["pid"] else ""
    who = f"{one['comm']} {one['pid']}{thread} of {one['user']}: {' '.join(one['argv'])}"
    family = " < ".join(f"{parent['comm']} {parent['pid']}" for parent in one["parents"])
    lines = _folded("who  ", who, width, 3) + (_folded("below", family, width, 1) if family else [])
    lines += _folded("call ", one["line"], width, 4)
    more = f", and {one['waiting'] - 1} more" if one["waiting"] > 1 else ""
    more += f", of {one['processes']} processes" if one["processes"] > 1 else ""
    lines += _folded("asks ", one["covers"] + more, width, 2, _STRONG)
    if one["waiting"] > 1:
        lines += _folded("     ", "  ".join(one["objects"]), width, 2)
    lines += _folded("rule ", f"{one['rule']}; unanswered: {one['default']}", width, 2)
    said = "  ".join(f"[{_SAID[name]}]" if name == scope else _SAID[name] for name in _SCOPES.values())
    lines.append(Text("for    " + said, _HEAD))
    if scope == "always":
        for index, word in enumerate(_rules(one)):
            lines += _folded(f"{'→' if index == rule else ' '} {index + 1}  ", word, width, 1)
    return lines


def _rules(one: dict[str, Any]) -> list[str]:
    """What rules for always would be about, the narrowest first."""
    return [text.partition(" ")[2] for text in one["always"]["allow"] or one["always"]["deny"]]


def _folded(name: str, text: str, width: int, most: int, style: Style = _PLAIN) -> list[Text]:
    """``text`` beside its name, in ``most`` lines; an ellipsis stands for what there is no room for."""
    room = width - 7
    parts = [text[at : at + room] for at in range(0, len(text), room)] or [""]
    if len(parts) > most:
        parts = [*parts[: most - 1], parts[most - 1][: room - 1] + "…"]
    found = []
    for index, part in enumerate(parts):
        line = Text((name if index == 0 else "").ljust(7), _DIM)
        line.append(part, style)
        found.append(line)
    return found


def run(source: Source, title: str, reason: Callable[[], str | None], stopped: threading.Event | None = None) -> None:
    """Ask until somebody leaves, or nobody asks any more. Raises what ended it."""
    talker = Talker(source, reason)
    app = Dialogue(talker, title)
    if stopped is not None:
        app.stopped = stopped
    app.run()
    if talker.failure is not None:
        raise talker.failure
    if app.return_code:
        raise IsotraceError("the dialogue broke", "isotrace ask --plain asks line by line; please report what is above")
