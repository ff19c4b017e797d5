"""Filter programs of classic BPF: what strace prints of them, and that nothing in them is trusted."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrace.catalog import by_name
from isotrace.catalog.alternatives import chooser
from isotrace.decode.filters import program
from isotrace.trace import captures, plan

NO_REGISTERS = (0, 0, 0, 0, 0, 0)


def instructions(*rows):
    return b"".join(struct.pack("<HBBI", *row) for row in rows)


@pytest.mark.parametrize(
    ("row", "what", "text"),
    [
        ((0x20, 0, 0, 4), "seccomp", "BPF_STMT(BPF_LD|BPF_W|BPF_ABS, 0x4)"),
        ((0x15, 1, 0, 0xC000003E), "seccomp", "BPF_JUMP(BPF_JMP|BPF_K|BPF_JEQ, 0xc000003e, 0x1, 0)"),
        ((6, 0, 0, 0x50005), "seccomp", "BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_ERRNO|0x5)"),
        ((6, 0, 0, 0x50005), "sock", "BPF_STMT(BPF_RET|BPF_K, 0x50005)"),
        ((0x28, 0, 0, 0xFFFFF02C), "sock", "BPF_STMT(BPF_LD|BPF_H|BPF_ABS, SKF_AD_OFF+SKF_AD_VLAN_TAG)"),
        ((0x28, 0, 0, 0xFFFFF02D), "sock", "BPF_STMT(BPF_LD|BPF_H|BPF_ABS, SKF_AD_OFF+0x2d /* SKF_AD_??? */)"),
        ((0x30, 0, 0, 0xFFF00009), "sock", "BPF_STMT(BPF_LD|BPF_B|BPF_ABS, SKF_NET_OFF+9)"),
        ((0x30, 0, 0, 0xFFF00009), "seccomp", "BPF_STMT(BPF_LD|BPF_B|BPF_ABS, 0xfff00009)"),
    ],
)
def test_an_instruction(row, what, text):
    assert program(instructions(row), 1, what) == f"[{text}]"


def test_what_is_not_there_is_an_ellipsis():
    row = instructions((6, 0, 0, 0))
    assert program(row + row[:7], 2, "sock") == "[BPF_STMT(BPF_RET|BPF_K, 0), ...]"
    assert program(row + row, 1, "sock") == "[BPF_STMT(BPF_RET|BPF_K, 0)]"
    assert (program(b"", 0, "sock"), program(b"", 4096, "sock")) == ("[]", "[...]")


@given(st.binary(max_size=64), st.integers(0, 65535), st.sampled_from(["seccomp", "sock"]))
def test_any_bytes_are_shown(data, count, what):
    assert program(data, count, what).isprintable()


@pytest.mark.parametrize(("abi", "size"), [("x86_64", "sock_fprog"), ("x32", "sock_fprog32"), ("i386", "sock_fprog32")])
def test_the_struct_that_points_to_a_program_is_the_callers(abi, size):
    length = 8 if size.endswith("32") else 16
    for name, index, registers in (
        ("seccomp", 2, (1, 0, 0x1000, 0, 0, 0)),
        ("prctl", 2, (22, 2, 0x1000, 0, 0, 0)),
        ("setsockopt", 3, (3, 1, 26, 0x1000, length, 0)),
        ("setsockopt", 3, (3, 1, 51, 0x1000, length, 0)),
    ):
        call = by_name(abi)[name]
        assert chooser(call, call.args[index]).choose(registers).params[0] == size
        assert chooser(call, call.args[index]).choose(NO_REGISTERS).kind != "program"
    call = by_name(abi)["setsockopt"]
    assert chooser(call, call.args[3]).choose((3, 1, 26, 0x1000, 3, 0)).kind == "ptr"


def test_times_of_sockets_are_the_callers():
    found = {
        (abi, option): chooser(call, call.args[3]).choose((3, 1, option, 0x1000, 8, 0)).params[0]
        for abi in ("x86_64", "i386")
        for option in (20, 66)
        for call in [by_name(abi)["setsockopt"]]
    }
    assert found == {
        ("x86_64", 20): "timeval", ("x86_64", 66): "timeval", ("i386", 20): "timeval32", ("i386", 66): "timeval",
    }  # fmt: skip


def test_programs_are_copied_in_full_only_and_not_by_the_module():
    for name in ("seccomp", "prctl", "setsockopt"):
        slot = plan.slots_for(frozenset({name}), 32)[plan.slot_of("x86_64", by_name("x86_64")[name].number)]
        assert captures.PROGRAM not in {row.op for row in slot.captures}
        whole = plan.in_full(slot, by_name("x86_64")[name]).captures
        assert captures.PROGRAM in {row.op for row in whole} and len(whole) <= captures.CAPTURES
