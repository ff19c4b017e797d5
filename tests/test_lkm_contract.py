"""isotrace/backends/lkm.py against kernel_fallback/isotrace_uapi.h, compiled; and what is sent, without a kernel."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from isotrace.backends import lkm
from isotrace.catalog import by_name
from isotrace.enforce import Enforced, Guarantees
from isotrace.enforce.calls import cbpf
from isotrace.enforce.calls import lkm as mechanism
from isotrace.policy import names
from isotrace.policy.model import Action
from isotrace.trace import plan
from isotrace.trace.target import Target

HEADER = (Path(__file__).parents[1] / "kernel_fallback" / "isotrace_uapi.h").read_text()


def enumerators(name: str, prefix: str) -> list[str]:
    """The names of an enum of the header, in lower case, without prefix and the count at the end."""
    body = re.search(rf"enum {name} {{(.*?)}};", HEADER, re.DOTALL)
    assert body
    return [word.lower() for word in re.findall(rf"\b{prefix}(\w+)", body[1])]


def test_commands_and_attributes_are_those_of_the_header() -> None:
    assert enumerators("isotrace_command", "ISOTRACE_CMD_") == list(lkm.COMMANDS)
    assert enumerators("isotrace_attribute", "ISOTRACE_A_") == [name for name, _ in lkm.ATTRIBUTES]
    assert enumerators("isotrace_target", "ISOTRACE_T_") == [name for name, _ in lkm.TARGET]
    assert enumerators("isotrace_mode", "ISOTRACE_MODE_") == list(lkm.MODES)
    assert f"#define ISOTRACE_VERSION {lkm.VERSION}\t" in HEADER
    assert f"#define ISOTRACE_KIND_REFUSED {lkm.KIND_REFUSED}\n" in HEADER


def test_the_programs_of_a_plan_have_a_number_each() -> None:
    leaving, entering = (enumerators(f"isotrace_{side}", f"ISOTRACE_{side.upper()}_") for side in ("exit", "enter"))
    assert [f"exit_{name}" for name in leaving[1:]] == list(plan.EXIT_PROGRAMS)
    assert [f"enter_{name}" for name in entering[1:]] == list(plan.ENTER_PROGRAMS)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc: to compile the header")
def test_structures_have_the_sizes_of_the_header(tmp_path: Path) -> None:
    source = tmp_path / "sizes.c"
    types = "".join(f"typedef unsigned {wide} u{bits};\n" for bits, wide in ((8, "char"), (16, "short"), (32, "int")))
    source.write_text(
        f"#include <stdio.h>\n{types}typedef unsigned long u64;\ntypedef long s64;\ntypedef int s32;\n"
        '#include "event.h"\n#include "isotrace_uapi.h"\n'
        'int main(void) { printf("%zu %zu %zu", sizeof(struct isotrace_slot),'
        " sizeof(struct isotrace_rule), sizeof(struct isotrace_count)); return 0; }\n"
    )
    include = Path(__file__).parents[1] / "kernel_fallback"
    subprocess.run(["gcc", f"-I{include}", "-o", tmp_path / "sizes", source], check=True)
    sizes = subprocess.check_output([tmp_path / "sizes"], text=True).split()
    recorded = {
        len(lkm.pack_slot(number, slot)) for number, slot in lkm.module_slots(plan.slots_for(None, 64), None).items()
    }
    shown = {len(slot) for slot in mechanism.make([enforced("open", Action())], Target(pid=1))._slots}
    assert recorded == shown == {int(sizes[0])}
    assert list(map(int, sizes[1:])) == [lkm.RULE.size, lkm.COUNT.size]


def test_a_target_is_its_conditions() -> None:
    found = dict(lkm.conditions(Target(ppid=5, uid=0, comm="cat", follow=True), None))
    assert found == {"ppid": 5, "uid": 0, "comm": b"cat".ljust(16, b"\0"), "follow": True}
    assert dict(lkm.conditions(Target(command=("true",)), 77)) == {"command": 77}


def enforced(text: str, action: Action) -> Enforced:
    return Enforced(3, names.parse(text, action=action), "lkm", Guarantees(True, "not concerned", True))


def test_rules_come_in_the_order_of_slots_and_say_what_becomes_of_the_call() -> None:
    one = enforced("mkdir", Action("errno", 18))
    raw = mechanism.pack_rules(cbpf.table([one], "x86_64"), {3: one.action})
    rows = [lkm.RULE.unpack(rule) for rule in raw]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    made = by_name("x86_64")["mkdir"].number
    assert (made, 3, 0, 0, 0, 18, 0, 0) in rows
    killing = enforced("mkdir", Action("kill"))
    raw = mechanism.pack_rules(cbpf.table([killing], "x86_64"), {3: killing.action})
    assert {lkm.RULE.unpack(rule)[2] for rule in raw} == {1}


def test_conditions_on_registers_are_kept() -> None:
    connect = enforced("connect", Action())
    rows = [
        lkm.RULE.unpack(rule) for rule in mechanism.pack_rules(cbpf.table([connect], "x86_64"), {3: connect.action})
    ]
    sendto = by_name("x86_64")["sendto"].number
    assert [row[3:5] for row in rows if row[0] == sendto] == [(2, 4)]  # only with an address, the fifth argument
    multiplexer = plan.slot_of("i386", by_name("i386")["socketcall"].number)
    assert (1, 0, 0xFFFFFFFF, 3) in {(row[3], row[4], row[6], row[7]) for row in rows if row[0] == multiplexer}
