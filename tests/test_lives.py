"""When a target has ended: never as long as a thread of it, or a child that came meanwhile, may be left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from isotrace.backends.attached import Attached
from isotrace.backends.pids import ACTIVE, ARMED, ENDED, LIMIT, Pids
from isotrace.enforce import Counts, plan, strays
from isotrace.enforce.strays import Births, must_follow
from isotrace.errors import KernelError
from isotrace.kernel import procfs
from isotrace.trace import target as targets
from isotrace.trace.target import Target

ENDS = Path(__file__).parent / "progs/attacks/ends.c"


@pytest.fixture
def pids():
    descriptor = os.memfd_create("pids")
    os.truncate(descriptor, LIMIT)
    found = Pids(descriptor)
    os.close(descriptor)
    yield found
    found.close()


def test_members_are_those_that_have_not_ended(pids):
    for pid, state in ((7, ACTIVE), (LIMIT - 1, ACTIVE), (5, ARMED), (6, ENDED)):
        pids.add(pid, state)
    assert sorted(pids.members()) == [5, 7, LIMIT - 1]
    assert [pids.state(pid) for pid in (5, 6, 7, 8)] == [ARMED, ENDED, ACTIVE, 0]


def attached(pids, joined):
    """A backend whose map is ``pids`` and who finds one after the other of the counts ``joined``."""
    found, counts = Attached(Target(tree=1), ()), iter(joined)
    found._pids = {"tree": pids}
    found._joined = lambda: next(counts)
    return found


def test_an_empty_map_is_believed_only_if_nobody_came_while_it_was_looked_through(pids):
    assert not attached(pids, (4, 4)).alive()
    assert attached(pids, (4, 5)).alive()
    pids.add(os.getpid(), ENDED)
    assert not attached(pids, (4, 4)).alive()
    pids.add(os.getpid(), ACTIVE)
    assert attached(pids, (4, 4)).alive()


def test_a_zombie_is_dead_and_a_process_without_its_leader_is_not(tmp_path):
    program, answer = tmp_path / "ends", tmp_path / "answer"
    subprocess.run(["gcc", "-O1", "-Wall", "-pthread", "-o", program, ENDS], check=True)
    with subprocess.Popen(["sleep", "0"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert targets.read_process(child.pid) and not targets.lives(child.pid)
        for named in (Target(pid=child.pid), Target(ppid=child.pid), Target(ppid=child.pid, keep=True)):
            assert targets.ended(named, lambda: False)  # there is nobody left, also where nobody reaps it
    assert not targets.lives(child.pid)
    subprocess.run([program, "leaderless", "/nowhere", answer], check=True)
    (pid,) = (one.pid for one in targets.processes() if one.comm == b"ends" and exe(one.pid) in ("", str(program)))
    while not answer.exists() or targets.read_process(pid).state != "Z":
        os.sched_yield()
    assert targets.lives(pid) and not targets.ended(Target(pid=pid), lambda: False)
    os.kill(pid, 9)


def exe(pid):
    """What it runs; "" where its leader has ended."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("state", "threads", "lives"), [("S", 1, True), ("Z", 1, False), ("Z", 2, True), ("X", 1, False), ("Z", 0, True)]
)
def test_who_lives_by_the_line_of_stat(state, threads, lives):
    rest = " ".join(str(number) for number in (1, *range(15), threads, 0))
    found = procfs.stat(f"9 (a) b) {state} {rest}\n".encode())
    assert (found.state, found.threads, found.lives) == (state, threads, lives)


def test_a_tree_ends_with_the_kernels_map_and_not_with_the_process_that_names_it():
    asked = []
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, check=True, text=True)
    for target in (Target(tree=int(gone.stdout)), Target(tree=os.getpid()), Target(ppid=int(gone.stdout), follow=True)):
        assert targets.ended(target, lambda: asked.append(1) or True) is None
        assert targets.ended(target, lambda: False)
    assert len(asked) == 3
    assert targets.ended(Target(ppid=int(gone.stdout), keep=True), lambda: True) is None
    assert targets.ended(Target(ppid=int(gone.stdout)), lambda: True)
    assert targets.ended(Target(pid=os.getpid()), lambda: False) is None
    assert targets.ended(Target(uid=0), lambda: False) is None


@pytest.mark.parametrize("fault", [PermissionError, OSError(23, "too many open files in system")])
def test_what_cannot_be_asked_lives(monkeypatch, fault):
    def refused(*_args, **_options):
        raise fault

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert targets.lives(os.getpid())
    assert not targets.ended(Target(pid=os.getpid()), lambda: False)


def test_nothing_starts_where_children_got_away():
    must_follow(Counts())
    with pytest.raises(KernelError, match="3 births"):
        must_follow(Counts(not_followed=3))


def test_births_that_are_missed_are_told_of_as_they_come(monkeypatch):
    monkeypatch.setattr(strays, "_PAUSE", 0.0)
    answers = iter((Counts(), Counts(not_followed=2), OSError(), Counts(not_followed=2), Counts(not_followed=5)))

    class Missing:
        def counts(self):
            answer = next(answers)
            if isinstance(answer, OSError):
                raise answer
            return answer

    births = Births()
    said = [births.news([Missing()]) for _ in range(5)]
    assert [line.split()[0] for lines in said for line in lines] == ["2", "3"] and not said[0] and len(said[4]) == 1


def test_what_frees_a_process_from_a_condition_is_said():
    assert not plan.concerned(Target(tree=1)) and not plan.concerned(Target(comm="a", follow=True))
    notes = plan.concerned(Target(ppid=1, pid=3, uid=2, comm="a", cgroup="/"))
    assert [note.split(":")[0] for note in notes] == ["--comm", "--ppid", "--pid", "--uid", "--cgroup"]


def test_the_kernel_keeps_a_map_for_names_and_parents_where_block_asks_for_it():
    kept = Target(comm="evil", keep=True)
    assert kept.mapped and not kept.descends and kept.maps[-1] == "followed" and "KEPT" in kept.defines()
    assert not Target(comm="evil").mapped and "KEPT" not in Target(comm="evil", follow=True, keep=True).defines()
