"""How constants and strings are written: strace's -X and -x.

A choice for the whole process, as of an option of its command line: to be made before anything is shown, for what was
shown is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

#: Constants by their names, as numbers, or as both: ``0x2 /* AF_INET */``.
ABBREV, RAW, VERBOSE = CONSTANTS = ("abbrev", "raw", "verbose")
#: How often -x was given: strings in hexadecimal never, where they are not plain ASCII, always.
NEVER, NOT_ASCII, ALWAYS = range(3)

_NOT_ASCII = re.compile(rb"[^\t-\r -~]")


@dataclass(frozen=True)
class Style:
    """``constants`` is one of CONSTANTS, ``hexadecimal`` how often -x was given."""

    constants: str = ABBREV
    hexadecimal: int = NEVER


_now = Style()


def use(style: Style) -> None:
    """Write so from now on."""
    global _now
    _now = style


@contextmanager
def used(style: Style) -> Iterator[None]:
    """Write so for a while."""
    before = _now
    use(style)
    try:
        yield
    finally:
        use(before)


def by_name() -> bool:
    """Whether constants are written by their names."""
    return _now.constants == ABBREV


def raw() -> bool:
    """Whether constants are written as numbers."""
    return _now.constants == RAW


@contextmanager
def names() -> Iterator[None]:
    """Write constants by their names for a while, whatever was chosen: behind a result they have been in words always."""
    with used(replace(_now, constants=ABBREV)):
        yield


def constant(number: str, name: str) -> str:
    """A constant that has a name, or ``number /* what it is one of */``; ``number`` is as C has it."""
    if _now.constants == ABBREV or name == number:
        return name
    if _now.constants == RAW:
        return number
    return name if name.startswith(f"{number} /*") else f"{number} /* {name} */"


def in_hex(data: bytes) -> bool:
    """Whether a string is written in hexadecimal."""
    if not _now.hexadecimal:
        return False
    return _now.hexadecimal >= ALWAYS or _NOT_ASCII.search(data) is not None
