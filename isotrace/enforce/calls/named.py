"""What a waiting call is about: the paths and addresses that its caller's memory names, as requests to a policy.

All of it is as it is at the moment: another thread can change memory, a link or a directory before the kernel looks.
What cannot be told is ``UNKNOWN``, never left out.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from isotrace.catalog import multiplexed
from isotrace.catalog.model import Arg
from isotrace.enforce.calls import notify, peek
from isotrace.policy.decide import NetRequest, PathRequest, Request, SocketRequest
from isotrace.policy.families import DCCP, DGRAM, OVER_IP, STREAM

#: Call → the letters of what it does to each of its paths, in the order of its arguments; "" is not judged.
_LETTERS = {
    **dict.fromkeys(("open", "openat", "openat2", "creat"), ("flags",)),
    **dict.fromkeys(("execve", "execveat", "uselib"), ("x",)),
    **dict.fromkeys(("mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "mknod", "mknodat"), ("w",)),
    **dict.fromkeys(("truncate", "truncate64", "chmod", "fchmodat", "fchmodat2", "acct"), ("w",)),
    **dict.fromkeys(("chown", "lchown", "fchownat", "chown32", "lchown32"), ("w",)),
    **dict.fromkeys(("utime", "utimes", "futimesat", "utimensat", "utimensat_time64"), ("w",)),
    **dict.fromkeys(("setxattr", "lsetxattr", "setxattrat", "removexattr", "lremovexattr", "removexattrat"), ("w",)),
    **dict.fromkeys(("file_setattr",), ("w",)),
    **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat"), ("rwx", "w")),
    **dict.fromkeys(("symlink", "symlinkat"), ("", "w")),
    **dict.fromkeys(("mount", "move_mount"), ("rwx", "w")),
    **dict.fromkeys(("open_tree", "open_tree_attr"), ("rwx",)),
}
#: Calls on the last component itself, be it a link.
_NO_FOLLOW = frozenset(
    (
        *("mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "mknod", "mknodat", "lchown", "lchown32", "lsetxattr"),
        *("lremovexattr", "rename", "renameat", "renameat2", "link", "symlink", "symlinkat"),
    )
)
#: Calls on a file by its descriptor that its opening for reading did not ask about.
_BY_DESCRIPTOR = frozenset(("fchmod", "fchown", "fchown32", "fsetxattr", "fremovexattr"))
_BY_HANDLE = "open_by_handle_at"
_ADDRESSED = frozenset(("connect", "bind", "sendto", "sendmsg", "sendmmsg"))

#: Every call that a rule on a path, or on an address, has looked at.
PATH_CALLS = frozenset((*_LETTERS, *_BY_DESCRIPTOR, _BY_HANDLE, "bind"))
NET_CALLS = frozenset((*_ADDRESSED, "socket", "listen"))

_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _AT_SYMLINK_FOLLOW, _AT_EMPTY_PATH = -100, 0x100, 0x400, 0x1000
_WIDE = ("x86_64", "arm64")  # ABIs with pointers of eight bytes
_LINKS, _MOST_MESSAGES = 40, 1024
_PATHLESS = re.compile(r"[a-z_]+:")  # what a link of /proc leads to that has no path: pipe:[123]
_TYPE = 0xF  # SOCK_TYPE_MASK
_NO_FLAGS = -1


@dataclass(frozen=True)
class Unknown:
    """A path (``access`` says to do what) or, without letters, an address that cannot be told."""

    access: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Caller:
    """The thread that waits, and its process, by their numbers here."""

    tid: int
    pid: int


def requests(caller: Caller, call: str, abi: str, args: Sequence[int], nets: bool) -> list[Request | Unknown]:
    """What the call asks for, beside itself: of every path and, with ``nets``, of sockets and addresses."""
    found: list[Request | Unknown] = []
    known = multiplexed.known(call, abi)
    if known is None or len(args) < len(known.args):
        return [Unknown(frozenset("rwx")), *([Unknown()] if nets else [])]
    if call in PATH_CALLS:
        found += _paths(caller, call, abi, known.args, args)
    if nets and call in NET_CALLS:
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
    if call in _BY_DESCRIPTOR:
        yield _request(_descriptor(caller, _signed(args[0])), "w")
    elif call == _BY_HANDLE:
        yield Unknown(frozenset(_of_flags(args[2])))
    elif call == "bind":
        name = peek.read(caller.tid, args[1], min(args[2], 128))
        if name[:2] == struct.pack("=H", socket.AF_UNIX) and name[2:3] not in (b"", b"\0"):
            path = os.fsdecode(name[2:].partition(b"\0")[0])
            yield _request(resolve(caller, _start(caller, _AT_FDCWD, path), path, False), "w")
    else:
        flags = _flags_of(caller, call, abi, args)
        letters = iter(_LETTERS[call])
        for position, arg in enumerate(described):
            if arg.kind == "path":
                what = next(letters)
                what = _of_flags(flags) if what == "flags" else what
                if what:
                    directory = args[position - 1] if position and described[position - 1].kind == "dirfd" else None
                    yield _at(caller, call, directory, args[position], what, flags)


def _flags_of(caller: Caller, call: str, abi: str, args: Sequence[int]) -> int:
    """Those of an open, or of a call with AT_… in its last argument; _NO_FLAGS where they cannot be read."""
    if call == "openat2":
        data = peek.read(caller.tid, args[2], 8)
        return int(struct.unpack("=Q", data)[0]) if len(data) == 8 else _NO_FLAGS
    if call == "creat":
        return os.O_CREAT | os.O_WRONLY | os.O_TRUNC
    known = multiplexed.known(call, abi)
    places = [at for at, arg in enumerate(known.args if known else ()) if arg.name in ("flags", "flag", "at_flags")]
    return args[places[0]] if places else 0


def _of_flags(flags: int) -> str:
    """What an open with these flags asks for."""
    if flags == _NO_FLAGS:
        return "rwx"
    if flags & os.O_PATH:
        return ""
    writes = flags & (os.O_CREAT | os.O_TRUNC)
    mode = {os.O_RDONLY: "r", os.O_WRONLY: "w"}.get(flags & os.O_ACCMODE, "rw")
    return mode + "w" if writes and "w" not in mode else mode


def _at(caller: Caller, call: str, directory: int | None, address: int, letters: str, flags: int) -> Request | Unknown:
    at = _AT_FDCWD if directory is None else _signed(directory)
    text = peek.text(caller.tid, address)
    if text is None or (text == "" and at != _AT_FDCWD):
        empty = text == "" or (text is None and not address)  # AT_EMPTY_PATH, and utimensat of a descriptor
        return _request(_descriptor(caller, at) if empty else None, letters)
    return _request(resolve(caller, _start(caller, at, text), text, _follows(call, flags)), letters)


def _follows(call: str, flags: int) -> bool:
    """Whether the call acts on what a link in the last place points to."""
    if call.startswith("open"):
        exclusive = flags & os.O_CREAT and flags & os.O_EXCL
        tree = call.startswith("open_tree")
        return not (flags & _AT_SYMLINK_NOFOLLOW if tree else flags & os.O_NOFOLLOW or exclusive)
    if call == "linkat":
        return bool(flags & _AT_SYMLINK_FOLLOW)
    return call not in _NO_FOLLOW and not flags & _AT_SYMLINK_NOFOLLOW


def _request(path: str | None, letters: str) -> Request | Unknown:
    return Unknown(frozenset(letters)) if path is None else PathRequest(path, frozenset(letters))


def _signed(register: int) -> int:
    """A descriptor: the low 32 bits."""
    return (register & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)


def _start(caller: Caller, directory: int, path: str) -> str | None:
    """Where a relative path begins, for the caller; None where that is not known."""
    if path.startswith("/"):
        return "/"
    if directory == _AT_FDCWD:
        return _link(f"/proc/{caller.tid}/cwd", caller)
    return _descriptor(caller, directory)


def _descriptor(caller: Caller, number: int) -> str | None:
    """The path of what is open under a number; None where it has none."""
    return _link(f"/proc/{caller.tid}/fd/{number}", caller)


def _link(link: str, caller: Caller) -> str | None:
    """Where a link of /proc leads, as a path below the caller's root."""
    try:
        target, root = os.readlink(link), os.readlink(f"/proc/{caller.tid}/root")
    except OSError:
        return None
    if not target.startswith("/"):
        return None
    below = root.rstrip("/")
    return target.removeprefix(below) or "/" if target == root or target.startswith(f"{below}/") else target


def resolve(caller: Caller, start: str | None, path: str, follow: bool) -> str | None:
    """``path`` from ``start`` on without links, as the caller's root has it; what is not there stays as it is written.

    None where that cannot be told.
    """
    if start is None:
        return None
    root = f"/proc/{caller.tid}/root"
    done = [part for part in start.split("/") if part]
    left = [part for part in path.split("/") if part not in ("", ".")][::-1]
    final, links = follow or path.endswith("/"), 0
    while left:
        part = left.pop()
        if part == "..":
            del done[-1:]
            continue
        here = "/".join((root, *done, part))
        target = _target(caller, here, done, part) if left or final else None
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > _LINKS:
            return None
        if done[:1] == ["proc"] and _PATHLESS.match(target):
            return None
        if target.startswith("/"):
            done = []
        left += [word for word in target.split("/") if word not in ("", ".")][::-1]
    return "/" + "/".join(done)


def _target(caller: Caller, here: str, done: Sequence[str], part: str) -> str | None:
    """What a link says; None of what is none, or is not there. What /proc says of the one who looks is the caller's."""
    if part in ("self", "thread-self") and len(done) == 1 and done[0] == "proc":
        return str(caller.pid) if part == "self" else f"{caller.pid}/task/{caller.tid}"
    try:
        return os.readlink(here)
    except OSError:
        return None


def _nets(caller: Caller, call: str, abi: str, args: Sequence[int]) -> Iterator[Request | Unknown]:
    if call == "socket":
        yield SocketRequest(args[0] & 0xFFFFFFFF, args[1] & _TYPE, args[2] & 0xFFFFFFFF)
        return
    names = list(_names(caller, call, abi, args))
    if not names and call != "listen":
        return
    with _Socket(caller, _signed(args[0])) as kind:
        if call == "listen":
            names = [kind.own()]
        if kind.known:
            yield SocketRequest(kind.family, kind.type, kind.protocol)
        for name in names:
            yield from _address(caller, name, kind, outward=call not in ("bind", "listen"))


class _Socket:
    """What a caller's socket is, asked of a copy of its descriptor."""

    def __init__(self, caller: Caller, number: int) -> None:
        self._copy: socket.socket | None = None
        self.family = self.type = self.protocol = 0
        try:
            pidfd = os.pidfd_open(caller.pid)
            try:
                self._copy = socket.socket(fileno=notify.call("pidfd_getfd", pidfd, number, 0))
            finally:
                os.close(pidfd)
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
        yield from _message_names(caller.tid, args[1], count, abi in _WIDE, call == "sendmmsg")


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


def _address(caller: Caller, name: bytes, kind: _Socket, outward: bool) -> Iterator[Request | Unknown]:
    family = struct.unpack_from("=H", name)[0] if len(name) >= 2 else -1
    if family == socket.AF_INET and len(name) >= 8:
        yield from _inet(IPv4Address(name[4:8]), name, kind, outward)
    elif family == socket.AF_INET6 and len(name) >= 24:
        address = IPv6Address(name[8:24])
        yield from _inet(address.ipv4_mapped or address, name, kind, outward)
    elif family == socket.AF_UNIX:
        yield _unix(caller, name[2:], outward)
    elif family == socket.AF_UNSPEC and kind.known:
        return  # a connection that is taken back
    elif family < 0 or not kind.known or kind.family in (socket.AF_INET, socket.AF_INET6):
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
    found = resolve(caller, _start(caller, _AT_FDCWD, path), path, outward)
    return Unknown() if found is None else NetRequest("unix", path=found, outward=outward)
