"""The errors a user can meet: a message, a hint and an exit status, raised anywhere and printed once.

IsotraceError            status 1: something in the world went wrong (a file, a process, a pipe)
├── UsageError           status 2: the request is invalid (unknown call, bad duration, no such option value)
└── KernelError          status 3: this kernel, or this user on it, cannot do what was asked
"""

from __future__ import annotations

from collections.abc import Sequence


class IsotraceError(Exception):
    """A failure to report in one line. ``details`` are lines below it, ``hint`` says what the user can do about it."""

    status = 1

    def __init__(self, message: str, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)


class UsageError(IsotraceError):
    """The request itself is wrong."""

    status = 2


class KernelError(IsotraceError):
    """The kernel, or the privileges isotrace has on it, do not allow what was asked."""

    status = 3
