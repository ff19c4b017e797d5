"""union bpf_attr: as much of it as the caller gave, in the groups that strace shows."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrace.catalog import by_name
from isotrace.catalog.alternatives import chooser
from isotrace.decode.structs import STRUCTS
from isotrace.decode.xlat import SETS

NAMES = sorted(name for name in STRUCTS if name.startswith("bpf_"))


def shown(name, data, full=False):
    known = STRUCTS[name].full if full else STRUCTS[name]
    return known.decode(data) if len(data) >= known.size else known.prefix(data)


CREATE = "map_type=BPF_MAP_TYPE_HASH, key_size=4, value_size=8, max_entries=16"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (16, CREATE),
        (20, f"{CREATE}, map_flags=0"),
        (28, f"{CREATE}, map_flags=0, inner_map_fd=0"),
        (44, f'{CREATE}, map_flags=0, inner_map_fd=0, map_name=""'),
        (48, f'{CREATE}, map_flags=0, inner_map_fd=0, map_name="", map_ifindex=0'),
    ],
)
def test_members_are_there_as_far_as_the_caller_knows_them(size, text):
    assert shown("bpf_map_create", struct.pack("<4I", 1, 4, 8, 16).ljust(size, b"\0")) == f"{{{text}}}"


def test_what_lies_behind_is_said():
    data = struct.pack("<Ii", 3, 4).ljust(24, b"\1")
    assert shown("bpf_map_freeze", data) == "{map_fd=3, ...}"
    assert shown("bpf_map_freeze", bytes(24)) == "{map_fd=0}"
    long = shown("bpf_map_freeze", data[:8], full=True)
    assert long == '{map_fd=3, extra_data="\\x04\\x00\\x00\\x00" /* bytes 4..7 */}'


def test_members_that_stand_in_a_struct():
    data = struct.pack("<iIIIQI", 5, 2, 1, 2, 0x1000, 7)
    assert shown("bpf_prog_query", data) == (
        "{query={target_fd=5, attach_type=BPF_CGROUP_INET_SOCK_CREATE, query_flags=BPF_F_QUERY_EFFECTIVE, "
        "attach_flags=BPF_F_ALLOW_MULTI, prog_ids=0x1000, prog_cnt=7}}"
    )


def test_a_program():
    data = struct.pack("<IIQQIIQII16s", 5, 2, 0x1000, 0x2000, 1, 0, 0, 0x60102, 0, b"name").ljust(120, b"\0")
    text = shown("bpf_prog_load", data + struct.pack("<Q", 0x3000))
    assert text.startswith(
        "{prog_type=BPF_PROG_TYPE_TRACEPOINT, insn_cnt=2, insns=0x1000, license=0x2000, log_level=1, "
    )
    assert 'kern_version=KERNEL_VERSION(6, 1, 2), prog_flags=0, prog_name="name", ' in text
    assert text.endswith("attach_btf_id=0, attach_prog_fd=0, fd_array=0x3000}")


@given(st.sampled_from(NAMES), st.binary(max_size=168), st.booleans())
def test_any_bytes_are_shown(name, data, full):
    assert shown(name, data, full).isprintable()


def test_commands_that_are_shown_are_those_that_there_are():
    call = by_name("x86_64")["bpf"]
    found = [case for case in chooser(call, call.args[1]).cases if case.tests]
    numbers = set().union(*(case.tests[0].values for case in found))
    assert numbers <= set(SETS["bpf_commands"].names) and len(numbers) > 30
    assert {case.arg.params[0] for case in found} == set(NAMES)
