"""Patterns as automata whose state is a few machine words, for bpf/block_globs.h. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from isotrace.enforce import spelling
from isotrace.errors import UsageError
from isotrace.policy.patterns import Component

WORDS, BITS = 2, 64
NO_WORD = 0x7FFFFFFF
MAX_STARS = 16
_ANYTHING = ("", "")


class TooMuch(UsageError):
    """More patterns than the program has room for."""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def mask(bits: Sequence[int]) -> tuple[int, int]:
    """Bit numbers as two words."""
    words = [0] * WORDS
    for bit in bits:
        words[bit // BITS] |= 1 << (bit % BITS)
    return words[0], words[1]


@dataclass
class Letters:
    """Components such as ``*.key``, all in one automaton over bytes: one bit for every number of letters matched."""

    start: int = 0
    loop: int = 0
    next: dict[int, int] = field(default_factory=dict)
    folded: dict[int, int] = field(default_factory=dict)
    finals: dict[tuple[tuple[str, ...], bool], int] = field(default_factory=dict)
    _used: int = 0

    def add(self, pieces: tuple[str, ...], refuses: bool) -> int:
        """The bit that says that the whole name matches. Raises ``TooMuch``.

        ``refuses``: in ``folded``, for where case does not count, capital letters match small ones and the reverse.
        """
        if (pieces, refuses) in self.finals:
            return self.finals[pieces, refuses]
        raw = [_bytes(piece) for piece in pieces]
        first, length = self._used, sum(map(len, raw))
        if first + length + 1 > BITS or len(self.finals) == MAX_STARS:
            raise TooMuch(
                "the names with stars in the rules are too long together",
                f"{BITS} letters and {MAX_STARS} such names is what fits",
            )
        self._used += length + 1
        self.start |= 1 << first
        at = first
        for index, piece in enumerate(raw):
            if index:
                self.loop |= 1 << at
            for letter in piece:
                at += 1
                self.next[letter] = self.next.get(letter, 0) | 1 << at
                for either in set(bytes([letter]) + bytes([letter]).swapcase()) if refuses else (letter,):
                    self.folded[either] = self.folded.get(either, 0) | 1 << at
        self.finals[pieces, refuses] = at
        return at


@dataclass
class Names:
    """Patterns over names, from the last component to the first: one bit for every number of components matched."""

    letters: Letters = field(default_factory=Letters)
    start: list[int] = field(default_factory=list)
    loop: list[int] = field(default_factory=list)
    any: list[int] = field(default_factory=list)
    unsure: list[int] = field(default_factory=list)
    odd: list[int] = field(default_factory=list)
    words: dict[bytes, list[int]] = field(default_factory=dict)
    folded: dict[bytes, list[int]] = field(default_factory=dict)
    stars: dict[int, list[int]] = field(default_factory=dict)
    _known: dict[tuple[tuple[Component, ...], bool, object], int] = field(default_factory=dict)
    _used: int = 0

    def add(self, components: tuple[Component, ...], refuses: bool, owner: object = None) -> int:
        """The bit that says that all components match; one for each ``owner``. Raises ``TooMuch``.

        ``refuses``: a name that cannot be compared is taken to match.
        """
        key = (components, refuses, owner)
        if key not in self._known:
            self._known[key] = self._add(components, refuses)
        return self._known[key]

    def _room(self, bits: int) -> int:
        """The first of ``bits`` bits in one word."""
        first = self._used
        if first // BITS != (first + bits - 1) // BITS:
            first = -(-first // BITS) * BITS
        if bits > BITS or first + bits > WORDS * BITS:
            raise TooMuch("the patterns have too many components together", f"{WORDS * BITS} is what fits")
        self._used = first + bits
        return first

    def _add(self, components: tuple[Component, ...], refuses: bool) -> int:
        first = self._room(len(components) + 1)
        self.start.append(first)
        if components[-1].anything:
            self.start.append(first + 1)
        for bit, component in enumerate(reversed(components), first):
            self._component(bit, component, refuses)
        return first + len(components)

    def _component(self, bit: int, component: Component, refuses: bool) -> None:
        if component.anything:
            self.loop.append(bit)
        elif component.pieces == _ANYTHING:
            self.any.append(bit)
        else:
            self._component_with_letters(bit, component, refuses)

    def _component_with_letters(self, bit: int, component: Component, refuses: bool) -> None:
        raw = name_of(component) if component.literal else b""
        if component.literal:
            self.words.setdefault(raw, []).append(bit)
        else:
            self.stars.setdefault(self.letters.add(component.pieces, refuses), []).append(bit)
        if not refuses:
            return
        self.unsure.append(bit)
        if (
            spelling.fold(raw) == spelling.UNSURE
            if component.literal
            else any(map(spelling.is_odd, map(_bytes, component.pieces)))
        ):
            self.odd.append(bit)
        elif component.literal:
            self.folded.setdefault(spelling.fold(raw), []).append(bit)

    def pack_words(self) -> dict[bytes, bytes]:
        """The map `words`: ``struct word`` by ``struct piece``."""
        numbers = iter(range(1, NO_WORD))
        after: dict[tuple[int, bytes], int] = {}
        found: dict[bytes, list[int]] = {}
        for word, bits in self.words.items():
            at = 0
            *first, last = spelling.pieces(word)
            for piece in first:
                found.setdefault(spelling.key(at, piece), [0, 0, 0])
                following = after.setdefault((at, piece), 0) or next(numbers)
                after[at, piece] = found[spelling.key(at, piece)][2] = following
                at = following
            found.setdefault(spelling.key(at, last), [0, 0, NO_WORD])[:2] = mask(bits)
        for word, bits in self.folded.items():
            found[spelling.key(spelling.FOLDED, word)] = [*mask(bits), NO_WORD]
        return {key: struct.pack("=QQQ", *value) for key, value in found.items()}

    def pack(self) -> bytes:
        """``struct automaton``."""
        words = [word for bits in (self.start, self.loop, self.any, self.unsure, self.odd) for word in mask(bits)]
        return struct.pack("=10Q", *words)

    def pack_letters(self, folds: bool = False) -> bytes:
        """``struct letters``; ``folds``: for where case does not count."""
        by_letter = self.letters.folded if folds else self.letters.next
        following = [by_letter.get(letter, 0) for letter in range(256)]
        keep = [(1 << BITS) - 1] + [self.letters.loop] * 255
        spare = MAX_STARS - len(self.stars)
        finals = [*self.stars, *[0] * spare]
        bits = [word for bits in self.stars.values() for word in mask(bits)] + [0] * (WORDS * spare)
        return struct.pack(f"={1 + 512 + 3 * MAX_STARS}Q", self.letters.start, *following, *keep, *finals, *bits)


def name_of(component: Component) -> bytes:
    """The name of a literal component."""
    return _bytes(component.pieces[0])


def residuals(components: tuple[Component, ...], path: Sequence[str]) -> set[tuple[Component, ...]]:
    """What is left of a pattern below ``path``: one of them must match what follows."""
    found = {components}
    for name in path:
        found = {rest for left in found for rest in _after(left, name)}
    return found


def _after(components: tuple[Component, ...], name: str) -> set[tuple[Component, ...]]:
    if not components:
        return set()
    head, rest = components[0], components[1:]
    if head.anything:
        return {components} | _after(rest, name)
    return {rest} if _matches(head.pieces, name) else set()


def _matches(pieces: tuple[str, ...], name: str) -> bool:
    if len(pieces) == 1:
        return pieces[0] == name
    if len(name) < sum(map(len, pieces)) or not (name.startswith(pieces[0]) and name.endswith(pieces[-1])):
        return False
    at = len(pieces[0])
    for piece in pieces[1:-1]:
        found = name.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return at <= len(name) - len(pieces[-1])
