"""From options to what is loaded: slots, captures, constants."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrace.backends import lkm, tracepoint
from isotrace.catalog import by_name, by_number, multiplexed
from isotrace.decode.descriptors import DESCRIPTOR
from isotrace.errors import UsageError
from isotrace.kernel.facts import Facts
from isotrace.trace import captures, events, plan
from isotrace.trace.captures import BYTES, FILE, IOVEC, RESULT, STRING, captures_of
from isotrace.trace.plan import Options, Slot, make, slot_of, slots_for
from isotrace.trace.target import Target, descendants

X86 = by_name("x86_64")
I386 = by_name("i386")
BPF = Path(__file__).parents[1] / "bpf"


def planned(**options):
    return make(Options(Target(pid=1), **options), Facts({"OFF_TGID": 12}), ["FILTER_PID=1"])


def test_every_number_has_a_slot_when_every_call_is_asked_for():
    assert set(slots_for(None, 256)) == set(range(events.SLOTS))


def test_only_the_chosen_calls_have_slots():
    slots = slots_for(frozenset({"openat"}), 256)
    assert set(slots) == {slot_of("x86_64", X86["openat"].number), slot_of("i386", I386["openat"].number)}


def test_a_32_bit_number_has_a_slot_of_its_own():
    assert slot_of("i386", 5) == events.SLOT_I386 + 5
    assert plan.all_calls()[slot_of("i386", 5)].name == "open"
    assert plan.all_calls()[slot_of("x86_64", 5)].name == "fstat"


@pytest.mark.parametrize(("abi", "number"), [("x86_64", 9999), ("x86_64", -1), ("i386", 4000)])
def test_numbers_out_of_range_share_the_unknown_slot(abi, number):
    assert slot_of(abi, number) % events.SLOT_I386 == events.SLOT_UNKNOWN


@pytest.mark.parametrize(
    ("name", "exit_program", "enter_program"),
    [
        ("getppid", "exit_plain", None),
        ("openat", "exit_memory", None),
        ("writev", "exit_vector", None),
        ("recvmsg", "exit_vector", "enter_before"),
        ("pselect6", "exit_memory", "enter_before"),
        ("clone3", "exit_fork", None),
        ("execve", "exit_exec", "enter_exec"),
        ("exit_group", "exit_plain", "enter_plain"),
        ("rt_sigreturn", "exit_plain", "enter_sigreturn"),
    ],
)
def test_the_program_that_serves_a_call(name, exit_program, enter_program):
    slot = slots_for(None, 256)[X86[name].number]
    assert (slot.exit, slot.enter) == (exit_program, enter_program)


def test_a_plan_names_every_program_and_map_it_uses():
    made = planned()
    assert {"on_enter", "on_exit", *plan.EXIT_PROGRAMS, *plan.ENTER_PROGRAMS} <= set(made.programs)
    assert set(made.programs.values()) == {"RAW_TRACEPOINT"}
    assert "tree" not in made.maps


def test_descent_is_attached_first():
    made = make(Options(Target(tree=5)), Facts(), [])
    assert [a.where for a in made.attach][:2] == ["sched_process_fork", "sched_process_exit"]
    assert {"tree", "births", "seeding", "joined"} <= set(made.maps)


def test_where_tracepoints_can_be_preempted_perf_events_are_used():
    made = make(Options(Target(tree=5)), Facts(preemptible=True, kprobes=True), [])
    how = {attachment.program: attachment.how for attachment in made.attach}
    assert (how["on_exit"], how["on_enter"], how["on_new_task"]) == ("trace_event", "trace_event", "kprobe")
    assert made.programs["exit_plain"] == made.programs["on_exit"] == "TRACEPOINT"
    assert "PERF_TRACEPOINTS" in made.constants


def test_constants_carry_target_offsets_and_sizes():
    made = planned(ring_bytes=1 << 20, durations=True)
    assert {"OFF_TGID=12", "FILTER_PID=1", "RING_PAGES=256", "MEASURE_TIME"} <= set(made.constants)


@pytest.mark.parametrize(
    "bad", [{"ring_bytes": 100}, {"ring_bytes": 3 << 20}, {"ring_bytes": 1 << 31}, {"string_limit": -1}]
)
def test_sizes_out_of_range_are_refused(bad):
    with pytest.raises(UsageError) as error:
        planned(**bad)
    assert error.value.hint


def test_paths_are_whole_and_buffers_are_limited():
    path = captures_of(X86["openat"], 32)[0]
    assert (path.op, path.arg, path.limit) == (STRING, 1, 4095)
    (written,) = captures_of(X86["write"], 32)
    assert (written.op, written.length, written.on_success, written.limit) == (BYTES, 3, False, 32)
    (read,) = captures_of(X86["read"], 32)
    assert (read.length, read.on_success) == (RESULT, True)


def test_an_address_that_is_returned_takes_its_length_from_memory():
    accept = next(c for c in captures_of(X86["accept4"], 32) if c.arg == 1)
    assert (accept.length, accept.on_success) == (captures.POINTER + 2, True)


def test_alternatives_capture_what_any_of_them_needs():
    assert [c.arg for c in captures_of(X86["fcntl"], 32)] == [2]


@given(st.sampled_from(sorted(plan.all_calls())), st.integers(1, 4096))
def test_captures_fit_the_map_for_every_call(slot, limit):
    found = captures_of(plan.all_calls()[slot], limit)
    assert len(found) <= captures.CAPTURES
    assert len(captures.pack_rows(found)) == captures.CAPTURES * 8
    assert all(c.limit <= captures.STRING_MAX and c.unit < 1 << 16 for c in found)
    assert sum(c.limit + 24 for c in found if c.op != IOVEC) < 28672


def test_what_is_kept_of_a_call_until_it_returns_has_room():
    *rooms, room = map(int, re.findall(r"#define BEFORE\s+(\d+)", (BPF / "trace_record.h").read_text()))
    assert rooms == [tracepoint._ROOMS[count] for count in (2, 1, 0)]
    with_both, with_one, with_files = rooms
    names = int(re.search(r"#define FILE_NAMES\s+(\d+)", (BPF / "trace_files.h").read_text())[1])
    for call in plan.all_calls().values():
        rows = captures.befores_of(call)
        assert len(rows) <= captures.CAPTURES
        taken = sum(16 + -(-row.limit // 8) * 8 for row in rows)
        assert taken <= room, call.name
        files = captures.files_of(call)
        assert len(files) + len(rows) <= captures.CAPTURES
        described = len(files) * (16 + DESCRIPTOR.size + names)
        assert taken + described <= with_files, call.name
        assert taken + 2 * described <= with_one, call.name
        files += captures.bases_of(call)
        assert len(files) + len(rows) <= captures.CAPTURES
        assert taken + len(files) * (16 + DESCRIPTOR.size + names) <= with_one, call.name
        assert taken + described + len(files) * (16 + DESCRIPTOR.size + names) <= with_both, call.name


def test_descriptors_are_looked_at_when_a_call_begins_and_when_it_has_made_them():
    made = make(Options(Target(pid=(1,)), descriptors=True), Facts(), [])
    assert "DESCRIPTORS" in made.constants
    slots = {name: made.slots[X86[name].number] for name in ("openat", "dup2", "pipe2", "fcntl", "getpid", "execveat")}
    assert [(slot.exit, slot.enter, len(slot.befores), slot.made) for slot in slots.values()] == [
        ("exit_memory", plan.KEEPING, 1, captures.MADE_RESULT),
        ("exit_memory", plan.KEEPING, 2, captures.MADE_RESULT),
        ("exit_memory", None, 0, captures.MADE_PAIR),
        ("exit_memory", plan.KEEPING, 1, captures.MADE_RESULT),
        ("exit_plain", None, 0, captures.MADE_NONE),
        ("exit_exec", "enter_exec", 0, captures.MADE_NONE),
    ]
    assert slots["openat"].befores[0].unit == captures.OR_HOME


def test_without_descriptors_nothing_is_different():
    assert not [slot for slot in planned().slots.values() if slot.made or FILE in [row.op for row in slot.befores]]
    assert "DESCRIPTORS" not in planned().constants


def test_stacks_are_copied_where_they_are_asked_for():
    constants = [make(Options(Target(pid=(1,)), stacks=asked), Facts(), []).constants for asked in (False, True)]
    assert {*constants[1]} - {*constants[0]} == {"STACKS"}


def test_calls_that_are_looked_at_when_they_begin_are_those_that_pass_the_first_test():
    """maybe_special of bpf/trace.c has their numbers, whatever the ABI; x32 calls all pass."""
    body = re.search(r"int maybe_special.*?\n}", (BPF / "trace.c").read_text(), re.DOTALL)[0]
    found = {int(number) for number in re.findall(r"case (-?\d+):", body)}
    special = {
        number
        for abi in ("x86_64", "i386")
        for number in by_number(abi)
        if slots_for(None, 256)[plan.slot_of(abi, number)].enter
    }
    assert found == special | {-1}


def test_multiplexed_calls_are_asked_for_by_their_own_name():
    def behind(*calls):
        found = slots_for(frozenset(calls), 256)
        return {call.name for _, slot, call in plan.multiplexed_calls() if slot in found}, slot_of("i386", 102) in found

    assert behind("connect") == ({"connect"}, True)
    assert behind("connect@x86_64") == (set(), False)
    assert behind("connect@i386", "sendto") == ({"connect", "send", "sendto"}, True)
    assert behind("socketcall") == (set(multiplexed.CALLS["socketcall"].values()), True)
    assert behind("socketcall", "bind") == ({"bind"}, True)
    assert behind("shmat")[0] == {"shmat"}
    assert plan.selected(frozenset({"connect"})).sum() == len(slots_for(frozenset({"connect"}), 256))


def test_the_module_demultiplexes_nothing():
    asked = frozenset({"connect"})
    found = lkm.module_slots(slots_for(asked, 256), asked)
    assert {plan.all_calls()[slot].name for slot in found} == {"connect"} and slot_of("i386", 102) not in found
    asked = frozenset({"socketcall"})
    (only,) = lkm.module_slots(slots_for(asked, 256), asked).items()
    assert only == (slot_of("i386", 102), Slot("exit_memory", None, only[1].captures))
    everything = lkm.module_slots(slots_for(None, 256), None)
    assert all(slot.exit in plan.EXIT_PROGRAMS for slot in everything.values())


def test_slots_compare_by_value():
    assert Slot("exit_plain") == Slot("exit_plain", None, ())


def test_descendants_are_found_through_every_generation():
    parents = [(2, 1), (3, 2), (4, 3), (9, 8), (1, 0)]
    assert descendants([1], parents) == {1, 2, 3, 4}


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=60))
def test_descendants_end_on_any_graph(parents):
    found = descendants([1], parents)
    assert 1 in found
    assert all(child in found for child, parent in parents if parent in found)
