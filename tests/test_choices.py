"""--fd and --signals: what is asked for, and which records that is."""

from __future__ import annotations

import pytest
from records import batch, make

from isotrace.errors import UsageError
from isotrace.sinks import sets
from isotrace.sinks.calls_on import CallsOn
from isotrace.sinks.passing import Choice
from isotrace.sinks.paths import Paths
from isotrace.sinks.signals import Signals
from isotrace.trace import events, plan
from isotrace.trace.events import Blob

SLOTS = {call.name: slot for slot, call in plan.all_calls().items() if call.abi == "x86_64"}
OLD = {call.name: slot for slot, call in plan.all_calls().items() if call.abi == "i386"}
AT_FDCWD = 2**64 - 100


class Kept:
    """Which records come through, by their place."""

    def __init__(self) -> None:
        self.places: list[int] = []

    def write(self, batch):
        self.places += batch.events["uid"].tolist()


def on(text: str, *records: bytes) -> list[int]:
    """The places of the records that --fd passes on: all in one batch, and a batch each."""
    found = []
    for size in (len(records), 1):
        kept = Kept()
        sink = Choice(kept, [CallsOn(sets.descriptors(text))])
        for begin in range(0, len(records), size):
            some = batch(*records[begin : begin + size])
            some.events["uid"] = range(begin, begin + len(some))
            sink.write(some)
        found.append(kept.places)
    assert found[0] == found[1]
    return found[0]


def call(name: str, *args: int, blobs=(), slots=SLOTS, **fields) -> bytes:
    return make(slots[name], args, blobs=blobs, **fields)


def bits(arg: int, *members: int, part: int = events.PART_BEFORE) -> Blob:
    data = sum(1 << member for member in members).to_bytes(128, "little")
    return Blob(arg, part, events.WHOLE, len(data), data)


def test_registers_that_are_descriptors():
    assert on(
        "3",
        call("read", 3, 0x1000, 3),
        call("read", 4, 3, 3),
        call("dup2", 4, 3),
        call("mmap", 0, 4096, 1, 2, 3, 0),
        call("openat", 3, 0x1000),
        call("openat", AT_FDCWD, 0x1000, result=3),
        call("getpid", 3),
        call("read", 0xDEAD00000003, 0, 0),
        call("epoll_ctl", 9, 1, 3),
        call("close", 3, slots=OLD),
        make(plan.slot_of("x86_64", 1000), (3,)),
    ) == [0, 2, 3, 4, 7, 8, 9]


def test_sets_and_arrays_of_descriptors():
    asked, left = bits(1, 3, 7), bits(1, 7, part=events.PART_SELF)
    array = Blob(0, events.PART_SELF, events.WHOLE, 16, bytes.fromhex("05000000010000000300000001000000"))
    lost = Blob(0, events.PART_SELF, events.FAULT, 16, b"")
    assert on(
        "3",
        call("select", 8, 0x1000, 0, 0, 0, blobs=[asked, left]),
        call("select", 3, 0x1000, 0, 0, 0, blobs=[asked, left]),
        call("select", 8, 0, 0, 0, 0),
        call("select", 8, 0x1000, 0, 0, 0),
        call("poll", 0x1000, 2, 0, blobs=[array]),
        call("poll", 0x1000, 1, 0, blobs=[array._replace(data=array.data[:8])]),
        call("poll", 0x1000, 2, 0, blobs=[lost]),
    ) == [0, 3, 4, 6]


def test_all_but_some_are_not_those_that_are_none():
    reads = [call("read", number & 0xFFFFFFFF) for number in (0, 1, 2, 3, -1)]
    at = call("openat", AT_FDCWD)
    assert on("!0,1,2", *reads, at) == [3]
    assert on("all", *reads, at) == [0, 1, 2, 3]


def test_the_descriptor_of_an_execveat_is_known_from_its_beginning():
    task = (1, 2, 3, 4, 0, 0xFF)
    begun = call("execveat", 5, 2, 3, 4, 0, 0xFF, kind=events.EXEC_ENTER)
    named = make(0, task, kind=events.EXEC_NAME)
    done = call("execveat", *task)
    assert on("5", begun, named, done) == [0, 1, 2]
    assert on("6", begun, named, done) == [0, 1]
    assert on("6", done) == [0], "its beginning was lost: it may be it"
    assert on("5", call("execve", 1, 2, 3, 0, 0, 0xFF, kind=events.EXEC_ENTER), call("execve", 5, 2)) == [0]


def test_with_paths_either_will_do():
    kept = Kept()
    path = Blob(1, events.PART_SELF, events.WHOLE, 0, b"/etc/x\0")
    records = batch(call("openat", AT_FDCWD, 1, blobs=[path]), call("read", 3), call("read", 4))
    records.events["uid"] = range(3)
    Choice(kept, [Paths(["/etc/*"]), CallsOn(sets.descriptors("4"))]).write(records)
    assert kept.places == [0, 2]


@pytest.mark.parametrize("text", ["", "x", "-1", "3,", "3 4", "0x3", "99999999999", "٣", "3,!4"])
def test_what_is_no_descriptor(text):
    with pytest.raises(UsageError, match="is not a descriptor"):
        sets.descriptors(text)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("SIGINT", {2}),
        ("int,TERM, 9", {2, 15, 9}),
        ("none", set()),
        ("all,!SIGCHLD", set(range(1, 65)) - {17}),
        ("!CHLD", set(range(1, 65)) - {17}),
        ("SIGRTMIN,SIGRT_1,SIGRTMAX,sigpoll", {32, 33, 64, 29}),
    ],
)
def test_signals_by_name_and_number(text, numbers):
    assert sets.signals(text) == numbers


@pytest.mark.parametrize("text", ["", "SIG", "SIGNOPE", "0", "65", "INT,", "SIGRTMIN+1"])
def test_what_is_no_signal(text):
    with pytest.raises(UsageError, match="is not a signal"):
        sets.signals(text)


def test_only_such_signals_are_shown_and_all_that_is_none():
    kept = Kept()
    records = batch(
        make(0, kind=events.SIGNAL, result=17),
        make(0, kind=events.SIGNAL, result=2),
        make(0, kind=events.TASK_EXIT, result=17),
        call("getpid", result=17),
    )
    records.events["uid"] = range(4)
    Signals(kept, frozenset((2,))).write(records)
    assert kept.places == [1, 2, 3]
