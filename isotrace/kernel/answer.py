"""What a probe answers: yes, no, or that it could not tell; and why."""

from __future__ import annotations

import errno
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Verdict = Literal["yes", "no", "unknown"]
_T = TypeVar("_T")

_TRANSIENT = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.EBUSY})
_FORBIDDEN = frozenset({errno.EPERM, errno.EACCES})

_AS_ROOT = "run as root: sudo isotrace doctor"
_POLICY = "lift the policy that forbids it: a seccomp filter, a security module or a vendor's restriction"


@dataclass(frozen=True)
class Answer:
    """A verdict and its evidence; ``remedy`` where this evidence asks for another than the usual one."""

    verdict: Verdict
    why: str
    remedy: str = ""


def yes(why: str) -> Answer:
    """It is there: proved."""
    return Answer("yes", why)


def no(why: str) -> Answer:
    """It is not there: proved."""
    return Answer("no", why)


def unknown(why: str) -> Answer:
    """Could not tell."""
    return Answer("unknown", why)


def keep_if(told: Callable[[Any], object]) -> Callable[[Callable[..., _T]], Callable[..., _T]]:
    """Ask once for each set of arguments, but again while what was found tells nothing (``told`` is false of it)."""

    def decorate(ask: Callable[..., _T]) -> Callable[..., _T]:
        kept: dict[tuple[Any, ...], _T] = {}

        @functools.wraps(ask)
        def asked(*arguments: Any) -> _T:
            if arguments in kept:
                return kept[arguments]
            found = ask(*arguments)
            if told(found):
                kept[arguments] = found
            return found

        return asked

    return decorate


#: A shortage of memory or processes says nothing of the kernel: only a yes or a no is kept.
conclusive = keep_if(lambda found: found.verdict != "unknown")


def refusal(attempt: str, code: int, privileged: bool, said: str = "") -> Answer:
    """What it means that ``attempt`` failed with errno ``code``; ``said`` is the verifier's reason.

    A shortage says nothing of the kernel, nor does EPERM to someone without privileges.
    """
    name = errno.errorcode.get(code, str(code))
    why = f"{attempt}: {name}" + (f" ({said})" if said else "")
    if code in _TRANSIENT:
        return unknown(why)
    if code in _FORBIDDEN:
        if not privileged:
            return Answer("unknown", f"{why}, not privileged", _AS_ROOT)
        return Answer("no", f"{why} although privileged", "" if said else _POLICY)
    return no(why)


def verifier_reason(log: str) -> str:
    """The line of the verifier's log that says why: the last that is no instruction, state or statistic.

    Linux 7.x explains itself at length after it, from "Verification failed:" on.
    """
    lines = log.partition("\nVerification failed:")[0].splitlines()
    words = [line for line in lines if re.match(r"(?!processed )[A-Za-z_]", line)]
    return words[-1] if words else ""
