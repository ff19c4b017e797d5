"""Patterns as bit-parallel NFAs, whose state is a few machine words, for bpf/block_globs.h. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from isotrace.errors import UsageError
from isotrace.policy.patterns import Component

WORDS, BITS = 2, 64
NAME = 64  # bytes of a name with its NUL, in the kernel's tables
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
class NameNfa:
    """Components such as ``*.key``, in one NFA over the bytes of a name: one bit for every number of letters matched."""

    start: int = 0
    loop: int = 0
    next: dict[int, int] = field(default_factory=dict)
    finals: dict[tuple[str, ...], int] = field(default_factory=dict)
    _used: int = 0

    def add(self, pieces: tuple[str, ...]) -> int:
        """The bit that says that the whole name matches. Raises ``TooMuch``."""
        if pieces in self.finals:
            return self.finals[pieces]
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
        self.finals[pieces] = at
        return at


@dataclass
class PathNfa:
    """Patterns in one NFA over names, from last component to first: one bit for every number of components matched."""

    name_nfa: NameNfa = field(default_factory=NameNfa)
    start: list[int] = field(default_factory=list)
    loop: list[int] = field(default_factory=list)
    any: list[int] = field(default_factory=list)
    unsure: list[int] = field(default_factory=list)
    doubted: list[int] = field(default_factory=list)
    words: dict[bytes, list[int]] = field(default_factory=dict)
    stars: dict[int, list[int]] = field(default_factory=dict)
    _known: dict[tuple[tuple[Component, ...], bool, object], int] = field(default_factory=dict)
    _used: int = 0

    def add(self, components: tuple[Component, ...], refuses: bool, owner: object = None) -> int:
        """The bit that says that all components match; one for each ``owner``. Raises ``TooMuch``.

        ``refuses``: a name too long to look at is taken to match, and so is every name where case is ignored.
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
        elif component.literal:
            self.words.setdefault(name_of(component), []).append(bit)
        else:
            self.stars.setdefault(self.name_nfa.add(component.pieces), []).append(bit)
            if refuses:
                self.unsure.append(bit)
        if refuses:
            self.doubted.append(bit)

    def pack(self) -> bytes:
        """``struct path_nfa``."""
        words = [word for bits in (self.start, self.loop, self.any, self.unsure, self.doubted) for word in mask(bits)]
        return struct.pack("=10Q", *words)

    def pack_name_nfa(self) -> bytes:
        """``struct name_nfa``."""
        following = [self.name_nfa.next.get(letter, 0) for letter in range(256)]
        keep = [(1 << BITS) - 1] + [self.name_nfa.loop] * 255
        spare = MAX_STARS - len(self.stars)
        finals = [*self.stars, *[0] * spare]
        bits = [word for bits in self.stars.values() for word in mask(bits)] + [0] * (WORDS * spare)
        return struct.pack(f"={1 + 512 + 3 * MAX_STARS}Q", self.name_nfa.start, *following, *keep, *finals, *bits)


def name_of(component: Component, room: int = NAME) -> bytes:
    """The name of a literal component. Raises ``TooMuch``."""
    raw = _bytes(component.pieces[0])
    if len(raw) >= room - 1:
        raise TooMuch(f"the name {component} is too long", f"a name below a pattern has at most {room - 2} bytes")
    return raw


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
    return {rest} if matches(head.pieces, name) else set()


def matches(pieces: tuple[str, ...], name: str) -> bool:
    """Whether a name is these pieces with any letters between them."""
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
