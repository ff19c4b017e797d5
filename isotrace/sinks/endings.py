"""What --status asks for, as numbers of errors. It is read before anything large is imported."""

from __future__ import annotations

from isotrace.errors import UsageError
from isotrace.policy.names import parse_errno

ERRORS = 4096  # a failed call's result is minus a number below that
_SUCCESS = frozenset({0})
_FAILURE = frozenset(range(1, ERRORS))


def parse(text: str) -> frozenset[int]:
    """``failed,!EAGAIN`` as numbers of errors, 0 for success; terms as in ``--calls``. Raises ``UsageError``."""
    found: frozenset[int] = frozenset()
    for index, term in enumerate(text.split(",")):
        taken, name = term.strip().startswith("!"), term.strip().removeprefix("!")
        if taken:
            found = (found if index else _SUCCESS | _FAILURE) - _numbers(name)
        else:
            found |= _numbers(name)
    if not found:
        raise UsageError(f"no call ends as --status {text!r} says", "write it like failed,!EAGAIN or EPERM,EACCES")
    return found


def _numbers(name: str) -> frozenset[int]:
    from isotrace.decode.errnos import errno_name  # --help needs no table

    if name in ("failed", "successful"):
        return _FAILURE if name == "failed" else _SUCCESS
    own = {errno_name(number): number for number in range(1, 1024)}
    return frozenset({own[name.upper()] if name.upper() in own and not name.isdecimal() else parse_errno(name)})
