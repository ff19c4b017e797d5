"""What a descriptor is, in strace's words: ``</etc/passwd>``, ``<pipe:[123]>``, ``<TCP:[127.0.0.1:80->127.0.0.1:81]>``."""

from __future__ import annotations

import re
import socket
import stat
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from . import style
from .quote import escape, hexbytes, quote
from .xlat import enum

#: What is not known, as it changed under the reader's hands, or nobody looked.
UNKNOWN = "<?>"

DELETED, CUT, ALONE, UNSURE = 1, 2, 4, 8  # enum descriptor_state of bpf/event.h
DESCRIPTOR = struct.Struct("<QQIHBx")
ENDPOINTS = struct.Struct("<QHHHH16s16s16s")

SOCKET = 0x534F434B  # the magic number of sockfs
_PIPE, _ANONYMOUS, _NAMESPACE, _PIDFD = 0x50495045, 0x09041934, 0x6E736673, 0x50494446
#: Protocols whose sockets have addresses that strace shows.
_ADDRESSED = re.compile(r"(TCP|UDP|UDPLITE|DCCP|SCTP|MPTCP)(v6)?")
_FAMILIES = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}


class Head(NamedTuple):
    """``struct descriptor`` of bpf/event.h."""

    inode: int
    other: int
    magic: int
    mode: int
    state: int


def described(data: bytes, path: Callable[[bytes], str]) -> str:
    """What the descriptor is, without brackets; ``path`` makes text of paths. "?" where that is not known, "" of none.

    As ``descriptor`` says it with details, but for devices, which are their paths.
    """
    found = _descriptor(data, True, path)
    if found.startswith("</"):
        found = _descriptor(data, False, path)
    return "".join(found.removeprefix("<").rsplit(">", 1))


def place(data: bytes) -> bytes | None:
    """The path of a file or unix socket that a descriptor is; b"" of what has none, None where it is not known."""
    if len(data) < DESCRIPTOR.size:
        return b""
    head, rest = Head(*DESCRIPTOR.unpack_from(data)), data[DESCRIPTOR.size :]
    if head.state & UNSURE:
        return None
    if head.magic == SOCKET and len(rest) >= ENDPOINTS.size:
        family = ENDPOINTS.unpack_from(rest)[1]
        return rest[ENDPOINTS.size :].partition(b"\0")[0] if family == socket.AF_UNIX else b""
    if head.state & ALONE or head.magic in (_NAMESPACE, _ANONYMOUS, _PIDFD):
        return b""
    return None if head.state & CUT else joined(rest)


def is_deleted(data: bytes) -> bool:
    """Whether the file that a descriptor is has no name any more."""
    return len(data) >= DESCRIPTOR.size and bool(Head(*DESCRIPTOR.unpack_from(data)).state & DELETED)


class Endpoints(NamedTuple):
    """What a socket is: its kind as strace calls it (``TCP``, ``UDPv6``, ``UNIX-STREAM``) and over IP its own address."""

    name: str
    address: IPv4Address | IPv6Address | None
    port: int


def endpoints(data: bytes) -> Endpoints | None:
    """Of a descriptor that is a socket; None of any other, or where that is not known."""
    if len(data) < DESCRIPTOR.size + ENDPOINTS.size:
        return None
    head, rest = Head(*DESCRIPTOR.unpack_from(data)), data[DESCRIPTOR.size :]
    if head.state & UNSURE or head.magic != SOCKET:
        return None
    _, family, _, port, _, address, _, name = ENDPOINTS.unpack_from(rest)
    own: IPv4Address | IPv6Address | None = None
    if family == socket.AF_INET:
        own = IPv4Address(address[:4])
    elif family == socket.AF_INET6:
        own = IPv6Address(address)
    return Endpoints(name.partition(b"\0")[0].decode("ascii", "replace"), own, port)


def taken_apart(data: bytes) -> tuple[Head, bytes] | None:
    """What the kernel program says of a directory, and its names; None where it is none, or there is nothing."""
    if len(data) < DESCRIPTOR.size:
        return None
    head = Head(*DESCRIPTOR.unpack_from(data))
    return (head, data[DESCRIPTOR.size :]) if stat.S_ISDIR(head.mode) else None


def joined(rest: bytes) -> bytes:
    """The path of names that go from the file up."""
    return b"/" + b"/".join(reversed(rest.split(b"\0")[:-1]))


def descriptor(data: bytes, details: bool) -> str:
    """The text behind the number; ``data`` is what the kernel program says: struct descriptor, and what follows it.

    ``details``: as strace -yy has it, with addresses, device numbers and processes.
    """
    return _descriptor(data, details, _escaped)


def _descriptor(data: bytes, details: bool, text: Callable[[bytes], str]) -> str:
    if len(data) < DESCRIPTOR.size:
        return ""
    head, rest = Head(*DESCRIPTOR.unpack_from(data)), data[DESCRIPTOR.size :]
    if head.state & UNSURE:
        return UNKNOWN
    if head.magic == SOCKET and len(rest) >= ENDPOINTS.size:
        return f"<{_socket(head, rest) if details else f'socket:[{head.inode}]'}>"
    if head.magic == _PIDFD or (head.magic == _ANONYMOUS and rest.startswith(b"[pidfd]\0")):
        return f"<pid:{head.other}>" if details and head.other else "<anon_inode:[pidfd]>"
    return _named(head, rest, details, text)


def _named(head: Head, rest: bytes, details: bool, text: Callable[[bytes], str]) -> str:
    first = rest.partition(b"\0")[0]
    if head.magic == _PIPE and head.state & ALONE:
        return f"<{text(b'pipe:[%d]' % head.inode)}>"
    if head.magic == _NAMESPACE:
        return f"<{text(first + b':[%d]' % head.inode)}>"
    if head.magic == _ANONYMOUS:
        return f"<{text(b'anon_inode:' + first)}>"
    if head.state & ALONE:  # what has a name and no place, such as a memfd
        return f"<{text(b'/' + first)}>(deleted)"
    path = text(joined(rest))
    path = f"...{path}" if head.state & CUT else path
    if head.state & DELETED:
        return f"<{path}>(deleted)"
    if details and (kind := _DEVICES.get(stat.S_IFMT(head.mode))):
        return f"<{path}<{kind} {head.other >> 20}:{head.other & 0xFFFFF}>>"
    return f"<{path}>"


_DEVICES = {stat.S_IFCHR: "char", stat.S_IFBLK: "block"}


def _escaped(name: bytes) -> str:
    """As between strace's angle brackets, which a name may have as well."""
    if style.in_hex(name):
        return hexbytes(name)[1:-1]
    text = escape(name)
    return re.sub("[<>](?=([0-7])?)", _bracket, text) if "<" in text or ">" in text else text


def _bracket(match: re.Match[str]) -> str:
    return f"\\{ord(match[0]):0{3 if match[1] else 2}o}"


def _socket(head: Head, data: bytes) -> str:
    peer, family, protocol, port, peer_port, address, peer_address, name = ENDPOINTS.unpack_from(data)
    kind = escape(name.partition(b"\0")[0])
    if family not in _FAMILIES or not kind:
        return f"socket:[{head.inode}]"
    if family == socket.AF_UNIX:
        return f"{kind}:[{head.inode}{f'->{peer}' if peer else ''}{_path(data[ENDPOINTS.size :])}]"
    if family == socket.AF_NETLINK and peer:
        with style.names():
            of = enum("netlink_protocols", protocol).removeprefix("NETLINK_")
        return f"{kind}:[{of}:{peer}]"
    if family == socket.AF_NETLINK or not port or not _ADDRESSED.fullmatch(kind):
        return f"{kind}:[{head.inode}]"
    here = _address(family, address, port)
    return (
        f"{kind}:[{here}->{_address(family, peer_address, peer_port)}]"
        if peer_port or any(peer_address)
        else f"{kind}:[{here}]"
    )


def _address(family: int, address: bytes, port: int) -> str:
    text = socket.inet_ntop(family, address[: 4 if family == socket.AF_INET else 16])
    return f"{text}:{port}" if family == socket.AF_INET else f"[{text}]:{port}"


def _path(path: bytes) -> str:
    """The name of a unix socket, behind a comma."""
    if not path:
        return ""
    return f",@{quote(path[1:])}" if path[:1] == b"\0" else f",{quote(path.partition(bytes(1))[0])}"
