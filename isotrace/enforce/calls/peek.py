"""What a waiting caller's memory shows of its path or address: for a line to read, never for a decision of isotrace's.

A person who is asked decides by it (``named``), and is told that it can change.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address

from isotrace.catalog import multiplexed

_MAX_PATH, _MAX_ADDRESS = 4096, 128
_PAGE = 4096
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10


def what(tid: int, call: str, abi: str, args: Sequence[int]) -> str:
    """The first path or socket address among the call's arguments, "" when it has none or it cannot be read.

    Bytes that are no UTF-8 are surrogates (``os.fsdecode``).
    """
    known = multiplexed.known(call, abi)
    if known is not None and len(args) < len(known.args):
        return ""
    for position, arg in enumerate(known.args if known else ()):
        if arg.kind == "path":
            return os.fsdecode(_string(tid, args[position]).partition(b"\0")[0])
        if arg.kind == "sockaddr" and known:
            size = next((args[i] for i, other in enumerate(known.args) if other.name == arg.params[0]), 0)
            return _address(read(tid, args[position], min(size, _MAX_ADDRESS)))
    return ""


def words(tid: int, address: int, count: int) -> tuple[int, ...] | None:
    """``count`` 32-bit numbers; None where they cannot be read."""
    data = read(tid, address, 4 * count)
    return struct.unpack(f"={count}I", data) if len(data) == 4 * count else None


def text(tid: int, address: int) -> str | None:
    """The string at an address, of a path's length at most; None where it cannot be read, or has no end."""
    data, nul, _ = _string(tid, address).partition(b"\0")
    return os.fsdecode(data) if nul else None


def read_all(tid: int, address: int, size: int) -> bytes | None:
    """``size`` bytes at an address; None where not all of them can be read."""
    data = read(tid, address, size)
    return data if len(data) == size else None


def read(tid: int, address: int, size: int) -> bytes:
    """Up to ``size`` bytes, fewer where the mapping ends."""
    return b"".join(_pieces(tid, address, size))


def _string(tid: int, address: int) -> bytes:
    """A string and what follows it; without a NUL where it has no end."""
    found = b""
    for piece in _pieces(tid, address, _MAX_PATH):
        found += piece
        if b"\0" in piece:
            break  # the next page may not be there
    return found


def _pieces(tid: int, address: int, size: int) -> Iterator[bytes]:
    """The bytes at an address page by page, as far as they can be read."""
    if not address:
        return
    try:
        with _memory(tid) as descriptor:
            while size > 0:
                piece = os.pread(descriptor, min(size, _PAGE - address % _PAGE), address)
                yield piece
                address, size = address + len(piece), size - len(piece)
                if not piece:
                    return
    except (OSError, OverflowError):
        return


@contextmanager
def _memory(tid: int) -> Iterator[int]:
    """A descriptor of the thread's memory. Raises ``OSError``."""
    descriptor = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _address(data: bytes) -> str:
    family = struct.unpack_from("=H", data)[0] if len(data) >= 2 else 0
    if family == _AF_INET and len(data) >= 8:
        return f"{IPv4Address(data[4:8])}:{int.from_bytes(data[2:4], 'big')}"
    if family == _AF_INET6 and len(data) >= 24:
        return f"[{IPv6Address(data[8:24])}]:{int.from_bytes(data[2:4], 'big')}"
    if family == _AF_UNIX and len(data) > 2:
        name = data[2:]
        return "@" + os.fsdecode(name[1:]) if name[0] == 0 else os.fsdecode(name.partition(b"\0")[0])
    return ""
