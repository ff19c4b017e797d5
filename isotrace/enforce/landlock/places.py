"""From rules that deny to places that are allowed: a directory with all below it, or a file. Pure.

A place is given a right where no rule denies it anywhere in it, now or later, whatever is made there. Where a rule may,
what is in the directory is looked at one by one, and what is made there later has none: more than asked, never less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from isotrace.enforce.hooks.nfa import matches
from isotrace.enforce.landlock import rights
from isotrace.policy.model import PathRule
from isotrace.policy.patterns import Component

Specificity = tuple[int, int, int, int, int]
#: Files that are looked at before rules are turned down.
MOST = 200_000


class TooMany(Exception):
    """More files would have to be looked at than ``MOST``."""


@dataclass(frozen=True)
class Entry:
    """A name in a directory: what it is, and by how many names it is known (of a directory 1)."""

    name: str
    directory: bool
    link: bool = False
    names: int = 1


class Tree(Protocol):
    """The files as they are when the rules begin, by paths without links."""

    def entries(self, path: str) -> Sequence[Entry] | None:
        """What is in a directory; None where that cannot be told."""

    def elsewhere(self, path: str) -> Sequence[str]:
        """By what other paths the same file or directory can be reached, by way of other mounts."""


@dataclass(frozen=True)
class Place:
    """What is allowed (``rights``, a mask of Landlock's) at a file, or in a directory and all below it."""

    path: str
    rights: int
    directory: bool


@dataclass(frozen=True)
class Left:
    """The rules that something is left of below a path, each with the indexes of what its pattern may ask for next.

    An index of as many as the pattern has components is a match. What follows a ``**`` may come at once.
    """

    rules: tuple[tuple[PathRule, frozenset[int]], ...]

    @classmethod
    def of(cls, rules: Sequence[PathRule]) -> Left:
        """At the root."""
        return cls(tuple((rule, _reached(rule.pattern.components, 0)) for rule in rules))

    def below(self, path: str) -> Left:
        """Further down, by a path that is relative to here."""
        left = self
        for name in filter(None, path.split("/")):
            found = ((rule, _step(rule.pattern.components, next_, name)) for rule, next_ in left.rules)
            left = Left(tuple((rule, next_) for rule, next_ in found if next_))
        return left

    def free(self, letter: str) -> bool:
        """Whether no rule denies the letter here or anywhere below: an exception for all of it beats each that would."""
        cover = self._cover(letter, allow=True)
        return all(cover is not None and cover > one for one in self._specificities(letter, allow=False))

    def shut(self, letter: str) -> bool:
        """Whether a rule denies the letter here and everywhere below."""
        cover = self._cover(letter, allow=False)
        return cover is not None and all(cover >= one for one in self._specificities(letter, allow=True))

    def denies(self, letter: str) -> bool:
        """Whether the letter is denied at this very path: by the most specific rule that matches, a tie denies."""
        found = [
            (rule.pattern.specificity, not rule.allow)
            for rule, next_ in self.rules
            if letter in rule.access and len(rule.pattern.components) in next_
        ]
        return max(found, default=((), False))[1]

    def _cover(self, letter: str, allow: bool) -> Specificity | None:
        """Of the rules that match here and everywhere below the most specific one."""
        return max(
            (
                rule.pattern.specificity
                for rule, next_ in self.rules
                if rule.allow is allow and letter in rule.access and _is_whole(rule.pattern.components, next_)
            ),
            default=None,
        )

    def _specificities(self, letter: str, allow: bool) -> Iterator[Specificity]:
        return (rule.pattern.specificity for rule, _ in self.rules if rule.allow is allow and letter in rule.access)


def _is_whole(components: Sequence[Component], next_: frozenset[int]) -> bool:
    last = len(components) - 1
    return last in next_ and components[last].anything


def _reached(components: Sequence[Component], at: int) -> frozenset[int]:
    skips = at < len(components) and components[at].anything
    return frozenset((at, at + 1) if skips else (at,))


def _step(components: Sequence[Component], next_: frozenset[int], name: str) -> frozenset[int]:
    found: frozenset[int] = frozenset()
    for at in next_:
        if at < len(components):
            part = components[at]
            if part.anything:
                found |= _reached(components, at)
            elif matches(part.pieces, name):
                found |= _reached(components, at + 1)
    return found


def allowed(rules: Sequence[PathRule], tree: Tree, abi: int) -> list[Place]:
    """The places that ``rules``, whose paths lead through no links, leave. Raises ``TooMany``."""
    return list(_Search(rules, tree, abi).places())


def denied_letters(rules: Sequence[PathRule]) -> frozenset[str]:
    """The letters that some rule denies."""
    return frozenset(letter for rule in rules if not rule.allow for letter in rule.access)


class _Search:
    def __init__(self, rules: Sequence[PathRule], tree: Tree, abi: int) -> None:
        self._start = Left.of(rules)
        self._tree, self._abi = tree, abi
        self._denied = denied_letters(rules)
        self._looked = 0

    def places(self) -> Iterator[Place]:
        yield from self._directory("/", self._start, frozenset(), self._denied, 0)

    def _directory(
        self, path: str, left: Left, above: frozenset[str], asked: frozenset[str], have: int
    ) -> Iterator[Place]:
        """``above`` are the letters that are free further up, ``asked`` those that are neither free nor shut there."""
        free = above | {letter for letter in asked if left.free(letter)}
        gives = self._rights(path, free, True) & ~have
        if gives:
            yield Place(path, gives, True)
        asked = frozenset(letter for letter in asked - free if not left.shut(letter))
        for entry in self._entries(path) if asked else ():
            below = f"{path.rstrip('/')}/{entry.name}"
            if entry.directory:
                yield from self._directory(below, left.below(entry.name), free, asked, have | gives)
            elif not entry.link and entry.names == 1:
                more = self._of_file(below, left.below(entry.name), asked) & ~(have | gives)
                if more:
                    yield Place(below, more, False)

    def _entries(self, path: str) -> Sequence[Entry]:
        found = self._tree.entries(path) or ()
        self._looked += len(found)
        if self._looked > MOST:
            raise TooMany
        return found

    def _of_file(self, path: str, left: Left, asked: frozenset[str]) -> int:
        free = frozenset(letter for letter in asked if not left.denies(letter))
        return self._rights(path, free, False) if free else 0

    def _rights(self, path: str, free: frozenset[str], directory: bool) -> int:
        """As far as no other path to the same place is denied."""
        for other in self._tree.elsewhere(path) if free else ():
            left = self._start.below(other)
            free = frozenset(letter for letter in free if (left.free(letter) if directory else not left.denies(letter)))
        return rights.granted(free, self._denied, self._abi, directory)


def model(places: Sequence[Place], path: str, right: int) -> bool:
    """What Landlock would say of a right at a path: allowed where the path, or what it is below, is given it."""
    above = [path]
    while above[-1] != "/":
        above.append(above[-1].rpartition("/")[0] or "/")
    return any(place.rights & right for place in places if place.path in above)
