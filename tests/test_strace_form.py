"""--format strace: the lines that strace writes, in the order in which calls began and ended, whatever way records come."""

from __future__ import annotations

import os
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import Collected, batch, make, string

from isotrace.render.halves import halves
from isotrace.render.lines import Decoder
from isotrace.sinks.ahead import Ahead
from isotrace.sinks.formats import Beside
from isotrace.sinks.strace import Strace
from isotrace.trace import events, plan
from isotrace.trace.events import Batch, Blob

CALLS = plan.all_calls()
SLOTS = {call.name: slot for slot, call in CALLS.items() if call.abi == "x86_64"}
EPOCH = 1_700_000_000_000_000_000  # what is added to times: any value tells these records from others
AT_FDCWD = 2**64 - 100
LONG = 10_000_000_000  # ns: beyond what lines are kept back for

US = 1000


def call(tid: int, name: str, began: int, ended: int, args=(), result=0, **fields) -> bytes:
    """One that began and ended at these microseconds."""
    spent = (ended - began) * US
    return make(SLOTS[name], args, result, pid=tid, time=ended * US, duration=spent, **fields)


def read(tid: int, began: int, ended: int, **fields) -> bytes:
    data = Blob(1, events.PART_SELF, events.WHOLE, 1, b"x")
    return call(tid, "read", began, ended, (3, 0x1000, 1), 1, blobs=[data], **fields)


def notice(tid: int, kind: int, when: int, result: int, args=()) -> bytes:
    return make(0, args, result, kind=kind, pid=tid, time=when * US)


def found(*records: bytes, wall: int = EPOCH) -> Batch:
    whole = batch(*records)
    return Batch(whole.events, whole.starts, whole.data, wall)


def lines(*batches: Batch, **beside) -> list[str]:
    output = Collected()
    sink = Strace(output, CALLS, Beside(**beside))
    for one in batches:
        sink.write(one)
    sink.complete()
    return output.lines


def of(*records: bytes, **beside) -> list[str]:
    return lines(found(*records), **beside)


# ---- halves -------------------------------------------------------------------------------------------------------------


def test_a_call_is_one_line_where_nobody_comes_between():
    assert of(read(7, 1, 2), call(8, "close", 3, 4, (5,))) == [
        '7     read(3, "x", 1)                   = 1',
        "8     close(5)                          = 0",
    ]


def test_a_call_that_another_thread_interrupts_has_two_halves():
    assert of(call(8, "close", 2, 3, (5,)), read(7, 1, 4)) == [
        "7     read(3,  <unfinished ...>",
        "8     close(5)                          = 0",
        '7     <... read resumed>"x", 1)         = 1',
    ]


def test_both_are_halved_where_they_overlap():
    assert of(read(7, 1, 3), call(8, "close", 2, 4, (5,))) == [
        "7     read(3,  <unfinished ...>",
        "8     close(5 <unfinished ...>",
        '7     <... read resumed>"x", 1)         = 1',
        "8     <... close resumed>)              = 0",
    ]


def test_a_fork_stands_before_what_its_child_does():
    flags = 0x1200011
    born = call(7, "clone", 1, 9, (flags, 0, 0, 0x10), 8)
    assert of(call(8, "getpid", 2, 3, result=8), born, call(8, "vfork", 10, 12, result=9)) == [
        "7     clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD <unfinished ...>",
        "8     getpid()                          = 8",
        "7     <... clone resumed>, child_tidptr=0x10) = 8",
        "8     vfork()                           = 9",
    ]


def test_a_signal_and_an_end_come_between_as_well():
    assert of(
        notice(8, events.SIGNAL, 2, 15), notice(8, events.TASK_EXIT, 3, 15), read(7, 1, 4),
    ) == [
        "7     read(3,  <unfinished ...>",
        "8     --- SIGTERM ---",
        "8     +++ killed by SIGTERM +++",
        '7     <... read resumed>"x", 1)         = 1',
    ]  # fmt: skip


def test_an_execve_of_a_thread_begins_under_its_own_number():
    """Its record has the leader's, which it takes."""
    task, path = (0, 0, 0, 0, 0, 0xFF), [string(0, b"/bin/x"), string(1, b"x")]
    enter = make(SLOTS["execve"], (1, 2, 3, 0, 0, 0xFF), kind=events.EXEC_ENTER, blobs=path, pid=7, time=2 * US)
    gone = notice(7, events.TASK_EXIT, 3, 0, (8,))
    assert of(call(7, "pause", 1, 3, result=-514), enter, gone, call(7, "execve", 2, 4, task)) == [
        "7     pause( <unfinished ...>",
        '8     execve("/bin/x", ["x"], 0x3 <unfinished ...>',
        "7     <... pause resumed>)              = ? ERESTARTNOHAND (To be restarted if no handler)",
        "7     +++ superseded by execve in pid 8 +++",
        "7     <... execve resumed>)             = 0",
    ]


@pytest.mark.parametrize(
    ("name", "args", "result", "parts"),
    [
        ("openat", (AT_FDCWD, 0x10, 0), 3, ('openat(AT_FDCWD, "f", O_RDONLY', ")")),
        ("getpid", (), 3, ("getpid(", ")")),
        ("pipe2", (0x10, 0), -14, ("pipe2(", "0x10, 0)")),
        ("wait4", (2**64 - 1, 0, 1, 0), 0, ("wait4(-1, ", "NULL, WNOHANG, NULL)")),
        ("fcntl", (3, 3), 2, ("fcntl(3, F_GETFL", ")")),
        ("fcntl", (3, 5, 0), -9, ("fcntl(3, F_GETLK, ", "NULL)")),
        ("fcntl", (3, 0, 9), 9, ("fcntl(3, F_DUPFD, 9", ")")),
        ("poll", (0, 0, 9), 0, ("poll(NULL, 0, 9", ")")),
        ("setrlimit", (3, 0), -14, ("setrlimit(RLIMIT_STACK, NULL", ")")),
        ("getrlimit", (3, 0), -14, ("getrlimit(RLIMIT_STACK, ", "NULL)")),
    ],
)
def test_what_the_kernel_fills_is_in_the_second_half(name, args, result, parts):
    blobs = [string(1, b"f")] if name == "openat" else []
    (decoded,) = Decoder(CALLS).decode(batch(make(SLOTS[name], args, result, blobs=blobs)))
    assert halves(decoded, 0) == parts
    assert "".join(parts) == decoded.texts()[0]


# ---- order --------------------------------------------------------------------------------------------------------------


def told(schedule: list[tuple[int, int, int]]) -> list[str]:
    """What strace writes for calls (thread, beginning, end): a line is open until somebody else has something to show."""
    moments = sorted([(b, tid, True) for tid, b, _ in schedule] + [(e, tid, False) for tid, _, e in schedule])
    written, line, whose = [], "", 0
    for _, tid, begins in moments:
        if line and whose != tid:
            written.append(line + " <unfinished ...>")
            line = ""
        if begins:
            line, whose = f"{tid:<5} close(0", tid
        else:
            text = f"{line})" if line else f"{tid:<5} <... close resumed>)"
            written.append(f"{text:<39} = 0")
            line = ""
    return written


@st.composite
def schedules(draw) -> list[tuple[int, int, int]]:
    moments = draw(st.lists(st.integers(1, 2_000_000), min_size=2, max_size=60, unique=True).map(sorted))
    owners = draw(st.lists(st.integers(1, 4), min_size=len(moments), max_size=len(moments)))
    calls = []
    for tid in set(owners):
        mine = [moment for moment, owner in zip(moments, owners, strict=True) if owner == tid]
        calls += [(tid, began, ended) for began, ended in zip(mine[::2], mine[1::2], strict=False)]
    return calls


@given(schedules(), st.integers(1, 5))
def test_any_schedule_is_told_as_strace_tells_it(schedule, size):
    """Calls take up to two seconds here, more than anything is kept back for; those that do are in a batch of their own."""
    schedule = [(tid, b, e) for tid, b, e in schedule if e - b < 240_000]
    records = [call(tid, "close", b, e) for tid, b, e in sorted(schedule, key=lambda one: one[2])]
    batches = [found(*records[at : at + size]) for at in range(0, len(records), size)]
    assert lines(*batches) == told(schedule)


def test_a_call_that_took_longer_than_anything_waits_for_is_whole_where_it_ended():
    others = [call(8, "close", at, at + 1) for at in range(1_000_000, 1_900_000, 100_000)]
    batches = [found(one) for one in [*others, read(7, 1, 2_000_000)]]
    written = lines(*batches, durations=True)
    assert len(written) == len(others) + 1 and not any("resumed" in line or "unfinished" in line for line in written)
    assert written[-1] == '7     read(3, "x", 1)                   = 1 <1.999999>'


def test_what_returned_is_written_after_a_moment_without_more(monkeypatch):
    output, now = Collected(), [LONG]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    sink = Strace(output, CALLS, Beside())
    sink.write(found(read(7, 1, 2)))
    sink.flush()
    assert not output.data
    now[0] += LONG
    sink.flush()
    assert len(output.lines) == 1
    sink.complete()
    assert len(output.lines) == 1


def test_records_of_another_boot_are_not_mixed_with_those_before():
    first, second = found(call(7, "close", 50, 60)), found(call(7, "close", 1, 2), wall=EPOCH + LONG)
    assert lines(first, second) == ["7     close(0)                          = 0"] * 2


# ---- calls that are under way -------------------------------------------------------------------------------------------


def inside(tid: int, when: int) -> bytes:
    return make(SLOTS["read"], (3, 0x1000, 1), kind=events.UNFINISHED, pid=tid, time=when * US)


def test_who_was_in_a_call_when_tracing_began_resumes_it():
    """When it began is not known."""
    assert of(inside(7, 1), call(8, "close", 2, 3), make(SLOTS["close"], pid=8, time=4 * US), read(7, 5, 5)) == [
        "7     read(3,  <unfinished ...>",
        "8     close(0)                          = 0",
        "8     close(0)                          = 0",
        '7     <... read resumed>"x", 1)         = 1',
    ]


def test_the_line_goes_on_where_nobody_else_had_one():
    assert of(inside(7, 1), read(7, 5, 5)) == ['7     read(3, "x", 1)                   = 1']


def test_a_thread_that_ends_leaves_its_call():
    assert of(inside(7, 1), inside(8, 2), notice(8, events.TASK_EXIT, 3, 9), notice(7, events.TASK_EXIT, 4, 9)) == [
        "7     read(3,  <unfinished ...>",
        "8     read(3,  <unfinished ...>)        = ?",
        "8     +++ killed by SIGKILL +++",
        "7     <... read resumed> <unfinished ...>) = ?",
        "7     +++ killed by SIGKILL +++",
    ]


def test_who_is_in_a_call_when_tracing_ends_is_detached():
    assert of(read(8, 1, 2), inside(7, 3), inside(8, 4)) == [
        '8     read(3, "x", 1)                   = 1',
        "7     read(3,  <unfinished ...>",
        "8     read(3,  <detached ...>",
    ]


def told_while(tid: int, began: int, when: int) -> bytes:
    """What is told of a call that is under way for long."""
    spent = (when - began) * US
    return make(SLOTS["read"], (3, 0x1000, 1), kind=events.UNFINISHED, pid=tid, time=when * US, duration=spent)


def test_a_call_that_takes_long_begins_where_it_began_if_that_was_told():
    others = [found(call(8, "close", at, at + 1)) for at in range(50_000, 1_000_000, 100_000)]
    told = found(told_while(7, 60_000, 210_000))
    written = lines(*others[:2], told, *others[2:], found(read(7, 60_000, 990_000)), clock=3)
    assert [line.partition(" read")[2] for line in written[1:2]] == ["(3,  <unfinished ...>"]
    assert written[-1].endswith('<... read resumed>"x", 1) = 1')
    moments = [line.split()[1] for line in written]
    assert moments == sorted(moments) and len(written) == len(others) + 2


def test_of_a_recording_calls_that_take_long_are_read_beforehand():
    path = [string(1, b"/long")]
    shut = [call(8, "close", at, at + 1) for at in range(100_000, 3_000_000, 100_000)]
    slow = call(7, "openat", 150_000, 2_950_001, (AT_FDCWD, 0x10, 0), 3, blobs=path)
    again = call(7, "read", 2_950_002, 3_500_000, (3, 0x10, 1), 0)
    batches = [found(one) for one in [*shut, slow, again]]
    output = Collected()
    sink = Ahead(Strace(output, CALLS, Beside(clock=3)), batches)
    for one in batches:
        sink.write(one)
    sink.complete()
    moments = [line.split()[1] for line in output.lines]
    assert moments == sorted(moments) and len(moments) == len(shut) + 3
    begun, end = (line for line in output.lines if "openat" in line)
    assert begun == '7     1700000000.150000 openat(AT_FDCWD, "/long", O_RDONLY <unfinished ...>'
    assert end == "7     1700000002.950001 <... openat resumed>) = 3"


def test_a_call_that_was_announced_is_not_begun_again():
    began = inside(7, 1)
    assert of(began, call(8, "close", 2, 3), inside(7, 4), read(7, 1, 5)) == of(call(8, "close", 2, 3), read(7, 1, 5))


# ---- beside the call ----------------------------------------------------------------------------------------------------


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize(
    ("beside", "first", "second"),
    [
        ({"clock": 1}, "22:13:20", "22:13:21"),
        ({"clock": 2}, "22:13:20.000001", "22:13:21.500002"),
        ({"clock": 3}, "1700000000.000001", "1700000001.500002"),
        ({"relative": True}, "     0.000000", "     1.500001"),
        ({"clock": 2, "relative": True}, "22:13:20.000001 (+     0.000000)", "22:13:21.500002 (+     1.500001)"),
    ],
)
def test_moments_as_strace_writes_them(beside, first, second):
    written = of(call(7, "close", 1, 2), notice(7, events.SIGNAL, 1_500_002, 15), **beside)
    assert [line.partition(" close")[0] for line in written[:1]] == [f"7     {first}"]
    assert written[1] == f"7     {second} --- SIGTERM ---"


def test_each_half_has_its_own_moment_and_the_second_the_duration():
    written = of(read(7, 1, 400), call(8, "close", 2, 3, result=-9), clock=3, durations=True)
    assert written == [
        "7     1700000000.000001 read(3,  <unfinished ...>",
        "8     1700000000.000002 close(0)        = -1 EBADF (Bad file descriptor) <0.000001>",
        '7     1700000000.000400 <... read resumed>"x", 1) = 1 <0.000399>',
    ]


def test_no_duration_where_none_was_measured_and_none_of_what_never_returns():
    assert of(make(SLOTS["close"], pid=7, time=US), make(SLOTS["exit_group"], pid=7, time=2 * US), durations=True) == [
        "7     close(0)                          = 0",
        "7     exit_group(0)                     = ?",
    ]


def test_a_loss_is_said_on_standard_error_when_it_is_its_turn(capfd):
    output = Collected()
    sink = Strace(output, CALLS, Beside())
    lost = make(SLOTS["openat"], (), 5, kind=events.LOST, pid=7, time=3 * US)
    sink.write(found(read(7, 1, 2), lost))
    assert capfd.readouterr().err == ""
    sink.complete()
    assert capfd.readouterr().err == "isotrace: 7 prog: 5 openat calls lost here\n"
    assert len(output.lines) == 1


def test_many_calls_of_one_thread_are_in_order_and_whole():
    records = [call(7, "close", at, at + 1, (at,)) for at in range(0, 3000, 2)]
    written = of(*records)
    assert len(written) == len(records)
    numbers = [int(line.partition("(")[2].partition(")")[0]) for line in written]
    assert all(one < other for one, other in pairwise(numbers))
    assert os.linesep not in "".join(written)
