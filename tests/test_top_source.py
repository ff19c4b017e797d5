"""What the source makes of tables: rates, who has ended, zero, history; every count stays accounted for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from top_tables import SLOT, Clock, Recorded, errors, rows

from isotrace.backends.counts import Losses
from isotrace.top import ledger
from isotrace.top import source as sources
from isotrace.top.ledger import Groups
from isotrace.top.model import GROUPS, Process, percentile
from isotrace.top.source import Source, Worker


@pytest.fixture
def living(monkeypatch):
    """The processes there are, as the test says."""
    pids: set[int] = set()
    monkeypatch.setattr(sources, "living_now", lambda: set(pids))
    return pids


@pytest.fixture
def tables():
    return Recorded()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def source(tables, clock, living):
    return Source(tables, clock)


def totals(snapshot):
    """(name of the owner, call) → calls."""
    names = {slot: name for name, slot in SLOT.items()}
    table = snapshot.table
    return {
        (snapshot.processes[owner].name, names[slot]): calls
        for owner, slot, calls in zip(
            table.owner.tolist(), table.slot.tolist(), table.rows.sums[:, 0].tolist(), strict=True
        )
    }


def test_rate_is_of_the_time_since_the_last_look(source, tables, clock, living):
    living.add(7)
    tables.comms = {7: (b"web", 1)}
    tables.table = rows((7, "read", 100))
    source.look()
    clock.now += 2
    tables.table = rows((7, "read", 400), (7, "write", 20))
    snapshot = source.look()
    assert snapshot.calls == 420
    assert snapshot.rate == pytest.approx(160)
    assert snapshot.table.rate.tolist() == [150, 10]


def test_ended_processes_of_one_name_become_one_row_and_keep_their_counts(source, tables, clock, living):
    living |= {1, 10, 11}
    tables.comms = {1: (b"sh", 0), 10: (b"ls", 1), 11: (b"ls", 1)}
    tables.table = rows((1, "wait4", 3), (10, "read", 5), (11, "read", 6))
    source.look()
    living -= {10, 11}
    clock.now += 1
    tables.table = rows((1, "wait4", 4), (10, "read", 7), (11, "read", 6))
    snapshot = source.look()
    assert totals(snapshot) == {("sh", "wait4"): 4, ("ls", "read"): 13}
    group = next(process for process in snapshot.processes.values() if process.ended)
    assert (group.name, group.members, group.parent) == ("ls", 2, 1)
    assert tables.table.keys.tolist() == rows((1, "wait4", 4)).keys.tolist(), "their rows make room in the kernel"
    assert snapshot.rate == pytest.approx(3), "what they did since the last look still counts as now"
    clock.now += 1
    assert totals(source.look()) == {("sh", "wait4"): 4, ("ls", "read"): 13}


def test_a_process_born_after_the_look_at_proc_is_not_taken_for_dead(source, tables, living):
    tables.comms = {20: (b"new", 1)}
    tables.table = rows((20, "read", 1))
    snapshot = source.look()
    assert not any(process.ended for process in snapshot.processes.values())
    assert len(tables.table) == 1


def test_a_process_that_the_kernel_has_freed_is_buried_at_once(source, tables, clock):
    tables.comms = {20: (b"ls", 1)}
    tables.table, tables.ended = rows((20, "read", 9)), {20}
    snapshot = source.look()
    assert totals(snapshot) == {("ls", "read"): 9}
    assert not len(tables.table)
    assert 0 < source.room_for < 60_000


def test_zero_starts_again_for_living_and_ended(source, tables, clock, living):
    living |= {1, 2}
    tables.comms = {1: (b"a", 0), 2: (b"b", 0)}
    tables.table, tables.failures = rows((1, "read", 100), (2, "read", 50)), errors((1, "read", 11, 9, b""))
    source.look()
    living.remove(2)
    source.look()
    source.requests.zero = True
    assert source.look().calls == 0
    clock.now += 1
    tables.table, tables.failures = rows((1, "read", 103)), errors((1, "read", 11, 10, b""))
    snapshot = source.look()
    assert totals(snapshot) == {("a", "read"): 3}
    assert snapshot.errors.counts.tolist() == [1]
    assert snapshot.seconds == pytest.approx(1)


def test_history_has_a_value_a_second(source, tables, clock, living):
    living.add(1)
    tables.comms = {1: (b"a", 0)}
    for second in range(1, 5):
        clock.now += 1
        tables.table = rows((1, "read", 10 * second * second))
        snapshot = source.look()
    assert snapshot.history.slots[SLOT["read"], -4:].tolist() == [10, 30, 50, 70]
    assert snapshot.history.total[-1] == 70
    assert snapshot.history.by_owner[snapshot.history.owners.tolist().index(1), -1] == 70


def test_a_slow_look_spreads_over_the_seconds_it_took(source, tables, clock, living):
    living.add(1)
    tables.comms = {1: (b"a", 0)}
    source.look()
    clock.now += 3
    tables.table = rows((1, "read", 30))
    assert source.look().history.total[-4:].tolist() == [0, 10, 10, 10]


def test_places_are_read_only_when_asked_for(source, tables, clock):
    tables.used = [(1, b"/etc/passwd", 5)]
    tables.pushed_out = 2
    assert source.look().places is None
    source.requests.places = True
    found = source.look().places
    assert (found.calls.tolist(), found.forgotten) == ([5], 2)
    clock.now += 1
    tables.used = [(1, b"/etc/passwd", 25)]
    assert source.look().places.rate.tolist() == [20]
    tables.used = [(1, b"/etc/passwd", 26)]
    assert source.look().places.calls.tolist() == [25], "not more than once a second"
    assert source.look(ended="over").places.calls.tolist() == [26], "but at the end"


def test_hostile_names_are_quoted(source, tables, living):
    living.add(1)
    tables.comms = {1: (b"\x1b[2J\nevil]", 0)}
    tables.table = rows((1, "read", 1))
    name = source.look().processes[1].name
    assert name.isprintable() and name.isascii() and "\\33" in name


def test_what_was_lost_is_said():
    lines = Losses(calls=3, errors=2, not_followed=1).lines()
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert Losses().lines() == []


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["read", "write", "openat"]), st.integers(1, 99))))
def test_merging_keeps_every_call(entries):
    unique = {(pid, call): n for pid, call, n in entries}
    table = rows(*((pid, call, n) for (pid, call), n in unique.items()))
    owners = {pid: GROUPS + pid % 3 for pid in range(1, 20)}
    renamed = ledger.renamed(table.keys, owners)
    moved = type(table)(renamed, table.sums, table.longest, table.buckets)
    found, extra = ledger.merged([(moved, np.ones(len(table)))])
    assert found.sums[:, 0].sum() == sum(unique.values())
    assert extra.sum() == len(table)
    assert (np.diff(found.keys.astype(object)) > 0).all()


def test_a_chain_of_forks_stays_one_row():
    groups, moved = Groups(), {}
    for pid in range(100, 400):
        known = {pid: Process(pid, "fork", pid - 1), pid + 1: Process(pid + 1, "fork", pid)}
        moved = groups.retire({pid}, known)
    assert sum(process.members for process in groups.processes().values()) == 300
    assert len(groups.processes()) <= 2
    assert set(moved.values()) <= set(groups.processes())


def test_groups_follow_their_parents_into_the_ground():
    groups = Groups()
    known = {1: Process(1, "make", 0), 2: Process(2, "sh", 1), 3: Process(3, "cc", 2)}
    first = groups.retire({3}, known)
    second = groups.retire({1, 2}, {pid: known[pid] for pid in (1, 2)})
    found = groups.processes()
    assert {process.name: process.members for process in found.values()} == {"make": 1, "sh": 1, "cc": 1}
    cc = found[second[first[3]]]
    assert found[cc.parent].name == "sh"
    assert found[found[cc.parent].parent].name == "make"


def test_a_child_that_is_found_after_its_parent_joins_its_siblings():
    groups = Groups()
    groups.retire({1, 2}, {1: Process(1, "sh", 0), 2: Process(2, "ls", 1)})
    groups.retire({3}, {3: Process(3, "ls", 1)})
    assert {process.name: process.members for process in groups.processes().values()} == {"sh": 1, "ls": 2}


def test_many_names_are_bounded():
    groups = Groups()
    for pid in range(1, 3000):
        groups.retire({pid}, {pid: Process(pid, f"n{pid}", 0)})
    found = groups.processes()
    assert len(found) <= 513
    assert sum(process.members for process in found.values()) == 2999


@given(st.lists(st.integers(0, 5000), min_size=32, max_size=32), st.floats(0.01, 0.99))
def test_percentile_lies_within_its_bucket(buckets, part):
    table = np.array([buckets], np.uint64)
    (found,) = percentile(table, np.array([1 << 62], np.uint64), part)
    if not sum(buckets):
        assert found == 0
        return
    index = next(i for i in range(32) if sum(buckets[: i + 1]) >= sum(buckets) * part)
    low = 0 if index == 0 else 64 << index
    assert low <= found <= (128 << index) * 1.000001


def test_percentile_is_never_above_the_longest():
    buckets = np.zeros((1, 32), np.uint64)
    buckets[0, 10] = 5
    assert percentile(buckets, np.array([70000], np.uint64), 0.99)[0] == 70000


def test_the_worker_reports_what_breaks(tables, living):
    def broken():
        raise OSError("map is gone")

    tables.rows = broken
    worker = Worker(Source(tables), lambda: None, 0.25)
    worker.begin(lambda snapshot: None)
    worker._thread.join(5)
    assert isinstance(worker.failure, OSError)
    worker.finish()


def test_who_ends_after_a_zero_brings_nothing_back_from_before(source, tables, clock, living):
    living.add(1)
    tables.comms = {1: (b"a", 0)}
    tables.table, tables.failures = rows((1, "read", 100)), errors((1, "read", 11, 9, b""))
    source.look()
    source.requests.zero = True
    source.look()
    tables.table, tables.failures = rows((1, "read", 103)), errors((1, "read", 11, 10, b""))
    tables.ended = {1}
    for _ in range(2):
        snapshot = source.look()
        assert totals(snapshot) == {("a", "read"): 3}
        assert snapshot.errors.counts.tolist() == [1]


PIDS = (1, 2, 3)
STEP = st.one_of(
    st.tuples(st.just("call"), st.sampled_from(PIDS)),
    st.tuples(st.just("end"), st.sampled_from(PIDS)),
    st.tuples(st.just("zero"), st.none()),
    st.tuples(st.just("look"), st.none()),
)


@given(st.lists(STEP, max_size=40))
def test_what_is_shown_is_what_was_called_since_the_last_zero(steps):
    """Processes call, end, come again under the same number; somebody sets all to zero in between."""
    tables, clock = Recorded(), Clock()
    source = Source(tables, clock)
    counts: dict[int, int] = {}  # the kernel's, which are gone with the process
    since: dict[str, int] = {}

    def look():
        clock.now += 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sources, "living_now", lambda: set(PIDS))
            check()

    def check():
        tables.table = rows(*((pid, "read", count) for pid, count in counts.items()))
        snapshot = source.look()
        for pid in tables.ended:
            counts.pop(pid, None)
        tables.ended = set()
        found: Counter[str] = Counter()
        for owner, calls in zip(snapshot.table.owner.tolist(), snapshot.table.rows.sums[:, 0].tolist(), strict=True):
            found[snapshot.processes[owner].name] += calls  # who lives, and who had the name before
        assert found == Counter(since)

    for what, pid in (*steps, ("look", None)):
        if what == "call" and pid not in tables.ended:
            counts[pid] = counts.get(pid, 0) + 1
            since[f"p{pid}"] = since.get(f"p{pid}", 0) + 1
            tables.comms[pid] = (f"p{pid}".encode(), 0)
        elif what == "end" and pid in counts:
            tables.ended |= {pid}
            look()
        elif what == "zero":
            source.requests.zero = True
            since.clear()
            look()
        elif what == "look":
            look()
