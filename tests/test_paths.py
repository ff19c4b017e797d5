"""-P: only calls that name such a path, in the words of the caller."""

from __future__ import annotations

import os
import socket
import struct

import pytest
from records import batch, make, string

from isotrace.decode.descriptors import ALONE, CUT, DELETED, DESCRIPTOR, ENDPOINTS, UNSURE
from isotrace.sinks.passing import Choice
from isotrace.sinks.paths import Paths
from isotrace.trace import events, plan
from isotrace.trace.events import Blob

SLOTS = {call.name: slot for slot, call in plan.all_calls().items() if call.abi == "x86_64"}


def shown(*records: bytes, patterns=("/etc/*",)) -> list[int]:
    """Which of the records are passed on, by their place; all in one batch, or a batch each."""
    found = []
    for batches in ([records], [[record] for record in records]):
        seen: list[int] = []

        class Sink:
            def __init__(self, to: list[int]) -> None:
                self.to = to

            def write(self, batch):
                self.to += batch.events["uid"].tolist()

        paths = Choice(Sink(seen), [Paths(patterns)])
        place = 0
        for some in batches:
            one = batch(*some)
            one.events["uid"] = range(place, place + len(some))
            place += len(some)
            paths.write(one)
        found.append(seen)
    assert found[0] == found[1]
    return found[0]


def call(name: str, *blobs: Blob, **fields) -> bytes:
    return make(SLOTS[name], blobs=blobs, **fields)


def described(*names: bytes, state: int = 0, magic: int = 0xEF53, behind: bytes = b"") -> bytes:
    """What the kernel program says of a descriptor, names from the file up."""
    return DESCRIPTOR.pack(77, 0, magic, 0o100644, state) + b"".join(name + b"\0" for name in names) + behind


def test_a_call_on_a_descriptor_of_such_a_file():
    def on(data: bytes, arg: int = 0, name: str = "read") -> bytes:
        return call(name, Blob(arg, events.PART_FILE, events.WHOLE, 3, data))

    socket_at = ENDPOINTS.pack(0, socket.AF_UNIX, 0, 0, 0, b"", b"", b"UNIX") + b"/etc/s\0"
    named = [
        on(described(b"passwd", b"etc")),
        on(described(b"passwd", b"etc", state=DELETED)),
        on(described(b"passwd", b"etc"), events.RESULT_ARG, "openat"),
        on(described(b"passwd", b"etc"), 4, "mmap"),
        on(described(magic=0x534F434B, behind=socket_at), 0, "recvfrom"),
    ]
    others = [
        on(described(b"passwd", b"srv")),
        on(b""),
        on(described(b"", magic=0x50495045, state=ALONE)),
        on(described(b"passwd", b"etc", magic=0x09041934)),
        call("read"),
    ]
    unknown = [on(described(b"passwd", b"srv", state=UNSURE)), on(described(b"c", b"b", state=CUT))]
    assert shown(*named, *others, *unknown) == [0, 1, 2, 3, 4, 10, 11]


def opened(path: bytes, **fields) -> bytes:
    return call("openat", string(1, path), **fields)


@pytest.mark.parametrize(
    ("patterns", "path", "named"),
    [
        (["/etc/*"], b"/etc/passwd", True),
        (["/etc/*"], b"/etc/ssl/certs/a.pem", True),
        (["/etc/*"], b"etc/passwd", False),
        (["/etc/*"], b"/etc", False),
        (["/etc"], b"/etc", True),
        (["/etc"], b"/etc/passwd", False),
        (["*.conf"], b"../my.conf", True),
        (["*.conf", "/x"], b"/x", True),
        (["/dev/tt?[0-4]"], b"/dev/tty3", True),
        (["/dev/tt?[!0-4]"], b"/dev/tty3", False),
        (["/a.b"], b"/axb", False),
        (["/a*z"], b"/a\nb\xffz", True),
        ([os.fsdecode(b"/\xff*")], b"/\xff\xfe", True),
        (["/\u00e4"], "/\u00e4".encode(), True),
        (["*"], b"", False),
    ],
)
def test_patterns_match_what_the_caller_gave(patterns, path, named):
    assert shown(opened(path), patterns=patterns) == [0] * named


def test_either_path_of_a_call_will_do():
    assert shown(
        call("rename", string(0, b"/a"), string(1, b"/etc/b")),
        call("rename", string(0, b"/etc/a"), string(1, b"/b")),
        call("rename", string(0, b"/a"), string(1, b"/b")),
    ) == [0, 1]  # fmt: skip


def test_an_argument_that_is_no_path_is_none():
    """What is written, and the target of a symbolic link's text, are buffers or names of their own."""
    data = Blob(1, events.PART_SELF, events.WHOLE, 11, b"/etc/passwd")
    assert shown(call("write", data), call("getpid"), opened(b"/usr")) == []


def address(arg: int, family: int, rest: bytes, part: int = events.PART_SELF) -> Blob:
    data = struct.pack("=H", family) + rest
    return Blob(arg, part, events.WHOLE, len(data), data)


def test_addresses_of_unix_sockets_are_paths():
    name = b"/etc/sock\0beyond"
    assert shown(
        call("connect", address(1, socket.AF_UNIX, name)),
        call("connect", address(1, socket.AF_INET, name)),
        call("sendmsg", address(1, socket.AF_UNIX, name, events.PART_NAME)),
        call("sendmsg", address(1, socket.AF_UNIX, name, events.PART_DATA)),
        call("connect", address(1, socket.AF_UNIX, b"\0/etc/abstract")),
    ) == [0, 2]  # fmt: skip


def test_what_could_not_be_read_may_be_it():
    assert shown(call("openat", Blob(1, events.PART_SELF, events.FAULT, 0, b"")), call("openat")) == [0]


TASK = (0, 0, 0, 0, 0, 0xFF)


def execve(kind: int, *blobs: Blob, result: int = 0, task=TASK) -> bytes:
    slot = 0 if kind == events.EXEC_NAME else SLOTS["execve"]
    return make(slot, task, result, kind=kind, blobs=blobs)


@pytest.mark.parametrize(
    ("given", "ran", "result", "expected"),
    [
        (b"/etc/x", b"/etc/x", 0, [0, 1, 2]),
        (b"x", b"/etc/x", 0, [0, 1, 2]),
        (b"/x", b"/x", 0, [0, 1]),
        (b"/etc/x", None, -2, [0, 1]),
        (b"/x", None, -2, [0]),
    ],
)
def test_the_file_of_an_execve_is_named_before_it_returns(given, ran, result, expected):
    begun = execve(events.EXEC_ENTER, string(0, given), string(1, b"/etc/argument"))
    named = [execve(events.EXEC_NAME, string(0, ran))] if ran else []
    own = [string(0, given)] if result else []
    assert shown(begun, *named, execve(events.CALL, *own, result=result)) == expected


def test_an_execve_whose_beginning_was_lost_may_be_it():
    assert shown(execve(events.CALL)) == [0]


def test_losses_and_refusals_are_passed_on_and_nothing_else_that_is_no_call():
    kinds = (events.LOST, events.REFUSED, events.SIGNAL, events.TASK_EXIT, events.UNFINISHED)
    records = [make(SLOTS["openat"], (), 1, kind=kind) for kind in kinds]
    assert shown(*records, opened(b"/etc/x", kind=events.UNFINISHED)) == [0, 1, 5]
