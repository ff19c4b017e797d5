"""Refusals as lines: equal ones are folded without losing count, and nothing hostile reaches the reader."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrace.enforce import Counts, Enforced, Guarantees, Refused, describe
from isotrace.enforce.plan import EnforcementPlan
from isotrace.policy import names
from isotrace.policy.model import Action
from isotrace.sinks import refusals
from isotrace.sinks.output import Output
from isotrace.sinks.refusals import Json, Lines, RefusalSink

GUARANTEES = Guarantees(True, "closed", True)
ENFORCED = (
    Enforced(0, names.parse("open"), "seccomp", GUARANTEES),
    Enforced(1, names.parse("kill", action=Action("kill"), group="web"), "seccomp", GUARANTEES),
)
OPENED = Refused(
    1_700_000_000_123_456_789, 10, 11, b"cat", "openat", "x86_64", (2**64 - 100, 4096, 0, 0, 0, 0), 0, "/etc/passwd"
)
KILLED = Refused(1_700_000_000_123_456_789, 10, 10, b"sh", "kill", "i386", (7, 9, 0, 0, 0, 0), 1)


@pytest.fixture
def lines(tmp_path):
    """A sink of a style, and what it has written."""

    def make(style):
        path = tmp_path / "out"
        return RefusalSink(Output(str(path)), ENFORCED, style), lambda: path.read_text().splitlines()

    return make


def test_a_line_has_who_what_the_rule_and_the_outcome(lines):
    sink, written = lines(Lines())
    sink.write([OPENED, KILLED])
    first, second = written()
    assert first.split(" ", 1)[1] == '11 cat  openat("/etc/passwd") = -1 EPERM  (deny open)'
    assert second.split(" ", 1)[1] == "10 sh  kill@i386(pid=0x7, sig=0x9) killed  (web: deny kill)"


def test_the_first_is_shown_at_once_and_the_rest_as_a_count(lines):
    sink, written = lines(Lines())
    sink.write([OPENED] * 3)
    assert len(written()) == 1
    sink.write([OPENED])
    sink.finish({"seccomp": Counts()})
    assert len(written()) == 2 and written()[1].endswith("(deny open)  3 more")


def test_after_a_while_a_repeated_one_is_shown_again(lines, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(refusals.time, "monotonic", lambda: now[0])
    sink, written = lines(Lines())
    sink.write([OPENED, OPENED])
    sink.tick()
    assert len(written()) == 1
    now[0] += 1.1
    sink.tick()
    assert len(written()) == 2
    now[0] += 1.1
    sink.tick()
    sink.write([OPENED])
    assert len(written()) == 3 and not written()[2].endswith("more")


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([b"a", b"b"]), st.integers(0, 1), st.booleans()), max_size=60)
)
def test_no_refusal_is_left_out_of_the_counts(events):
    read, write = os.pipe()
    sink = RefusalSink(Output(f"/proc/self/fd/{write}"), ENFORCED, Json())
    for pid, comm, rule, tick in events:
        sink.write([dataclasses.replace(OPENED, pid=pid, comm=comm, rule=rule)])
        sink.tick(everything=tick)
    hits = {rule: sum(event[2] == rule for event in events) for rule in (0, 1)}
    sink.finish({"seccomp": Counts(hits, hits, 5)})
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        os.set_blocking(pipe.fileno(), False)
        found = [json.loads(line) for line in pipe.read().splitlines()]
    *shown, summary = found
    for rule, count in hits.items():
        assert sum(line["count"] for line in shown if line["rule"] == rule) == count
        assert summary["rules"][rule]["hits"] == count
    assert summary["type"] == "summary" and summary["lost"] == 5


@given(
    st.binary(max_size=16),
    st.text(st.characters(exclude_categories=[]), max_size=30),
    st.sampled_from([Lines(), Json()]),
)
def test_whatever_a_process_wrote_stays_one_line_of_plain_ascii(comm, what, style):
    line = style.line(dataclasses.replace(OPENED, comm=comm, what=what), ENFORCED[0], 1, False)
    assert line.endswith(b"\n") and all(0x20 <= byte < 0x7F for byte in line[:-1])


def test_lost_lines_are_said():
    plan = EnforcementPlan(ENFORCED, (), True)
    said = describe.count_lines(plan, {"seccomp": Counts({}, {0: 4}, 2)})
    assert said[:2] == ["deny open → EPERM: 4 denied", "web: deny kill → kill: 0 killed"]
    assert said[2].startswith("2 lines lost, the denials themselves were not")


def test_a_refusal_has_the_time_of_the_clock_as_it_is(monkeypatch):
    """Somebody may set it, or the machine sleep, while rules are at work."""
    import numpy as np

    from isotrace.enforce.records import Records
    from isotrace.trace import clock
    from isotrace.trace.events import EVENT

    event = np.zeros(1, dtype=EVENT)[0]
    event["time"] = 7
    reader = Records()
    times = []
    for offset in (1000, 2000):
        monkeypatch.setattr(clock, "offset", lambda value=offset: value)
        times.append(reader.refused(event, 0, "").time_ns)
    assert times == [1007, 2007]


def test_what_comes_through_socketcall_or_ipc_is_refused_under_its_own_name():
    import numpy as np

    from isotrace.catalog import multiplexed
    from isotrace.enforce.records import Records
    from isotrace.trace import plan
    from isotrace.trace.events import EVENT, I386

    event = np.zeros(1, dtype=EVENT)[0]
    event["slot"], event["number"], event["abi"] = plan.slot_of("i386", 102), 102, I386
    event["args"] = [3, 0x1000, 9, 9, 9, 9]
    found = Records().refused(event, 0, "")
    assert (found.call, found.args) == ("connect", ()), "the registers are socketcall's"
    event["slot"], event["number"] = plan.slot_of("i386", 117), 117
    event["args"] = [23, 1, 2, 3, 4, 5]
    found = Records().refused(event, 0, "")
    assert (found.call, found.args) == ("shmget", (1, 2, 3))

    memory = {(0x1000, 3): (7, 8, 9), (0x20, 1): (5,), (0x20, 2): (6, 7)}

    def demultiplexed(multiplexer, *registers):
        call, args = multiplexed.demultiplex(multiplexer, registers, lambda at, count: memory.get((at, count)))
        return call.name, args

    assert demultiplexed("socketcall", 3, 0x1000, 0, 0, 0, 0) == ("connect", (7, 8, 9))
    assert demultiplexed("socketcall", 3, 0x2000, 0, 0, 0, 0) == ("connect", ())
    assert demultiplexed("ipc", 3, 1, 2, 3, 0x20, 0) == ("semctl", (1, 2, 3, 5))
    assert demultiplexed("ipc", 12, 1, 2, 3, 0x20, 0) == ("msgrcv", (1, 6, 2, 7, 3))
    assert demultiplexed("ipc", 0x10000 | 12, 1, 2, 3, 4, 5) == ("msgrcv", (1, 4, 2, 5, 3))
    assert demultiplexed("ipc", 22, 1, 2, 3, 4, 5) == ("shmdt", (4,))
    assert multiplexed.demultiplex("socketcall", (99, 0, 0, 0, 0, 0), lambda *_: None) is None
