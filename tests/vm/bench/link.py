"""The host's end of the link to a guest: what has been heard of it so far."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Of two outcomes of one test (its body, its end) the worse one stands.
WORSE = ("passed", "skipped", "failed")


@dataclass
class Link:
    """A guest's messages, taken in as bytes arrive. ``hear`` is called for each, ``compile`` for
    a request to compile.

    ``heard`` counts them, ``news`` only those that are more than a sign of life.
    """

    hear: Callable[[dict[str, Any]], None] = lambda message: None
    compile: Callable[[str], None] = lambda request: None
    up: float | None = None
    release: str = ""
    exit: int | None = None
    tainted: int = 0
    running: str = ""
    tests: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    output: str = ""
    damage: str = ""
    heard: int = 0
    news: int = 0
    _rest: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take in bytes from the serial port."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            number = message["n"]
        except (ValueError, TypeError, KeyError):
            self.damage = self.damage or f"{line[:60]!r} instead of a message"
            return
        if number != self.heard:
            self.damage = self.damage or f"message {number} instead of {self.heard}"
        self.heard = number + 1
        self._take(message)
        self.hear(message)

    def _take(self, message: dict[str, Any]) -> None:
        self.news += "alive" not in message
        for name in ("up", "release", "exit", "tainted"):
            if name in message:
                setattr(self, name, message[name])
        self.output += message.get("out", "")
        if "compile" in message:
            self.compile(message["compile"])
        self.running = message.get("start", self.running)
        if "test" in message:
            self._test(message["test"], message["outcome"], message["text"])

    def _test(self, name: str, outcome: str, text: str) -> None:
        before = self.tests.get(name, "passed")
        self.tests[name] = max(before, outcome, key=WORSE.index)
        if text:
            self.texts[name] = text
        self.running = ""

    def count(self, outcome: str) -> int:
        """How many tests ended so."""
        return sum(found == outcome for found in self.tests.values())
