"""What several renderers of arguments write alike."""

from __future__ import annotations

from collections.abc import Iterable

from isotrace.decode.quote import quote
from isotrace.trace.events import CUT, Blob


def fault(address: int) -> str:
    """An argument whose memory could not be read: told apart from an empty string and from NULL."""
    return f"{address:#x}<fault>" if address else "NULL"


def string(blob: Blob) -> str:
    """A NUL-terminated string. One that was cut ends with the kernel's own NUL; one copied as bytes with its own."""
    text, nul, rest = blob.data.partition(b"\0")
    if blob.full and not nul:  # its last byte was copied to see whether it is the NUL
        text = text[:-1]
    return quote(text, not nul or (blob.state == CUT and not rest and not blob.full))


def many(texts: Iterable[str], cut: bool) -> str:
    """An array as strace shows it."""
    return "[" + ", ".join([*texts, *(["..."] if cut else [])]) + "]"
