"""Names of processes, and patterns of them: ``*`` any bytes, ``?`` one byte, ``[a-z]`` and ``[!a-z]`` one of some.

The kernel program and user space match by the same table: bit *i* of a state says that what has been read so far matches
the first *i* items of the patterns, which lie side by side in one row of bits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from isotrace.errors import UsageError

LENGTH = 15  # TASK_COMM_LEN less the NUL
_MOST_WORDS = 4  # of 64 bits; bpf/filter.h goes through all of them for each byte
_BITS = 64
_ALL = frozenset(range(1, 256))

#: One item of a pattern: the bytes that it accepts, and whether any number of them.
_Item = tuple[frozenset[int], bool]


@dataclass(frozen=True)
class Table:
    """``bytes[b]`` has the items that accept byte *b*, one of NUL the accepting ends; each is ``words`` numbers of 64 bits.

    ``bytes[256]`` are the items that repeat, ``bytes[257]`` the state before the first byte.
    """

    words: int
    bytes: tuple[tuple[int, ...], ...]


def is_pattern(name: str) -> bool:
    """Whether this is more than a name."""
    items = _items(name)
    plain = all(len(accepted) == 1 and not repeats for accepted, repeats in items)
    return not plain or bytes(byte for accepted, _ in items for byte in accepted) != os.fsencode(name)


def least(name: str) -> int:
    """The length in bytes of the shortest name that matches."""
    return sum(not repeats for _, repeats in _items(name))


@lru_cache
def table(patterns: tuple[str, ...]) -> Table:
    """The table of some patterns. Raises ``UsageError`` where they are too many."""
    accepting = [0] * 256
    repeating = begin = at = 0
    for pattern in patterns:
        items = _items(pattern)
        if at % _BITS + len(items) >= _BITS:  # no pattern goes from one word to the next
            at += -at % _BITS
        begin |= 1 << at
        for accepted, repeats in items:
            for byte in accepted:
                accepting[byte] |= 1 << at
            repeating |= repeats << at
            at += 1
        accepting[0] |= 1 << at
        at += 1
    if at > _MOST_WORDS * _BITS:
        raise UsageError(
            f"--comm: {len(patterns)} names and patterns are too many",
            f"they may have {_MOST_WORDS * _BITS} bytes together, and these have {at}",
        )
    words = -(-at // _BITS)
    masks = (*accepting, repeating, begin)
    return Table(words, tuple(tuple(mask >> _BITS * i & (1 << _BITS) - 1 for i in range(words)) for mask in masks))


@lru_cache(65536)
def match(patterns: tuple[str, ...], name: bytes) -> bool:
    """Whether one of the patterns matches a name, without its NUL."""
    masks = [sum(word << _BITS * i for i, word in enumerate(words)) for words in table(patterns).bytes]
    repeating = masks[256]
    state = masks[257]
    state |= (state & repeating) << 1
    for byte in name:
        state = (state & masks[byte] & ~repeating) << 1 | state & masks[byte] & repeating
        state |= (state & repeating) << 1
    return bool(state & masks[0])


def _items(pattern: str) -> Sequence[_Item]:
    found: list[_Item] = []
    raw, at = os.fsencode(pattern), 0
    while at < len(raw):
        end = _class_end(raw, at) if raw[at : at + 1] == b"[" else 0
        if raw[at : at + 1] == b"*":
            if not found or not found[-1][1]:  # two stars are one
                found.append((_ALL, True))
        elif raw[at : at + 1] == b"?":
            found.append((_ALL, False))
        elif end:
            found.append((_class(raw[at + 1 : end]), False))
            at = end
        else:
            found.append((frozenset(raw[at : at + 1]), False))
        at += 1
    return found


def _class_end(raw: bytes, begin: int) -> int:
    """Where the bracket that opens at ``begin`` closes, 0 where it does not: then it stands for itself."""
    first = begin + 1 + (raw[begin + 1 : begin + 2] in (b"!", b"^"))
    return max(raw.find(b"]", first + 1), 0)


def _class(body: bytes) -> frozenset[int]:
    negative = body[:1] in (b"!", b"^")
    body = body[negative:]
    found: set[int] = set()
    at = 0
    while at < len(body):
        if body[at + 1 : at + 2] == b"-" and at + 2 < len(body):
            found.update(range(body[at], body[at + 2] + 1))
            at += 3
        else:
            found.add(body[at])
            at += 1
    return _ALL - found if negative else frozenset(found & _ALL)
