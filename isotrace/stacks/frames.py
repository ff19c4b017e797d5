"""Frames, and how a record keeps them: the capture of PART_FRAMES. Pure; docs/recording.md has the layout."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from isotrace.decode.quote import escape

_HEAD = struct.Struct("<BxHH2xQQ")
_TEXT_MAX = 512  # bytes of a path or a name
_ALL_MAX = 60_000  # of all frames: a capture has a size of 16 bits


class End(IntEnum):
    """Why there are no more frames. Only OUTERMOST is a whole stack."""

    OUTERMOST = 0
    NO_TABLE = 1
    MEMORY = 2
    UNKNOWN_CODE = 3
    DEEP = 4
    NOT_64_BIT = 5
    BROKEN = 6
    NO_FILE = 7


REASONS = {
    End.NO_TABLE: "no table for unwinding this code, and no frame pointer",
    End.MEMORY: "the stack beyond this was not recorded",
    End.UNKNOWN_CODE: "what code is here is not known",
    End.NO_FILE: "the file of this code is not there any more, or cannot be read",
    End.DEEP: "more frames than are shown",
    End.NOT_64_BIT: "stacks of 32-bit code are not unwound",
    End.BROKEN: "the stack makes no sense beyond this",
}


class Frame(NamedTuple):
    """``path`` is the file (b"": not known), ``place`` the offset in it, or the address where there is no file.

    ``name`` is the function ("": not known), ``offset`` the bytes from its beginning. ``by_pointer``: who called it was
    found by a frame pointer that it may not have kept.
    """

    path: bytes
    place: int
    name: str = ""
    offset: int = 0
    by_pointer: bool = False


def pack(frames: Sequence[Frame], end: End) -> tuple[bytes, End]:
    """The bytes of a capture, and how it ends: earlier where there is no room for all."""
    found: list[bytes] = []
    size = 0
    for one in frames:
        path, name = one.path[:_TEXT_MAX], one.name.encode("utf-8", "backslashreplace")[:_TEXT_MAX]
        whole = _HEAD.pack(one.by_pointer, len(path), len(name), one.place, one.offset) + path + name
        size += len(whole)
        if size > _ALL_MAX:
            return b"".join(found), End.DEEP
        found.append(whole)
    return b"".join(found), end


def unpack(data: bytes) -> list[Frame]:
    """The frames, the innermost first. What makes no sense ends them."""
    found: list[Frame] = []
    at = 0
    while at + _HEAD.size <= len(data):
        flags, path, name, place, offset = _HEAD.unpack_from(data, at)
        begin = at + _HEAD.size
        at = begin + path + name
        if at > len(data):
            break
        text = data[begin + path : at].decode("utf-8", "replace")
        found.append(Frame(data[begin : begin + path], place, text, offset, bool(flags & 1)))
    return found


def reason(state: int) -> str:
    """Why a stack is not whole, in words; "" where it is."""
    try:
        return REASONS.get(End(state), "")
    except ValueError:
        return REASONS[End.BROKEN]


def text(frame: Frame) -> str:
    """As strace -k has it: ``/lib/libc.so.6(read+0x14) [0x10e1a4]``."""
    path = escape(frame.path) if frame.path else "?"
    name = f"{escape(frame.name.encode())}+{frame.offset:#x}" if frame.name else ""
    return f"{path}({name}) [{frame.place:#x}]"
