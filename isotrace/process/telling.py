"""Lines for the user on standard error, each under isotrace's name. That nobody can read them stops nothing."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys
from collections.abc import Iterable
from typing import Any


def write_all(fd: int, data: bytes | bytearray) -> None:
    """Write all of ``data``, also where whoever shares the descriptor made it not wait. Raises ``OSError``."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])


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


def tell(lines: Iterable[str]) -> None:
    """Say each line; never raises. Python's own stream would keep what it cannot write, and fail again at the end."""
    say_raw("".join(f"isotrace: {line}\n" for line in lines))


def say(line: str) -> None:
    """One such line."""
    tell([line])


def say_raw(text: str) -> None:
    """The text as it is, likewise."""
    encoding = (sys.stderr.encoding if sys.stderr else None) or "utf-8"
    with contextlib.suppress(OSError, ValueError):
        write_all(2, text.encode(encoding, "backslashreplace"))


def open_standard() -> None:
    """Give standard input, output and error, where one is closed, to nobody: else the next file, map or pipe is it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


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
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Patient()), sys.stdout.encoding, sys.stdout.errors)
