"""Signal numbers and signal sets as strace prints them."""

from __future__ import annotations

from functools import lru_cache

from . import style
from .scalars import s32

_NAMES = [
    "HUP",
    "INT",
    "QUIT",
    "ILL",
    "TRAP",
    "ABRT",
    "BUS",
    "FPE",
    "KILL",
    "USR1",
    "SEGV",
    "USR2",
    "PIPE",
    "ALRM",
    "TERM",
    "STKFLT",
    "CHLD",
    "CONT",
    "STOP",
    "TSTP",
    "TTIN",
    "TTOU",
    "URG",
    "XCPU",
    "XFSZ",
    "VTALRM",
    "PROF",
    "WINCH",
    "IO",
    "PWR",
    "SYS",
]
_SHORT = [*_NAMES, "RTMIN", *(f"RT_{n}" for n in range(1, 33))]


def name(value: int) -> str:
    """A signal number: SIGCHLD, SIGRTMIN (32), SIGRT_1 … SIGRT_32; anything else in decimal."""
    number = s32(value)
    return f"SIG{_SHORT[number - 1]}" if 0 < number <= 64 else str(number)


def signal(value: int) -> str:
    """The same as an argument, where -X may ask for the number."""
    return style.constant(str(s32(value)), name(value))


def sigset(mask: int, bits: int = 64) -> str:
    """A signal mask of ``bits`` bits: ``[INT TERM]``, or what is missing from it, ``~[KILL STOP]``, when
    two thirds are set.
    """
    return _members(mask, bits) if style.by_name() else _members.__wrapped__(mask, bits)


@lru_cache(4096)
def _members(mask: int, bits: int) -> str:
    mask &= (1 << bits) - 1
    sign = ""
    if mask.bit_count() >= bits * 2 // 3:
        sign, mask = "~", ~mask
    return f"{sign}[{' '.join([style.constant(str(n + 1), _SHORT[n]) for n in range(bits) if mask >> n & 1])}]"
