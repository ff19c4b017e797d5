"""Lines for the user on standard error, each under isotrace's name. That nobody can read them stops nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import sys
from collections.abc import Iterable


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
