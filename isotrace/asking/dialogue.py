"""The dialogue: questions on a whole terminal, answered by one key each. It draws what it is given."""

from __future__ import annotations

import os
import queue
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Static

from isotrace.asking import drawing
from isotrace.asking.replies import OTHERWISE
from isotrace.errors import IsotraceError, UsageError
from isotrace.render.whereabouts import inside_object
from isotrace.units import many

_TICK = 0.25  # seconds between two looks
_ALSO = 3  # further things of a call that are named
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
#: What ``Replies.listed`` says where nothing is asked.
NOTHING: dict[str, Any] = {"questions": [], "count": 0, "calls": 0}
_QUEUE = 6  # lines of it, where there is no room for more


def stay() -> None:
    """Nothing suspends what has the whole terminal.

    On SIGCONT, which a terminal that hangs up sends as well, Textual 8.2 starts a second thread that writes, whether or not
    it had been suspended; once that has died of the dead terminal the app waits for it for ever.
    """
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)


def hung_up() -> bool:
    """Whether the terminal is gone: nobody can be asked there any more."""
    poll = select.poll()
    poll.register(0, 0)
    return any(what & select.POLLHUP for _, what in poll.poll(0))


class Source(Protocol):
    """Where questions come from: the desk of this run, or of another by its socket."""

    def listed(self) -> dict[str, Any]:
        """As ``Replies.listed``. Raises ``IsotraceError`` where nobody asks any more."""

    def news(self) -> list[str]:
        """Lines that were said since the last look."""

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
                said = [self._one(), *self._source.news()]
                if not self._over.is_set():
                    self._post(self._source.listed(), "; ".join(filter(None, said)))
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


class Asking(ModalScreen[None]):
    """The questions on a screen, and the keys that answer them: all of the dialogue, or laid over something else.

    ``title`` says whose questions they are; ``answer`` takes an answer, ``leave`` is called when whoever is asked goes.
    ``over``: to what is below, not for good.
    """

    DEFAULT_CSS = "Asking { overflow: hidden; background: $background; } Asking Static { height: 1fr; }"

    def __init__(
        self,
        title: str,
        answer: Callable[[str, list[str]], object],
        leave: Callable[[], object],
        over: bool = False,
    ) -> None:
        super().__init__()
        self._title, self._give, self._leave, self._over = title, answer, leave, over
        self.found: dict[str, Any] = NOTHING
        self.said: list[str] = []
        self._number, self._scope, self._rule = 0, "once", 0
        self._since = 0.0

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(id="all")

    def on_mount(self) -> None:
        """Show what there is."""
        self._draw()

    def take(self, found: dict[str, Any], said: str) -> None:
        """What is asked now. The cursor stays at its question; where that is over it goes to the oldest."""
        self.found = found
        numbers = [one["question"] for one in found["questions"]]
        if self._number not in numbers:
            self._go_to(numbers[0] if numbers else 0, by_itself=True)
        if said:
            self._say(said)
        self._draw()

    def _say(self, text: str) -> None:
        self.said = [*self.said[-20:], text]

    def _go_to(self, number: int, by_itself: bool) -> None:
        if number != self._number:
            self._since = time.monotonic() if by_itself else 0.0
            self._number, self._scope, self._rule = number, "once", 0

    @property
    def _here(self) -> dict[str, Any] | None:
        return next((one for one in self.found["questions"] if one["question"] == self._number), None)

    def on_key(self, event: Key) -> None:
        """An answer, for what it is, another question, or the end."""
        event.stop()
        if event.key in ("q", "ctrl+c") or (event.key == "escape" and self._over):
            self._leave()
        elif event.key in ("up", "down"):
            self._move(1 if event.key == "down" else -1)
        elif event.key in _VERDICTS:
            self._answer(_VERDICTS[event.key])
        elif event.key in _SCOPES and self._here:
            self._choose(_SCOPES[event.key], 0)
        elif event.key in ("1", "2", "3") and self._here:
            self._choose("always", int(event.key) - 1)
        self._draw()

    def _choose(self, scope: str, rule: int) -> None:
        here = self._here
        if here is not None and scope == "always" and not _rules(here):
            self._say("no rule can be written: isotrace ask --policy FILE has some")
        else:
            self._scope, self._rule = scope, rule

    def _move(self, step: int) -> None:
        numbers = [one["question"] for one in self.found["questions"]]
        if self._number in numbers:
            at = min(max(0, numbers.index(self._number) + step), len(numbers) - 1)
            self._go_to(numbers[at], by_itself=False)

    def _answer(self, verdict: str) -> None:
        one = self._here
        if one is None:
            return
        if time.monotonic() - self._since < _UNSEEN:
            self._say("another question has come here: look at it first")
            return
        words = [verdict] if self._scope == "once" else [verdict, self._scope]
        if self._scope == "always":
            word = next(iter(_rules(one)[self._rule : self._rule + 1]), "")
            rule = next((text for text in one["always"][verdict] if text.partition(" ")[2] == word), "")
            if not rule:
                self._say(f"no such rule can {verdict} it")
                return
            words.append(rule)
        self._scope, self._rule = "once", 0
        self._give(one["id"], words)

    def on_resize(self) -> None:
        """As much as there is room for."""
        self._draw()

    def _draw(self) -> None:
        if self.is_mounted:
            lines = screen(
                self.found, self._number, self._scope, self._rule, self.said, self._title, self.app.size, self._over
            )
            self.query_one("#all", Static).update(Text("\n", no_wrap=True).join(lines))


class Dialogue(App[None]):
    """``title`` says whose questions they are."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, talker: Talker, title: str) -> None:
        super().__init__(driver_class=drawing.driver(), ansi_color="NO_COLOR" in os.environ or None)
        self._talker = talker
        self.asking = Asking(title, talker.answer, self.exit)
        self.stopped = threading.Event()

    def get_default_screen(self) -> Asking:
        """The questions are all that there is."""
        return self.asking

    def on_mount(self) -> None:
        """Begin to look."""
        if not self.is_headless:
            stay()
        self._talker.begin(lambda found, said: self.call_from_thread(self.asking.take, found, said), self._end)
        self.set_interval(_TICK, self._look_at_stop)

    def _end(self) -> None:
        self.call_from_thread(self.exit)

    def _look_at_stop(self) -> None:
        if self.stopped.is_set() or (not self.is_headless and hung_up()):
            self.exit()

    def on_unmount(self) -> None:
        """Nobody is answered any more."""
        threading.Thread(target=self._talker.finish, daemon=True).start()


def screen(
    found: dict[str, Any],
    number: int,
    scope: str,
    rule: int,
    said: Sequence[str],
    title: str,
    size: tuple[int, int],
    over: bool = False,
) -> list[Text]:
    """The whole screen, in lines: what is in ``found`` is escaped already."""
    width, height = max(40, size[0]), max(12, size[1])
    right = f"{many(found['count'], 'question')}, {many(found['calls'], 'call')} wait"
    head = f"isotrace ask  {title}"[: width - len(right) - 2]
    lines = [Text(head + " " * max(2, width - len(head) - len(right)) + right, _STRONG)]
    questions = found["questions"]
    here = next((one for one in questions if one["question"] == number), None)
    if here is None:
        lines += [
            Text(""),
            Text("Nothing is asked now. What a rule asks about is shown here, and waits.", _DIM),
            Text(""),
        ]
        lines += [Text(line[:width], _DIM) for line in said[-(height - 6) :]]
        return [
            *lines,
            *(Text("") for _ in range(height - len(lines) - 1)),
            Text("q back" if over else "q quit", _HEAD),
        ]
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
    keys = f"a allow  d deny  k kill    ↑↓ another question    q {'back' if over else 'quit'}"
    lines.append(Text(keys[:width], _HEAD))
    return lines


def _row(one: dict[str, Any], here: bool, width: int) -> Text:
    count = f" {one['waiting']}×" if one["waiting"] > 1 else ""
    text = f"{one['seconds_left']:4.0f}s  {one['comm']} {one['pid']}  {one['covers']}"
    room = width - len(count)
    return Text(_shortened(text, room).ljust(room) + count, _HERE if here else _PLAIN)


def _shortened(text: str, room: int) -> str:
    """With an ellipsis in its middle where it is too long: a path's end says most."""
    if len(text) <= room:
        return text
    end = room * 2 // 5
    return text[: room - end - 1] + "…" + text[len(text) - end :]


def _about(one: dict[str, Any], scope: str, rule: int, width: int) -> list[Text]:
    thread = f" thread {one['tid']}" if one["tid"] != one["pid"] else ""
    who = f"{one['comm']} {one['pid']}{inside_object(one)}{thread} of {one['user']}: {' '.join(one['argv'])}"
    family = " < ".join(f"{parent['comm']} {parent['pid']}" for parent in one["parents"])
    lines = _folded("who  ", who, width, 3) + (_folded("below", family, width, 1) if family else [])
    lines += _folded("call ", one["line"], width, 4)
    more = f", and {one['waiting'] - 1} more" if one["waiting"] > 1 else ""
    more += f", of {one['processes']} processes" if one["processes"] > 1 else ""
    asked = " and ".join([one["covers"], *(also or "what is not known" for also in one["also"][:_ALSO])])
    lines += _folded("asks ", asked + more, width, 2, _STRONG)
    if one["waiting"] > 1:
        lines += _folded("     ", "  ".join(_without_place(one["objects"])), width, 2)
    lines += _folded("rule ", f"{one['rule']}; without an answer it is {OTHERWISE[one['default']]}", width, 2)
    possible = {key: name for key, name in _SCOPES.items() if name != "always" or _rules(one)}
    said = (f"{key} {_SAID[name]}" for key, name in possible.items())
    chosen = "  ".join(f"[{words}]" if words[2:] == _SAID[scope] else words for words in said)
    lines += _folded("for  ", chosen, width, 2, _HEAD)
    if scope == "always":
        for index, word in enumerate(_rules(one)):
            lines += _folded(f"{'→' if index == rule else ' '} {index + 1}  ", _shortened(word, width - 7), width, 1)
    return lines


def _without_place(paths: Sequence[str]) -> list[str]:
    """By their names alone where all are in one directory, which is named above."""
    parts = [path.rpartition("/") for path in paths]
    return list(paths) if len({place for place, _, _ in parts}) > 1 else [name for _, _, name in parts]


def _rules(one: dict[str, Any]) -> list[str]:
    """What rules for always would be about, the narrowest first."""
    return [text.partition(" ")[2] for text in one["always"]["allow"] or one["always"]["deny"]]


def _folded(name: str, text: str, width: int, most: int, style: Style = _PLAIN) -> list[Text]:
    """``text`` beside its name, in ``most`` lines; an ellipsis stands for what there is no room for."""
    room = width - 7
    parts = list(_cut(text, room))
    if len(parts) > most:
        parts = [*parts[: most - 1], parts[most - 1][: room - 1] + "…"]
    found = []
    for index, part in enumerate(parts):
        line = Text((name if index == 0 else "").ljust(7), _DIM)
        line.append(part, style)
        found.append(line)
    return found


def _cut(text: str, room: int) -> Iterator[str]:
    """Into parts of so many characters at most, behind a space or a slash where there is one near the end."""
    while len(text) > room:
        at = 1 + max(text.rfind(sign, room * 2 // 3, room) for sign in " /")
        at = at if at > 0 else room
        yield text[:at]
        text = text[at:]
    yield text


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
        raise IsotraceError(
            "the dialogue failed", "isotrace ask --plain asks line by line; please report what is above"
        )
