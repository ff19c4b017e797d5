"""``isotrace -v``: a debug log on standard error of what isotrace probes, chooses, loads and attaches.

Each package has a logger of its name and uses level DEBUG alone, while a run begins and when it ends. Without -v there
is no handler. Writing a line may block, and reading a ring must not wait for that. So ``hold``, which is called before
the first program is attached, queues the lines, until ``resume`` starts a thread that writes them.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

from isotrace.process.telling import tell

_ROOT = "isotrace"


class _Lines(logging.Handler):
    """``quote`` makes a text one that a terminal can be given: names in it are what processes chose."""

    def __init__(self, quote: Callable[[str], str]) -> None:
        super().__init__()
        self._quote = quote
        self._process = os.getpid()
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._writer: threading.Thread | None = None
        self.held = False

    def emit(self, record: logging.LogRecord) -> None:
        """Say or keep it; not in a child, whose standard error may be somebody else's."""
        if os.getpid() != self._process:
            return
        package = record.name.removeprefix(f"{_ROOT}.")
        line = self._quote(f"{record.relativeCreated / 1000:.3f} s · {package}: {record.getMessage()}")
        if self.held:
            self._waiting.put(line)
        else:
            tell([line])

    def write_beside(self) -> None:
        """Have a thread write what is kept from now on."""
        if self.held and self._writer is None:
            self._writer = threading.Thread(target=self._write, name="verbose", daemon=True)
            self._writer.start()

    def write_rest(self) -> None:
        """Keep none any more."""
        if not self.held:
            return
        self.held = False
        self._waiting.put(None)
        if self._writer is None:
            self._write()
        else:
            self._writer.join()
            self._writer = None

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            tell([line])


_lines: _Lines | None = None


def use(quote: Callable[[str], str]) -> None:
    """Say from now on what loggers of isotrace's packages are told; ``quote`` makes a line printable."""
    global _lines
    _lines = _Lines(quote)
    root = logging.getLogger(_ROOT)
    root.addHandler(_lines)
    root.setLevel(logging.DEBUG)
    root.propagate = False
    atexit.register(write_rest)


def words() -> list[str]:
    """The option that has another isotrace say as much as this one."""
    return ["-v"] if _lines else []


def hold() -> None:
    """Keep the lines: records may wait for this thread from now on."""
    if _lines:
        _lines.held = True


def resume() -> None:
    """isotrace may have threads now: one of them writes the lines."""
    if _lines:
        _lines.write_beside()


def write_rest() -> None:
    """Write what is kept, and each line at once from now on: no ring is read any more."""
    if _lines:
        _lines.write_rest()
