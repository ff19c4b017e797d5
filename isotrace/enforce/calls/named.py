"""What a waiting call is about: the paths and addresses that its caller's memory names, as requests to a policy.

All of it is as it is at the moment: another thread can change memory, a link or a directory before the kernel looks.
What cannot be told is ``UNKNOWN``, never left out.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from isotrace.catalog import multiplexed
from isotrace.catalog.model import Arg
from isotrace.enforce.calls import peek
from isotrace.enforce.calls.lookup import AT_FDCWD, WIDE, Caller, copy, descriptor, resolve, signed
from isotrace.policy.accesses import ADDRESSED, BY_DESCRIPTOR, BY_HANDLE, LETTERS, NO_FLAGS, follows, of_flags
from isotrace.policy.decide import NetRequest, PathRequest, Request, SocketRequest
from isotrace.policy.families import DCCP, DGRAM, OVER_IP, STREAM

#: Every call that a rule on a path, or on an address, has looked at.
PATH_CALLS = frozenset((*LETTERS, *BY_DESCRIPTOR, BY_HANDLE, "bind"))
NET_CALLS = frozenset((*ADDRESSED, "socket", "listen"))

_MOST_MESSAGES = 1024
_HOW = struct.Struct("=QQQ")  # struct open_how: flags, mode, resolve
_IN_ROOT, _RESOLVES = (
    0x10,
    0x3F,
)  # of resolve: what changes where a path leads, and all that is known; the others only fail
_TYPE = 0xF  # SOCK_TYPE_MASK


@dataclass(frozen=True)
class Unknown:
    """A path (``access`` says to do what) or, without letters, an address (``unix``: a unix one) that cannot be told."""

    access: frozenset[str] = frozenset()
    unix: bool = False


def requests(caller: Caller, call: str, abi: str, args: Sequence[int]) -> list[Request | Unknown]:
    """What the call asks for, beside itself: of every path, socket and address."""
    found: list[Request | Unknown] = []
    known = multiplexed.known(call, abi)
    if known is None or len(args) < len(known.args):
        return [Unknown(frozenset("rwx")), Unknown()]
    if call in PATH_CALLS:
        found += _paths(caller, call, abi, known.args, args)
    if call in NET_CALLS:
        found += _nets(caller, call, abi, args)
    return found


def shown(request: Request | Unknown) -> str:
    """The path or address, "" where it is not known or there is none."""
    if isinstance(request, PathRequest):
        return request.path
    if not isinstance(request, NetRequest):
        return ""
    if request.protocol == "unix":
        return request.path or (f"@{request.abstract}" if request.abstract is not None else "")
    host = f"[{request.address}]" if isinstance(request.address, IPv6Address) else str(request.address)
    return host if request.port is None else f"{host}:{request.port}"


def _paths(
    caller: Caller, call: str, abi: str, described: Sequence[Arg], args: Sequence[int]
) -> Iterator[Request | Unknown]:
    if call in BY_DESCRIPTOR:
        yield from _request(descriptor(caller, signed(args[0])), "w")
    elif call == BY_HANDLE:
        yield Unknown(frozenset(of_flags(args[2])))
    elif call == "bind":
        name = peek.read(caller.tid, args[1], min(args[2], 128))
        if name[:2] == struct.pack("=H", socket.AF_UNIX) and name[2:3] not in (b"", b"\0"):
            text = os.fsdecode(name[2:].partition(b"\0")[0])
            yield from _request(resolve(caller, AT_FDCWD, text, False), "w")
    else:
        flags, scoped = _flags_of(caller, call, abi, args)
        letters = iter(LETTERS[call])
        for position, arg in enumerate(described):
            if arg.kind == "path":
                what = next(letters)
                what = of_flags(flags) if what == "flags" else what
                if what:
                    directory = args[position - 1] if position and described[position - 1].kind == "dirfd" else None
                    at = AT_FDCWD if directory is None else signed(directory)
                    path = None if scoped is None else _at(caller, at, args[position], follows(call, flags), scoped)
                    yield from _request(path, what)


def _flags_of(caller: Caller, call: str, abi: str, args: Sequence[int]) -> tuple[int, bool | None]:
    """Those of an open, or of a call with AT_… in its last argument; NO_FLAGS where they cannot be read.

    And whether its paths begin at its directory, as if that were the root; None where that is not known.
    """
    if call == "openat2":
        data = peek.read(caller.tid, args[2], _HOW.size)
        if len(data) < _HOW.size:
            return NO_FLAGS, None
        flags, _, resolving = _HOW.unpack(data)
        return flags, None if resolving & ~_RESOLVES else bool(resolving & _IN_ROOT)
    if call == "creat":
        return os.O_CREAT | os.O_WRONLY | os.O_TRUNC, False
    known = multiplexed.known(call, abi)
    places = [at for at, arg in enumerate(known.args if known else ()) if arg.name in ("flags", "flag", "at_flags")]
    return args[places[0]] if places else 0, False


def _at(caller: Caller, directory: int, address: int, follow: bool, scoped: bool) -> str | None:
    text = peek.text(caller.tid, address)
    if text is None or (text == "" and directory != AT_FDCWD):
        empty = text == "" or not address  # AT_EMPTY_PATH, and utimensat of a descriptor
        return descriptor(caller, directory) if empty else None
    return resolve(caller, directory, text, follow, scoped)


def _request(path: str | None, letters: str) -> Iterator[Request | Unknown]:
    """Nothing for what has no path: no rule is about it."""
    if path is None:
        yield Unknown(frozenset(letters))
    elif path:
        yield PathRequest(path, frozenset(letters))


def _nets(caller: Caller, call: str, abi: str, args: Sequence[int]) -> Iterator[Request | Unknown]:
    if call == "socket":
        yield SocketRequest(args[0] & 0xFFFFFFFF, args[1] & _TYPE, args[2] & 0xFFFFFFFF)
        return
    names = list(_names(caller, call, abi, args))
    if not names and call != "listen":
        return
    with _Socket(caller, signed(args[0])) as kind:
        if call == "listen":
            names = [kind.own()]
        if kind.known:
            yield SocketRequest(kind.family, kind.type, kind.protocol)
        for name in names:
            yield from _address(caller, name, kind, call)


class _Socket:
    """What a caller's socket is, asked of a copy of its descriptor."""

    def __init__(self, caller: Caller, number: int) -> None:
        self._copy: socket.socket | None = None
        self.family = self.type = self.protocol = 0
        try:
            self._copy = socket.socket(fileno=copy(caller, number))
            values = (self._copy.getsockopt(socket.SOL_SOCKET, one) for one in (socket.SO_DOMAIN, socket.SO_TYPE))
            self.family, self.type = values
            self.protocol = self._copy.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)
        except OSError:
            self.close()

    def __enter__(self) -> _Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the copy back: it shares the socket, and keeps it open."""
        if self._copy is not None:
            self._copy.close()
        self._copy = None

    @property
    def known(self) -> bool:
        """Whether it could be told."""
        return self.family != 0

    def own(self) -> bytes:
        """Its own address as ``struct sockaddr``; b"" where that cannot be told."""
        try:
            assert self._copy is not None
            name = self._copy.getsockname()
        except (OSError, AssertionError):
            return b""
        if self.family == socket.AF_UNIX:
            return struct.pack("=H", self.family) + os.fsencode(name)
        if self.family not in (socket.AF_INET, socket.AF_INET6):
            return b""
        port, packed = struct.pack("!H", name[1]), socket.inet_pton(self.family, name[0].partition("%")[0])
        return struct.pack("=H", self.family) + port + (packed if len(packed) == 4 else b"\0" * 4 + packed)

    def protocols(self) -> tuple[str, ...]:
        """What rules call its protocol; all that it may be where that is not known."""
        if not self.known:
            return ("tcp", "udp", "other")
        if self.type == STREAM:
            return ("tcp",)
        name = OVER_IP.get((self.type, self.protocol), ("",))[0]
        return ("udp",) if self.type == DGRAM and name.startswith("UDP") else ("other",)

    @property
    def ports(self) -> bool:
        """Whether its protocol has them."""
        return not self.known or self.type in (STREAM, DCCP) or self.protocols() == ("udp",)


def _names(caller: Caller, call: str, abi: str, args: Sequence[int]) -> Iterator[bytes]:
    """Each address that the call is given, as ``struct sockaddr``; b"" is one that cannot be read."""
    if call in ("connect", "bind"):
        yield peek.read(caller.tid, args[1], min(args[2], 128))
    elif call == "sendto":
        if args[4]:
            yield peek.read(caller.tid, args[4], min(args[5], 128))
    elif call in ("sendmsg", "sendmmsg"):
        count = min(args[2] & 0xFFFFFFFF, _MOST_MESSAGES) if call == "sendmmsg" else 1
        yield from _message_names(caller.tid, args[1], count, abi in WIDE, call == "sendmmsg")


def _message_names(tid: int, address: int, count: int, wide: bool, many: bool) -> Iterator[bytes]:
    """Those in ``struct msghdr``, or ``struct mmsghdr``, that have one."""
    layout = struct.Struct("=QI" if wide else "=II")
    size = {(True, False): 56, (True, True): 64, (False, False): 28, (False, True): 32}[wide, many]
    data = peek.read_all(tid, address, size * count)
    if data is None:
        yield b""
        return
    for at in range(0, len(data), size):
        name, length = layout.unpack_from(data, at)
        if name:
            yield peek.read(tid, name, min(length, 128))


def _address(caller: Caller, name: bytes, kind: _Socket, call: str) -> Iterator[Request | Unknown]:
    family, outward = struct.unpack_from("=H", name)[0] if len(name) >= 2 else -1, call not in ("bind", "listen")
    over_ip = not kind.known or kind.family in (socket.AF_INET, socket.AF_INET6)
    if family == socket.AF_UNSPEC and over_ip and call != "connect":
        family = socket.AF_INET  # as sendmsg and bind take it
    if family == socket.AF_INET and len(name) >= 8:
        yield from _inet(IPv4Address(name[4:8]), name, kind, outward)
    elif family == socket.AF_INET6 and len(name) >= 24:
        address = IPv6Address(name[8:24])
        yield from _inet(address.ipv4_mapped or address, name, kind, outward)
    elif family == socket.AF_UNIX:
        yield _unix(caller, name[2:], outward)
    elif family == socket.AF_UNSPEC and kind.known and call == "connect":
        return  # a connection that is taken back
    elif family < 0 or over_ip:
        yield Unknown()


def _inet(address: IPv4Address | IPv6Address, name: bytes, kind: _Socket, outward: bool) -> Iterator[Request]:
    port = int.from_bytes(name[2:4], "big") if kind.ports else None
    for protocol in kind.protocols():
        yield NetRequest(protocol, address, port, outward=outward)


def _unix(caller: Caller, name: bytes, outward: bool) -> Request | Unknown:
    if not name:
        return NetRequest("unix", outward=outward)
    if name[:1] == b"\0":
        return NetRequest("unix", abstract=os.fsdecode(name[1:]), outward=outward)
    path = os.fsdecode(name.partition(b"\0")[0])
    found = resolve(caller, AT_FDCWD, path, outward)
    return Unknown(unix=True) if not found else NetRequest("unix", path=found, outward=outward)
