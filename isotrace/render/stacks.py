"""User stacks behind calls: ``log -k``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isotrace.decode.quote import escape
from isotrace.stacks import frames
from isotrace.stacks.frames import Frame
from isotrace.trace.events import PART_FRAMES, STACK_ARG, Blob

_NONE = "no stack was recorded"


def stack(blobs: Iterable[Blob]) -> tuple[list[Frame], str]:
    """The frames of a record, the innermost first, and why there are no more, in words; "" where these are all."""
    for blob in blobs:
        if blob.arg == STACK_ARG and blob.part == PART_FRAMES:
            return frames.unpack(blob.data), frames.reason(blob.full)
    return [], _NONE


def lines(blobs: Iterable[Blob]) -> str:
    """What stands below a call, each line behind a newline, as strace -k has it. A stack that is not whole says so."""
    found, why = stack(blobs)
    said = [f"\n > {frames.text(one)}{' (caller by frame pointer)' if one.by_pointer else ''}" for one in found]
    return "".join([*said, f"\n > ... ({why})"] if why else said)


def folded(blobs: Iterable[Blob]) -> str:
    """The functions' names, the outermost first; ``[...]`` stands for callers that are not known, ``[FILE]`` for a function
    that is not.
    """
    found, why = stack(blobs)
    names = [part(one.name.encode()) if one.name else f"[{part(_file(one))}]" for one in reversed(found)]
    return ";".join(["[...]", *names] if why else names)


def _file(frame: Frame) -> bytes:
    return frame.path.rpartition(b"/")[2] or b"unknown"


def part(text: bytes) -> str:
    """One part of a folded line, in which a semicolon has a meaning."""
    return escape(text).replace(";", ":")


def objects(blobs: Iterable[Blob]) -> dict[str, Any]:
    """The same for JSON."""
    found, why = stack(blobs)
    return {"stack": [_object(one) for one in found], "stack_ends": why or None}


def _object(frame: Frame) -> dict[str, Any]:
    return {
        "file": escape(frame.path) if frame.path else None,
        "symbol": escape(frame.name.encode()) if frame.name else None,
        "offset": frame.offset if frame.name else None,
        "place": frame.place,
        "caller_by": "frame pointer" if frame.by_pointer else None,
    }
