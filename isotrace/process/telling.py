"""Lines for the user on standard error, each under isotrace's name. That nobody can read them stops nothing.

On a terminal they are folded between words.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys
import textwrap
from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar

from isotrace.process.console import fitting, lacks_glyphs

#: What is said of standard output that was closed by whoever started isotrace.
NOT_OPEN = "it is not open for writing"
_NARROWEST = 30  # columns: what is narrower folds by itself


def write_all(fd: int, data: bytes | bytearray) -> None:
    """Write all of ``data``, also where whoever shares the descriptor made it not wait. Raises ``OSError``, of standard
    output that is closed with ``NOT_OPEN``.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except OSError as error:
            if fd == 1 and error.errno == errno.EBADF:
                raise OSError(error.errno, NOT_OPEN) from None
            raise


def opened(path: str, flags: int, mode: int = 0o777) -> int:
    """``os.open`` for writing. A pipe without a reader is waited for, and that is said. Raises ``OSError``."""
    try:
        fd = os.open(path, flags | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
            raise
        say(f"waiting for somebody to read {path!r}")
        return os.open(path, flags, mode)
    os.set_blocking(fd, True)
    return fd


class Screen:
    """While something has the whole terminal lines are kept for it, and written when that is over, the latest 1,000."""

    _now: ClassVar[Screen | None] = None

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=1000)
        self._new: deque[str] = deque(maxlen=100)

    def __enter__(self) -> Screen:
        Screen._now = self
        return self

    def __exit__(self, *_: object) -> None:
        Screen._now = None
        tell(self._lines)

    def news(self) -> list[str]:
        """Those that have come since the last look."""
        return [self._new.popleft() for _ in range(len(self._new))]

    @classmethod
    def takes(cls, lines: Iterable[str]) -> bool:
        """Whether there is one, which has taken the lines."""
        if (now := cls._now) is None:
            return False
        for line in lines:
            now._lines.append(line)
            now._new.append(line)
        return True


def tell(lines: Iterable[str]) -> None:
    """Say each line; never raises. Python's own stream would keep what it cannot write, and fail again at the end."""
    lines = tuple(lines)
    if not Screen.takes(lines):
        _write(lines)


def _write(lines: Iterable[str]) -> None:
    say_raw("".join(f"{folded(f'isotrace: {line}')}\n" for line in lines))


def folded(text: str, fd: int = 2, most: int | None = None) -> str:
    """The line, where ``fd`` is a terminal folded between words at its width, or at ``most`` columns: what goes on below
    is indented by two more. Words are left whole, and elsewhere all of it.
    """
    try:
        width = os.get_terminal_size(fd).columns if os.isatty(fd) else 0
    except OSError:
        width = 0
    width = min(width, most or width)
    if len(text) <= width or width < _NARROWEST:
        return text
    body = text.lstrip(" ")
    indent = " " * (len(text) - len(body))
    return textwrap.fill(
        body,
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def say(line: str) -> None:
    """One such line."""
    tell([line])


def say_raw(text: str) -> None:
    """The text as it is, likewise."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"  # another's stream may have none
    with contextlib.suppress(OSError, ValueError):
        text = fitting(text) if lacks_glyphs() and os.isatty(2) else text
        write_all(2, text.encode(encoding, "backslashreplace"))


def open_standard() -> None:
    """Give standard input, output and error, where one is closed, to nobody: else the next file, map or pipe is it.

    What is written to standard output then fails, as it would without: a result that nobody has is not lost unsaid.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY if fd == 1 else os.O_RDWR), True)
    if sys.stdout is None:
        sys.stdout = _patient("utf-8", "backslashreplace")


class _Patient(io.RawIOBase):
    """Standard output that waits for its reader, although whoever shares it made it not wait."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def isatty(self) -> bool:
        return os.isatty(1)

    def write(self, data: Any) -> int:
        write_all(1, data := bytes(data))
        return len(data)


def wait_for_readers() -> None:
    """What is printed waits where standard output is full, also where it is non-blocking: Python would raise."""
    if sys.stdout and not os.get_blocking(1):
        sys.stdout = _patient(sys.stdout.encoding, sys.stdout.errors)


def _patient(encoding: str, errors: str | None) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(_Patient()), encoding, errors)
