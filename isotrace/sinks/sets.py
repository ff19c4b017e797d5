"""What --signals and --fd ask for, as numbers. It is read before anything large is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass

from isotrace.errors import UsageError

_SIGNALS = frozenset(range(1, 65))
_RT = 32  # SIGRTMIN of the kernel
_MOST = (1 << 31) - 1  # of a descriptor


def signals(text: str) -> frozenset[int]:
    """``SIGINT,term``, ``all,!SIGCHLD`` or ``none`` as numbers; terms as in ``--calls``. Raises ``UsageError``."""
    found: frozenset[int] = frozenset()
    for index, term in enumerate(text.split(",")):
        name = term.strip()
        if name.startswith("!"):
            found = (found if index else _SIGNALS) - _named(name[1:].strip())
        else:
            found |= _named(name)
    return found


def _named(name: str) -> frozenset[int]:
    from isotrace.decode.signals import name as name_of  # --help needs no table

    if name in ("all", "none"):
        return _SIGNALS if name == "all" else frozenset()
    if name.isdecimal() and name.isascii() and int(name) in _SIGNALS:
        return frozenset((int(name),))
    known = {name_of(number): number for number in _SIGNALS}
    known |= {"SIGRTMIN": _RT, "SIGRTMAX": max(_SIGNALS), "SIGPOLL": known["SIGIO"], "SIGIOT": known["SIGABRT"]}
    number = known.get(f"SIG{name.upper().removeprefix('SIG')}")
    if number is None:
        raise UsageError(f"{name!r} is not a signal", "write it like SIGINT,SIGTERM, 'all,!SIGCHLD' or none")
    return frozenset((number,))


@dataclass(frozen=True)
class Numbers:
    """Descriptors: these, or all but these."""

    listed: frozenset[int]
    others: bool = False

    def __contains__(self, number: int) -> bool:
        return number >= 0 and (number in self.listed) != self.others


def descriptors(text: str) -> Numbers:
    """``3``, ``0,1,2``, ``!2``, ``all``. Raises ``UsageError``."""
    body = text.strip()
    others = body.startswith("!")
    listed: set[int] = set()
    for term in body.removeprefix("!").split(","):
        name = term.strip()
        if name == "all":
            return Numbers(frozenset(), not others)
        if not re.fullmatch(r"[0-9]{1,10}", name) or int(name) > _MOST:
            raise UsageError(f"{name!r} is not a descriptor", "write it like --fd 3, --fd 0,1,2 or --fd '!2'")
        listed.add(int(name))
    return Numbers(frozenset(listed), others)
