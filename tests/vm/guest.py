"""The guest's end of the link: runs a command and tells the host what it says and how it ends.

Runs as ``python guest.py LINK COMMAND ARGS...`` with the standard library only. Every line on the link is one
JSON object with a running number ``n``: ``up`` (seconds since boot) and ``release`` first, ``out`` (text) as
it comes, what the test plugin reports, ``compile`` (a request of isotrace's, which the host answers with a line, the name
of a file), ``alive`` (seconds since boot) every few seconds, and ``exit`` and ``tainted`` at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shlex
import socket
import subprocess
import sys
import time
import tty
from pathlib import Path
from typing import Any

HEARTBEAT = 5.0  # seconds
COMPILE = Path(__file__).with_name("compile.py")
DRAIN = 0.5  # seconds for the output of a command that has ended


class Link:
    """The serial port to the host."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.fd)
        self.sent = 0

    def send(self, **message: Any) -> None:
        """Write one message."""
        line = json.dumps({"n": self.sent, **message}).encode() + b"\n"
        self.sent += 1
        while line:
            line = line[os.write(self.fd, line) :]


class Reports:
    """The test plugin's lines, which arrive in pieces."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.rest = b""

    def feed(self, data: bytes) -> None:
        """Pass whole lines on."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.link.send(**json.loads(line))


class Compiling:
    """What asks the host for compiled programs, in the order of asking."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.waiting: list[socket.socket] = []
        self.path = f"{os.environ.get('TMPDIR', '/tmp')}/isotrace-compile"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self._rest = b""

    def accept(self) -> None:
        """Pass a request on."""
        asking, _address = self.listener.accept()
        with asking.makefile() as request:
            self.link.send(compile=request.read())
        self.waiting.append(asking)

    def answer(self) -> None:
        """Take the host's answers to whom they are for."""
        *lines, self._rest = (self._rest + os.read(self.link.fd, 4096)).split(b"\n")
        for line in lines:
            with self.waiting.pop(0) as asking, contextlib.suppress(OSError):  # it may have ended meanwhile
                asking.sendall(line)


def uptime() -> float:
    """Seconds since the guest booted."""
    return float(Path("/proc/uptime").read_text().split()[0])


def main() -> None:
    """Run the command to its end."""
    link = Link(sys.argv[1])
    link.send(up=uptime(), release=os.uname().release)
    report, reported = os.pipe()
    compiling = Compiling(link)
    environment = {**os.environ, "ISOTRACE_VM_REPORT": str(reported)}
    environment["ISOTRACE_COMPILER"] = shlex.join([sys.executable, "-S", str(COMPILE), compiling.path])
    process = subprocess.Popen(
        sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, pass_fds=[reported]
    )
    os.close(reported)
    assert process.stdout
    follow(process, process.stdout.fileno(), report, link, compiling)
    tainted = int(Path("/proc/sys/kernel/tainted").read_text())
    link.send(exit=process.returncode, tainted=tainted)


def follow(process: subprocess.Popen[bytes], output: int, report: int, link: Link, compiling: Compiling) -> None:
    """Pass on what the command writes until it ends; what it left running may hold its pipes open for
    longer."""
    selector = selectors.DefaultSelector()
    pipes = {output: lambda data: link.send(out=data.decode(errors="replace")), report: Reports(link).feed}
    for fd in pipes:
        selector.register(fd, selectors.EVENT_READ)
    selector.register(compiling.listener, selectors.EVENT_READ, compiling.accept)
    selector.register(link.fd, selectors.EVENT_READ, compiling.answer)
    beat = deadline = time.monotonic()
    while process.poll() is None or time.monotonic() < deadline:
        if process.poll() is None:
            deadline = time.monotonic() + DRAIN
        for key, _ in selector.select(DRAIN / 2):
            if key.fd not in pipes:
                key.data()
            elif data := os.read(key.fd, 2048):
                pipes[key.fd](data)
            else:
                selector.unregister(key.fd)
        if not pipes.keys() & selector.get_map().keys() and process.poll() is not None:
            return
        if time.monotonic() - beat > HEARTBEAT:
            beat = time.monotonic()
            link.send(alive=uptime())


if __name__ == "__main__":
    main()
