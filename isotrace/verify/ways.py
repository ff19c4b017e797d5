"""The ways, by what they are on: each gets a ``Scratch`` and raises ``OSError`` where it does not get through."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from isotrace.process import libc
from isotrace.verify import calls
from isotrace.verify.scratch import Scratch

_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MS_BIND = 4096
_MPTCP = 262
_FASTOPEN = 0x20000000
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS, _NODUMP = 0x80086601, 0x40086602, 0x40

Tried = Callable[[Scratch], object]


@dataclass(frozen=True)
class Way:
    """``kind`` is path, net or unix; ``compat``: by a 32-bit call."""

    name: str
    kind: str
    tried: Tried
    compat: bool = False


def shut(descriptor: int) -> None:
    """Close it; that this may be refused, too, does not make what opened it refused."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _close(opened: Callable[[Scratch], int]) -> Tried:
    return lambda on: shut(opened(on))


def _opens(path: str) -> None:
    shut(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


def _by_o_path(on: Scratch) -> None:
    descriptor = os.open(on.at("file"), os.O_PATH)
    try:
        _opens(f"/proc/self/fd/{descriptor}")
    finally:
        shut(descriptor)


def _by_symlink(on: Scratch) -> None:
    name = on.free("symlink")
    os.symlink(on.at("file"), name)
    try:
        _opens(name)
    finally:
        os.unlink(name)


def _by_link(on: Scratch) -> None:
    os.link(on.at("file"), on.free("link"))
    try:
        _opens(on.free("link"))
    finally:
        os.unlink(on.free("link"))


def _by_rename(on: Scratch) -> None:
    os.rename(on.at("file"), on.free("renamed"))
    os.rename(on.free("renamed"), on.at("file"))


def _by_exchange(on: Scratch) -> None:
    for _ in range(2):
        calls.call(
            calls.RENAMEAT2, calls.AT_FDCWD, os.fsencode(on.at("file")), calls.AT_FDCWD, os.fsencode(on.free("file")), 2
        )


def _by_directory(on: Scratch) -> None:
    os.rename(on.secret, on.place / "moved")
    os.rename(on.place / "moved", on.secret)


def _from_inside(on: Scratch) -> None:
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(on.secret)
        _opens("../secret/./file")
    finally:
        os.fchdir(before)
        shut(before)


def _in_thread(on: Scratch) -> None:
    errors: list[OSError] = []

    def tried() -> None:
        try:
            _opens(on.at("file"))
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=tried)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def _bound_elsewhere(on: Scratch) -> None:
    libc.call("unshare", _CLONE_NEWNS)
    libc.call("mount", None, b"/", None, 1 << 18 | 16384, None)  # MS_PRIVATE | MS_REC
    libc.call("mount", os.fsencode(on.secret), os.fsencode(on.place), None, _MS_BIND, None)
    _opens(on.free("file"))


def _detached(on: Scratch) -> None:
    tree = calls.call(calls.OPEN_TREE, calls.AT_FDCWD, os.fsencode(on.secret), 1 | os.O_CLOEXEC)
    shut(os.open("file", os.O_RDONLY, dir_fd=tree))


def _creates(on: Scratch) -> None:
    shut(os.open(on.at("new"), os.O_CREAT | os.O_WRONLY))
    os.unlink(on.at("new"))


def _makes(make: Callable[[str], object], remove: Callable[[str], object]) -> Tried:
    def tried(on: Scratch) -> None:
        make(on.at("made"))
        remove(on.at("made"))

    return tried


def _moves_in(on: Scratch) -> None:
    os.rename(on.free("file"), on.at("moved"))
    os.rename(on.at("moved"), on.free("file"))


def _links_in(on: Scratch) -> None:
    os.link(on.free("file"), on.at("made"))
    os.unlink(on.at("made"))


def _flags(on: Scratch) -> None:
    descriptor = os.open(on.at("file"), os.O_RDONLY)
    flags = bytearray(struct.pack("=q", 0))
    fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, flags)
    (found,) = struct.unpack("=q", flags)
    fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, bytearray(struct.pack("=q", found | _NODUMP)))


def _runs(on: Scratch) -> None:
    calls.in_child(lambda: os.execv(on.at("program"), ["program"]))


def _maps(on: Scratch) -> None:
    descriptor = os.open(on.at("program"), os.O_RDONLY)
    try:
        mmap.mmap(descriptor, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
    finally:
        shut(descriptor)


PATHS = (
    Way("open", "path", lambda on: _opens(on.at("file"))),
    Way("openat2", "path", _close(lambda on: calls.openat2(on.at("file")))),
    Way("creat", "path", _close(lambda on: calls.call(calls.CREAT, os.fsencode(on.at("other")), 0o600))),
    Way("open by int 0x80", "path", _close(lambda on: calls.open_by_int80(on.at("file"))), compat=True),
    Way("open by x32", "path", _close(lambda on: calls.open_by_x32(on.at("file")))),
    Way("a number of more than 32 bits", "path", _close(lambda on: calls.open_with_upper_half(on.at("file")))),
    Way("O_PATH and /proc/self/fd", "path", _by_o_path),
    Way("a file handle", "path", _close(lambda on: calls.open_handle(str(on.place), calls.handle_of(on.at("file"))))),
    Way("/proc/self/root", "path", lambda on: _opens(f"/proc/self/root{on.at('file')}")),
    Way("a symlink", "path", _by_symlink),
    Way("a new hard link", "path", _by_link),
    Way("moving the file out", "path", _by_rename),
    Way("exchanging the file", "path", _by_exchange),
    Way("moving the directory", "path", _by_directory),
    Way("the directory as the working one", "path", _from_inside),
    Way("another thread", "path", _in_thread),
    Way("another process", "path", lambda on: calls.in_child(lambda: _opens(on.at("file")))),
    Way("a bind mount", "path", lambda on: calls.in_child(partial(_bound_elsewhere, on))),
    Way("a detached clone of the mount", "path", _detached),
    Way("io_uring", "path", _close(lambda on: calls.ring_opens(on.at("file"), 0))),
    Way("a worker of io_uring", "path", _close(lambda on: calls.ring_opens(on.at("file"), calls.IOSQE_ASYNC))),
    Way("writing", "path", lambda on: shut(os.open(on.at("file"), os.O_WRONLY))),
    Way("truncate", "path", lambda on: os.truncate(on.at("other"), 1)),
    Way("creating a file", "path", _creates),
    Way("mkdir", "path", _makes(os.mkdir, os.rmdir)),
    Way("mkfifo", "path", _makes(os.mkfifo, os.unlink)),
    Way("symlink", "path", _makes(lambda name: os.symlink("x", name), os.unlink)),
    Way("unlink", "path", lambda on: os.unlink(on.at("needless"))),
    Way("rmdir", "path", lambda on: os.rmdir(on.at("empty"))),
    Way("moving a file in", "path", _moves_in),
    Way("linking a file in", "path", _links_in),
    Way("chmod", "path", lambda on: os.chmod(on.at("other"), 0o640)),
    Way("utime", "path", lambda on: os.utime(on.at("other"))),
    Way("setxattr", "path", lambda on: os.setxattr(on.at("other"), "trusted.isotrace", b"1")),
    Way("FS_IOC_SETFLAGS", "path", _flags),
    Way("execve", "path", _runs),
    Way("mapping code", "path", _maps),
)


def _tcp(address: tuple[str, int], family: int = socket.AF_INET, protocol: int = 0) -> None:
    with socket.socket(family, socket.SOCK_STREAM, protocol) as one:
        one.settimeout(10)
        one.connect(address)


def _bound_mapped(on: Scratch) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as one:
        one.settimeout(10)
        one.bind(("::ffff:0.0.0.0", 0))
        one.connect(("::", on.port))


def _fast_open(on: Scratch) -> None:
    with socket.socket() as one:
        one.sendto(b"x", _FASTOPEN, ("127.0.0.1", on.port))


def _ring_connects(on: Scratch) -> None:
    with socket.socket() as one:
        calls.ring_connects(
            one.fileno(), struct.pack("=H2s4s8x", socket.AF_INET, on.port.to_bytes(2), bytes([127, 0, 0, 1]))
        )


def _udp(use: Callable[[socket.socket, tuple[str, int]], object]) -> Tried:
    def tried(on: Scratch) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            use(one, ("127.0.0.1", on.port))

    return tried


def _connected_udp(one: socket.socket, address: tuple[str, int]) -> None:
    one.connect(address)
    one.send(b"x")


NETS = (
    Way("TCP", "net", lambda on: _tcp(("127.0.0.1", on.port))),
    Way("MPTCP", "net", lambda on: _tcp(("127.0.0.1", on.port), protocol=_MPTCP)),
    Way("0.0.0.0", "net", lambda on: _tcp(("0.0.0.0", on.port))),
    Way("::ffff:127.0.0.1", "net", lambda on: _tcp(("::ffff:127.0.0.1", on.port), socket.AF_INET6)),
    Way(":: of a socket that is bound to IPv4", "net", _bound_mapped),
    Way("sending with a connection", "net", _fast_open),
    Way("a connection by io_uring", "net", _ring_connects),
    Way("a connection by another process", "net", lambda on: calls.in_child(lambda: _tcp(("127.0.0.1", on.port)))),
    Way("UDP by sendto", "net", _udp(lambda one, address: one.sendto(b"x", address))),
    Way("UDP by sendmsg", "net", _udp(lambda one, address: one.sendmsg([b"x"], [], 0, address))),
    Way("UDP, connected", "net", _udp(_connected_udp)),
)


def _unix(address: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(10)
        one.connect(address)


def _unix_by_symlink(on: Scratch) -> None:
    os.symlink(on.at("socket"), on.free("symlink"))
    try:
        _unix(on.free("symlink"))
    finally:
        os.unlink(on.free("symlink"))


def _unix_by_link(on: Scratch) -> None:
    os.link(on.at("socket"), on.free("linked"))
    try:
        _unix(on.free("linked"))
    finally:
        os.unlink(on.free("linked"))


UNIX = (
    Way("a socket by its name", "unix", lambda on: _unix(on.at("socket"))),
    Way("a socket by its abstract name", "unix", lambda on: _unix(f"\0{on.secret}")),
    Way("a socket by /proc/self/root", "unix", lambda on: _unix(f"/proc/self/root{on.at('socket')}")),
    Way("a socket by a symlink", "unix", _unix_by_symlink),
    Way("a socket by a new hard link", "unix", _unix_by_link),
    Way("a socket by another process", "unix", lambda on: calls.in_child(lambda: _unix(on.at("socket")))),
)

ALL = (*PATHS, *NETS, *UNIX)
