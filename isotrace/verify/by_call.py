"""The ways by which a call that a rule refuses is made: itself, and others that do the same."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable

from isotrace.verify import calls, ways
from isotrace.verify.scratch import Scratch
from isotrace.verify.ways import Way

_OPEN = frozenset({"open", "openat", "openat2", "creat", "open_by_handle_at"})


def _fork(_on: Scratch) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _pipe(_on: Scratch) -> None:
    for end in os.pipe():
        ways.shut(end)


def _socket(use: Callable[[socket.socket], object]) -> ways.Tried:
    def tried(_on: Scratch) -> None:
        with socket.socket() as one:
            use(one)

    return tried


def _of_file(use: Callable[[int], object]) -> ways.Tried:
    def tried(on: Scratch) -> None:
        descriptor = os.open(on.free("file"), os.O_RDONLY)
        try:
            use(descriptor)
        finally:
            ways.shut(descriptor)

    return tried


def _made(make: Callable[[Scratch], object], remove: Callable[[Scratch], object]) -> ways.Tried:
    def tried(on: Scratch) -> None:
        make(on)
        remove(on)

    return tried


#: Calls, all of which a rule must be on, and what makes one of them: which, is the C library's choice.
_MADE: tuple[tuple[str, ways.Tried], ...] = (
    ("pipe pipe2", _pipe),
    ("socket", _socket(lambda _one: None)),
    ("bind", _socket(lambda one: one.bind(("127.0.0.1", 0)))),
    ("listen", _socket(lambda one: one.listen())),
    ("setsockopt", _socket(lambda one: one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1))),
    ("getsockname", _socket(lambda one: one.getsockname())),
    ("mkdir mkdirat", _made(lambda on: os.mkdir(on.free("made")), lambda on: os.rmdir(on.free("made")))),
    ("mknod mknodat", _made(lambda on: os.mkfifo(on.free("made")), lambda on: os.unlink(on.free("made")))),
    ("symlink symlinkat", _made(lambda on: os.symlink("x", on.free("made")), lambda on: os.unlink(on.free("made")))),
    ("rename renameat renameat2", lambda on: os.rename(on.free("file"), on.free("file2"))),
    ("unlink unlinkat", lambda on: os.unlink(on.at("needless"))),
    ("rmdir unlinkat", lambda on: os.rmdir(on.at("empty"))),
    ("chmod fchmodat fchmodat2", lambda on: os.chmod(on.at("other"), 0o640)),
    ("chown lchown fchownat", lambda on: os.chown(on.at("other"), 0, 0)),
    ("truncate", lambda on: os.truncate(on.at("other"), 1)),
    ("flock", _of_file(lambda descriptor: fcntl.flock(descriptor, fcntl.LOCK_SH))),
    ("fork vfork clone clone3", _fork),
    ("kill", lambda _on: os.kill(os.getpid(), 0)),
    ("execve execveat", lambda _on: calls.in_child(lambda: os.execv("/bin/true", ["true"]))),
    ("io_uring_setup", lambda _on: ways.shut(calls.ring_made())),
)
_OPENS = ("open", "openat2", "creat", "open by int 0x80", "open by x32", "a number of more than 32 bits")
_RINGS = ("io_uring", "a worker of io_uring")
_CONNECTS = ("TCP", "MPTCP", "sending with a connection", "a connection by io_uring", "UDP by sendto", "UDP by sendmsg")


def for_calls(refused: frozenset[str]) -> list[Way]:
    """The ways of which all calls are among those that are refused."""
    found = [Way(f"{named.split()[0]}(2)", "call", tried) for named, tried in _MADE if set(named.split()) <= refused]
    if refused >= _OPEN:
        found += [way for way in ways.PATHS if way.name in (*_OPENS, *_RINGS)]
    if {"connect", "sendto", "sendmsg"} <= refused:
        found += [way for way in ways.NETS if way.name in _CONNECTS]
    return found
