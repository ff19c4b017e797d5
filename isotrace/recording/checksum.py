"""A CRC-32 (zlib's) of each batch, in the batch's own metadata: a bit that a disk has turned is found.

It is of all bytes since the batch before, that is of the batch's message, and with the first one also of the schema and of
the words that dictionaries have; the digits themselves count as zeros.
"""

from __future__ import annotations

import zlib

from isotrace.recording.frames import beginning_of_last, metadata_of

#: What the metadata of the schema says.
KIND = "crc32"
_MARK = b"crc32:"
_DIGITS = 8
_ZEROS = b"0" * _DIGITS
#: What a batch is written with, to be filled in.
METADATA = {b"isotrace": _MARK + _ZEROS}


def _place(message: memoryview) -> int:
    """Where the digits are; 0 where there are none. Raises ``ValueError``."""
    begin, metadata = metadata_of(message)
    found = metadata.find(_MARK)
    return begin + found + len(_MARK) if found >= 0 else 0


def _crc(before: bytes | memoryview, message: memoryview, place: int) -> bytes:
    found = zlib.crc32(message[:place], zlib.crc32(before))
    return b"%08x" % zlib.crc32(message[place + _DIGITS :], zlib.crc32(_ZEROS, found))


def sealed(data: bytes) -> bytearray:
    """Some messages, the last of them a batch that was written with ``METADATA``, with the checksum of them all."""
    found = bytearray(data)
    at = beginning_of_last(data)
    message = memoryview(data)[at:]
    place = _place(message)
    found[at + place : at + place + _DIGITS] = _crc(memoryview(data)[:at], message, place)
    return found


def holds(message: memoryview, before: bytes = b"", *, needed: bool) -> bool:
    """Whether a batch's message, behind what came ``before``, is as it was written; one without a checksum, unless that is
    ``needed``, is taken to be. Raises ``ValueError``.
    """
    place = _place(message)
    if not place:
        return not needed
    return bytes(message[place : place + _DIGITS]) == _crc(before, message, place)
