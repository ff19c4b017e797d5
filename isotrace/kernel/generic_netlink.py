"""The families of generic netlink that the kernel has: their numbers are given out as they are registered."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

_GENERIC, _CONTROL = 16, 16  # NETLINK_GENERIC, GENL_ID_CTRL
_HEADER, _GENERIC_HEADER, _ATTRIBUTE = struct.Struct("<IHHII"), struct.Struct("<BBH"), struct.Struct("<HH")
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_GET_FAMILY, _NEW_FAMILY = 3, 1
_FAMILY_ID, _FAMILY_NAME = 1, 2
_DATA = 16  # types of messages below are the protocol's own
_ROOM = 1 << 16
_PATIENCE = 1.0  # seconds; the kernel answers at once


def families() -> dict[int, str]:
    """Their names by number. Raises ``OSError``."""
    size = _HEADER.size + _GENERIC_HEADER.size
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _GENERIC) as asked:
        asked.settimeout(_PATIENCE)
        asked.send(_HEADER.pack(size, _CONTROL, _REQUEST_DUMP, 1, 0) + _GENERIC_HEADER.pack(_GET_FAMILY, 2, 0))
        found: dict[int, str] = {}
        while more := parsed(asked.recv(_ROOM)):
            found |= more
        return found


def parsed(data: bytes) -> dict[int, str]:
    """Names by number in the kernel's answer; empty at its end."""
    found = {}
    for kind, payload in _messages(data):
        if kind == _CONTROL and payload[:1] == bytes((_NEW_FAMILY,)):
            one = dict(_attributes(payload[_GENERIC_HEADER.size :]))
            if _FAMILY_ID in one and _FAMILY_NAME in one:
                name = one[_FAMILY_NAME].partition(b"\0")[0].decode("ascii", "backslashreplace")
                found[int.from_bytes(one[_FAMILY_ID], "little")] = name
    return found


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if length < _HEADER.size or kind < _DATA:
            return
        yield kind, data[_HEADER.size : length]
        data = data[length + 3 & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[length + 3 & ~3 :]
