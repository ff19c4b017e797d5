"""The catalogue: numbers against libseccomp, meanings against prototypes, families, alternatives."""

import ctypes
import subprocess
import sys

import pytest

from isotrace import catalog
from isotrace.catalog import alternatives, describe, families, refuse
from isotrace.catalog.model import ABIS, KINDS, X32_BIT, Arg

# <linux/audit.h>'s AUDIT_ARCH_* values; libseccomp gives x32 that of x86-64 with the ELF class of 32 bits.
SECCOMP_ARCH = {"x86_64": 0xC000003E, "i386": 0x40000003, "x32": 0x4000003E, "arm64": 0xC00000B7}
NOT_FOUND = -1
# On i386 libseccomp answers for the calls behind socketcall and ipc with numbers of its own.
MULTIPLEXED = range(-299, -100)

# What libseccomp 2.5.4 (Debian 12) is too old to know. Anything else that it does not know is a mistake.
NEWER_THAN_LIBSECCOMP = {
    *("cachestat", "fchmodat2", "map_shadow_stack", "futex_wake", "futex_wait", "futex_requeue", "statmount"),
    *("listmount", "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules", "mseal", "setxattrat"),
    *("getxattrat", "listxattrat", "removexattrat", "open_tree_attr", "file_getattr", "file_setattr"),
    *("listns", "rseq_slice_yield", "uretprobe", "uprobe", "set_mempolicy_home_node"),
}
CALLS = [call for abi in ABIS for call in catalog.by_name(abi).values()]
RESULTS = {"int", "uint", "long", "hex", "ptr", "fd", "pid", "size", "off", "mode", "none", "alt"}
BY_ID = {"ids": lambda call: f"{call.abi}:{call.name}"}


@pytest.fixture(scope="module")
def seccomp():
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp.so.2 is not installed")
    library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    library.seccomp_syscall_resolve_num_arch.argtypes = [ctypes.c_uint32, ctypes.c_int]
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p
    return library


@pytest.mark.parametrize("abi", ABIS)
def test_every_number_is_the_one_that_libseccomp_knows(seccomp, abi):
    resolve = seccomp.seccomp_syscall_resolve_name_arch
    wrong, unknown = [], set()
    for name, call in catalog.by_name(abi).items():
        number = resolve(SECCOMP_ARCH[abi], name.encode())
        if number == NOT_FOUND:
            unknown.add(name)
        elif number >= 0 and number != call.number:
            wrong.append((name, call.number, number))
        elif number < 0 and number not in MULTIPLEXED and name not in NEWER_THAN_LIBSECCOMP:
            wrong.append((name, call.number, "libseccomp: not on this ABI"))
    assert wrong == []
    assert unknown <= NEWER_THAN_LIBSECCOMP


@pytest.mark.parametrize("abi", ABIS)
def test_no_number_that_libseccomp_knows_is_missing(seccomp, abi):
    base = X32_BIT if abi == "x32" else 0
    known = {}
    for number in range(base, base + 600):
        name = seccomp.seccomp_syscall_resolve_num_arch(SECCOMP_ARCH[abi], number)
        if name:
            known[number] = name.decode()
    assert len(known) > 250
    assert {number: known[number] for number in known if number not in catalog.by_number(abi)} == {}


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("read", {"x86_64": 0, "x32": X32_BIT, "i386": 3, "arm64": 63}),
        ("openat", {"x86_64": 257, "x32": X32_BIT | 257, "i386": 295, "arm64": 56}),
        ("execve", {"x86_64": 59, "x32": X32_BIT | 520, "i386": 11, "arm64": 221}),
        ("rseq_slice_yield", {"x86_64": 471, "x32": X32_BIT | 471, "i386": 471, "arm64": 471}),
        ("socketcall", {"i386": 102}),
        ("mmap2", {"i386": 192}),
        ("fork", {"x86_64": 57, "x32": X32_BIT | 57, "i386": 2}),
    ],
)
def test_numbers_per_abi(name, numbers):
    found = {abi: catalog.by_name(abi)[name].number for abi in ABIS if name in catalog.by_name(abi)}
    assert found == numbers


def test_by_number_is_by_name():
    for abi in ABIS:
        assert len(catalog.by_number(abi)) == len(catalog.by_name(abi))
        assert catalog.by_number(abi) == {call.number: call for call in catalog.by_name(abi).values()}


def test_every_abi_has_its_whole_table():
    sizes = {abi: len(catalog.by_name(abi)) for abi in ABIS}
    assert sizes["x86_64"] >= 385 and sizes["i386"] >= 461 and sizes["arm64"] >= 320 and sizes["x32"] >= 360
    assert len(catalog.names()) >= 472


def argument_names(prototype):
    """The last word of each argument of a C argument list."""
    return [] if prototype == "void" else [one.replace("*", " ").split()[-1] for one in prototype.split(",")]


@pytest.mark.parametrize("call", CALLS, **BY_ID)
def test_a_row_has_the_arguments_of_its_prototype(call):
    declared = argument_names(catalog.prototype(call.name, call.abi))
    assert len(call.args) == len(declared) <= 6
    if call.abi in ("x86_64", "i386"):
        assert [arg.name for arg in call.args] == declared


def lengths(arg):
    """The parameters of ``arg`` that name another argument."""
    length_last = {"inarray", "outarray", "inoutarray", "flags64", "insized", "outsized"}
    single = {"inbuf", "outbuf", "outpath", "sockaddr", "outsockaddr", "iniov", "outiov", "off64"}
    single |= {"inmmsg", "outmmsg", "incpuset", "outcpuset"}
    return arg.params[-1:] if arg.kind in length_last | single else ()


def check_kind(call, arg):
    assert arg.kind in KINDS, f"{arg.kind} is not of the vocabulary"
    assert len(arg.params) == KINDS[arg.kind]
    names = {one.name: one for one in call.args}
    for length in lengths(arg):
        if length == "ret" or length.isdigit():
            continue
        length = length.removeprefix("ret<")
        assert length.lstrip("*") in names, f"{length} is not an argument of {call.name}"
        if length.startswith("*") or arg.kind == "outsockaddr":
            assert names[length.lstrip("*")].kind == "wants"
        elif arg.kind in ("off64", "flags64"):
            assert names[length].kind == "none"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_words_for_isotrace_calls(kind):
    arg = Arg("x", kind, ("some",) * KINDS[kind])
    assert describe.meaning(arg).strip()


@pytest.mark.parametrize("call", CALLS, **BY_ID)
def test_kinds_are_of_the_vocabulary(call):
    for arg in call.args:
        check_kind(call, arg)
        if arg.kind == "alt":
            for kind in alternatives.kinds(arg.params[0]):
                assert kind.kind != "alt", "alternatives do not nest"
                check_kind(call, kind)
    assert call.ret.split("(")[0] in RESULTS


def test_every_meaning_belongs_to_a_number():
    from isotrace.catalog.load import _meanings

    for name, abi in _meanings():
        assert name in (catalog.by_name(abi) if abi else catalog.names()), f"{name}@{abi} has no number"


# ── alternatives ─────────────────────────────────────────────────────────────────────────────────────

CONSTANTS = {
    "O_CREAT": 0o100,
    "F_GETLK": 5,
    "F_SETLK": 6,
    "F_GETFL": 3,
    "F_SETFL": 4,
    "F_DUPFD": 0,
    "SOL_SOCKET": 1,
    "SO_LINGER": 13,
    "SO_ERROR": 4,
    "IPC_STAT": 2,
    "Q_GETQUOTA": 0x800007,
    "FUTEX_WAIT": 0,
    "FUTEX_WAKE": 1,
    "FUTEX_WAIT_BITSET": 9,
    "CLONE_SETTLS": 0x80000,
}


def lookup(_set, name):
    return CONSTANTS.get(name)


def chosen(name, position, registers, abi="x86_64"):
    call = catalog.by_name(abi)[name]
    return alternatives.chooser(call, call.args[position], lookup).choose(registers)


@pytest.mark.parametrize(
    ("name", "position", "registers", "expected"),
    [
        ("openat", 3, (0, 0, 0o100, 0o644), Arg("mode", "mode")),
        ("openat", 3, (0, 0, 0, 0o644), Arg("mode", "none")),
        ("openat", 3, (0, 0, 0o200000, 0), Arg("mode", "none")),  # O_DIRECTORY is not O_TMPFILE
        ("openat", 3, (0, 0, 0o20200000, 0), Arg("mode", "mode")),  # O_TMPFILE
        ("fcntl", 2, (3, 5, 1), Arg("arg", "inout", ("flock_pid",))),
        ("fcntl", 2, (3, 3, 1), Arg("arg", "none")),
        ("fcntl", 2, (3, 4, 1), Arg("arg", "flags32", ("open_mode_flags",))),
        ("fcntl", 2, (3, 9999, 1), Arg("arg", "hex")),
        ("getsockopt", 3, (3, 1, 13, 0, 0), Arg("optval", "outsized", ("linger", "*optlen"))),
        ("getsockopt", 3, (3, 77, 13, 0, 0), Arg("optval", "outbuf", ("*optlen",))),
        ("setsockopt", 3, (3, 77, 13, 0, 4), Arg("optval", "in", ("int32",))),
        ("shmctl", 2, (3, 0x102, 0), Arg("buf", "out", ("shmid_ds",))),  # IPC_64|IPC_STAT
        ("quotactl", 3, ((0x800007 << 8 | 1) & 0xFFFFFFFF, 0, 0, 0), Arg("addr", "out", ("dqblk",))),
        ("futex", 3, (1, 0x80, 0, 0, 0, 0), Arg("utime", "in", ("timespec",))),  # FUTEX_WAIT_PRIVATE
        ("futex", 3, (1, 0x81, 0, 0, 0, 0), Arg("utime", "none")),
        ("futex", 5, (1, 0x189, 0, 0, 0, 0), Arg("val3", "futexbits")),  # with FUTEX_CLOCK_REALTIME
        ("clone", 4, (0x80000, 0, 0, 0, 7), Arg("tls", "ptr")),
    ],
)
def test_an_alternative_is_chosen_by_the_other_arguments(name, position, registers, expected):
    assert chosen(name, position, registers) == expected


def test_upper_halves_of_registers_do_not_count():
    assert chosen("fcntl", 2, (3, 0xDEAD00000005, 1)).kind == "inout"


def test_a_result_can_depend_on_an_argument():
    call = catalog.by_name("x86_64")["fcntl"]
    choose = alternatives.chooser(call, alternatives.result_arg(call), lookup).choose
    assert choose((3, 3, 0)) == Arg("ret", "flags", ("open_mode_flags",))
    assert choose((3, 0, 0)) == Arg("ret", "fd")


def test_every_alternative_ends_with_a_case_that_is_always_true():
    for call in CALLS:
        for arg in (*call.args, alternatives.result_arg(call)):
            if arg.kind == "alt":
                cases = alternatives.chooser(call, arg, lookup).cases
                assert cases[-1].tests == ()
                assert all(case.tests for case in cases[:-1])


def test_every_constant_has_a_set_to_look_in():
    missing = [name for name, sets in alternatives.constants() if not sets]
    assert missing == []
    assert ("O_CREAT", ("open_mode_flags",)) in set(alternatives.constants())


def test_every_alternative_is_used():
    used = {arg.params[0] for call in CALLS for arg in call.args if arg.kind == "alt"}
    used |= {alternatives.result_arg(call).params[0] for call in CALLS if call.ret.startswith("alt(")}
    assert used == set(alternatives._rows())


# ── families ─────────────────────────────────────────────────────────────────────────────────────────


def test_families_hold_known_names_only():
    for name, members in families.table().items():
        assert members, f"{name} is empty"
        assert members <= catalog.names()


@pytest.mark.parametrize(
    ("family", "inside", "outside"),
    [
        ("%file", "openat execve chdir statx", "read close connect"),
        ("%desc", "read close openat mmap epoll_wait", "connect exit"),
        ("%process", "clone execve exit_group wait4 kill", "getpid read"),
        ("%network", "connect accept4 sendfile socketcall", "read close"),
        ("%signal", "kill rt_sigaction pause", "exit"),
        ("%ipc", "shmget semop msgrcv ipc", "mq_open"),
        ("%memory", "brk mmap mprotect", "read"),
        ("%creds", "getuid setresuid32 capget prctl", "getpid"),
        ("%clock", "clock_gettime time", "nanosleep"),
        ("%pure", "getpid getuid", "umask"),
        ("%%stat", "stat lstat fstat newfstatat statx fstatat64", "statfs"),
        ("%%statfs", "statfs fstatfs ustat", "stat"),
        ("@network-io", "connect accept recvfrom", "read"),
        ("@file-system", "openat rename unlink", "connect"),
        ("@default", "getpid seccomp", "openat"),  # seccomp comes from @sandbox, which is inside @default
        ("@system-service", "openat io_submit connect", "mount"),
        ("@obsolete", "uselib _sysctl", "read"),
        ("@privileged", "chown settimeofday reboot swapon", "read"),
    ],
)
def test_membership(family, inside, outside):
    members = families.table()[family]
    assert set(inside.split()) <= members
    assert not set(outside.split()) & members


def test_families_of_a_call():
    assert {"%file", "%desc", "@file-system", "@system-service"} <= catalog.families_of("openat")
    assert catalog.by_name("i386")["openat"].families == catalog.families_of("openat")


# ── refusal ──────────────────────────────────────────────────────────────────────────────────────────


def test_refusal_names_known_calls():
    assert refuse.NEVER.keys() | refuse.NO_CODE <= catalog.names()
    for hook, (exact, beginnings) in refuse._calls().items():
        assert set(exact) <= catalog.names(), hook
        for beginning in beginnings:
            assert any(name.startswith(beginning) for name in catalog.names()), (hook, beginning)


def test_who_refuses_what():
    assert "seccomp" in refuse.by_number("openat") and "file_open" in refuse.by_object("openat")
    assert refuse.by_number("exit_group") == refuse.by_object("exit_group") == ()
    assert refuse.by_object("getppid") == () != refuse.by_number("getppid")
    assert {"socket_connect", "socket_bind"} <= set(refuse.by_object("socketcall"))


# ── speed ────────────────────────────────────────────────────────────────────────────────────────────

MEASURE = """
import dataclasses, functools, pathlib, sys  # what every command imports anyway
made = 0
def count(frame, event, _):
    global made
    made += event == "call" and "isotrace" in frame.f_code.co_filename
sys.setprofile(count)
from isotrace import catalog
catalog.by_number("x86_64"), catalog.by_number("i386")
sys.setprofile(None)
print(made, sum(len(catalog.by_number(abi)) for abi in ("x86_64", "i386")))
"""


def test_loading_takes_some_calls_a_system_call_and_no_more():
    made, rows = map(int, subprocess.check_output([sys.executable, "-c", MEASURE], text=True).split())
    assert made < 25 * rows
