"""Text, JSON and isolates lines from records, and that nothing hostile gets through."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import Collected, batch, make, string

from isotrace.errors import UsageError
from isotrace.sinks import endings
from isotrace.sinks.formats import Beside
from isotrace.sinks.isolates import Isolates
from isotrace.sinks.json import Json
from isotrace.sinks.status import Status
from isotrace.sinks.text import Text
from isotrace.trace import events, plan
from isotrace.trace.events import Batch, Blob

CALLS = plan.all_calls()
SLOTS = {(call.name, call.abi): slot for slot, call in CALLS.items()}


def slot(name: str, abi: str = "x86_64") -> int:
    return SLOTS[name, abi]


AT_FDCWD = 2**64 - 100
OPENAT = make(slot("openat"), (AT_FDCWD, 0x1000, 0o2000000), 3, blobs=[string(1, b"/etc/hosts")], pid=42)


def text_of(*records, **options) -> list[str]:
    output = Collected()
    colour = options.pop("colour", False)
    Text(output, CALLS, Beside(**options), colour=colour).write(batch(*records))
    return output.lines


def test_openat_reads_as_in_strace():
    assert text_of(OPENAT) == ['42 prog  openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3']


def test_an_error_has_name_and_text():
    record = make(slot("close"), (99,), -9)
    assert text_of(record) == ["1 prog  close(99)                               = -1 EBADF (Bad file descriptor)"]


def test_a_fault_is_told_apart_from_empty_and_null():
    path = slot("unlink")
    fault = make(path, (0xDEAD,), -14, blobs=[Blob(0, events.PART_SELF, events.FAULT, 0xDEAD, b"")])
    empty = make(path, (0x1000,), -2, blobs=[string(0, b"")])
    null = make(path, (0,), -14)
    shown = [line.split("unlink")[1].split(" ")[0] for line in text_of(fault, empty, null)]
    assert shown == ["(0xdead<fault>)", '("")', "(NULL)"]


def test_a_cut_buffer_is_marked():
    blob = Blob(1, events.PART_SELF, events.CUT, 4096, b"abc")
    assert 'write(1, "abc"..., 4096)' in text_of(make(slot("write"), (1, 0x1000, 4096), 4096, blobs=[blob]))[0]


def test_lines_keep_the_order_of_the_records():
    records = [make(slot(name), (i,), 0) for i, name in enumerate(["close", "getppid", "close", "getpid", "close"])]
    assert [line.split("  ")[1].split("(")[0] for line in text_of(*records)] == [
        "close", "getppid", "close", "getpid", "close",
    ]  # fmt: skip


def test_a_call_without_a_name_is_shown_by_number():
    record = make(events.SLOT_UNKNOWN, (1, 0, 3), -38, number=9999)
    assert "syscall_0x270f(0x1, 0, 0x3, 0, 0, 0)" in text_of(record)[0]


def test_time_spent():
    assert text_of(make(slot("close"), (3,), 0, duration=12000), durations=True)[0].endswith("= 0 <0.000012>")


def test_ends_of_threads():
    exited = make(kind=events.TASK_EXIT, result=3 << 8)
    killed = make(kind=events.TASK_EXIT, result=9)
    dumped = make(kind=events.TASK_EXIT, result=11 | 0x80)
    assert [line.partition("  ")[2] for line in text_of(exited, killed, dumped)] == [
        "+++ exited with 3 +++",
        "+++ killed by SIGKILL +++",
        "+++ killed by SIGSEGV (core dumped) +++",
    ]


def exec_records(path_state=events.WHOLE, task=0xFFFF8880):
    argv = [Blob(1, events.PART_SELF, events.WHOLE, 0, word + b"\0") for word in (b"ls", b"-l")]
    path = Blob(0, events.PART_SELF, path_state, 0x500 if path_state else 0, b"" if path_state else b"/bin/ls\0")
    enter = make(
        slot("execve"), (0x500, 0x600, 0x700, 0, 0, task), kind=events.EXEC_ENTER,
        blobs=[path, *argv, Blob(2, events.PART_SELF, events.WHOLE, 7, b"")],
    )  # fmt: skip
    name = make(args=(0, 0, 0, 0, 0, task), kind=events.EXEC_NAME, blobs=[string(0, b"/bin/ls")])
    done = make(slot("execve"), (0, 0, 0, 0, 0, task), 0, blobs=[Blob(1, events.PART_SELF, events.WHOLE, 0, b"ls\0")])
    return enter, name, done


@pytest.mark.parametrize("state", [events.WHOLE, events.FAULT])
def test_an_execve_is_put_together_from_its_records(state):
    assert text_of(*exec_records(state)) == ['1 prog  execve("/bin/ls", ["ls", "-l"], 0x700 /* 7 vars */) = 0']


def test_an_execve_of_which_only_the_end_was_seen_shows_what_is_known():
    """As by --comm, of the name that it gives: its registers are gone."""
    _, name, done = exec_records()
    calls = [shown.split(" = ")[0].rstrip() for shown in (*text_of(name, done), *text_of(done))]
    assert calls == ['1 prog  execve("/bin/ls", ["ls"], ?)', '1 prog  execve(?, ["ls"], ?)']


def test_a_name_ends_where_it_ends():
    """Some kernels leave a former name's end behind it."""
    output = Collected()
    Json(output, CALLS).write(batch(make(slot("getpid"), comm=b"sh\0ep")))
    assert json.loads(output.lines[0])["comm"] == "sh" and text_of(make(slot("getpid"), comm=b"sh\0ep"))[0].startswith(
        "1 sh  "
    )


def test_two_execs_of_one_task_in_one_batch_keep_their_own_arguments():
    first = exec_records()
    second = [record.replace(b"/bin/ls", b"/bin/sh") for record in exec_records()]
    shown = text_of(*first, *second)
    assert ["/bin/ls" in shown[0], "/bin/sh" in shown[1], len(shown)] == [True, True, 2]


def test_an_unfinished_call():
    assert text_of(make(slot("pause"), kind=events.UNFINISHED)) == ["1 prog  pause( <unfinished ...>"]


def test_calls_of_a_kind_of_which_some_have_ended():
    read, other = slot("pause"), slot("getpid")
    records = [
        make(read, kind=events.UNFINISHED),
        make(other),
        make(read, result=-4),
        make(read, kind=events.UNFINISHED),
    ]
    shown = text_of(*records)
    assert [line.endswith("<unfinished ...>") for line in shown] == [
        True,
        False,
        False,
        True,
    ] and "= -1 EINTR" in shown[2]


def json_of(*records) -> list[dict]:
    output = Collected()
    Json(output, CALLS).write(batch(*records))
    return [json.loads(line) for line in output.lines]


def test_json_has_raw_and_decoded_values():
    (found,) = json_of(OPENAT)
    assert found["call"] == "openat" and found["abi"] == "x86_64"
    assert found["result"] == 3 and found["error"] is None and found["duration_ns"] is None
    assert found["args"][1] == {"name": "filename", "raw": 0x1000, "value": '"/etc/hosts"'}
    assert found["args"][2] == {"name": "flags", "raw": 0o2000000, "value": "O_RDONLY|O_CLOEXEC"}


def test_json_of_an_error():
    (found,) = json_of(make(slot("close"), (99,), -9))
    assert (found["result"], found["error"]) == (-9, "EBADF")


def test_json_of_exits():
    assert json_of(make(kind=events.TASK_EXIT, result=0))[0]["type"] == "exit"


def test_isolates_has_four_fields_whatever_the_name():
    output = Collected()
    Isolates(output, CALLS).write(batch(make(slot("close"), comm=b"a,b\x1b[2J", uid=7, pid=5)))
    assert output.lines == ["ISOLATES:close,a\\054b\\33[2J,5,7"]


BLOBS = st.builds(
    Blob,
    st.integers(0, 5),
    st.integers(0, 4),
    st.integers(0, 2),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=300),
)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(sorted([*CALLS, 1000, events.SLOT_UNKNOWN])),
    st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 200), min_size=6, max_size=6),
    st.integers(-(2**63), 2**63 - 1) | st.integers(-600, 600),
    st.lists(BLOBS, max_size=8),
    st.binary(max_size=16),
    st.sampled_from(
        [events.CALL, events.UNFINISHED, events.SIGNAL, events.TASK_EXIT, events.EXEC_ENTER, events.EXEC_NAME]
    ),
)
def test_nothing_raises_and_no_control_character_gets_through(where, args, result, blobs, comm, kind):
    records = batch(make(where, args, result, kind, blobs, comm=comm), make(where, args, 0, blobs=blobs, comm=comm))
    for sink in (
        Text(out := Collected(), CALLS, Beside(durations=True, clock=1)),
        Json(out, CALLS),
        Isolates(out, CALLS),
    ):
        sink.write(records)
    assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in out.data)


@pytest.mark.parametrize("where", sorted(CALLS))
def test_every_call_renders_with_captures_of_the_sizes_that_are_asked_for(where):
    from isotrace.trace.captures import captures_of

    call = CALLS[where]
    blobs = [
        Blob(c.arg, events.PART_SELF, events.WHOLE, c.unit, b"\x07" * min(c.unit, c.limit))
        for c in captures_of(call, 256)
    ]
    (line,) = text_of(make(where, (5, 6, 7, 8, 9, 10), 0, blobs=blobs, abi={"i386": events.I386}.get(call.abi, 0)))
    assert line.split("  ", 1)[1].startswith(call.name + "(")


def test_what_was_given_in_memory_that_the_call_filled_is_not_known():
    """setitimer(ITIMER_REAL, &timer, &timer): what lies there at the end is the old timer."""
    old = bytes(range(1, 33))
    both = [Blob(arg, events.PART_SELF, events.WHOLE, 32, old) for arg in (1, 2)]
    (line,) = text_of(make(slot("setitimer"), (0, 0x1000, 0x1000), 0, blobs=both))
    assert "setitimer(ITIMER_REAL, 0x1000, {it_interval=" in line
    (line,) = text_of(make(slot("setitimer"), (0, 0x1000, 0x2000), 0, blobs=both))
    assert "setitimer(ITIMER_REAL, {it_interval=" in line


def test_a_call_that_had_begun_before_it_was_traced_shows_no_more_than_is_known():
    left = Blob(4, events.PART_SELF, events.WHOLE, 16, (7).to_bytes(8, "little") + bytes(8))
    ready = Blob(1, events.PART_SELF, events.WHOLE, 8, b"\x08" + bytes(7))
    (line,) = text_of(make(slot("select"), (4, 0x1000, 0, 0, 0x2000), 1, blobs=[ready, left]))
    assert "select(4, 0x1000, NULL, NULL, 0x2000)" in line
    assert line.endswith("= 1 (in [3], left {tv_sec=7, tv_usec=0})")
    length = Blob(2, events.PART_SELF, events.WHOLE, 4, b"\x10\0\0\0")
    (line,) = text_of(make(slot("accept"), (3, 0x1000, 0x2000), 4, blobs=[length]))
    assert "[? => 16]" in line


def test_a_call_that_seccomp_refused_is_shown_with_what_lies_there():
    """It comes to no sys_enter, and the kernel has written nothing."""
    blob = Blob(1, events.PART_SELF, events.WHOLE, 8, b"\x08" + bytes(7))
    (line,) = text_of(make(slot("select"), (4, 0x1000, 0, 0, 0), -1, blobs=[blob]))
    assert "select(4, [3], NULL, NULL, NULL)" in line


U32, MINUS_ONE = 0xFFFFFFFF, 2**64 - 1
PR = {"GET_DUMPABLE": 3, "GET_SECUREBITS": 27, "MCE_KILL": 33, "MCE_KILL_GET": 34, "CAP_AMBIENT": 47, "FP_MODE": 45}


@pytest.mark.parametrize(
    ("name", "args", "result", "shown"),
    [
        ("set_mempolicy", (0, 0, 0), 0, "set_mempolicy(MPOL_DEFAULT, NULL, 0) = 0"),
        ("set_mempolicy", (0x8001, 0, 0), 0, "set_mempolicy(MPOL_PREFERRED|MPOL_F_STATIC_NODES, NULL, 0) = 0"),
        ("personality", (0x40000,), 0, "personality(PER_LINUX|ADDR_NO_RANDOMIZE) = 0 (PER_LINUX)"),
        ("personality", (U32,), 0x40000, "personality(0xffffffff) = 0x40000 (PER_LINUX|ADDR_NO_RANDOMIZE)"),
        ("personality", (8,), 8, "personality(PER_LINUX32) = 0x8 (PER_LINUX32)"),
        ("setsockopt", (3, 1, 26, 0, 0), 0, "setsockopt(3, SOL_SOCKET, SO_ATTACH_FILTER, NULL, 0) = 0"),
        ("getsockopt", (3, 1, 26, 0, 0), 0, "getsockopt(3, SOL_SOCKET, SO_GET_FILTER, NULL, NULL) = 0"),
        ("sched_getscheduler", (0,), 0, "sched_getscheduler(0) = 0 (SCHED_OTHER)"),
        ("sched_getscheduler", (0,), 1, "sched_getscheduler(0) = 1 (SCHED_FIFO)"),
        (
            "ioprio_get",
            (1, 0),
            0x4004,
            "ioprio_get(IOPRIO_WHO_PROCESS, 0) = 0x4004 (IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4))",
        ),
        ("umask", (0o27,), 0o22, "umask(027) = 022"),
        ("prctl", (PR["GET_DUMPABLE"], 9, 9, 9, 9), 1, "prctl(PR_GET_DUMPABLE) = 1 (SUID_DUMP_USER)"),
        ("prctl", (PR["GET_SECUREBITS"],), 0x10, "prctl(PR_GET_SECUREBITS) = 0x10 (SECBIT_KEEP_CAPS)"),
        ("prctl", (PR["MCE_KILL"], 0), 0, "prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0) = 0"),
        ("prctl", (PR["MCE_KILL_GET"],), 2, "prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) = 2 (PR_MCE_KILL_DEFAULT)"),
        ("prctl", (PR["CAP_AMBIENT"], 4), 0, "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) = 0"),
        ("prctl", (PR["FP_MODE"], 1, 7, 7, 7), 0, "prctl(PR_SET_FP_MODE, PR_FP_MODE_FR) = 0"),
        ("fcntl", (3, 3), 0x8002, "fcntl(3, F_GETFL) = 0x8002 (flags O_RDWR|O_LARGEFILE)"),
        ("fcntl", (3, 3), 0, "fcntl(3, F_GETFL) = 0 (flags O_RDONLY)"),
        ("fcntl", (3, 1), 0, "fcntl(3, F_GETFD) = 0"),
        ("fgetxattr", (3, 0, 0x5000, 0), 4, "fgetxattr(3, NULL, 0x5000, 0) = 4"),
        ("fcntl", (3, 1025), 0, "fcntl(3, F_GETLEASE) = 0 (F_RDLCK)"),
        ("removexattrat", (AT_FDCWD, 0, 0x200, 0), 0, "removexattrat(AT_FDCWD, NULL, 0x200 /* AT_??? */, NULL) = 0"),
        (
            "fchmodat2",
            (AT_FDCWD, 0, 0, 0x1100),
            0,
            "fchmodat2(AT_FDCWD, NULL, 000, AT_SYMLINK_NOFOLLOW|AT_EMPTY_PATH) = 0",
        ),
    ],
)
def test_names_are_of_the_table_that_the_call_looks_in(name, args, result, shown):
    (line,) = text_of(make(slot(name), args, result))
    assert " = ".join(part.strip() for part in line.split("  ", 1)[1].rsplit(" = ", 1)) == shown


def test_clone3_has_no_flag_that_it_refuses():
    args = (0x400000).to_bytes(8, "little") + bytes(80)
    blob = Blob(0, events.PART_SELF, events.WHOLE, 88, args)
    (line,) = text_of(make(slot("clone3"), (0x1000, 88), -22, blobs=[blob]))
    assert "{flags=0x400000 /* CLONE_??? */, exit_signal=0, stack=NULL, stack_size=0}, 88)" in line


# ---- --status -----------------------------------------------------------------------------------------------------------


def ending(expression: str) -> list[int]:
    """The results that are shown of some calls that returned; exit_group, a loss and a signal are among the records."""
    results = [0, 5, -1, -2, -11, -13, -512, -4095, -4096]
    records = [make(slot("read"), (3, 0, 0), result) for result in results]
    others = [make(slot("exit_group"), (0,)), make(0, (), 15, kind=events.SIGNAL), make(0, (), 7, kind=events.LOST)]
    shown: list[int] = []

    class Sink:
        def write(self, found):
            rows = found.events
            assert rows["result"][rows["kind"] != events.CALL].tolist() == [7]
            shown.extend(rows["result"][rows["kind"] == events.CALL].tolist())

    Status(Sink(), endings.parse(expression)).write(batch(*records, *others))
    return shown


@pytest.mark.parametrize(
    ("expression", "results"),
    [
        ("failed", [-1, -2, -11, -13, -512, -4095]),
        ("successful", [0, 5, -4096]),
        ("EPERM,EACCES", [-1, -13]),
        ("enoent, ewouldblock", [-2, -11]),
        ("ERESTARTSYS", [-512]),
        ("failed,!EAGAIN,!ENOENT", [-1, -13, -512, -4095]),
        ("!failed", [0, 5, -4096]),
        ("!EPERM", [0, 5, -2, -11, -13, -512, -4095, -4096]),
        ("failed,successful", [0, 5, -1, -2, -11, -13, -512, -4095, -4096]),
    ],
)
def test_calls_that_ended_so(expression, results):
    assert ending(expression) == results


@pytest.mark.parametrize("expression", ["", "EPREM", "failed,", "1", "EPERM,!EPERM", "!!EPERM", "unfinished"])
def test_what_is_no_way_to_end_is_refused(expression):
    with pytest.raises(UsageError):
        endings.parse(expression)


@pytest.mark.parametrize(
    ("clock", "form"), [(1, r"\d\d:\d\d:00\.000001"), (2, r"\d\d:\d\d:00\.000001"), (3, r"\d+00\.000001")]
)
def test_the_time_before_a_line_of_text(clock, form):
    whole = batch(make(slot("getpid"), (), 1, time=1_000))
    output = Collected()
    sink = Text(output, CALLS, Beside(clock=clock))
    sink.write(Batch(whole.events, whole.starts, whole.data, 1_700_000_100_000_000_000))
    assert re.fullmatch(rf"{form} 1 prog  getpid\(\) += 1", output.lines[0])
