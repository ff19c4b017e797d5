"""Path patterns: exact paths, directory subtrees, ``*`` inside one component, ``**`` over any number of them.

``/etc/shadow`` is that file. ``/etc/`` and ``/etc/**`` are the directory and everything below it. ``/home/*/.ssh/**``
has one component for the star. ``\\*`` is a star that means itself, ``\\\\`` a backslash. Patterns are normalised
(``//``, ``.`` and ``..`` are resolved, wildcards put in one order), so that those that mean the same are equal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from isotrace.catalog.expr import show
from isotrace.errors import UsageError

#: A pattern, and a path that is to be judged, has at most this many bytes and components.
MAX_BYTES, MAX_COMPONENTS, MAX_NAME = 4095, 128, 255

_ANY, _STAR = "**", "*"


@dataclass(frozen=True)
class Component:
    """Literal pieces with stars between them: ``("a", "b")`` is ``a*b``, ``("a",)`` the name a. ``anything`` is ``**``."""

    pieces: tuple[str, ...] = ()
    anything: bool = False

    @property
    def literal(self) -> bool:
        """Whether it is one plain name."""
        return not self.anything and len(self.pieces) == 1

    @property
    def letters(self) -> int:
        """Characters that are not wildcards."""
        return sum(map(len, self.pieces))

    def __str__(self) -> str:
        return _ANY if self.anything else _STAR.join(re.sub(r"([*\\])", r"\\\1", piece) for piece in self.pieces)


@dataclass(frozen=True)
class Pattern:
    """A normalised absolute pattern; the root directory has no components."""

    components: tuple[Component, ...]

    def __str__(self) -> str:
        return "/" + "/".join(map(str, self.components))

    @property
    def exact(self) -> str | None:
        """The one path that it matches, when there is only one."""
        if all(component.literal for component in self.components):
            return "/" + "/".join(component.pieces[0] for component in self.components)
        return None

    @property
    def subtree(self) -> str | None:
        """The directory that it matches with everything below, when that is all that it matches."""
        head = Pattern(self.components[:-1])
        return head.exact if self.components and self.components[-1].anything else None

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile("".join(map(_regex_of, self.components)), re.DOTALL)

    def matches(self, path: str) -> bool:
        """Whether a resolved absolute path, without ``.`` and ``..``, is meant."""
        return self._regex.fullmatch("" if path == "/" else path) is not None

    @property
    def compares_names(self) -> bool:
        """Whether names are compared when a file is used, and not only found once, when the rules begin."""
        plain = next((i for i, component in enumerate(self.components) if not component.literal), len(self.components))
        return any(component.literal or component.letters for component in self.components[plain:])

    @cached_property
    def specificity(self) -> tuple[int, int, int, int, int]:
        """Sorts patterns that match one path: the greater one is the more specific.

        Plain names before the first wildcard, plain names in all, components, letters beside stars, fewer ``**``. A
        pattern that matches only a part of what another does is never the lesser of the two.
        """
        names = [component for component in self.components if not component.anything]
        plain = sum(component.literal for component in names)
        leading = next((i for i, component in enumerate(self.components) if not component.literal), plain)
        letters = sum(component.letters for component in names if not component.literal)
        return leading, plain, len(names), letters, len(names) - len(self.components)


#: ``/**``.
EVERYTHING = Pattern((Component(anything=True),))


def _regex_of(component: Component) -> str:
    if component.anything:
        return "(?:/[^/]+)*"
    if component.pieces == ("", ""):
        return "/[^/]+"
    return "/" + "[^/]*".join(map(re.escape, component.pieces))


def parse(text: str) -> Pattern:
    """The pattern that ``text`` writes. Raises ``UsageError``."""
    if not text.startswith("/"):
        raise UsageError(f"path {show(text)} is not absolute", _relative_hint(text))
    if "\0" in text or not text.isprintable():
        raise UsageError(f"path {show(text)} has a control character in it", "use * in its place")
    if len(text.encode("utf-8", "surrogateescape")) > MAX_BYTES:
        raise UsageError(f"path {show(text)} is too long", f"a path has at most {MAX_BYTES} bytes")
    components = _resolve([_component(word, text) for word in _split(text)])
    if text.endswith("/") and not (components and components[-1].anything):
        components.append(Component(anything=True))
    if len(components) > MAX_COMPONENTS:
        raise UsageError(f"path {show(text)} is too deep", f"a path has at most {MAX_COMPONENTS} components")
    return Pattern(tuple(_ordered(components)))


def _split(text: str) -> list[str]:
    return [word for word in text.split("/") if word not in ("", ".")]


def _component(word: str, text: str) -> Component:
    if word == _ANY:
        return Component(anything=True)
    if _ANY in re.sub(r"\\.", "", word):
        raise UsageError(f"** is not a whole component in {show(text)}", "write it like /etc/** or /srv/**/secret")
    if word.endswith("\\") and (len(word) - len(word.rstrip("\\"))) % 2:
        raise UsageError(f"a backslash ends a component in {show(text)}", r"write \\ for a backslash")
    pieces = _pieces(word)
    if len("".join(pieces).encode("utf-8", "surrogateescape")) > MAX_NAME:
        raise UsageError(f"a name in {show(text)} is too long", f"a name has at most {MAX_NAME} bytes")
    return Component(tuple(pieces))


def _pieces(word: str) -> list[str]:
    """At the stars that no backslash protects."""
    found = [""]
    for token in re.findall(r"\\.|.", word, re.DOTALL):
        if token == _STAR:
            found.append("")
        else:
            found[-1] += token[-1]
    return found


def _resolve(components: list[Component]) -> list[Component]:
    """``..`` takes the component before it away. Raises ``UsageError`` where that is a wildcard."""
    found: list[Component] = []
    for component in components:
        if component.pieces != ("..",):
            found.append(component)
        elif found and not found[-1].literal:
            raise UsageError(f".. after {found[-1]} is ambiguous", "write the path without ..")
        else:
            del found[-1:]
    return found


def _ordered(components: list[Component]) -> list[Component]:
    """In a run of wildcards the stars come first and ``**`` once: ``**/*/**`` is ``*/**``."""
    found: list[Component] = []
    for component in components:
        if component.pieces == ("", "") and found and found[-1].anything:
            found.insert(-1, component)
        elif not (component.anything and found and found[-1].anything):
            found.append(component)
    return found


def _relative_hint(text: str) -> str:
    if text.startswith("~"):
        return "let the shell expand it: leave ~ outside of quotes, or write the home directory out"
    return "start it at the root: /etc/passwd, /srv/**"
