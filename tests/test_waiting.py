"""--wait: a container that is not there yet, or ends and is started again, as a machine's files tell of it."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from container_states import IDS, UID, Machine
from test_containers import options

from isotrace.backends import lkm
from isotrace.commands.options import take_target
from isotrace.containers import find
from isotrace.containers.states import Again
from isotrace.enforce import Guarantees, Unsupported, plan
from isotrace.errors import IsotraceError, KernelError
from isotrace.kernel import namespaces, procfs
from isotrace.kernel.inotify import Directories
from isotrace.policy import CallRule, Group, Policy
from isotrace.run import waiting
from isotrace.run.records import Records
from isotrace.run.waiting import Waiting
from isotrace.trace import target as targets
from isotrace.trace.plan import Options
from isotrace.trace.target import Target, ended

A, B, C = IDS[:3]
_PATIENCE = 60.0


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    monkeypatch.setattr(procfs, "PROC", made.proc)
    monkeypatch.setattr(namespaces, "cgroup_depth", lambda: 0)
    monkeypatch.setattr(namespaces, "check_proc", lambda: None)
    return made


def waited_for(machine, **given):
    given = given or {"container": "web"}
    root = {} if "cgroup" in given else {"container_root": str(machine.root)}
    return take_target(options(wait=True, **root, **given))


def until(holds):
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def looking(target, monkeypatch, quiet=False):
    """The part at work: the lines that it says, and the places that it has told of."""
    lines, places = [], []
    monkeypatch.setattr(waiting, "say", lines.append)
    target.waited.join(places.append)
    part = Waiting(target.waited, "seen", quiet)
    try:
        part.start()
        yield SimpleNamespace(lines=lines, places=places, part=part)
    finally:
        part.stop("")
        part.close()
    part.close()  # safe again


def end(machine, path, pid):
    """A container's processes have ended, and its cgroup is removed."""
    shutil.rmtree(machine.proc / str(pid))
    (path / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    shutil.rmtree(path)


def test_a_container_that_comes_ends_and_comes_again_elsewhere(machine, monkeypatch):
    machine.docker(B, "other", 50)
    machine.process(50, f"/docker/{B}")
    target = waited_for(machine)
    assert (target.waited.now, str(target), target.conditions) == (None, "--container web --wait", {"cgroup"})
    with pytest.raises(IsotraceError, match="container web does not run"):
        target.place()
    with looking(target, monkeypatch) as seen:
        until(lambda: seen.lines)
        assert seen.lines == ["waiting for container web"] and seen.places == [None]
        machine.docker(A, "web")  # made, not started
        first = machine.process(100, f"/docker/{A}")
        machine.runc(A, 100, top="run/docker/runtime-runc/moby")
        until(lambda: len(seen.lines) == 2)
        assert seen.lines[1].startswith(f"container web runs: {first}; its first process had run for ")
        assert seen.lines[1].endswith(": its calls until now were not seen")
        assert target.place() == first and seen.places[1].id == first.stat().st_ino and seen.places[1].level == 2
        end(machine, first, 100)
        until(lambda: len(seen.lines) == 4)
        assert seen.lines[2:] == ["container web ended", "waiting for container web"] and seen.places[2] is None
        shutil.rmtree(machine.root / f"var/lib/docker/containers/{A}")
        machine.docker(C, "web", 200)
        second = machine.process(200, f"/system.slice/sub.slice/docker-{C}.scope")
        until(lambda: len(seen.lines) == 5)
        assert target.place() == second and seen.places[3].level == 3


def test_a_cgroup_of_the_same_name_is_another_one(machine, monkeypatch):
    """Removed and made again between two looks, it has another id."""
    machine.docker(A, "web", 100)
    path = machine.process(100, f"/docker/{A}")
    target = waited_for(machine)
    assert target.waited.now.path == path
    with looking(target, monkeypatch) as seen:
        until(lambda: seen.lines)
        assert len(seen.lines) == 1 and seen.lines[0].startswith("container web runs: ")
        before = target.waited.now
        again = path.with_name("again")
        again.mkdir()
        for name in ("cgroup.procs", "cgroup.events"):
            shutil.copy(path / name, again)
        path.rename(path.with_name("gone"))
        again.rename(path)
        until(lambda: len(seen.places) >= 3 and seen.places[-1])
        assert seen.places[-1].path == path and seen.places[-1].id != before.id
        until(lambda: len(seen.lines) >= 2 and seen.lines[-1].startswith("container web runs: "))
        assert seen.lines[1] == "container web ended" and seen.lines[-1].startswith("container web runs: ")


def test_a_container_that_moves_while_the_old_one_still_has_processes(machine, monkeypatch):
    machine.docker(A, "web", 100)
    machine.process(100, f"/docker/{A}")
    target = waited_for(machine)
    with looking(target, monkeypatch) as seen:
        machine.docker(A, "old", 100)
        machine.docker(B, "web", 200)
        other = machine.process(200, f"/docker/{B}")
        until(lambda: target.waited.place() == other)
    assert "container web ended" not in seen.lines and sum("container web runs" in line for line in seen.lines) == 2


def test_a_pod(machine, monkeypatch):
    target = waited_for(machine, pod="default/web")
    with looking(target, monkeypatch) as seen:
        machine.containerd(A, 100, ("default", "web"), "app")
        above = machine.process(100, f"/kubepods.slice/pod{UID}/{A}").parent
        (above / "cgroup.events").write_text("populated 1\n")
        until(lambda: target.waited.place() == above)
    assert seen.lines[0] == "waiting for pod default/web"


def test_a_cgroup_by_its_path(machine, monkeypatch):
    target = waited_for(machine, cgroup="/x/y")
    assert str(target) == "--cgroup /x/y --wait" and target.conditions == {"cgroup"}
    with looking(target, monkeypatch) as seen:
        until(lambda: seen.lines == ["waiting for cgroup /x/y"])
        for count in (1, 2):
            path = machine.mount / "x/y"
            path.mkdir(parents=True)
            (path / "cgroup.controllers").write_text("")
            until(lambda count=count: len(seen.lines) == 3 * count - 1)
            assert target.place() == path and seen.lines[-1] == f"cgroup /x/y is there: {path}"
            shutil.rmtree(machine.mount / "x")
            until(lambda count=count: len(seen.lines) == 3 * count + 1)
            assert seen.lines[-2:] == ["cgroup /x/y ended", "waiting for cgroup /x/y"]


def test_lxc_which_names_no_process(machine, monkeypatch):
    target = waited_for(machine)
    with looking(target, monkeypatch):
        machine.write("var/lib/lxc/web/config", "")
        path = machine.process(100, "/lxc.payload.web")
        until(lambda: target.waited.place() == path)


def test_names_that_are_like_it_are_said(machine, monkeypatch):
    machine.docker(A, "web", 100)
    with looking(waited_for(machine, container="wbe"), monkeypatch) as seen:
        pass
    assert seen.lines == ["waiting for container wbe: no container is named 'wbe' yet; there is: 'web'"]
    with looking(waited_for(machine, container="quite different"), monkeypatch) as seen:
        pass
    assert seen.lines == ["waiting for container quite different"]


def test_two_that_may_be_meant_are_an_error_at_first(machine):
    for id, pid in ((A, 100), (B, 200)):
        machine.docker(id, "web", pid)
        machine.process(pid, f"/docker/{id}")
    with pytest.raises(IsotraceError, match="'web' may be 2 containers"):
        waited_for(machine)


def test_two_that_may_be_meant_are_waited_for_until_one_is(machine, monkeypatch):
    target = waited_for(machine)
    with looking(target, monkeypatch) as seen:
        # Both at once, so that there is no moment in which one is the only one: the list comes last.
        for id, pid in ((A, 100), (B, 200)):
            machine.process(pid, f"/libpod-{id}.scope")
            machine.pidfile(id, pid)
        machine.stored({A: "web", B: "web"}, ".new").rename(
            machine.root / "var/lib/containers/storage/overlay-containers/containers.json"
        )
        until(lambda: len(seen.lines) == 2)
        assert seen.lines[1].startswith(
            "container web is still waited for: 'web' may be 2 containers: podman container"
        )
        assert target.waited.place() is None
        end(machine, machine.mount / f"libpod-{B}.scope", 200)
        until(lambda: target.waited.place() == machine.mount / f"libpod-{A}.scope")
        assert len([line for line in seen.lines if "may be" in line]) == 1


def test_what_cannot_be_read_is_said_once(machine, monkeypatch):
    (machine.root / f"var/lib/docker/containers/{A}/config.v2.json").mkdir(parents=True)
    target = waited_for(machine)
    with looking(target, monkeypatch, quiet=True) as seen:
        until(lambda: seen.lines)
        machine.docker(B, "web", 100)
        path = machine.process(100, f"/docker/{B}")
        until(lambda: target.waited.place() == path)
        for _ in range(3):
            seen.part._look(seen.part._directories)
    assert len(seen.lines) == 1 and re.fullmatch(r"not readable: .*config.v2.json: not a regular file", seen.lines[0])


def test_whatever_happens_it_goes_on_looking(machine, monkeypatch):
    target = waited_for(machine)
    search, failing = target.waited.search, [True]

    class Failing:
        places = search.places

        def __call__(self):
            if failing:
                raise RuntimeError("a bug")
            return search()

    target.waited.search = Failing()
    with looking(target, monkeypatch) as seen:
        until(lambda: seen.lines)
        assert seen.lines == ["cannot look for container web (RuntimeError('a bug'))"]
        failing.clear()
        machine.docker(A, "web", 100)
        path = machine.process(100, f"/docker/{A}")
        until(lambda: target.waited.place() == path)


def test_the_place_is_known_in_a_process_that_was_forked_before(machine):
    """As the one is that answers fanotify."""
    machine.docker(A, "web", 100)
    target = waited_for(machine)
    begun, ask = os.pipe()
    answer, answering = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(begun, 1)
        os.write(answering, str(target.place()).encode() + b" " + str(targets._confined(target, 100)).encode())
        os._exit(0)
    path = machine.process(100, f"/docker/{A}")
    target.waited.switch(targets.place_of(path))
    os.write(ask, b"x")
    assert os.read(answer, 4096).decode() == f"{path} True"
    os.waitpid(child, 0)
    target.waited.switch(None)
    assert target.place.__self__ is target and target.waited.place() is None and not targets._confined(target, 100)
    for fd in (begun, ask, answer, answering):
        os.close(fd)


def test_the_target_does_not_end_and_is_a_map_in_the_kernel(machine):
    target = waited_for(machine)
    assert ended(target, lambda: False) is None
    assert "FILTER_CGROUP_WAITED" in target.defines() and "waited" in target.maps
    assert not any(define.startswith("FILTER_CGROUP=") for define in target.defines())
    assert "waited" not in Target(cgroup="/x", container="container web").maps


def test_who_leaves_is_told_of_nothing_more(machine):
    target, places = waited_for(machine), []
    target.waited.join(places.append)
    target.waited.leave(places.append)
    target.waited.leave(places.append)
    target.waited.switch(None)
    assert places == [None]


def test_where_one_fails_the_others_are_told_and_it_is_tried_again(machine, monkeypatch):
    machine.docker(A, "web")
    target, failing = waited_for(machine), [True]

    def fail(place):
        if place and failing:
            raise OSError("no memory")

    target.waited.join(fail)
    with looking(target, monkeypatch) as seen:
        machine.docker(A, "web", 100)
        machine.process(100, f"/docker/{A}")
        until(lambda: len(seen.lines) == 2)
        assert seen.lines[1] == "cannot look for container web (OSError('no memory'))" and seen.places[-1]
        assert target.waited.now is None
        failing.clear()
        until(lambda: target.waited.now)
    assert seen.lines[2].startswith("container web runs: ")


def test_events_without_an_end_do_not_take_a_processor():
    """First it looks at once, whenever something happens; then for a quarter of the time."""
    for took in (0.0001, 0.01, 0.2):
        rest, now, looked = waiting.Rest(), 100.0, 0.0
        assert took > 0.05 or rest.after(took, now) == 0
        while now < 200:
            pause = rest.after(took, now)
            assert 0 <= pause <= 2
            looked += took
            now += took + pause
        assert 23 < looked < 27


def test_a_plan_says_what_is_not_denied(machine):
    target = waited_for(machine)
    said = "--wait: what the container does before isotrace finds it is not denied"
    assert plan.concerned(target)[0] == said
    assert plan.concerned(Target(cgroup="", container="container web", follow=True, waited=target.waited)) == (said,)
    assert said not in plan.concerned(Target(cgroup="/x"))


def test_the_kernel_module_does_not_wait(machine):
    target = waited_for(machine)
    with pytest.raises(KernelError, match="cannot wait for a container"):
        lkm.conditions(target, None)
    with pytest.raises(KernelError, match="cannot wait for a container") as caught:
        Records(Options(target), None, lambda _: [])
    assert caught.value.hint == "--wait needs BPF: leave one of them out"
    policy = Policy((Group("", (CallRule("mkdir", frozenset({"mkdir"})),)),))
    found = plan.make(policy, _Everything(), target, "lkm")
    reasons = dict(found.unenforceable[0].reasons)
    assert isinstance(reasons["lkm"], Unsupported) and "cannot wait" in reasons["lkm"].reason
    assert isinstance(plan.make(policy, _Everything(), Target(pid=(1,)), "lkm").enforced[0].guarantees, Guarantees)


class _Everything(dict):
    def __missing__(self, _name):
        return SimpleNamespace(verdict="yes", why="", remedy="")

    def get(self, name, default=None):
        return self[name]

    def __contains__(self, _name):
        return True


def test_hints_name_the_option(machine):
    machine.docker(A, "web")
    with pytest.raises(find.NotThere) as caught:
        find.container("web", str(machine.root))
    assert caught.value.hint == "start it first, or give --wait: isotrace then waits for it"
    with pytest.raises(find.NotThere):
        find.container("nobody", str(machine.root))


def test_directories_are_watched_also_before_they_are_there(tmp_path):
    one = Directories()
    asked = {str(tmp_path / "a/b/c"): False, str(tmp_path / "link/c"): False}
    assert one.watch(asked) and not one.watch(asked) and not one.news()
    (tmp_path / "something else").mkdir()
    assert not one.news()
    (tmp_path / "a").mkdir()
    assert one.news() and one.watch(asked)
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    assert one.news() and one.watch(asked) and not one.watch(asked)
    (tmp_path / "a/b/c/file").write_text("x")
    assert one.news() and not one.news()
    shutil.rmtree(tmp_path / "a")
    assert one.news()
    one.watch(asked)
    (tmp_path / "a").mkdir()
    assert one.news()
    one.close()
    assert not one.watch(asked) and not one.news() and not one.works


def test_what_is_written_into_a_file_counts_where_it_is_asked_for(tmp_path):
    file = tmp_path / "cgroup.events"
    file.write_text("")
    for written in (False, True):
        one = Directories()
        one.watch({str(tmp_path): written})
        with file.open("w") as stream:
            one.news()
            stream.write("x")
            stream.flush()
            assert one.news() is written
        one.close()


def test_files_are_read_anew_when_they_have_changed(tmp_path, monkeypatch):
    file, states = tmp_path / "x.json", Again(tmp_path)
    file.write_text('{"a": 1}')
    assert states.json("/x.json") == {"a": 1} and list(states.looked) == [str(tmp_path)]
    file.write_text('{"a": 2}')  # at once, perhaps at the same time by the clock of the file system
    states.begin()
    assert states.json("/x.json") == {"a": 2}
    os.utime(file, (1e9, 1e9))
    states.begin()
    before = states.json("/x.json")
    parsed = []
    monkeypatch.setattr("isotrace.containers.states.parsed", lambda text: parsed.append(text))
    states.begin()
    assert states.json("/x.json") is before and not parsed
    file.write_text("{")
    states.begin()
    assert states.json("/x.json") is None and parsed == ["{"] and "not JSON" in states.troubles[0]
