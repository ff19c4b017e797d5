"""Families of system calls: strace's classes (``%file``) and systemd's sets (``@file-system``).

Membership is in families.txt, which tools/gen_families.py writes from what strace and systemd themselves
answer.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

#: strace takes these classes without the percent sign too (deprecated there).
BARE = frozenset({"desc", "file", "ipc", "memory", "network", "process", "signal"})

# strace decodes socketcall's inner call and then applies the class to that, so that %network does show it.
_ADDED = {"%network": ("socketcall",), "%net": ("socketcall",)}


@cache
def table() -> dict[str, frozenset[str]]:
    """``{"%file": names, "@aio": names, …}``, sets inside sets resolved."""
    members = {name: words + _ADDED.get(name, ()) for name, words in _read().items()}
    return {name: frozenset(_flatten(name, members)) for name in members}


@cache
def memberships() -> dict[str, frozenset[str]]:
    """``{"openat": {"%file", "%desc", "@file-system", …}}``; a call without a family is missing."""
    found: dict[str, list[str]] = {}
    for family, names in table().items():
        for name in names:
            found.setdefault(name, []).append(family)
    return {name: frozenset(of) for name, of in found.items()}


def _read() -> dict[str, tuple[str, ...]]:
    members: dict[str, tuple[str, ...]] = {}
    text = (Path(__file__).parent / "families.txt").read_text(encoding="ascii")
    family = ""
    for line in text.splitlines():
        if line[0] == " ":
            members[family] += tuple(line.split())
        elif line[0] != "#":
            family = line
            members[family] = ()
    return members


def _flatten(name: str, members: dict[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    for word in members[name]:
        if word[0] == "@":
            found |= _flatten(word, members)
        else:
            found.add(word)
    return found
