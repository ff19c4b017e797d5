"""A recording made by hand, of a small shell script's kind: for tests of what reads recordings."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from pathlib import Path

from records import batch, make, string

from isotrace.enforce import Enforced, Guarantees, Refused
from isotrace.kernel.procfs import Process
from isotrace.policy.model import CallRule
from isotrace.recording.asked import Asked
from isotrace.recording.schema import End, Head
from isotrace.recording.writer import Writer
from isotrace.trace import clock, events, plan
from isotrace.trace.events import Blob

SLOTS = {call.name: slot for slot, call in plan.all_calls().items() if call.abi == "x86_64"}
AT_FDCWD = 2**64 - 100
BEGIN = 1_000_000_000_000  # ns, monotonic
WALL = 1_700_000_000_000_000_000 - BEGIN
SHELL, CAT, CURL = 100, 101, 102


class Script:
    """Records one after another, a microsecond apart."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def add(self, who: int, name: str, args=(), result=0, *, blobs=(), spent=100, **fields) -> None:
        parents = {SHELL: 1, CAT: SHELL, CURL: SHELL}
        comms = {SHELL: b"sh", CAT: b"cat", CURL: b"c\x1b[31m"}
        call = {} if name else {"kind": events.TASK_EXIT}
        values = {"number": SLOTS[name]} if name else {}
        self.records.append(
            make(
                SLOTS.get(name, 0), args, result, pid=who, ppid=parents[who], comm=comms[who], uid=1000,
                time=BEGIN + 1000 * len(self.records), duration=spent, blobs=blobs, **values, **(call | fields),
            )
        )  # fmt: skip

    def ran(self, who: int, file: bytes) -> None:
        """An execve that succeeded."""
        task = (0,) * 5 + (0xFF00 + who,)
        blobs = [string(0, file), string(1, file.rpartition(b"/")[2])]
        self.add(who, "execve", (1, 2, 3, 0, 0, 0xFF00 + who), kind=events.EXEC_ENTER, blobs=blobs)
        self.add(who, "", task, kind=events.EXEC_NAME, blobs=[string(0, file)])
        self.add(who, "execve", task, spent=300_000)


def opened(path: bytes) -> tuple:
    return (AT_FDCWD, 0x1000, 0x241), [string(1, path)]


def inet(host: str, port: int) -> bytes:
    return struct.pack("<H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)


def script() -> list[bytes]:
    """sh starts cat, which looks for a file twice, copies, and ends with 3; and curl, which talks to two addresses."""
    run = Script()
    run.add(SHELL, "fork", (), CAT)
    run.ran(CAT, b"/bin/cat")
    args, path = opened(b"/etc/late")
    run.add(CAT, "openat", args, -2, blobs=path)
    run.add(CAT, "openat", args, -2, blobs=path)
    run.add(CAT, "openat", args, 3, blobs=path, spent=9_000)
    args, path = opened(b"/tmp/o\xfft")
    run.add(CAT, "openat", args, 4, blobs=path, spent=70_000)
    data = Blob(1, events.PART_SELF, events.WHOLE, 5, b"hello")
    run.add(CAT, "read", (3, 0x1000, 5), 5, blobs=[data])
    run.add(CAT, "write", (4, 0x1000, 5), 5, blobs=[data])
    run.add(CAT, "write", (4, 0x1000, 5), 5, blobs=[data])
    run.add(CAT, "exit_group", (3,), 0)
    run.add(CAT, "", result=3 << 8)
    run.add(SHELL, "wait4", (CAT,), CAT, spent=5_000_000)
    run.add(SHELL, "fork", (), CURL)
    run.ran(CURL, b"/usr/bin/curl")
    for fd, address in ((5, inet("10.0.0.1", 80)), (6, struct.pack("<H", socket.AF_UNIX) + b"/run/x\x1b.sock\0")):
        blob = Blob(1, events.PART_SELF, events.WHOLE, len(address), address)
        run.add(CURL, "connect", (fd, 0x1000, len(address)), blobs=[blob])
        run.add(CURL, "sendto", (fd, 0x1000, 100 * fd), 100 * fd)
        run.add(CURL, "recvfrom", (fd, 0x1000, 4096), 7)
    run.add(CURL, "rename", (1, 2), 0, blobs=[string(0, b"/tmp/a"), string(1, b"/tmp/b")])
    run.add(CURL, "", kind=events.SIGNAL, result=15)
    run.add(CURL, "", result=15)
    run.add(SHELL, "getppid", (), 1)
    run.add(CAT, "read", result=2, kind=events.LOST)
    return run.records


def record(path: Path, *, host: str = "web1", end: End | None = None, offset: int = 0) -> Path:
    """The recording; ``offset`` is added to its times, in ns."""
    out = Writer(Asked(str(path)), Head(target="--tree 100", host=host))
    out.processes([(Process(SHELL, 1, b"sh", "S"), 1000)])
    out.write(replace(batch(*script()), wall=WALL + offset))
    enforced = Enforced(
        0, CallRule("unlink", frozenset({"unlink"}), group="g"), "lsm", Guarantees(True, "judged", True)
    )
    out.refused(
        [Refused(clock.offset(), CURL, CURL, b"c\x1b[31m", "unlink", "x86_64", (1,), 0, "/etc/passwd")], {0: enforced}
    )
    out.close(end or End(seen=24, delivered=21, lost=3, lost_by_call={"read": 2, "close": 1}))
    return path
