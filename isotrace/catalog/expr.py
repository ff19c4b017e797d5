"""The ``--calls`` expression: ``openat,connect,%network,@file-system,!read``.

Terms are read from left to right; each adds to the selection, or, with ``!`` in front, takes away from it.
When the first one takes away, the selection starts from everything. A term is the exact name of a system
call of any ABI, a family (``%class`` of strace, ``@set`` of systemd), a regular expression between slashes
that is searched for in every name, ``all`` or ``none``.
"""

from __future__ import annotations

import difflib
import re

from isotrace.catalog import families
from isotrace.catalog.load import names
from isotrace.errors import UsageError

_HINT = "`isotrace calls` lists every call and its families"


def parse(expr: str) -> frozenset[str]:
    """The names that ``expr`` selects, at least one. Raises ``UsageError``."""
    terms = [term.strip() for term in split(expr)]
    if not all(terms):
        raise UsageError(
            f"empty term in call expression {show(expr)}", "write it like openat,%network,!read"
        )
    chosen = set(names()) if terms[0].startswith("!") else set()
    for term in terms:
        if term.startswith("!"):
            chosen -= select(term[1:].strip())
        else:
            chosen |= select(term)
    if not chosen:
        raise UsageError(f"call expression {show(expr)} selects no system call", _HINT)
    return frozenset(chosen)


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
