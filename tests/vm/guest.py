"""The guest's end of the link: runs a command and tells the host what it says and how it ends.

Runs as ``python guest.py LINK COMMAND ARGS...`` with the standard library only. Every line on the link is one
JSON object with a running number ``n``: ``up`` (seconds since boot) and ``release`` first, ``out`` (text) as
it comes, what the test plugin reports, ``alive`` (seconds since boot) every few seconds, and ``exit`` and
``tainted`` at the end.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
import tty
from pathlib import Path
from typing import Any

HEARTBEAT = 5.0  # seconds
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


def uptime() -> float:
    """Seconds since the guest booted."""
    return float(Path("/proc/uptime").read_text().split()[0])


def main() -> None:
    """Run the command to its end."""
    link = Link(sys.argv[1])
    link.send(up=uptime(), release=os.uname().release)
    report, reported = os.pipe()
    environment = {**os.environ, "ISOTRACE_VM_REPORT": str(reported)}
    process = subprocess.Popen(
        sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, pass_fds=[reported]
    )
    os.close(reported)
    assert process.stdout
    follow(process, process.stdout.fileno(), report, link)
    tainted = int(Path("/proc/sys/kernel/tainted").read_text())
    link.send(exit=process.returncode, tainted=tainted)


def follow(process: subprocess.Popen[bytes], output: int, report: int, link: Link) -> None:
    """Pass on what the command writes until it ends; what it left running may hold its pipes open for
    longer."""
    selector = selectors.DefaultSelector()
    selector.register(output, selectors.EVENT_READ, lambda data: link.send(out=data.decode(errors="replace")))
    selector.register(report, selectors.EVENT_READ, Reports(link).feed)
    beat = deadline = time.monotonic()
    while process.poll() is None or time.monotonic() < deadline:
        if process.poll() is None:
            deadline = time.monotonic() + DRAIN
        for key, _ in selector.select(DRAIN / 2):
            data = os.read(key.fd, 2048)
            key.data(data) if data else selector.unregister(key.fd)
        if not selector.get_map() and process.poll() is not None:
            return
        if time.monotonic() - beat > HEARTBEAT:
            beat = time.monotonic()
            link.send(alive=uptime())


if __name__ == "__main__":
    main()
