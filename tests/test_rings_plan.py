"""Operations of io_uring: the catalogue's rows, what the kernel programs get of them, and how a record is shown."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from isotrace import catalog
from isotrace.backends import lkm
from isotrace.catalog import expr, rings
from isotrace.decode.xlat import SETS
from isotrace.errors import KernelError
from isotrace.kernel.facts import Facts
from isotrace.kernel.rings import Field, Layout, Place, Untold, layout
from isotrace.render import rings as shown
from isotrace.run import rings as run
from isotrace.sinks.calls_on import CallsOn
from isotrace.sinks.formats import Beside
from isotrace.sinks.json import Json
from isotrace.sinks.strace import Strace
from isotrace.sinks.text import Text
from isotrace.trace import captures, events, plan
from isotrace.trace import rings as traced
from isotrace.trace.plan import Options
from isotrace.trace.ring import batch_of, framed
from isotrace.trace.target import Target

BPF = Path(__file__).parents[1] / "bpf"
TOLD = Layout(
    {"io_uring_submit_req": "on_ring_submit", "io_uring_complete": "on_ring_complete"},
    {"SUBMITTED_REQUEST": 0, "COMPLETED_RING": 0},
    {"SUBMITTED_REQUEST": 16, "COMPLETED_RING": 8},
    {"OFF_REQUEST_RING": 96},
    {18: (Field((4, 4), (8, 4)), Field((16, 8), None, 16), Field((28, 4)), Field((24, 4), (32, 8)))},
)


def planned(calls=None, **facts):
    return plan.make(Options(Target(pid=1), calls), Facts(rings=TOLD, **facts), [])


# ---- the catalogue ------------------------------------------------------------------------------------------------------


def test_every_operation_has_the_kernels_name_and_number():
    names = {opcode: text.removeprefix("IORING_OP_").lower() for opcode, text in SETS["uring_ops"].names.items()}
    assert {opcode: one.call.name.removeprefix(rings.PREFIX) for opcode, one in rings.operations().items()} == names
    assert set(names) == set(range(len(names))), "RINGS_KNOWN is how many there are"
    assert len(names) < events.RING_OPERATIONS


def test_their_number_is_the_call_that_asks_for_them_on_every_abi():
    assert {catalog.by_name(abi)["io_uring_enter"].number & 0xFFFF for abi in catalog.ABIS} == {rings.NUMBER}


def test_an_argument_is_somewhere():
    for one in rings.operations().values():
        assert len(one.places) == len(one.call.args) <= 6
        assert all(place.entry or place.members for place in one.places), one.call.name
        assert all(place.names for place, arg in zip(one.places, one.call.args, strict=True) if arg.kind == "path")


def test_what_is_kept_of_a_request_has_room():
    room = int(re.search(r"#define RING_ROOM\s+(\d+)", (BPF / "trace_rings.h").read_text())[1])
    note = 16 + events.RING_NOTE.itemsize
    for watched in traced.watched(rings.names(), TOLD, 4096).values():
        assert note + sum(16 + -(-(row.limit + 1) // 8) * 8 for row in watched.captures) <= room
        assert all(row.op in (captures.STRING, captures.BYTES) for row in watched.captures)
    assert events.EVENT.itemsize + room == 2048


# ---- the plan -----------------------------------------------------------------------------------------------------------


def test_they_are_attached_only_where_they_are_asked_for():
    everything, without = planned(expr.parse("all,%io_uring")), planned()
    assert [one.where for one in everything.attach][-2:] == ["io_uring_complete", "io_uring_submit_req"]
    assert {"RINGS", "OFF_REQUEST_RING=96", "SUBMITTED_REQUEST=0"} <= set(everything.constants)
    assert "operations" in everything.maps and len(everything.operations) == len(rings.names())
    assert "RINGS" not in without.constants and "operations" not in without.maps and not without.operations
    assert not [one for one in without.attach if "ring" in one.program]


def test_where_tracepoints_can_be_preempted_trace_events_are_used():
    made = planned(rings.names(), preemptible=True)
    assert {one.how for one in made.attach if "ring" in one.program} == {"trace_event"}
    assert made.attach[-1].where == "io_uring/io_uring_submit_req" and "SUBMITTED_REQUEST=16" in made.constants


def test_one_operation_can_be_asked_for():
    made = planned(expr.parse("io_uring:openat,read"))
    (watched,) = made.operations.values()
    assert list(made.operations) == [18] and [row.arg for row in watched.captures] == [1]
    entry, request, at, inside, name, has = struct.unpack_from("<QQHHHB", watched.packed, 24)
    assert (entry, request, at, inside, name, has) == ((1 << 64) - 1, 0, 16, 0, 16, 1)
    assert set(plan.selected(expr.parse("io_uring:openat")).nonzero()[0]) == {events.SLOT_RING + 18}


def test_no_call_has_a_slot_of_theirs():
    numbers = [*range(2048), -1, 0x40000000 + 900]
    taken = {plan.slot_of(abi, number) % events.SLOT_I386 for abi in ("x86_64", "i386", "x32") for number in numbers}
    assert not taken & set(range(events.SLOT_NUMBERS, events.SLOT_UNKNOWN)) and events.SLOT_UNKNOWN in taken
    assert max(call.number & 0xFFFF for call in plan.own_calls().values()) < events.SLOT_NUMBERS


def test_the_module_has_none():
    found = lkm.module_slots(plan.slots_for(frozenset({"io_uring:read", "read"}), 256), frozenset({"read"}))
    assert not set(found) & set(traced.calls())


# ---- the kernel ---------------------------------------------------------------------------------------------------------


class Types:
    """As much of a kernel's BTF as is asked for."""

    def __init__(self, functions, offsets, described=True):
        self.functions, self.offsets, self.described = functions, offsets, described

    def parameter_names(self, function):
        return self.functions[function]

    def offset(self, struct, member):
        return self.offsets[struct, member]

    def size(self, struct, member):
        return 4

    def enumerator(self, name):
        return {"REQ_F_FAIL_BIT": 8}[name] if self.described else {}[name]

    def struct_of(self, struct, member):
        return "filename" if (struct, member) == ("io_open", "filename") else ""


KIOCB = {("io_kiocb", name): at for at, name in enumerate(("ctx", "opcode", "flags", "user_data", "task"))}
CTX = {("io_ring_ctx", name): 8 for name in ("flags", "sq_sqes", "sq_array", "cached_sq_head", "sq_entries")}
OLD = {
    "__traceiter_io_uring_submit_sqe": ["__data", "ctx", "req", "opcode", "user_data", "flags"],
    "__traceiter_io_uring_complete": ["__data", "ctx", "user_data", "res", "cflags"],
}


def test_tracepoints_are_read_by_the_names_of_their_arguments():
    events_of = {("trace_event_raw_io_uring_complete", "res"): 24, ("trace_event_raw_io_uring_submit_sqe", "req"): 16}
    opened = {("io_open", "filename"): 16, ("io_open", "dfd"): 8}
    places = {1: (Place((4, 4), ((("io_open", "dfd"),),), ()), Place((16, 8), (), (("io_open", "filename"),)))}
    found = layout(Types(OLD, KIOCB | CTX | events_of | opened), places)
    assert dict(found.tracepoints) == {
        "io_uring_submit_sqe": "on_ring_submit",
        "io_uring_complete": "on_ring_complete",
    }
    assert found.arguments["SUBMITTED_REQUEST"] == 1 and found.arguments["COMPLETED_RESULT"] == 2
    assert "COMPLETED_REQUEST" not in found.arguments
    assert found.in_trace_events == {"SUBMITTED_REQUEST": 16, "COMPLETED_RESULT": 24}
    assert found.offsets["OFF_REQUEST_TASK"] == 4 and "OFF_REQUEST_RESULT" not in found.offsets
    assert found.offsets["UNMADE_FLAG"] == 256, "and not where io_uring_req_failed tells of such requests"
    assert found.fields[1] == (Field((4, 4), (8, 4)), Field((16, 8), None, 16))


@pytest.mark.parametrize(
    ("functions", "offsets", "why"),
    [
        ({}, KIOCB | CTX, "no tracepoint"),
        ({name: [one for one in found if one != "req"] for name, found in OLD.items()}, KIOCB | CTX, "no tracepoint"),
        (OLD, CTX, "io_kiocb.ctx"),
        (OLD, KIOCB, "io_ring_ctx.flags"),
    ],
)
def test_a_kernel_that_does_not_tell_is_known(functions, offsets, why):
    with pytest.raises(Untold, match=why):
        layout(Types(functions, offsets), {})


def test_a_request_that_could_not_be_made_is_told_by_a_flag_or_a_tracepoint():
    failed = OLD | {"__traceiter_io_uring_req_failed": ["__data", "sqe", "req", "error"]}
    found = layout(Types(failed, KIOCB | CTX, described=False), {})
    assert found.arguments["FAILED_REQUEST"] == 1 and "UNMADE_FLAG" not in found.offsets
    with pytest.raises(Untold, match="REQ_F_FAIL_BIT"):
        layout(Types(OLD, KIOCB | CTX, described=False), {})


def test_what_the_kernel_does_not_tell_is_said(monkeypatch, capfd):
    def untold(*_):
        raise Untold("it has no tracepoint")

    monkeypatch.setattr(run, "layout", untold)
    monkeypatch.setattr(run.btf, "vmlinux", lambda: None)
    assert run.asked(None) is None and run.asked(expr.parse("read,io_uring:read")) is None
    with pytest.raises(KernelError, match="it has no tracepoint"):
        run.asked(expr.parse("%io_uring"))
    run.not_by_module(expr.parse("read,io_uring:read"))
    with pytest.raises(KernelError, match="the kernel module"):
        run.not_by_module(expr.parse("%io_uring"))
    monkeypatch.setattr(run.held, "of_target", lambda _: {1})
    monkeypatch.setattr(run.held, "holders", lambda _: [1])
    for target, calls, told, said in (
        (Target(pid=1), rings.names(), True, ""),
        (Target(pid=1), None, False, ""),
        (Target(command=("x",)), rings.names(), False, r"are not shown: [^;]*\n"),
        (Target(pid=1), rings.names(), False, r"are not shown: .*; process 1 .*may have a ring\n"),
    ):
        run.say_untold(target, calls, told=told)
        assert re.fullmatch(f"isotrace: operations of io_uring {said}" if said else "", capfd.readouterr().err)


# ---- a record -----------------------------------------------------------------------------------------------------------


def record(operation, result, args, path=b"", **known):
    """One operation as the kernel sends it."""
    event = np.zeros(1, dtype=events.EVENT)
    slot = events.SLOT_RING + operation
    event["slot"], event["number"], event["kind"], event["result"] = slot, rings.NUMBER, events.CALL, result
    event["tid"] = event["pid"] = 5
    event["args"][0][: len(args)] = args
    event["comm"], event["time"] = b"it", 1_000_000_000
    note = np.zeros(1, dtype=events.RING_NOTE)
    for name, value in known.items():
        note[name] = value
    head = struct.pack("<BBBxHxxQ", events.RING_ARG, events.PART_RING, 0, note.nbytes, note.nbytes)
    blobs = head + note.tobytes() + (events.pack_blob(1, events.WHOLE, 0, path + b"\0") if path else b"")
    event["blobs"], event["size"] = 1 + bool(path), events.EVENT.itemsize + len(blobs)
    return batch_of(np.frombuffer(framed(event.tobytes() + blobs), np.uint8), np.zeros(1, dtype=np.int64))


def text_of(batch):
    said = []
    Text(Lines(said), plan.all_calls()).write(batch)
    return re.sub(r" +=", " =", b"".join(said).decode()).strip().removeprefix("5 it  ")


class Lines:
    """An output that keeps what it is given."""

    def __init__(self, said):
        self._said = said

    def write(self, data):
        self._said.append(data)

    def detach(self):
        pass


HOME = 0xFFFFFF9C


@pytest.mark.parametrize(
    ("opcode", "result", "args", "path", "known", "text"),
    [
        (
            *(18, 3, (HOME, 0x1000, 0o2, 0), b"f\n", {"user_data": 42}),
            'io_uring:openat(AT_FDCWD, "f\\n", O_RDWR) = 3 (user_data=0x2a)',
        ),
        (
            *(22, 8, (3, 0, 8, 0, 0), b"", {"flags": 17, "completion": 3 | 7 << 16, "state": 1, "later": 1}),
            "io_uring:read(3 /* registered */ /* read later */, NULL, 8, 0, 0) = 8 (user_data=0, "
            "IOSQE_FIXED_FILE|IOSQE_ASYNC, IORING_CQE_F_BUFFER|IORING_CQE_F_MORE, buffer 7, SQPOLL)",
        ),
        (19, 0, (3,), b"", {"flags": 64, "state": 2}, "io_uring:close(3) = ? (user_data=0, IOSQE_CQE_SKIP_SUCCESS)"),
        (19, -9, (0,), b"", {"unknown": 63}, "io_uring:close(?) = -1 EBADF (Bad file descriptor) (user_data=0)"),
        (120, 0, (), b"", {"opcode": 250}, "io_uring:unknown() = 0 (user_data=0)"),
    ],
)
def test_an_operation_as_text(opcode, result, args, path, known, text):
    assert text_of(record(opcode, result, args, path, **known)) == text


def test_an_operation_as_json():
    said = []
    Json(Lines(said), plan.all_calls()).write(record(19, 0, (3,), flags=64, state=3, unknown=1, opcode=19, user_data=7))
    (found,) = map(json.loads, said)
    assert (found["call"], found["result"], found["value"]) == ("io_uring:close", None, None)
    assert found["args"] == [{"name": "fd", "raw": None, "value": "?"}]
    assert found["io_uring"] == {
        **{"user_data": 7, "opcode": 19, "flags": "IOSQE_CQE_SKIP_SUCCESS", "completion": "", "buffer": None},
        "sqpoll": True,
    }


def test_of_a_record_without_what_is_known_beside_nothing_is_said():
    batch = record(19, 0, (3,))
    batch.events["blobs"] = 0
    assert text_of(batch) == "io_uring:close(?) = 0 (user_data=0)"
    assert shown.Note().flag_names() == ""


def test_straces_form_leaves_them_out():
    said = []
    sink = Strace(Lines(said), plan.all_calls(), Beside())
    sink.write(record(19, 0, (3,)))
    sink.complete()
    assert said == []


def test_a_place_in_a_rings_table_is_no_descriptor():
    for known, chosen in (({}, True), ({"flags": 1}, False), ({"unknown": 63}, True)):
        assert CallsOn(frozenset({3})).choose(record(19, 0, (3,), **known)).tolist() == [chosen]
    assert CallsOn(frozenset({4})).choose(record(19, 0, (3,))).tolist() == [False]
