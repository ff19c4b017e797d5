"""-x, -xx and -X: what strace 6.1 printed with them for the same registers and bytes."""

from __future__ import annotations

import pytest

from isotrace.decode import packed, scalars, signals, xlat
from isotrace.decode.descriptors import _escaped
from isotrace.decode.quote import comm, quote
from isotrace.decode.sockaddr import sockaddr
from isotrace.decode.structs import STRUCTS
from isotrace.decode.style import ALWAYS, NOT_ASCII, RAW, VERBOSE, Style, used

#: What is written, and how with -X abbrev, raw and verbose.
CONSTANTS = [
    (lambda: scalars.dirfd(-100), "AT_FDCWD", "-100", "-100 /* AT_FDCWD */"),
    (lambda: scalars.dirfd(5), "5", "5", "5"),
    (lambda: signals.signal(10), "SIGUSR1", "10", "10 /* SIGUSR1 */"),
    (lambda: signals.signal(77), "77", "77", "77"),
    (lambda: scalars.modetype(0o40755), "S_IFDIR|0755", "040755", "040755 /* S_IFDIR|0755 */"),
    (lambda: scalars.modetype(0o755), "0755", "0755", "0755"),
    (lambda: scalars.dev(0x103), "makedev(0x1, 0x3)", "0x103", "0x103 /* makedev(0x1, 0x3) */"),
    (lambda: xlat.enum("addrfams", 2), "AF_INET", "0x2", "0x2 /* AF_INET */"),
    (lambda: xlat.enum("addrfams", 99), "0x63 /* AF_??? */", "0x63", "0x63 /* AF_??? */"),
    (lambda: xlat.flags("mmap_prot", 0), "PROT_NONE", "0", "0 /* PROT_NONE */"),
    (lambda: xlat.flags("msg_flags", 0), "0", "0", "0"),
    (
        lambda: xlat.flags("open_mode_flags", 0x80042),
        "O_RDWR|O_CREAT|O_CLOEXEC",
        "0x80042",
        "0x80042 /* O_RDWR|O_CREAT|O_CLOEXEC */",
    ),
    (
        lambda: xlat.flags("socktypes", 0x80001),
        "SOCK_STREAM|SOCK_CLOEXEC",
        "0x1|0x80000",
        "0x1 /* SOCK_STREAM */|0x80000 /* SOCK_CLOEXEC */",
    ),
    (
        lambda: xlat.flags("clone_flags", 0x1200011),
        "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD",
        "0x1200000|17",
        "0x1200000 /* CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID */|17 /* SIGCHLD */",
    ),
    (lambda: xlat.flags("clone_flags", 17), "SIGCHLD", "17", "17 /* SIGCHLD */"),
    (
        lambda: xlat.flags("personality_persona", 0x40000),
        "PER_LINUX|ADDR_NO_RANDOMIZE",
        "0|0x40000",
        "0 /* PER_LINUX */|0x40000 /* ADDR_NO_RANDOMIZE */",
    ),
    (lambda: packed.ipcmode("resource_flags", 0o1600), "IPC_CREAT|0600", "0x200|0600", "0x200 /* IPC_CREAT */|0600"),
    (
        lambda: sockaddr(bytes.fromhex("020000507f000001") + bytes(8), 16),
        '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}',
        r'{sa_family=0x2, sin_port="\x00\x50", sin_addr="\x7f\x00\x00\x01"}',
        r'{sa_family=0x2 /* AF_INET */, sin_port="\x00\x50" /* htons(80) */, '
        r'sin_addr="\x7f\x00\x00\x01" /* inet_addr("127.0.0.1") */}',
    ),
    (
        lambda: sockaddr(bytes.fromhex("0a00005000000000") + bytes(15) + b"\1" + bytes(4), 28),
        '{sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), '
        "sin6_scope_id=0}",
        r'{sa_family=0xa, sin6_port="\x00\x50", sin6_flowinfo="\x00\x00\x00\x00", sin6_addr="'
        + r"\x00" * 15
        + r'\x01", sin6_scope_id=0}',
        r'{sa_family=0xa /* AF_INET6 */, sin6_port="\x00\x50" /* htons(80) */, '
        r'sin6_flowinfo="\x00\x00\x00\x00" /* htonl(0) */, sin6_addr="'
        + r"\x00" * 15
        + r'\x01" /* inet_pton(AF_INET6, "::1") */, sin6_scope_id=0}',
    ),
    (
        lambda: STRUCTS["rlimit64"].decode((8 << 20).to_bytes(8, "little") + b"\xff" * 8),
        "{rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}",
        "{rlim_cur=8388608, rlim_max=18446744073709551615}",
        "{rlim_cur=8388608 /* 8192*1024 */, rlim_max=18446744073709551615 /* RLIM64_INFINITY */}",
    ),
    (
        lambda: STRUCTS["utimens"].decode((1).to_bytes(8, "little") + (0x3FFFFFFF).to_bytes(8, "little")),
        "UTIME_NOW",
        "{tv_sec=1, tv_nsec=1073741823}",
        "{tv_sec=1, tv_nsec=1073741823} /* UTIME_NOW */",
    ),
    (
        lambda: STRUCTS["waitstatus"].decode((9).to_bytes(4, "little")),
        *3 * ("[{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}]",),
    ),
]


@pytest.mark.parametrize("row", CONSTANTS, ids=lambda row: row[1][:40])
def test_constants_are_names_numbers_or_both(row):
    shown, names, numbers, both = row
    assert shown() == names
    with used(Style(RAW)):
        assert shown() == numbers
    with used(Style(VERBOSE)):
        assert shown() == both
    assert shown() == names, "nothing of it is remembered"


#: A string, and how it is written without -x, with it, and with -xx.
STRINGS = [
    (b"plain\n\t ~", '"plain\\n\\t ~"', '"plain\\n\\t ~"', r'"\x70\x6c\x61\x69\x6e\x0a\x09\x20\x7e"'),
    (b"ab\xff\x001", '"ab\\377\\0001"', r'"\x61\x62\xff\x00\x31"', r'"\x61\x62\xff\x00\x31"'),
    (b"\x7f", '"\\177"', r'"\x7f"', r'"\x7f"'),
    (b"", '""', '""', '""'),
]


@pytest.mark.parametrize("row", STRINGS, ids=lambda row: row[1])
def test_strings_are_in_hexadecimal_where_that_is_asked(row):
    data, plain, some, every = row
    assert quote(data) == plain
    with used(Style(hexadecimal=NOT_ASCII)):
        assert quote(data) == some
    with used(Style(hexadecimal=ALWAYS)):
        assert quote(data) == every
        assert quote(data, cut=True) == every + "..."


def test_every_string_of_a_line_is_but_not_who_it_is_about():
    with used(Style(hexadecimal=ALWAYS)):
        address = sockaddr(bytes.fromhex("020000507f000001") + bytes(8), 16)
        assert address.endswith(r'sin_addr=inet_addr("\x31\x32\x37\x2e\x30\x2e\x30\x2e\x31")}')
        assert _escaped(b"/a") == r"\x2f\x61"
        assert comm(b"a b") == '"a b"'
