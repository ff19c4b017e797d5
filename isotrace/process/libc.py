"""The C library, for what Python has no function for: the one place that loads it.

Arguments are as ctypes takes them: an integer that may be wider than an int is a ``c_long``.
"""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS = 38


def error_of(function: str, *arguments: object) -> tuple[int, int]:
    """What a function of the C library returns, and the errno that it left."""
    ctypes.set_errno(0)
    result: int = getattr(_libc, function)(*arguments)
    return result, ctypes.get_errno()


def call(function: str, *arguments: object) -> int:
    """What it returns. Raises ``OSError`` where that is negative."""
    result, error = error_of(function, *arguments)
    if result < 0:
        raise OSError(error, os.strerror(error))
    return result


def syscall(number: int | ctypes.c_long, *arguments: object) -> int:
    """The result of a system call. Raises ``OSError``."""
    return call("syscall", number, *arguments)


def try_syscall(number: int | ctypes.c_long, *arguments: object) -> int:
    """The result of a system call, or the error as a negative number, as the kernel gives it."""
    result, error = error_of("syscall", number, *arguments)
    return -error if result < 0 else result


def no_new_privs() -> None:
    """Give up gaining privileges by execve, which makes a filter or a ruleset possible without root. Raises ``OSError``."""
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
