"""Names of files as keys of the kernel's tables (bpf/block_names.h). Pure.

A key is where a name comes from, a number, and 27 bytes of it. Where case does not count, names have small letters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

PIECE = 28
FOLDED = 1 << 31
#: Instead of a name: one that may be any, and any that is not known.
UNSURE, OTHERS = b"\1", b"\2"
_ODD = frozenset((*range(0x80, 0x100), ord("~")))  # short names of vfat have a tilde
_ODD_END = b". "  # vfat leaves them out


def pieces(name: bytes) -> Iterator[bytes]:
    """All but the last have 27 bytes."""
    for at in range(0, len(name) + 1, PIECE - 1):
        yield name[at : at + PIECE - 1]


def key(origin: int, text: bytes) -> bytes:
    """``struct piece``."""
    return struct.pack(f"=I{PIECE}s", origin, text)


def fold(name: bytes) -> bytes:
    """In small letters; UNSURE where the file system may compare it in another way."""
    odd = len(name) >= PIECE - 1 or not _ODD.isdisjoint(name) or name[-1:] in (b".", b" ")
    return UNSURE if odd else name.lower()


def is_odd(text: bytes) -> bool:
    """Whether a name that has ``text`` in it can be compared by small letters alone."""
    return not _ODD.isdisjoint(text) or text[-1:] in (b".", b" ")


def table() -> bytes:
    """``struct folding``."""
    small = bytes(range(256)).lower()
    odd = bytes(byte in _ODD for byte in range(256))
    keep = bytes([0xFF, *[0] * 255])
    return small + odd + keep + bytes(byte in _ODD_END for byte in range(256))
