"""Recordings of made-up runs, with what descriptors are, for tests of what is learned from them."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from recorded import AT_FDCWD, BEGIN, SLOTS, inet
from records import batch, make, string

from isotrace.decode.descriptors import DESCRIPTOR, ENDPOINTS
from isotrace.recording.asked import Asked
from isotrace.recording.schema import End, Head
from isotrace.recording.writer import Writer
from isotrace.trace import clock, events
from isotrace.trace.events import Blob

ROOT = Path(__file__).parents[1]
PROGRAM = 100
_SOCKET = 0x534F434B


def isotrace(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run isotrace to its end."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [sys.executable, "-m", "isotrace", *map(str, words)], capture_output=True, text=True, timeout=120,
        env=variables, cwd=cwd, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def described(path: str, state: int = 0) -> bytes:
    """What a descriptor of that file is, as the kernel program says it."""
    names = [os.fsencode(name) for name in path.split("/") if name]
    return DESCRIPTOR.pack(1, 0, 0xEF53, 0o100644, state) + b"".join(name + b"\0" for name in reversed(names))


def is_socket(kind: str, family: int = socket.AF_INET, address: str = "0.0.0.0", port: int = 0) -> bytes:
    """The same of a socket."""
    own = socket.inet_pton(family, address) if family != socket.AF_UNIX else b""
    ends = ENDPOINTS.pack(0, family, 0, port, 0, own.ljust(16, b"\0"), bytes(16), kind.encode().ljust(16, b"\0"))
    return DESCRIPTOR.pack(1, 0, _SOCKET, 0o140777, 0) + ends


def blob(arg: int, part: int, data: bytes) -> Blob:
    return Blob(arg, part, events.WHOLE, len(data), data)


class Run:
    """Calls one after another. ``cwd`` is what -y says of AT_FDCWD, None where it was not asked for."""

    def __init__(self, cwd: str | None = "/home/ann/app", comm: bytes = b"app") -> None:
        self.cwd, self.comm, self.records = cwd, comm, []

    def call(self, name: str, args=(), result: int = 0, blobs=(), pid: int = PROGRAM, **fields) -> None:
        """Any call."""
        values = {"number": SLOTS[name]} if name else {}
        moment = {"time": BEGIN + 1000 * len(self.records), "uid": 1000, "ppid": 1, "comm": self.comm}
        self.records.append(make(SLOTS.get(name, 0), args, result, pid=pid, blobs=blobs, **(moment | values | fields)))

    def open(self, path: str, flags: int = os.O_RDONLY, *, to: str | None = "", result: int = 3, **fields) -> None:
        """An openat; ``to`` is the object, the path itself if "", not known if None."""
        found = [string(1, os.fsencode(path))]
        if self.cwd is not None:
            found.append(blob(0, events.PART_FILE, described(self.cwd)))
            if result >= 0 and to is not None:
                found.append(blob(events.RESULT_ARG, events.PART_FILE, described(to or os.path.join(self.cwd, path))))
        self.call("openat", (AT_FDCWD, 0x1000, flags), result, found, **fields)

    def path(self, name: str, path: str, *args: int, result: int = 0, **fields) -> None:
        """A call whose first argument is a path."""
        self.call(name, (0x1000, *args), result, [string(0, os.fsencode(path))], **fields)

    def execute(self, path: str, pid: int = PROGRAM, comm: bytes | None = None) -> None:
        """An execve that succeeds."""
        task, named = (0,) * 5 + (0xFF00 + pid,), comm or self.comm
        blobs = [string(0, os.fsencode(path)), string(1, os.fsencode(path))]
        self.call("execve", (1, 2, 3, 0, 0, task[5]), pid=pid, kind=events.EXEC_ENTER, blobs=blobs, comm=named)
        self.call("", task, pid=pid, kind=events.EXEC_NAME, blobs=[string(0, os.fsencode(path))], comm=named)
        self.call("execve", task, pid=pid, comm=named)

    def code(self, path: str | None) -> None:
        """Code is mapped of a file."""
        known = [blob(4, events.PART_FILE, described(path))] if path else []
        self.call("mmap", (0, 4096, 5, 2, 3, 0), 0x7F00_0000_0000, known)

    def connect(self, host: str, port: int, kind: str | None = "TCP", name: str = "connect", result: int = 0) -> None:
        """A connect, or a bind, by IPv4."""
        own = [blob(0, events.PART_FILE, is_socket(kind))] if kind else []
        self.call(name, (5, 0x1000, 16), result, [blob(1, events.PART_SELF, inet(host, port)), *own])

    def connect_unix(self, path: str, name: str = "connect") -> None:
        """The same of a unix socket's file."""
        address = struct.pack("<H", socket.AF_UNIX) + os.fsencode(path) + b"\0"
        self.call(name, (5, 0x1000, len(address)), 0, [blob(1, events.PART_SELF, address)])

    def save(self, path: Path, *, end: End | None = None, **head) -> Path:
        """The recording."""
        said = {"target": "-- app", "host": "elsewhere", "descriptors": self.cwd is not None, **head}
        out = Writer(Asked(str(path)), Head(**said))
        out.write(replace(batch(*self.records), wall=clock.offset()))
        calls = sum(1 for _ in self.records)
        out.close(end or End(seen=calls, delivered=calls))
        return path
