"""Directories by name in the paths of policy files: ``w:{cwd}/**``, ``{home}/.ssh/**``, ``unix:{tmp}/socket``.

A name stands at the beginning of a path, which is otherwise absolute: nothing that was a path before means something
else. What it stands for is a directory, letter by letter, whatever is in its name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence

from isotrace.catalog.expr import show
from isotrace.errors import UsageError
from isotrace.process.directories import NAMES, Directory

_WORD = re.compile(r"((?:[A-Za-z]*:)?)\{([^{}/]*)\}(.*)", re.DOTALL)
#: Before addresses no directory is named.
_ADDRESSES = frozenset(("tcp:", "udp:", "any:"))


def sample(word: str) -> str:
    """The word with a directory called like it in the place of the name, to be read. Raises ``UsageError``."""
    match = _parsed(word)
    return f"{match[1]}/{{{match[2]}}}{match[3]}" if match else word


def expand(word: str, *, allow: bool, named: Callable[[str], Sequence[Directory]]) -> list[str]:
    """The words that it stands for, without names: a denial is for each directory, an exception for the first.

    Raises ``UsageError`` where an exception would be for more than a directory to work in.
    """
    match = _parsed(word)
    if not match:
        return [word]
    found = named(match[2])[: 1 if allow else None]
    for one in found:
        _check(one, word, match[2], allow and _is_all(match[3]))
    return [f"{match[1]}{_escaped(one.path)}{match[3]}" for one in found]


def _parsed(word: str) -> re.Match[str] | None:
    match = _WORD.fullmatch(word)
    if not match or match[1] in _ADDRESSES:
        return None
    if match[2] not in NAMES:
        near = difflib.get_close_matches(match[2], NAMES, n=1)
        hint = f"did you mean {{{near[0]}}}?" if near else f"one of {', '.join(f'{{{name}}}' for name in NAMES)}"
        raise UsageError(f"no directory is called {show('{' + match[2] + '}')}", hint)
    if match[3] and not match[3].startswith("/"):
        raise UsageError(f"{show(word)} goes on without a slash", f"{{{match[2]}}} is a directory: {{{match[2]}}}/…")
    if ".." in match[3].split("/"):
        raise UsageError(f".. in {show(word)} leads out of {{{match[2]}}}", "write the path without ..")
    return match


def _is_all(rest: str) -> bool:
    """Whether what follows a directory means all that is in it, by names alone."""
    names = [name for name in rest.split("/") if name not in ("", ".")]
    return not names[0].strip("*") if names else rest.endswith("/")


def _check(one: Directory, word: str, name: str, everything: bool) -> None:
    if not one.path.isprintable():
        what = f"{{{name}}} in {show(word)} cannot be named: {one.said} is {show(one.path)}"
        raise UsageError(what, "use a directory without control characters, and in UTF-8")
    if everything and name != "home" and (whole := one.whole):
        what = f"{show(word)} would except too much: {one.said} is {show(one.path)}, {whole}"
        raise UsageError(what, _HINTS.get(name, "unset it, or name a directory that is there for nothing else"))


_HINTS = {"cwd": "start it in the directory of a project"}


def _escaped(path: str) -> str:
    return re.sub(r"([*\\])", r"\\\1", path)
