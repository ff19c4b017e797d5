"""-v, -e abbrev, -e verbose and -e raw: what strace 6.1 printed with them."""

from __future__ import annotations

import re
import struct

import pytest
from records import Collected, batch, make, string

from isotrace.decode.dirents import DIRENTS, DIRENTS32, DIRENTS64
from isotrace.decode.structs import STRUCTS
from isotrace.render.halves import halves
from isotrace.render.lines import Decoder
from isotrace.render.view import NO_CALLS, View
from isotrace.sinks.formats import Beside
from isotrace.sinks.text import Text
from isotrace.trace import events, plan
from isotrace.trace.events import CUT, FAULT, PART_DATA, PART_IOV, PART_SELF, WHOLE, Blob

CALLS = plan.all_calls()
SLOTS = {call.name: slot for slot, call in CALLS.items() if call.abi == "x86_64"}
AT_FDCWD = 2**64 - 100
FULL = View(abbreviated=NO_CALLS)


def shown(view: View, *records: bytes) -> list[str]:
    output = Collected()
    Text(output, CALLS, Beside(view=view)).write(batch(*records))
    return [re.sub(" += ", " = ", line.partition("  ")[2]) for line in output.lines]


def memory(arg: int, data: bytes, part: int = PART_SELF, state: int = WHOLE) -> Blob:
    return Blob(arg, part, state, len(data), data)


# ---- structs -----------------------------------------------------------------------------------------------------------


def test_a_file_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    times = (1795234309, 840562119, 0, 5, 1779294449, 0)
    regular = struct.pack("<QQQIIIxxxxQqqq6q24x", 0xFE00, 739, 1, 0o100644, 0, 2**32 - 1, 0, 1221, 4096, 8, *times)
    assert STRUCTS["stat"].full.decode(regular) == (
        "{st_dev=makedev(0xfe, 0), st_ino=739, st_mode=S_IFREG|0644, st_nlink=1, st_uid=0, st_gid=-1, st_blksize=4096, "
        "st_blocks=8, st_size=1221, st_atime=1795234309 /* 2026-11-21T04:11:49.840562119+0000 */, st_atime_nsec=840562119, "
        "st_mtime=0 /* 1970-01-01T00:00:00.000000005+0000 */, st_mtime_nsec=5, "
        "st_ctime=1779294449 /* 2026-05-20T16:27:29+0000 */, st_ctime_nsec=0}"
    )
    device = regular[:24] + struct.pack("<I", 0o20666) + regular[28:40] + struct.pack("<Q", 0x103) + regular[48:]
    assert "st_blocks=8, st_rdev=makedev(0x1, 0x3), st_atime=" in STRUCTS["stat"].full.decode(device)
    assert STRUCTS["stat"].decode(device) == "{st_mode=S_IFCHR|0666, st_rdev=makedev(0x1, 0x3), ...}"


def test_statx_in_full_has_what_the_mask_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    head = struct.pack("<IIQIIIHxxQQQQ", 0x1FFF, 4096, 0, 1, 0, 0, 0o20666, 3, 0, 0, 0x2000)
    moments = b"".join(struct.pack("<qIxxxx", second, 0) for second in (1795234309, 0, 0, 0))
    data = (head + moments + struct.pack("<4IQ", 1, 3, 0, 6, 0x18)).ljust(256, b"\0")
    text = STRUCTS["statx"].full.decode(data)
    assert text == (
        "{stx_mask=STATX_ALL|STATX_MNT_ID, stx_blksize=4096, stx_attributes=0, stx_nlink=1, stx_uid=0, stx_gid=0, "
        "stx_mode=S_IFCHR|0666, stx_ino=3, stx_size=0, stx_blocks=0, stx_attributes_mask=STATX_ATTR_MOUNT_ROOT, "
        "stx_atime={tv_sec=1795234309, tv_nsec=0} /* 2026-11-21T04:11:49+0000 */, stx_btime={tv_sec=0, tv_nsec=0}, "
        "stx_ctime={tv_sec=0, tv_nsec=0}, stx_mtime={tv_sec=0, tv_nsec=0}, stx_rdev_major=1, stx_rdev_minor=3, "
        "stx_dev_major=0, stx_dev_minor=6, stx_mnt_id=0x18}"
    )
    assert "stx_btime" not in STRUCTS["statx"].full.decode(struct.pack("<I", 0x7FF) + data[4:])


def test_a_terminal_in_full() -> None:
    data = struct.pack("<IIII", 0, 0, 0o17, 0) + b"\0" + bytes(range(19)) + struct.pack("<II", 9600, 38400)
    text = STRUCTS["termios2"].full.decode(data)
    assert ", c_line=N_TTY, c_cc=[[VINTR]=0, [VQUIT]=0x1, " in text
    assert text.endswith(" [VEOL2]=0x10, [17]=0x11, [18]=0x12], c_ispeed=9600, c_ospeed=38400}")
    assert STRUCTS["termios"].full.decode(data[:36]).endswith("[18]=0x12]}")


def test_the_sizes_are_the_same() -> None:
    found = [name for name, known in STRUCTS.items() if known.full]
    assert {"stat", "stat32", "stat64_i386", "statx", "utsname", "rusage", "termios", "dqblk"} <= set(found)
    assert [name for name in found if STRUCTS[name].full.size != STRUCTS[name].size] == []


def test_directories() -> None:
    def entry(head: str, name: bytes, kind: int, last: bool) -> bytes:
        start = struct.calcsize(head) + (not last)
        length = (start + len(name) + 1 + last + 7) & ~7
        packed = struct.pack(head, 829, 5389859534020044560 if "q" in head else 12, length)
        body = name.ljust(length - start - last, b"\0")
        return packed + (body + bytes([kind]) if last else bytes([kind]) + body)

    for layout, head, last, text in (
        (DIRENTS64, "<QqH", False, '{d_ino=829, d_off=5389859534020044560, d_reclen=24, d_type=DT_DIR, d_name="."}'),
        (DIRENTS, "<QQH", True, '{d_ino=829, d_off=12, d_reclen=24, d_name=".", d_type=DT_DIR}'),
        (DIRENTS32, "<IIH", True, '{d_ino=829, d_off=12, d_reclen=16, d_name=".", d_type=DT_DIR}'),
    ):
        data = entry(head, b".", 4, last) + entry(head, b"a\n", 8, last)
        first, second = layout.entries(data)
        assert first == text
        assert 'd_name="a\\n"' in second
        assert layout.count(data) == 2
        assert list(layout.entries(data[:-1])) == [first], "what is there in part is left out"
        assert list(layout.entries(b"")) == []


def test_what_was_not_copied_of_a_directory_is_said() -> None:
    entry = struct.pack("<QqHB", 1, 2, 24, 4) + b".".ljust(5, b"\0")
    whole = make(SLOTS["getdents64"], (3, 0x1000, 99), 24, blobs=[memory(1, entry)])
    cut = make(SLOTS["getdents64"], (3, 0x1000, 99), 48, blobs=[memory(1, entry + entry[:9], state=CUT)])
    one = '{d_ino=1, d_off=2, d_reclen=24, d_type=DT_DIR, d_name="."}'
    assert shown(FULL, whole, cut) == [f"getdents64(3, [{one}], 99) = 24", f"getdents64(3, [{one}, ...], 99) = 48"]
    assert shown(View(), whole) == ["getdents64(3, 0x1000 /* 1 entry */, 99) = 24"]


def test_arrays_are_as_long_as_they_are() -> None:
    data = b"".join(struct.pack("<iHH", -1, 0, 0) for _ in range(40))
    record = make(SLOTS["poll"], (0x1000, 40, 0), -4, blobs=[memory(0, data)])
    (text,), (short,) = shown(FULL, record), shown(View(), record)
    assert text.count("{fd=-1}") == 40 and "..." not in text
    assert short.count("{fd=-1}") == 32 and "{fd=-1}, ...]" in short


# ---- execve ------------------------------------------------------------------------------------------------------------


def execve(argv: list[Blob], envp: list[Blob], view: View = FULL) -> str:
    blobs = [string(0, b"/x"), *argv, *envp]
    (line,) = shown(view, make(SLOTS["execve"], (1, 0x20, 0x30), -2, blobs=blobs))
    return line.removeprefix('execve("/x", ').partition(") = ")[0]


END, MORE = Blob(1, PART_IOV, WHOLE, 0, b""), Blob(1, PART_IOV, CUT, 0, b"")


def strings(arg: int, *texts: bytes, part: int = PART_SELF, end: Blob | None = END) -> list[Blob]:
    found = [Blob(arg, part, WHOLE, 0, text + b"\0") for text in texts]
    return [*found, *([end._replace(arg=arg)] if end else [])]


def count(number: int, state: int = WHOLE) -> Blob:
    return Blob(2, PART_SELF, state, number, b"")


def test_the_environment_is_shown_where_it_is_there() -> None:
    argv = strings(1, b"a")
    envp = [count(2), *strings(2, b"A=1", b"B=\n", part=PART_DATA)]
    assert execve(argv, envp) == '["a"], ["A=1", "B=\\n"]'
    assert execve(argv, envp, View()) == '["a"], 0x30 /* 2 vars */'
    assert execve(argv, [count(2)]) == '["a"], 0x30 /* 2 vars */', "recorded without -v"
    assert execve(argv, [count(0), *strings(2)]) == '["a"], []'
    assert execve(argv, []) == '["a"], 0x30'
    assert execve(argv, [count(0, FAULT)], View()) == '["a"], 0x30'
    assert execve(argv, [count(2, FAULT)], View()) == '["a"], 0x30 /* 2 vars, unterminated */'
    fault = Blob(2, PART_IOV, FAULT, 8, b"")
    assert execve(argv, [count(0), fault]) == '["a"], 0x30'
    lost = Blob(2, PART_DATA, FAULT, 0x77, b"")
    assert execve(argv, [count(1), lost, END._replace(arg=2)]) == '["a"], [0x77<fault>]'


def test_whether_there_were_more_arguments() -> None:
    many = [b"x"] * 32
    assert execve(strings(1, *many), [], View()).count("...") == 0, "there are 32 of them"
    assert execve(strings(1, *many, b"y"), [], View()).endswith('"x", ...], 0x30')
    assert execve(strings(1, *many, b"y"), []).endswith('"x", "y"], 0x30')
    assert execve(strings(1, *many, b"y", end=MORE), []).endswith('"y", ...], 0x30')
    assert execve(strings(1, *many, end=None), []).endswith('"x", ...], 0x30'), "not known where it was not asked for"
    assert execve([], [*strings(2, end=MORE)]) == "[], [...]", "the record was full"


def joined(before: list[Blob], after: list[Blob], script: int = 0) -> str:
    task = (0, 0, 0, 0, 0, 0xFF)
    records = [
        make(SLOTS["execve"], (1, 0x20, 0x30, 0, 0, 0xFF), kind=events.EXEC_ENTER, blobs=[string(0, b"/x"), *before]),
        make(0, task, script, events.EXEC_NAME, blobs=[string(0, b"/x")]),
        make(SLOTS["execve"], task, 0, blobs=after),
    ]
    line = next(line for line in shown(FULL, *records) if line)
    return line.removeprefix('execve("/x", ').removesuffix(") = 0")


def test_what_could_not_be_read_before_is_what_the_program_got() -> None:
    environment = strings(2, b"A=1", b"B=2", part=PART_DATA)
    lost = [environment[0], Blob(2, PART_DATA, FAULT, 0x77, b""), environment[-1]]
    argv = strings(1, b"a", b"b")
    assert joined([*argv, count(2), *lost], [*argv, *environment]) == '["a", "b"], ["A=1", "B=2"]'
    shebang = strings(1, b"sh", b"-x", b"/x", b"b")
    assert joined([*argv, count(2), *lost], [*shebang, *environment], 1) == '["a", "b"], ["A=1", "B=2"]'
    far = [argv[0], Blob(1, PART_SELF, FAULT, 0x88, b""), END]
    assert joined([*far, count(2), *environment], [*shebang, *environment], 1) == '["a", "b"], ["A=1", "B=2"]'
    assert joined([*far, count(2), *environment], []) == '["a", 0x88<fault>], ["A=1", "B=2"]'
    unread = [argv[0], Blob(1, PART_IOV, FAULT, 8, b"")]
    assert joined([*unread, count(2), *environment], [*argv, *environment]) == '["a", "b"], ["A=1", "B=2"]'
    assert joined([*unread, count(2), *environment], [*argv, *environment], 1) == '["a", <fault>], ["A=1", "B=2"]'


# ---- addresses and registers -------------------------------------------------------------------------------------------

STAT = make(SLOTS["newfstatat"], (AT_FDCWD, 0x1000, 0x2000, 0x100), 0, blobs=[string(1, b"/a"), memory(2, bytes(144))])
CLONE = make(SLOTS["clone"], (0x1200011, 0, 0, 0x7F00, 0), 77)


def test_addresses_that_are_not_followed_but_for_strings() -> None:
    view = View(followed=NO_CALLS)
    assert shown(view, STAT) == ['newfstatat(AT_FDCWD, "/a", 0x2000, AT_SYMLINK_NOFOLLOW) = 0']
    connect = make(SLOTS["connect"], (3, 0x1000, 16), 0, blobs=[memory(1, b"\2\0" + bytes(14))])
    assert shown(view, connect) == ["connect(3, 0x1000, 16) = 0"]
    assert shown(View(followed=frozenset({"connect"})), connect, STAT) == [
        '{connect(3, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("0.0.0.0")}, 16) = 0'[1:],
        'newfstatat(AT_FDCWD, "/a", 0x2000, AT_SYMLINK_NOFOLLOW) = 0',
    ]


def test_raw_registers_are_numbers_as_wide_as_the_call_takes_them() -> None:
    view = View(raw=None)
    assert shown(view, STAT, CLONE, make(SLOTS["getpid"], (), 0x7BE3), make(SLOTS["read"], (3, 0x1000, 5), -9)) == [
        "newfstatat(0xffffff9c, 0x1000, 0x2000, 0x100) = 0",
        "clone(0x1200011, 0, 0, 0x7f00, 0) = 0x4d",
        "getpid() = 0x7be3",
        "read(0x3, 0x1000, 0x5) = -1 EBADF (Bad file descriptor)",
    ]
    assert shown(View(raw=frozenset({"clone"})), STAT)[0].startswith("newfstatat(AT_FDCWD, ")
    wait = make(SLOTS["wait4"], (5, 0x1000, 0, 0), 5)
    (decoded,) = Decoder(CALLS, 0, view).decode(batch(wait))
    assert halves(decoded, 0) == ("wait4(0x5, 0x1000, 0, 0", ")"), "nothing of it is known later"
