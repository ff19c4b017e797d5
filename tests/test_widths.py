"""How many bits of a register an argument has: the others may hold anything, and the kernel does not look at them."""

from __future__ import annotations

import struct

import pytest

from isotrace import catalog
from isotrace.catalog.alternatives import chooser
from isotrace.catalog.load import by_name
from isotrace.kernel.btf import VMLINUX, Btf
from isotrace.render.columns import column_of, scalar
from isotrace.render.rows import Rows
from isotrace.trace import captures, events
from tests.records import batch, make

DIRTY = 0xDEADBEEF00000000
CALLS = [call for abi in ("x86_64", "i386") for call in by_name(abi).values()]
# An int, or bits of one, by their nature: whatever the C type is, the kernel casts it (fget(), find_vpid(), from_kuid() …).
NARROW = {
    *("int", "uint", "fd", "dirfd", "pid", "uid", "gid", "uid16", "gid16", "flags32", "enum32", "socktype"),
    *("packetproto", "ipckey", "ipcmode", "quotacmd", "mpolmode", "serial", "pidtype"),
}
_POINTER, _INT, _ENUM, _ENUM64 = 2, 1, 6, 19
_THROUGH = {8, 9, 10, 11, 18}  # typedef, volatile, const, restrict, type tag


def _kinds():
    """Every scalar kind of every argument: (call, index, arg), also those that an alternative may be."""
    for call in CALLS:
        for index, arg in enumerate(call.args):
            for found in [case.arg for case in chooser(call, arg).cases] if arg.kind == "alt" else [arg]:
                if scalar(found):
                    yield call, index, found


def _shown(call, index, arg, value):
    registers = [0] * 6
    registers[index] = value
    return column_of(call, index, arg)(Rows(batch(make(args=registers)), [0]))[0]


def _width(call, index, arg):
    return 32 if arg.kind in NARROW else call.widths[index]


def test_every_argument_has_a_width():
    for call in CALLS:
        assert len(call.widths) >= len(call.args), call.name
        assert set(call.widths) <= {16, 32, 64}


def test_what_the_kernel_does_not_look_at_is_not_shown():
    wrong = [
        (call.abi, call.name, arg.name, arg.kind)
        for call, index, arg in _kinds()
        if _width(call, index, arg) < 64 and _shown(call, index, arg, DIRTY | 1) != _shown(call, index, arg, 1)
    ]
    assert wrong == []


def test_what_the_kernel_looks_at_is_shown():
    wrong = {
        (call.name, arg.name, arg.kind)
        for call, index, arg in _kinds()
        if _width(call, index, arg) == 64 and _shown(call, index, arg, DIRTY | 1) == _shown(call, index, arg, 1)
    }
    assert wrong == set()


@pytest.mark.parametrize(
    ("name", "registers", "index", "shown"),
    [
        ("openat", [0, 0, DIRTY | 0o2000000], 2, "O_RDONLY|O_CLOEXEC"),
        ("mknodat", [0, 0, 0o020644, DIRTY | 0x103], 3, "makedev(0x1, 0x3)"),
        ("readlink", [0, 0, DIRTY | 31], 2, "31"),
        ("pidfd_getfd", [0, 0, DIRTY], 2, "0"),
        ("prctl", [23, 1 << 32], 1, "0x100000000 /* CAP_??? */"),  # PR_CAPBSET_READ
        ("arch_prctl", [0x1012, 1 << 32], 1, "0x100000000"),  # ARCH_SET_CPUID
        ("prctl", [1, 1 << 32 | 9], 1, "4294967305"),  # PR_SET_PDEATHSIG of no signal
        ("kill", [1, DIRTY | 9], 1, "SIGKILL"),
        ("futex_wait", [0, 0, 1 << 32, 2, 0, 0], 2, "0x100000000"),
        ("futex", [0, 9, 0, 0, 0, DIRTY | 0xFFFFFFFF], 5, "FUTEX_BITSET_MATCH_ANY"),
        ("keyctl", [0, DIRTY | 0xFFFFFFFF], 1, "KEY_SPEC_THREAD_KEYRING"),
    ],
)
def test_of_calls(name, registers, index, shown):
    call = by_name("x86_64")[name]
    registers += [0] * (6 - len(registers))
    rows = Rows(batch(make(args=registers)), [0])
    assert column_of(call, index, call.args[index])(rows) == [shown]


def test_a_hint_of_64_bits():
    call = by_name("x86_64")["fcntl"]  # F_SET_RW_HINT
    blob = events.Blob(2, events.PART_SELF, events.WHOLE, 8, struct.pack("<Q", 1 << 32))
    rows = Rows(batch(make(args=[3, 1036, 4096, 0, 0, 0], blobs=[blob])), [0])
    assert column_of(call, 2, call.args[2])(rows) == ["[0x100000000 /* RWH_??? */]"]


def test_a_length_of_32_bits_is_taken_as_such():
    lengths = {
        (call.name, row.arg): row.length
        for call in CALLS
        if call.abi == "x86_64"
        for row in captures.captures_of(call, 32)
    }
    assert lengths["connect", 1] == captures.NARROW + 2  # int addrlen
    assert lengths["write", 1] == 3  # size_t count
    assert captures.count_in([3, 9, DIRTY | 16, 0, 0, 0], captures.NARROW + 2) == 16
    assert captures.count_in([3, 9, 16, 0, 0, 0], captures.RESULT) is None
    assert (
        captures.size_of(by_name("x86_64")["connect"], 1, by_name("x86_64")["connect"].args[1], [3, 9, DIRTY | 16], 0)
        == 16
    )


# ---- the kernel's own prototypes --------------------------------------------------------------------------------


def _size(types: Btf, number: int) -> int:
    """Bits of type ``number``, an integer, an enumeration or a pointer."""
    while True:
        at, _ = types._record(number)
        kind, value = types._types[at + 7] & 0x1F, int.from_bytes(types._types[at + 8 : at + 12], "little")
        if kind == _POINTER:
            return 64
        if kind in (_INT, _ENUM, _ENUM64):
            return 8 * value
        assert kind in _THROUGH, kind
        number = value


def _prototype(types: Btf, function: str) -> list[int]:
    at, _ = types._find(function, 12)
    prototype, count = types._record(int.from_bytes(types._types[at + 8 : at + 12], "little"))
    return [_size(types, struct.unpack_from("<II", types._types, prototype + 12 + 8 * i)[1]) for i in range(count)]


@pytest.mark.skipif(not VMLINUX.exists(), reason="needs btf: this kernel describes no types")
def test_widths_are_those_of_the_kernel():
    """``__do_sys_NAME`` has the parameters of SYSCALL_DEFINE as they are written there."""
    types = Btf(VMLINUX.read_bytes())
    wrong, compared = {}, 0
    for name, call in by_name("x86_64").items():
        if (found := types.has_function(f"__do_sys_{name}")) and call.args:
            kernel = _prototype(types, f"__do_sys_{name}")[: len(call.args)]
            compared += found
            if kernel != list(call.widths[: len(kernel)]):
                wrong[name] = (kernel, call.widths, catalog.load.prototype(name))
    assert wrong == {}
    assert compared > 50
