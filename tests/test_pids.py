"""--decode-pids: names of processes behind their numbers, from records alone."""

from __future__ import annotations

import re
import struct

import pytest
from records import Collected, batch, make

from isotrace.errors import KernelError
from isotrace.run import records
from isotrace.sinks.formats import Beside
from isotrace.sinks.strace import Strace
from isotrace.sinks.text import Text
from isotrace.trace import events, plan
from isotrace.trace.events import PART_SELF, WHOLE, Blob
from isotrace.trace.plan import Options
from isotrace.trace.target import Target

CALLS = plan.all_calls()
SLOTS = {call.name: slot for slot, call in CALLS.items() if call.abi == "x86_64"}
OURS, INNER, UNKNOWN = 1, 2, 0


def call(tid: int, comm: bytes, name: str, *args: int, result: int = 0, level: int = OURS, **fields) -> bytes:
    return make(SLOTS[name], args, result, pid=tid, comm=comm, pad=level, **fields)


def ended(tid: int, comm: bytes) -> bytes:
    return make(0, pid=tid, comm=comm, kind=events.TASK_EXIT, pad=OURS)


def shown(*taken: bytes, size: int = 100) -> list[str]:
    """The calls and notices, in batches of ``size`` records."""
    output = Collected()
    sink = Text(output, CALLS, Beside(pids=True))
    for begin in range(0, len(taken), size):
        sink.write(batch(*taken[begin : begin + size]))
    return [re.sub(" += ", " = ", line.partition("  ")[2]) for line in output.lines]


@pytest.mark.parametrize("size", [100, 1])
def test_a_name_is_that_of_the_last_record_before(size: int) -> None:
    assert shown(
        call(7, b"sh", "getpid", result=7),
        call(5, b"a b", "kill", 7, 9),
        call(7, b"cat", "getpid", result=7),
        call(5, b"a b", "kill", 7, 9),
        call(5, b"a b", "kill", 8, 9),
        call(5, b"a b", "kill", 2**64 - 7, 9),
        call(5, b"a b", "getpgid", result=5),
        size=size,
    ) == [
        "getpid() = 7<sh>",
        "kill(7<sh>, SIGKILL) = 0",
        "getpid() = 7<cat>",
        "kill(7<cat>, SIGKILL) = 0",
        "kill(8, SIGKILL) = 0",
        "kill(-7, SIGKILL) = 0",
        'getpgid(0) = 5<"a b">',
    ]


@pytest.mark.parametrize("size", [100, 1])
def test_who_has_ended_has_no_name_and_neither_has_who_gets_the_number(size: int) -> None:
    assert shown(
        call(7, b"sh", "getppid", result=5),
        ended(7, b"sh"),
        call(5, b"x", "kill", 7, 9),
        call(5, b"x", "fork", result=7),
        call(5, b"x", "kill", 7, 9),
        size=size,
    )[2:] == ["kill(7, SIGKILL) = 0", "fork() = 7<x>", "kill(7<x>, SIGKILL) = 0"]


@pytest.mark.parametrize("size", [100, 1])
def test_who_was_born_and_seen_before_its_parent_returned_has_its_own_name(size: int) -> None:
    assert shown(call(7, b"true", "getuid"), call(5, b"sh", "fork", result=7), size=size)[1] == "fork() = 7<true>"


@pytest.mark.parametrize("level", [INNER, UNKNOWN])
def test_numbers_of_another_namespace_are_nobody_here(level: int) -> None:
    info = struct.pack("<iii4xiI", 10, 0, 0, 7, 0).ljust(48, b"\0")
    signal = make(
        0, (), 10, kind=events.SIGNAL, pid=5, comm=b"x", pad=level, blobs=[Blob(0, PART_SELF, WHOLE, 48, info)]
    )
    seen = call(7, b"sh", "getpid", result=7)
    lines = shown(
        seen,
        call(5, b"x", "kill", 7, 9, level=level),
        call(5, b"x", "fork", result=7, level=level),
        call(5, b"x", "fork", result=9, level=level),
        call(6, b"y", "kill", 9, 9),
        signal,
    )
    assert lines[1:5] == ["kill(7, SIGKILL) = 0", "fork() = 7", "fork() = 9", "kill(9, SIGKILL) = 0"]
    assert "si_pid=7, " in lines[5]


def test_the_sender_of_a_signal() -> None:
    info = struct.pack("<iii4xiI", 10, 0, 0, 7, 0).ljust(48, b"\0")
    blobs = [Blob(0, PART_SELF, WHOLE, 48, info)]
    signal = make(0, (), 10, kind=events.SIGNAL, pid=5, comm=b"x", pad=OURS, blobs=blobs)
    assert "si_pid=7<sh>, " in shown(call(7, b"sh", "getpid", result=7), signal)[1]


def test_lines_of_straces_form_begin_with_it_and_an_execve_with_the_name_before() -> None:
    output = Collected()
    sink = Strace(output, CALLS, Beside(pids=True))
    task = (0, 0, 0, 0, 0, 0xFF)
    sink.write(
        batch(
            call(7, b"sh", "getpid", result=7, time=1000),
            make(SLOTS["execve"], task, kind=events.EXEC_ENTER, pid=7, comm=b"sh", time=2000, pad=OURS),
            make(0, task, kind=events.EXEC_NAME, pid=7, comm=b"cat", time=2500, pad=OURS),
            call(7, b"cat", "execve", *task, time=3000),
            make(0, (), 0, kind=events.TASK_EXIT, pid=7, comm=b"cat", time=4000, pad=OURS),
        )
    )
    sink.complete()
    assert [line.partition("(")[0] for line in output.lines] == [
        "7<sh> getpid",
        "7<sh> execve",
        "7<cat> +++ exited with 0 +++",
    ]


def test_without_it_nothing_is_looked_at() -> None:
    output = Collected()
    Text(output, CALLS, Beside()).write(batch(call(7, b"sh", "getpid", result=7)))
    assert output.lines[0].endswith("= 7")


def test_the_module_says_that_it_does_not_know() -> None:
    with pytest.raises(KernelError, match="does not say whose numbers"):
        records._planned(Options(Target(pid=(1,)), pids=True), None)
