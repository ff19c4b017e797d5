"""The ``--calls`` expression: ``openat,connect,%network,@file-system,!read``.

Terms are read from left to right; each adds to the selection, or, with ``!`` in front, takes away from it.
When the first one takes away, the selection starts from everything. A term is the exact name of a system
call of any ABI, a family (``%class`` of strace, ``@set`` of systemd), a regular expression between slashes
that is searched for in every name, ``all`` or ``none``. Operations of io_uring are none of these: they are
``io_uring:openat``, and all of them ``%io_uring``. ``NAME@ABI`` is the call of one ABI (x86_64 or 64, i386 or 32,
x32); ``?TERM`` asks for what there may not be, on any ABI, and is no error then.
"""

from __future__ import annotations

import difflib
import re

from isotrace.catalog import families, rings
from isotrace.catalog.load import by_name, names
from isotrace.catalog.model import X32_BIT
from isotrace.errors import UsageError

_TRACED = ("x86_64", "x32", "i386")
_ABIS = {"x86_64": "x86_64", "64": "x86_64", "i386": "i386", "32": "i386", "x32": "x32"}
_HINT = "`isotrace calls` lists every call and its families"


def parse(expr: str) -> frozenset[str]:
    """The names that ``expr`` selects, at least one; ``NAME@ABI`` where not all ABIs are. Raises ``UsageError``.

    ``Syscall.among`` tells whether a call is one of them.
    """
    terms = [term.strip() for term in split(expr)]
    if not all(terms):
        raise UsageError(f"empty term in call expression {show(expr)}", "write it like openat,%network,!read")
    chosen = set(names()) if terms[0].startswith("!") else set()
    for term in terms:
        if term.startswith("!"):
            _take_away(chosen, _select(term[1:].strip()))
        else:
            _add(chosen, _select(term))
    if not chosen:
        raise UsageError(f"call expression {show(expr)} selects no system call", _HINT)
    return frozenset(chosen)


def _select(term: str) -> frozenset[str]:
    """``select``, but also of a term that asks for operations of io_uring, for one ABI, or for what there may not be.

    Raises ``UsageError``.
    """
    if term.startswith("?"):
        try:
            return _select(term[1:].strip())
        except UsageError:
            return frozenset()
    if term in families.BARE:  # ipc is both: a family of strace's, and i386's one call for all of it
        return families.table()["%" + term] | ({term} & names())
    if term in (rings.FAMILY, rings.PREFIX + "*"):
        return rings.names()
    if term.startswith(rings.PREFIX):
        if term not in rings.names():
            raise UsageError(f"unknown operation {show(term)}", nearest(term, tuple(rings.names())))
        return frozenset((term,))
    name, at, abi = term.partition("@")
    return _of_abi(name, abi) if at and name and name[0] != "/" else select(term)


def _of_abi(name: str, text: str) -> frozenset[str]:
    """``{"open@i386"}``. Raises ``UsageError``."""
    abi = _ABIS.get(text)
    if abi is None:
        raise UsageError(f"unknown ABI {show(text)}", "write open@x86_64 (or 64), open@i386 (or 32) or open@x32")
    if name not in names():
        raise UsageError(f"unknown system call {show(name)}", nearest(name, tuple(names())))
    found = _abis_of(name)
    if abi not in found:
        raise UsageError(f"{abi} has no {name}", f"{name} is a call of {', '.join(found) or 'another architecture'}")
    return frozenset((name,)) if len(found) == 1 else frozenset((f"{name}@{abi}",))


def _abis_of(name: str) -> tuple[str, ...]:
    """The ABIs on which it has a number of its own. x32 shares x86-64's but for some: there the two are one."""
    numbers = {abi: call.number & ~X32_BIT for abi in _TRACED if (call := by_name(abi).get(name))}
    if numbers.get("x32") == numbers.get("x86_64"):
        numbers.pop("x32", None)
    return tuple(numbers)


def _add(chosen: set[str], more: frozenset[str]) -> None:
    for one in more:
        name, at, _ = one.partition("@")
        if not at:
            chosen.difference_update([f"{name}@{abi}" for abi in _TRACED])
            chosen.add(name)
        elif name not in chosen:
            chosen.add(one)
            if all(f"{name}@{abi}" in chosen for abi in _abis_of(name)):
                _add(chosen, frozenset((name,)))


def _take_away(chosen: set[str], less: frozenset[str]) -> None:
    for one in less:
        name, at, _ = one.partition("@")
        if at and name in chosen:
            chosen.update(f"{name}@{abi}" for abi in _abis_of(name))
        chosen -= {name, one} if at else {name, *(f"{name}@{abi}" for abi in _TRACED)}


def select(term: str) -> frozenset[str]:
    """The names of one term without its ``!``. Raises ``UsageError``."""
    if term in ("all", "none"):
        return names() if term == "all" else frozenset()
    if term[:1] == "/":
        return _matching(term)
    if term[:1] in ("%", "@"):
        return _family(term)
    if term in names():
        return frozenset((term,))
    if term in families.BARE:
        return families.table()["%" + term]
    raise UsageError(f"unknown system call {show(term)}", nearest(term, (*names(), *families.table())))


def split(expr: str) -> list[str]:
    """At the commas, but not at those inside ``/…/``; a slash inside of it is written ``\\/``."""
    return re.findall(r"(?:^|,)(\s*!?\s*(?:/(?:\\.|[^/\\])*/?[^,]*|[^,]*))", expr, re.DOTALL)


def _matching(term: str) -> frozenset[str]:
    body = term[1:-1] if len(term) > 1 and term.endswith("/") else None
    if not body:
        raise UsageError(f"regular expression {show(term)} is not between slashes", "write it like /^open/")
    try:
        pattern = re.compile(body)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"bad regular expression {show(term)}: {error}") from None
    found = frozenset(name for name in names() if pattern.search(name))
    if not found:
        raise UsageError(f"regular expression {show(term)} matches no system call", _HINT)
    return found


def _family(term: str) -> frozenset[str]:
    if term not in families.table():
        raise UsageError(f"unknown family {show(term)}", nearest(term, tuple(families.table())))
    return families.table()[term]


def nearest(word: str, known: tuple[str, ...]) -> str:
    found = difflib.get_close_matches(word, sorted(known), n=3)
    return f"did you mean {', '.join(found)}?" if found else _HINT


def show(text: str) -> str:
    """``text`` quoted for a message: one line, no control characters, not endless."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    return '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut) + '"'
