"""In which container a process is: names by cgroups, the captures in records, what is shown of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import records
from container_states import IDS, Machine
from hypothesis import given, settings
from hypothesis import strategies as some
from records import Collected

from isotrace.containers import find
from isotrace.containers import whose as of_cgroups
from isotrace.containers.whose import Whose
from isotrace.kernel import procfs
from isotrace.process import telling
from isotrace.recording import reader
from isotrace.recording.asked import Asked
from isotrace.recording.schema import End, Head
from isotrace.recording.sql import Database
from isotrace.recording.writer import Writer
from isotrace.render.whereabouts import inside, inside_object, where_object
from isotrace.sinks.formats import Beside
from isotrace.sinks.json import Json
from isotrace.sinks.text import Text
from isotrace.trace import events, whereabouts
from isotrace.trace.events import PART_WHEREABOUTS, TASK_ARG, WHEREABOUTS, Batch, Blob
from isotrace.trace.plan import all_calls
from isotrace.trace.whereabouts import Whereabouts

A, B, C, D = IDS[:4]
OPENAT, GETPID = 257, 39


# ---- names by cgroups -----------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    monkeypatch.setattr(procfs, "PROC", made.proc)
    return made


def looking_in(machine):
    """What is there by now is known to be old."""
    found = Whose()
    found.look_in(str(machine.root))
    return found


@pytest.fixture
def whose(machine):
    return looking_in(machine)


@pytest.fixture
def clock(monkeypatch):
    found = SimpleNamespace(now=100.0)
    monkeypatch.setattr(of_cgroups, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def number(path: Path) -> int:
    return os.stat(path).st_ino


def test_each_runtime_s_container_is_called_as_its_user_calls_it(machine, whose):
    machine.docker(A, "web", 100)
    machine.containerd(B, 200, ("default", "db"), "app")
    machine.runc("plain", 300, cgroup="/plain")
    groups = [
        machine.process(100, f"/system.slice/docker-{A}.scope"),
        machine.process(200, f"/kubepods.slice/cri-containerd-{B}.scope"),
        machine.process(300, "/plain"),
    ]
    names = [whose.name(number(group), pid) for group, pid in zip(groups, (100, 200, 300), strict=True)]
    assert names == ["web", "default/db/app", "plain"]


def test_below_a_container_s_cgroup_it_is_the_topmost_container(machine, whose):
    machine.docker(A, "web", 100)
    machine.process(100, f"/docker/{A}")
    machine.docker(B, "other", 0)
    within = machine.process(101, f"/docker/{A}/docker/{B}")
    assert whose.name(number(within), 101) == "web"


def test_who_is_in_no_container_is_in_none_and_who_cannot_be_found_is_not_known(machine):
    machine.docker(A, "web", 100)
    machine.process(100, f"/docker/{A}")
    machine.process(7, "/user.slice/session-1.scope")
    whose = looking_in(machine)
    assert whose.name(number(machine.mount), 1) == ""
    assert whose.name(number(machine.process(7, "/user.slice/session-1.scope")), 7) == ""
    assert whose.name(123456789, 100) is None


def test_a_process_that_has_ended_or_moved_is_found_by_its_cgroup_alone(machine, whose):
    machine.docker(A, "web", 100)
    group = machine.process(100, f"/docker/{A}")
    machine.process(100, "/elsewhere")
    assert whose.name(number(group), 100) == whose.name(number(group), 5555) == "web"


def test_an_id_that_no_runtime_knows_is_shown_by_its_first_digits(machine, whose):
    assert whose.name(number(machine.process(100, f"/docker/{C}")), 100) == C[:12]


def test_the_name_of_a_container_whose_process_has_just_ended_is_known_by_its_id(machine, whose):
    machine.docker(A, "web", 100)
    (machine.mount / "docker" / A).mkdir(parents=True)
    assert whose.name(number(machine.mount / "docker" / A), 100) == "web"


def test_a_cgroup_that_only_looks_like_a_running_container_s_is_not_it(machine, whose):
    """Anybody with a cgroup of their own can name one below it: the container's own is known."""
    machine.docker(A, "web", 100)
    machine.process(100, f"/system.slice/docker-{A}.scope")
    fake = machine.process(200, f"/user.slice/docker-{A}.scope")
    assert whose.name(number(fake), 200) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to give a directory away")
def test_a_cgroup_of_a_user_s_is_no_stopped_container_s(machine, whose):
    machine.docker(A, "web", 0)
    fake = machine.process(200, f"/user.slice/docker-{A}.scope")
    assert whose.name(number(fake), 200) == "web"
    os.chown(fake, 65534, 65534)
    other = looking_in(machine)
    assert other.name(number(fake), 200) is None


def test_what_has_just_come_is_not_known_until_a_runtime_tells_of_it(machine, whose, clock):
    group = machine.process(300, "/plain")
    assert whose.name(number(group), 300) is None
    machine.runc("plain", 300, cgroup="/plain")
    clock.now += 0.3
    assert whose.name(number(group), 300) == "plain"


def test_what_nobody_tells_of_is_in_none_after_a_while(machine, whose, clock):
    group = machine.process(300, "/service")
    for _ in range(6):
        assert whose.name(number(group), 300) is None
        clock.now += 0.3
    clock.now += 1
    assert whose.name(number(group), 300) == ""


def test_what_is_in_none_may_become_a_container_s_and_a_container_may_be_renamed(machine, clock):
    group = machine.process(300, "/plain")
    whose = looking_in(machine)
    assert whose.name(number(group), 300) == ""
    machine.docker(A, "blue", 100)
    web = machine.process(100, f"/docker/{A}")
    machine.runc("plain", 300, cgroup="/plain")
    clock.now += 6
    assert (whose.name(number(group), 300), whose.name(number(web), 100)) == ("plain", "blue")
    machine.docker(A, "green", 100)
    clock.now += 6
    assert whose.name(number(web), 100) == "green"


def test_where_a_file_cannot_be_understood_nobody_is_in_none(machine, clock, capfd):
    machine.runc("web", 100, cgroup="/web").write_text("{")
    machine.process(100, "/web")
    group = machine.process(7, "/service")
    whose = looking_in(machine)
    for _ in range(4):
        assert whose.name(number(group), 7) is None and whose.name(number(machine.mount / "web"), 100) is None
        clock.now += 0.5
    assert capfd.readouterr().err.count("not readable, may have names of containers: ") == 1


def test_who_shares_a_cgroup_with_a_container_that_has_none_of_its_own_is_not_known(machine):
    machine.docker(A, "web", 100)
    machine.process(100, "/")
    group = machine.process(7, "/service")
    whose = looking_in(machine)
    assert whose.name(number(machine.mount), 100) is None
    assert whose.name(number(group), 7) == ""


def test_all_cgroups_are_looked_through_once_for_many(machine, clock, monkeypatch):
    machine.docker(A, "web", 100)
    whose = looking_in(machine)
    groups = [machine.process(1000 + i, f"/docker/{A}/{i}") for i in range(200)]
    walks = []
    monkeypatch.setattr(of_cgroups.os, "walk", lambda top, walk=os.walk: walks.append(top) or walk(top))
    clock.now += 10
    assert {whose.name(number(group), 5555) for group in groups} == {"web"}
    assert len(walks) == 1


def test_what_was_found_by_its_name_is_called_that_before_the_runtime_s_files_say_it(machine, whose):
    group = machine.process(300, "/plain")
    whose.tell(find.Found(group, (), "plain"))
    assert whose.name(number(group), 300) == "plain"


# ---- in records -----------------------------------------------------------------------------------------------------


def captured(cgroup: int, pid: int, tid: int) -> Blob:
    """As the kernel's programs make it, the last of a record."""
    data = np.array([(pid, tid)], dtype=WHEREABOUTS).tobytes()
    return Blob(TASK_ARG, PART_WHEREABOUTS, events.WHOLE, cgroup, data)


NAMES = {0: None, 1: "", 2: "web", 3: "default/db/app", 4: "a\033[31m", 5: "x" * 200}


def named(*made: bytes) -> Batch:
    return whereabouts.with_names(records.batch(*made), lambda cgroup, _pid: NAMES[cgroup])


_blob = some.builds(records.string, some.integers(0, 5), some.binary(max_size=40))
_place = some.tuples(some.sampled_from(sorted(NAMES)), some.integers(0, 2**32 - 1), some.integers(0, 2**32 - 1))


@settings(deadline=None)
@given(some.lists(some.tuples(some.lists(_blob, max_size=4), some.none() | _place), max_size=12), some.data())
def test_records_keep_all_that_they_have_and_say_where_they_are_from(made, data):
    plain = records.batch(*(records.make(OPENAT, blobs=blobs) for blobs, _ in made))
    found = named(
        *(records.make(OPENAT, blobs=[*blobs, *([captured(*place)] if place else [])]) for blobs, place in made)
    )
    wanted = [Whereabouts(NAMES[place[0]], *place[1:]) if place else None for _, place in made]
    kept = np.array(data.draw(some.lists(some.booleans(), min_size=len(made), max_size=len(made))), dtype=bool)
    for batch in (found, found.alone(), found.select(np.ones(len(made), dtype=bool))):
        assert [list(batch.blobs(i)) for i in range(len(made))] == [list(plain.blobs(i)) for i in range(len(made))]
        assert list(whereabouts.of(batch)) == wanted == [whereabouts.at(batch, i) for i in range(len(made))]
        every = list(range(len(made)))
        assert batch.blobs_of(every) == plain.blobs_of(every)
    assert list(whereabouts.of(found.select(kept))) == [one for one, keep in zip(wanted, kept, strict=True) if keep]


def test_a_capture_that_is_too_short_says_nothing():
    """A recording may be anybody's."""
    raw = events.pack_blob(TASK_ARG, 0, 7, b"abc", PART_WHEREABOUTS)
    assert whereabouts.unpacked(raw) == Whereabouts(None, 0, 0)
    assert whereabouts.without(raw + b"rest") == b"rest"


def test_what_is_recorded_is_read_and_queried(tmp_path):
    batch = named(
        records.make(GETPID, pid=100, blobs=[captured(2, 12, 13)]),
        records.make(GETPID, pid=101, blobs=[captured(1, 0, 0)]),
        records.make(GETPID, pid=102, blobs=[captured(0, 5, 5)]),
        records.make(GETPID, pid=103, comm=b"sh\0ep"),
    )
    out = Writer(Asked(str(tmp_path / "t")), Head(containers=True))
    out.write(batch)
    out.settle()
    out.close(End())
    (recording,) = reader.open_all([str(tmp_path / "t")])
    assert recording.head.containers
    read = [where for rows in recording.arrow() for one in recording.batches_of(rows) for where in whereabouts.of(one)]
    assert read == [Whereabouts("web", 12, 13), Whereabouts("", 0, 0), Whereabouts(None, 5, 5), None]
    found = Database([str(tmp_path / "t")]).run("SELECT pid, container, pid_inside FROM calls ORDER BY pid")
    names = Database([str(tmp_path / "t")]).run("SELECT DISTINCT comm FROM calls ORDER BY comm")
    assert names and names.read_all().column(0).to_pylist() == ["prog", "sh"]
    assert found and [tuple(row.values()) for row in found.read_all().to_pylist()] == [
        (100, "web", 12),
        (101, "", 101),
        (102, None, 5),
        (103, None, None),
    ]


# ---- what is shown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (None, " (in ?)"),
        (Whereabouts("", 0, 0), ""),
        (Whereabouts("", 12, 13), " (13 inside)"),
        (Whereabouts("web", 12, 12), " (12 in web)"),
        (Whereabouts("web", 0, 0), " (in web)"),
        (Whereabouts(None, 12, 12), " (12 in ?)"),
        (Whereabouts(None, 0, 0), " (in ?)"),
        (Whereabouts("a\x1b[31m\n", 1, 1), r' (1 in "a\33[31m\n")'),
        (Whereabouts('web) nginx  openat("/f"', 1, 1), r' (1 in "web) nginx  openat(\"/f\"")'),
    ],
)
def test_beside_a_number(where, text):
    assert inside(where) == text
    of_process = where and where._replace(tid=where.pid)
    if where is not None and not set(where.container or "") & set(" ["):  # the name in an object is escaped already
        assert inside_object({"pid": 4711, **where_object(of_process, 4711, 4711)}) == inside(of_process)


def test_lines_and_objects():
    batch = named(
        records.make(GETPID, pid=4711, blobs=[captured(2, 12, 12)]),
        records.make(OPENAT, args=[2**32 - 100, 1], pid=4712, blobs=[records.string(1, b"/f"), captured(1, 0, 0)]),
    )
    calls = all_calls()
    for containers, prefixes in (
        (True, ["4711 (12 in web) prog  getpid()", "4712 prog  openat("]),
        (False, ["4711 prog  ", "4712 prog"]),
    ):
        output = Collected()
        Text(output, calls, Beside(containers=containers)).write(batch)
        assert [line.startswith(prefix) for line, prefix in zip(output.lines, prefixes, strict=True)] == [True, True]
        output = Collected()
        Json(output, calls, Beside(containers=containers)).write(batch)
        objects = [json.loads(line) for line in output.lines]
        assert [one.get("container") for one in objects] == (["web", ""] if containers else [None, None])
        assert [one.get("pid_inside") for one in objects] == ([12, 4712] if containers else [None, None])
        assert [one["args"][1]["value"] for one in objects[1:]] == ['"/f"']


def test_a_line_is_said_where_another_has_taken_standard_error(monkeypatch, capfd):
    """As Textual does, whose stream has no encoding; it had ended the table."""
    monkeypatch.setattr("sys.stderr", object())
    telling.say("it is said")
    assert capfd.readouterr().err == "isotrace: it is said\n"
