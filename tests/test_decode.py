"""The decoders' own rules: what the recording of strace cannot show."""

from __future__ import annotations

import errno
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from isotrace.catalog import load
from isotrace.catalog.alternatives import chooser
from isotrace.decode import errnos, packed, style, xlat
from isotrace.decode.dirents import DIRENTS64
from isotrace.decode.quote import comm, quote
from isotrace.decode.signals import signal, sigset
from isotrace.decode.sockaddr import cmsgs, sockaddr
from isotrace.decode.structs import STRUCTS, fdset, poll_result, wait_status


def test_errno_names_and_messages_are_the_c_librarys() -> None:
    assert [errnos.errno_text(n) for n in errno.errorcode if n not in (95, 11, 35)] == [
        f"{errno.errorcode[n]} ({os.strerror(n)})" for n in errno.errorcode if n not in (95, 11, 35)
    ]
    assert errnos.errno_text(11) == "EAGAIN (Resource temporarily unavailable)"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2, "-1 ENOENT (No such file or directory)"),
        (512, "? ERESTARTSYS (To be restarted if SA_RESTART is set)"),
        (516, "? ERESTART_RESTARTBLOCK (Interrupted by signal)"),
        (524, "-1 ENOTSUPP (errno 524)"),
    ],
)
def test_results(number: int, text: str) -> None:
    assert errnos.result_text(number) == text


def test_signals() -> None:
    assert [signal(n) for n in (0, 1, 31, 32, 33, 64, 65)] == [
        "0",
        "SIGHUP",
        "SIGSYS",
        "SIGRTMIN",
        "SIGRT_1",
        "SIGRT_32",
        "65",
    ]
    assert sigset(0x4002) == "[INT TERM]"
    assert sigset(~0x40100 & 2**64 - 1) == "~[KILL STOP]"
    assert sigset(0) == "[]"
    assert sigset(2**64 - 1) == "~[]"


def test_quote() -> None:
    assert quote(b"a\0" + b"1") == '"a\\0001"'
    assert quote(b"ab", cut=True) == '"ab"...'


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"bash\0\0", "bash"),
        (b"kworker/0:1", "kworker/0:1"),
        (b"a b", '"a b"'),
        (b"x\x1b[31m", '"x\\33[31m"'),
        (b"", '""'),
    ],
)
def test_comm(raw: bytes, text: str) -> None:
    assert comm(raw) == text


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "{WIFEXITED(s) && WEXITSTATUS(s) == 0}"),
        (0x100, "{WIFEXITED(s) && WEXITSTATUS(s) == 1}"),
        (9, "{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}"),
        (0x8B, "{WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV && WCOREDUMP(s)}"),
        (0x137F, "{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}"),
        (0xFFFF, "{WIFCONTINUED(s)}"),
        (0x0003057F, "{WIFSTOPPED(s) && WSTOPSIG(s) == SIGTRAP}|PTRACE_EVENT_CLONE<<16"),
    ],
)
def test_wait_status(status: int, text: str) -> None:
    assert wait_status(status) == text
    assert STRUCTS["waitstatus"].decode(struct.pack("<I", status)) == f"[{text}]"


def test_poll_result() -> None:
    data = struct.pack("<iHHiHHiHH", 3, 1, 1, 4, 1, 0, 5, 4, 0x18)
    assert poll_result(data, 2) == "([{fd=3, revents=POLLIN}, {fd=5, revents=POLLERR|POLLHUP}])"
    assert poll_result(data, 0) == "(Timeout)"
    assert poll_result(struct.pack("<iHH", 1, 1, 1) * 40, 40).endswith(", ...])")


def test_fdset_shows_only_what_select_looks_at() -> None:
    assert fdset(bytes([0b10001001, 1]), 8) == "[0 3 7]"
    assert fdset(bytes([0b10001001, 1]), 4) == "[0 3]"


def test_dirents64() -> None:
    def entry(name: bytes) -> bytes:
        length = (19 + len(name) + 1 + 7) & ~7
        return struct.pack("<QqHB", 1, 1, length, 8) + name.ljust(length - 19, b"\0")

    assert DIRENTS64.count(entry(b".") + entry(b"..") + entry(b"a long name indeed")) == 3
    assert DIRENTS64.count(b"") == 0


def test_control_messages() -> None:
    rights = struct.pack("<Qiiii", 24, 1, 1, 5, 6)
    assert cmsgs(rights) == "[{cmsg_len=24, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[5, 6]}]"
    credentials = struct.pack("<QiiiII", 28, 1, 2, 77, 0, 2**32 - 1)
    assert cmsgs(credentials) == (
        "[{cmsg_len=28, cmsg_level=SOL_SOCKET, cmsg_type=SCM_CREDENTIALS, cmsg_data={pid=77, uid=0, gid=-1}}]"
    )


def test_interface_names_come_from_the_caller() -> None:
    data = struct.pack("<HHI", 10, 0, 0) + bytes.fromhex("fe80000000000000 0000000000000001") + struct.pack("<I", 1)
    shown = sockaddr(data, len(data), ifname=lambda index: f'if_nametoindex("if{index}")')
    assert shown.endswith('sin6_scope_id=if_nametoindex("if1")}')


def test_clone_flags_end_with_the_exit_signal() -> None:
    assert xlat.flags("clone_flags", 0x4111) == "CLONE_VM|CLONE_VFORK|SIGCHLD"
    assert xlat.flags("clone_flags", 0x11) == "SIGCHLD"
    assert xlat.flags("unshare_flags", 0x20000) == "CLONE_NEWNS"


def test_unknown_set_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        xlat.flags("no_such_set", 1)


def test_32_bit_structs() -> None:
    assert STRUCTS["timespec32"].decode(struct.pack("<iI", -1, 5)) == "{tv_sec=-1, tv_nsec=5}"
    assert STRUCTS["sigaction32"].decode(struct.pack("<IIIQ", 1, 0x04000000, 0x99, 2)) == (
        "{sa_handler=SIG_IGN, sa_mask=[INT], sa_flags=SA_RESTORER, sa_restorer=0x99}"
    )
    assert STRUCTS["rlimit32"].decode(b"\xff" * 8) == "{rlim_cur=RLIM_INFINITY, rlim_max=RLIM_INFINITY}"
    stat64 = bytes(16) + struct.pack("<I", 0o100644) + bytes(24) + struct.pack("<Q", 1 << 40) + bytes(44)
    assert STRUCTS["stat64_i386"].decode(stat64) == f"{{st_mode=S_IFREG|0644, st_size={1 << 40}, ...}}"


def test_primitives_behind_pointers() -> None:
    assert STRUCTS["int32"].decode(b"\xff" * 4) == "[-1]"
    assert STRUCTS["uint32"].decode(b"\xff" * 4) == "[4294967295]"
    assert STRUCTS["ptr"].decode(bytes(8)) == "[NULL]"
    assert STRUCTS["sockerrno"].decode(struct.pack("<i", 111)) == "[ECONNREFUSED]"


def test_capabilities() -> None:
    data = struct.pack("<6I", 1, 0x200000, 0, 0, 0, 0x100)
    assert (
        STRUCTS["cap_data"].decode(data)
        == "{effective=1<<CAP_CHOWN, permitted=1<<CAP_SYS_ADMIN, inheritable=1<<CAP_CHECKPOINT_RESTORE}"
    )


def test_help_waits_for_no_table_and_no_table_is_made_before_it_is_asked_for() -> None:
    code = (
        "import contextlib, sys\nfrom isotrace.cli import cli\nwith contextlib.suppress(SystemExit): cli(['--help'])\n"
    )
    code += "print([name for name in sys.modules if name.startswith(('isotrace.decode', 'numpy'))])\n"
    code += "from isotrace.decode import xlat\nprint(len(xlat.SETS), len(xlat.SETS._made))"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=Path(__file__).parent.parent, text=True, capture_output=True, check=True)
    modules, sets = done.stdout.splitlines()[-2:]
    assert modules == "[]" and re.fullmatch("[1-9][0-9]+ 0", sets)


def test_the_generated_tables_have_every_row() -> None:
    text = (Path(xlat.__file__).parent / "xlat_names.txt").read_text()
    assert set(re.findall(r"(?m)^(\w+) (?:flags|enum) ", text)) == set(xlat.SETS)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("ioprio", 2 << 13 | 4, "IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4)"),
        ("taggedaddr", 1 | 2 | 5 << 3, "PR_TAGGED_ADDR_ENABLE|PR_MTE_TCF_SYNC|0x5<<PR_MTE_TAG_SHIFT"),
        ("taggedaddr", 1 << 40, "!PR_TAGGED_ADDR_ENABLE|PR_MTE_TCF_NONE|0x10000000000"),
        ("swapflags", 42, "42"),
        ("swapflags", 0x8000 | 42, "SWAP_FLAG_PREFER|42"),
        ("swapflags", 0x100000000, "0"),
        ("futexwakeop", 6 << 28 | 7 << 24, "0x6<<28 /* FUTEX_OP_??? */|0<<12|0x7<<24 /* FUTEX_OP_CMP_??? */|0"),
    ],
)
def test_a_register_that_packs_several_things_says_all_of_them(kind, value, text):
    assert packed.PACKED[kind](value) == text


def test_shared_memory_says_the_size_of_its_pages():
    assert packed.ipcmode("shm_resource_flags", 21 << 26 | 0o600) == "21<<SHM_HUGE_SHIFT|0600"
    huge = packed.ipcmode("shm_resource_flags", 1 << 9 | 1 << 11 | 30 << 26)
    assert huge == "IPC_CREAT|SHM_HUGETLB|30<<SHM_HUGE_SHIFT|000"
    assert packed.ipcmode("resource_flags", 1 << 9 | 21 << 26) == "IPC_CREAT|0x54000000|000"
    with style.used(style.Style("verbose")):
        assert packed.ipcmode("shm_resource_flags", 21 << 26) == "21<<26 /* SHM_HUGE_SHIFT */|000"


def test_a_length_of_vectors_has_its_flags_before_it():
    assert packed.vectorlength("pr_sve_vl_flags", 32) == "0x20"
    assert packed.vectorlength("pr_sve_vl_flags", 0xA0020) == "PR_SVE_VL_INHERIT|0x80000|0x20"
    with style.used(style.Style("verbose")):
        assert packed.vectorlength("pr_sve_vl_flags", 0x20020) == "0x20020 /* PR_SVE_VL_INHERIT|0x20 */"


def test_clone3_shows_no_more_than_the_caller_gave():
    into_a_cgroup = struct.pack("<8Q", 1 << 33, 0, 0, 0, 17, 0, 0, 0)
    known = STRUCTS["clone_args"]
    assert known.prefix(into_a_cgroup) == "{flags=CLONE_INTO_CGROUP, exit_signal=SIGCHLD, stack=NULL, stack_size=0}"
    assert known.decode(into_a_cgroup + struct.pack("<3Q", 0, 0, 5)).endswith("stack_size=0, cgroup=5}")


def test_where_a_page_is_is_a_node_or_an_error():
    known = STRUCTS["page_status"]
    texts = [known.element(struct.pack("<i", number)) for number in (3, -14, -559038748)]
    assert texts == ["3", "-EFAULT", "-559038748"]


def test_a_membership_of_a_packet_socket_has_no_longer_an_address_than_it_has_room_for():
    given = struct.pack("<iHH", 1, 1, 9) + bytes(range(8))
    assert STRUCTS["packet_mreq"].decode(given) == (
        '{mr_ifindex=if_nametoindex("lo"), mr_type=PACKET_MR_PROMISC, mr_alen=9, mr_address=00:01:02:03:04:05:06:07}'
    )


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [
        *[(0, ("str", "str")), (32, ("ptr", "str")), (4096, ("ptr", "ptr")), (32 | 4096, ("ptr", "str"))],
        *[(1 << 18 | 1 << 14, ("ptr", "ptr")), (0xC0ED0001, ("str", "str")), (0xC0ED0020, ("ptr", "str"))],
        (0xC0ED1000, ("ptr", "ptr")),
    ],
)
def test_what_mount_does_not_look_at_is_an_address(flags, kinds):
    call = load.by_name("x86_64")["mount"]
    registers = (1, 2, 3, flags, 5, 0)
    assert tuple(chooser(call, call.args[number]).choose(registers).kind for number in (2, 4)) == kinds


@pytest.mark.parametrize(
    ("request_number", "shown"),
    [(16, ["pid"]), (8, ["pid"]), (0x4207, ["pid"]), (0x4208, ["pid"]), (12, ["pid", "ptr"]), (0, [])],
    ids=["ATTACH", "KILL", "INTERRUPT", "LISTEN", "GETREGS", "TRACEME"],
)
def test_ptrace_shows_what_a_request_uses(request_number, shown):
    call = load.by_name("x86_64")["ptrace"]
    kinds = [chooser(call, arg).choose((request_number, 1, 2, 3, 0, 0)).kind for arg in call.args[1:]]
    assert [kind for kind in kinds if kind != "none"] == shown


def test_what_has_no_name_says_once_what_it_is_one_of():
    assert xlat.flags("personality_persona", 0x1001F) == "0x1f /* PER_??? */|0x10000"
