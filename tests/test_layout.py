"""The C structs of bpf/event.h and the numpy dtypes of isotrace/trace/events.py are the same thing, written twice."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from isotrace.decode import descriptors
from isotrace.kernel.rings import Field, Layout
from isotrace.trace import captures, events, rings

ROOT = Path(__file__).parents[1]
HEADER = (ROOT / "bpf/event.h").read_text()

_VALUES = (
    "SLOTS",
    "SLOT_I386",
    "SLOT_UNKNOWN",
    "CAPTURES",
    "SLOT_NUMBERS",
    "SLOT_RING",
    "RING_OPERATIONS",
    "BLOB_RING",
    "BLOB_TASK",
)

PROGRAM = """
#include <stdio.h>
#include <stddef.h>
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef long long s64;
#include "event.h"
int main(void)
{
%s
	return 0;
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """What the C compiler says: "struct.member" → (offset, size), "struct" → size, constant → value."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc: to compile bpf/event.h")
    lines = []
    for name, dtype in (
        ("event", events.EVENT),
        ("blob", events.BLOB),
        ("ring_note", events.RING_NOTE),
        ("whereabouts", events.WHEREABOUTS),
    ):
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        for member in dtype.names:
            lines.append(
                f'printf("{name}.{member} %zu %zu\\n", offsetof(struct {name}, {member}), '
                f"sizeof(((struct {name} *)0)->{member}));"
            )
    lines += [f'printf("{name} %d\\n", (int){name});' for name in re.findall(r"\b([A-Z]+_[A-Z_0-9]+) = ", HEADER)]
    lines += [f'printf("{name} %d\\n", (int)({name}));' for name in _VALUES]
    lines.append('printf("captures %zu\\n", sizeof(struct captures));')
    lines += [
        f'printf("{name} %zu\\n", sizeof(struct {name}));' for name in ("descriptor", "endpoints", "ring_operation")
    ]
    lines.append('printf("descriptor.state %zu\\n", offsetof(struct descriptor, state));')
    lines += [
        f'printf("{name} %d\\n", (int)({name}));'
        for name in ("BLOB_RESULT", "BLOB_STACK", "FILES_RESULT", "FILES_PAIR")
    ]
    where = tmp_path_factory.mktemp("layout")
    (where / "layout.c").write_text(PROGRAM % "\n".join(lines))
    subprocess.run(["gcc", "-I", ROOT / "bpf", "-o", where / "layout", where / "layout.c"], check=True)
    said = subprocess.run([where / "layout"], check=True, capture_output=True, text=True).stdout
    return {key: tuple(map(int, rest)) for key, *rest in (line.split() for line in said.splitlines())}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("event", events.EVENT),
        ("blob", events.BLOB),
        ("ring_note", events.RING_NOTE),
        ("whereabouts", events.WHEREABOUTS),
    ],
)
def test_structs_agree_with_dtypes(compiled, name, dtype):
    assert compiled[name] == (dtype.itemsize,)
    for member in dtype.names:
        size, offset = dtype.fields[member]
        assert compiled[f"{name}.{member}"] == (offset, size.itemsize), member


def test_constants_agree(compiled):
    for name in ("CALL", "EXEC_ENTER", "EXEC_NAME", "TASK_EXIT", "SIGNAL", "UNFINISHED"):
        assert compiled[f"KIND_{name}"] == (getattr(events, name),)
    for name in ("WHOLE", "CUT", "FAULT"):
        assert compiled[f"BLOB_{name}"] == (getattr(events, name),)
    for name in ("X86_64", "X32", "I386"):
        assert compiled[f"ABI_{name}"] == (getattr(events, name),)
    for name in (
        "PART_SELF",
        "PART_IOV",
        "PART_DATA",
        "PART_NAME",
        "PART_CONTROL",
        "PART_BEFORE",
        "PART_FILE",
        "PART_NETLINK",
        "PART_REGISTERS",
        "PART_STACK_MEMORY",
        "PART_FRAMES",
        "PART_BASE",
        "SLOTS",
        "SLOT_I386",
        "SLOT_UNKNOWN",
        "SLOT_NUMBERS",
        "SLOT_RING",
        "RING_OPERATIONS",
        "PART_RING",
        "RING_POLLED",
        "RING_UNTOLD",
    ):
        assert compiled[name] == (getattr(events, name),)
    for name in ("DELETED", "CUT", "ALONE", "UNSURE"):
        assert compiled[f"DESCRIPTOR_{name}"] == (getattr(descriptors, name),)
    assert compiled["BLOB_RESULT"] == (events.RESULT_ARG,)
    assert compiled["BLOB_STACK"] == (events.STACK_ARG,)
    assert compiled["BLOB_RING"] == (events.RING_ARG,)
    for name in ("RESULT", "PAIR"):
        assert compiled[f"FILES_{name}"] == (getattr(captures, f"MADE_{name}"),)
    for name in ("STRING", "BYTES", "IOVEC", "MSGHDR", "MESSAGES", "FILE", "BASE", "PROGRAM"):
        assert compiled[f"OP_{name}"] == (getattr(captures, name),)
    assert compiled["LEN_RESULT"] == (captures.RESULT,)
    assert compiled["LEN_POINTER"] == (captures.POINTER,)
    assert compiled["LEN_NARROW"] == (captures.NARROW,)
    assert compiled["CAPTURES"] == (captures.CAPTURES,)


def test_what_is_said_of_a_descriptor_has_its_size(compiled):
    assert compiled["descriptor"] == (descriptors.DESCRIPTOR.size,)
    assert compiled["descriptor.state"] == (struct.calcsize("<QQIH"),)
    assert compiled["endpoints"] == (descriptors.ENDPOINTS.size,)


def test_what_is_said_of_an_operation_has_the_size_of_the_map_value(compiled):
    told = Layout({}, {}, {}, {}, {opcode: (Field((4, 4), (8, 4)),) for opcode in (0, 18)})
    sizes = {
        len(one.packed) for one in rings.watched(frozenset({"io_uring:nop", "io_uring:openat"}), told, 256).values()
    }
    assert {compiled["ring_operation"]} == {(size,) for size in sizes}


def test_packed_captures_have_the_size_of_the_map_value(compiled):
    packed = captures.pack((captures.Capture(captures.STRING, 1, limit=255),))
    assert (len(packed),) == compiled["captures"]
    assert np.frombuffer(packed, dtype=np.uint8)[:2].tolist() == [captures.STRING, 1]
