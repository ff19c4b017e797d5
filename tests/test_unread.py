"""Memory that could not be read, and memory that a call did not look at: neither is shown as if it meant something."""

from __future__ import annotations

import ctypes
import os
import struct

import pytest

from isotrace.catalog.load import by_name
from isotrace.render.columns import column_of
from isotrace.render.rows import Rows
from isotrace.sinks import endings
from isotrace.sinks.passing import Choice
from isotrace.sinks.status import Status
from isotrace.trace import captures, events, memory
from isotrace.trace.events import Blob
from tests.records import batch, make

PAGE = 4096
AT = 0x7F0000000000  # of a page behind which there is nothing
EBADF, EINVAL = -9, -22


def shown(name: str, index: int, registers: list[int], data: bytes | None, full: int, result: int = EBADF) -> str:
    """Argument ``index`` of a call that was given ``full`` bytes there, of which ``data`` was copied."""
    call = by_name("x86_64")[name]
    state = events.FAULT if data is None else events.CUT if full > len(data) else events.WHOLE
    blobs = [Blob(index, events.PART_SELF, state, full, data or b"")]
    registers = registers + [0] * (6 - len(registers))
    rows = Rows(batch(make(args=registers, blobs=blobs, result=result)), [0])
    return column_of(call, index, call.args[index])(rows)[0]


def last(size: int) -> int:
    """The address of the last ``size`` bytes that can be read."""
    return AT + PAGE - size


def test_a_struct_of_which_a_part_could_not_be_read_is_an_address():
    found = shown("clock_settime", 1, [0, last(15)], bytes(15), 15)
    assert found == f"{last(15):#x}<fault>"


def test_an_array_says_from_which_element_on_it_could_not_be_read():
    group = struct.pack("<I", 7)
    assert shown("setgroups", 1, [2, last(4)], group, 8) == f"[7, ... /* {AT + PAGE:#x} */]"
    assert shown("setgroups", 1, [2, last(2)], b"\0\0", 8) == f"{last(2):#x}<fault>"


def test_an_array_that_is_long_is_cut():
    groups = struct.pack("<33I", *range(33))
    assert shown("setgroups", 1, [33, AT], groups, 132).endswith("30, 31, ...]")


@pytest.mark.parametrize(
    ("name", "index", "registers", "size", "text"),
    [
        ("rt_sigprocmask", 1, [2, AT, 0, 8], 8, "[HUP]"),
        ("rt_sigprocmask", 1, [2, AT, 0, 16], 8, f"{AT:#x}"),
        ("rt_sigsuspend", 0, [AT, 128], 8, f"{AT:#x}"),
        ("epoll_pwait", 4, [3, 0, 1, 0, AT, 256], 8, f"{AT:#x}"),
        ("openat2", 2, [3, 0, AT, 11], 11, f"{AT:#x}"),
        ("openat2", 2, [3, 0, AT, 24], 24, "{flags=O_WRONLY, resolve=0}"),
        ("openat2", 2, [3, 0, last(24), 32], 24, "{flags=O_WRONLY, resolve=0, ???}"),
        ("clone3", 0, [AT, 56], 56, f"{AT:#x}"),
        ("mount_setattr", 3, [3, 0, 0, AT, 31], 31, f"{AT:#x}"),
        ("setsockopt", 3, [3, 1, 13, AT, 0xFFFFFFFF], 8, f"{AT:#x}"),  # SO_LINGER
        ("setsockopt", 3, [3, 1, 13, AT, 7], 7, f"{AT:#x}"),
        ("setsockopt", 3, [3, 1, 13, AT, 9], 9, "{l_onoff=1, l_linger=0}"),
        ("setsockopt", 3, [3, 1, 1, AT, 3], 3, f"{AT:#x}"),  # SO_DEBUG
        ("setsockopt", 3, [3, 1, 1, AT, 5], 5, "[1]"),
    ],
)
def test_what_has_a_size_that_the_kernel_does_not_take_was_not_looked_at(name, index, registers, size, text):
    assert shown(name, index, registers, b"\1".ljust(size, b"\0"), max(size, 8), EINVAL) == text


def test_what_was_pending_is_as_long_as_was_asked_for():
    assert shown("rt_sigpending", 0, [AT, 4], b"\1\0\0\0", 4, 0) == "[HUP]"


def test_a_string_in_a_longer_copy_is_complete_where_its_nul_is():
    assert shown("prctl", 1, [15, last(1)], b"\0", PAGE, 0) == '""'
    assert shown("prctl", 1, [15, last(5)], b"name\0", PAGE, 0) == '"name"'


def test_a_string_as_long_as_is_shown_is_complete():
    call = by_name("x86_64")["keyctl"]
    (row,) = [row for row in captures.captures_of(call, 10) if row.arg == 1]
    assert row.limit == 11
    assert shown("keyctl", 1, [1, AT], b"ten bytes!\0", 11) == '"ten bytes!"'
    assert shown("keyctl", 1, [1, AT], b"ten bytes!!", 11) == '"ten bytes!"...'


def test_a_string_that_goes_on_where_nothing_can_be_read_is_no_string():
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    start = libc.mmap(None, ctypes.c_size_t(2 * PAGE), 3, 0x22, -1, 0)
    end = start + PAGE
    libc.munmap(ctypes.c_void_p(end), ctypes.c_size_t(PAGE))
    ctypes.memmove(end - 2, b"ab", 2)
    assert _state(memory.string(os.getpid(), 1, end - 2, PAGE)) == events.FAULT
    ctypes.memmove(end - 1, b"\0", 1)
    assert _state(memory.string(os.getpid(), 1, end - 2, PAGE)) == events.WHOLE
    libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(PAGE))


def _state(blob: bytes) -> int:
    return blob[2]


@pytest.mark.parametrize(
    ("name", "registers", "text"),
    [
        ("kcmp", [1, 2, 99, 7, 8], ["0x7", "0x8"]),
        ("kcmp", [1, 2, 1, 7, 8], ["\0", "\0"]),  # KCMP_VM
    ],
)
def test_the_arguments_of_a_command_that_is_not_known_are_numbers(name, registers, text):
    assert [shown(name, index, registers, None, 0) for index in (3, 4)] == text


def test_a_keys_command_that_is_not_known_has_four_arguments_of_64_bits():
    registers = [0xFACEFEED, 1 << 40, 2, 3, 4]
    assert [shown("keyctl", i, registers, None, 0) for i in range(1, 5)] == ["0x10000000000", "0x2", "0x3", "0x4"]


def test_a_key_is_its_serial_number():
    assert shown("keyctl", 1, [3, 0xDEC0DED2], None, 0) == "-557785390"
    assert shown("keyctl", 1, [3, 0xFFFFFFFD], None, 0) == "KEY_SPEC_SESSION_KEYRING"


HEADER = struct.Struct("<QIxxxxQQQQixxxx")


def _messages(name: str, result: int, room: int, written: int) -> str:
    """Two messages whose names lie at AT: the caller had ``room`` for each, and ``written`` bytes long is what it got."""
    call = by_name("x86_64")[name]
    one = HEADER.pack(AT, written, 0, 0, 0, 0, 0) + struct.pack("<Ixxxx", 0x55555555)
    given = HEADER.pack(AT, room, 0, 0, 0, 0, 0) + bytes(8)
    name_of = Blob(1, events.PART_NAME, events.WHOLE, written, b"\1\0/x".ljust(written, b"\0"))
    blobs = [Blob(1, events.PART_SELF, events.WHOLE, 64, one), name_of] * 2
    blobs += [Blob(1, events.PART_BEFORE, events.WHOLE, 128, given * 2)]
    rows = Rows(batch(make(args=[3, AT + PAGE, 2, 0, 0, 0], blobs=blobs, result=result)), [0])
    return column_of(call, 1, call.args[1])(rows)[0]


def test_how_long_a_message_was_is_known_of_those_that_were_sent():
    assert "msg_len" not in _messages("sendmmsg", EBADF, 4, 4)
    assert _messages("sendmmsg", 1, 4, 4).count("msg_len=1431655765") == 1
    assert _messages("sendmmsg", 2, 4, 4).count("msg_len=1431655765") == 2


def test_a_name_for_which_there_was_no_room_was_not_written():
    assert f"msg_name={AT:#x}, msg_namelen=0 => 38" in _messages("recvmmsg", 2, 0, 38)
    assert f"msg_name={AT:#x}, msg_namelen=1" in _messages("sendmmsg", EBADF, 1, 1)


class _Taken:
    def __init__(self) -> None:
        self.kinds: list[int] = []

    def write(self, found: events.Batch) -> None:
        self.kinds += found.events["kind"].tolist()


def test_ends_and_signals_may_be_shown_whatever_calls_are():
    class Nothing:
        def choose(self, found):
            return found.events["kind"] < 0

    records = [make(kind=kind) for kind in (events.CALL, events.SIGNAL, events.TASK_EXIT)]
    plain, strace = _Taken(), _Taken()
    Choice(plain, [Nothing()]).write(batch(*records))
    Choice(strace, [Nothing()], (events.SIGNAL, events.TASK_EXIT)).write(batch(*records))
    assert plain.kinds == []
    assert strace.kinds == [events.SIGNAL, events.TASK_EXIT]


def test_ends_are_shown_however_calls_ended():
    records = [make(result=EBADF), make(), make(kind=events.TASK_EXIT)]
    taken = _Taken()
    Status(taken, endings.parse("failed"), (events.TASK_EXIT,)).write(batch(*records))
    assert taken.kinds == [events.CALL, events.TASK_EXIT]


@pytest.mark.parametrize(
    ("option", "size", "text"),
    [(17, 3, '{pid="\\x01\\x00\\x00"}'), (13, 7, '{l_onoff=1, l_linger="\\x00\\x00\\x00"}'), (26, 9, f"{AT:#x}")],
)
def test_of_a_socket_option_that_is_not_whole_the_bytes_are_shown(option, size, text):
    call = by_name("x86_64")["getsockopt"]
    length = Blob(4, events.PART_SELF, events.WHOLE, 4, struct.pack("<I", size))
    value = Blob(3, events.PART_SELF, events.WHOLE, size, b"\1".ljust(size, b"\0"))
    rows = Rows(batch(make(args=[3, 1, option, AT, AT, 0], blobs=[value, length])), [0])
    assert column_of(call, 3, call.args[3])(rows) == [text]


@pytest.mark.parametrize(
    ("command", "texts"),
    [
        (0x800002, ["QFMT_VFS_V0"]),  # Q_QUOTAON
        (0x800004, ["\0"]),  # Q_GETFMT
        (0x800007, ["2"]),  # Q_GETQUOTA
    ],
)
def test_what_quotactl_asks_about_is_of_its_command(command, texts):
    assert [shown("quotactl", 2, [command << 8, 0, 2, 0], None, 0)] == texts


@pytest.mark.parametrize(
    ("registers", "texts"),
    [
        ([22, 9, 1, 2, 3], ["0x1", "0x2", "0x3"]),  # PR_SET_SECCOMP with a mode that there is not
        ([22, 1, 1, 2, 3], ["\0", "\0", "\0"]),
        ([47, 99, 1, 2, 3], ["0x1", "0x2", "0x3"]),  # PR_CAP_AMBIENT
        ([47, 2, 1, 0, 0], ["CAP_DAC_OVERRIDE", "0", "0"]),
        ([50, 16, 1, 2, 3], ["\0", "\0", "\0"]),  # PR_SVE_SET_VL
        ([62, 0, 1, 2, 0], ["1", "0x2 /* PIDTYPE_PGID */", "NULL"]),  # PR_SCHED_CORE
    ],
)
def test_what_prctl_looks_at_depends_on_what_is_asked(registers, texts):
    assert [shown("prctl", i, registers, None, 0) for i in (2, 3, 4)] == texts


@pytest.mark.parametrize(
    ("name", "index", "registers", "size", "more"),
    [
        ("msgctl", 2, [1, 1, AT], 120, "msg_perm={}, msg_qbytes=72340172838076673"),
        ("shmctl", 2, [1, 1, AT], 112, "shm_perm={}"),
        ("semctl", 3, [1, 0, 1, AT], 104, "sem_perm={}"),
    ],
)
def test_ipc_set_takes_the_owner_and_the_mode(name, index, registers, size, more):
    owner = "{uid=16843009, gid=16843009, mode=0100200401}"
    assert shown(name, index, registers, b"\1" * size, size) == f"{{{more.format(owner)}}}"


def test_two_times_are_read_at_once():
    assert shown("utimensat", 2, [3, 0, last(16)], bytes(16), 32) == f"{last(16):#x}<fault>"


def test_a_size_is_copied_as_far_as_it_may_count():
    call = by_name("x86_64")["rt_sigprocmask"]
    (row,) = [row for row in captures.captures_of(call, 32) if row.arg == 1]
    assert (row.op, row.length) == (captures.BYTES, 4)
