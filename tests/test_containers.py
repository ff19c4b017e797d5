"""--container and --pod: from the files of each runtime to a cgroup, or a reason why not."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

import pytest
from container_states import IDS, UID, Machine
from hypothesis import given, settings
from hypothesis import strategies as some

from isotrace.commands.options import take_target
from isotrace.containers import find
from isotrace.enforce import plan
from isotrace.errors import IsotraceError, UsageError
from isotrace.kernel import procfs
from isotrace.trace.target import Target, ended

A, B, C, D = IDS[:4]
POD = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    monkeypatch.setattr(procfs, "PROC", made.proc)
    return made


def cgroup(machine, name):
    """The cgroup of a container, below the mount."""
    return "/" + str(find.container(name, str(machine.root)).cgroup.relative_to(machine.mount))


def pod(machine, name):
    return "/" + str(find.pod(name, str(machine.root)).cgroup.relative_to(machine.mount))


def refused(machine, name, look=find.container):
    """What is said of a container that cannot be had: one line, a hint, and lines below."""
    with pytest.raises(IsotraceError) as caught:
        look(name, str(machine.root))
    error = caught.value
    assert all(line.isprintable() and line for line in (error.message, error.hint, *error.details))
    return error


@pytest.mark.parametrize(
    "path", [f"/system.slice/docker-{A}.scope", f"/docker/{A}", f"/system.slice/docker-{A}.scope/init.scope"]
)
def test_docker_by_name_by_id_and_by_the_first_digits_of_it(machine, path):
    machine.docker(A, "web", 100)
    machine.docker(B, "web-2", 200)
    machine.process(100, path)
    machine.process(200, f"/system.slice/docker-{B}.scope")
    own = path.removesuffix("/init.scope")
    assert [cgroup(machine, name) for name in ("web", A, A[:12], A[:4])] == [own] * 4
    assert cgroup(machine, "web-2") == f"/system.slice/docker-{B}.scope"
    for name in ("we", A[:3], "/web", "WEB"):
        assert refused(machine, name).message.startswith(f"no container is named '{name}'")


def test_docker_elsewhere_as_its_configuration_says(machine):
    machine.write("etc/docker/daemon.json", json.dumps({"data-root": "/data/docker"}))
    file = machine.docker(A, "web", 100)
    (machine.root / "data/docker/containers").mkdir(parents=True)
    file.parent.rename(machine.root / "data/docker/containers" / A)
    machine.process(100, f"/docker/{A}")
    assert cgroup(machine, "web") == f"/docker/{A}"


def test_one_container_is_one_whatever_number_of_runtimes_knows_it(machine):
    machine.docker(A, "web", 100)
    machine.containerd(A, 100, space="moby")
    machine.runc(A, 100, 5000, f"/system.slice/docker-{A}.scope", "run/docker/runtime-runc/moby")
    machine.process(100, f"/system.slice/docker-{A}.scope")
    assert cgroup(machine, A[:5]) == f"/system.slice/docker-{A}.scope"
    machine.process(100, f"/system.slice/docker-{A}.scope", started=7000)
    error = refused(machine, "web")
    assert error.message == (
        f"docker container {A[:12]} 'web' is not running: "
        "its process 100 has ended, and the number is another process's now"
    )


@pytest.mark.parametrize("file", ["containers.json", "volatile-containers.json"])
def test_podman_with_a_cgroup_below_that_of_the_container(machine, file):
    machine.stored({A: "web"}, file)
    machine.pidfile(A, 100)
    machine.crun(A, 100, 5000, f"/machine.slice/libpod-{A}.scope/container")
    machine.process(100, f"/machine.slice/libpod-{A}.scope/container")
    assert cgroup(machine, "web") == f"/machine.slice/libpod-{A}.scope"


def test_podman_without_a_cgroup_of_the_containers_own_is_refused(machine):
    """podman run --cgroups=disabled: its process is where that of whoever started it is."""
    machine.stored({A: "web"})
    machine.pidfile(A, 100)
    machine.process(100, f"/user.slice/session-1.scope/libpod-conmon-{A}.scope")
    assert "nothing says that this is the container's cgroup" in refused(machine, "web").message


def test_cri_o_and_its_pods(machine):
    machine.stored({A: f"k8s_web_p_default_{UID}_0", B: f"k8s_POD_p_default_{UID}_0"})
    machine.crio(A, 100, ("default", "p"), "web")
    machine.crio(B, 200, ("default", "p"), "POD", "sandbox")
    machine.process(100, f"{POD}/crio-{A}.scope")
    machine.process(200, f"{POD}/crio-{B}.scope")
    assert cgroup(machine, "web") == cgroup(machine, "default/p/web") == f"{POD}/crio-{A}.scope"
    assert pod(machine, "default/p") == POD
    assert refused(machine, "POD").message == "no container is named 'POD'"


@pytest.mark.parametrize("uid", [UID, ""])
def test_containerd_and_its_pods(machine, uid):
    machine.containerd(A, 100, ("default", "p"), "web", uid=uid)
    machine.containerd(B, 200, ("default", "p"), uid=uid)
    machine.containerd(C, 300, ("default", "q"), "web", uid="")
    machine.containerd(D, 999, ("default", "p"), "once", uid=uid)  # has ended
    for id, pid in ((A, 100), (B, 200)):
        machine.process(pid, f"{POD}/cri-containerd-{id}.scope")
    machine.process(300, f"/kubepods/besteffort/pod{UID[::-1].replace('-', 'a')[:32]}/{C}")
    assert cgroup(machine, "default/p/web") == f"{POD}/cri-containerd-{A}.scope"
    assert pod(machine, "default/p") == POD
    assert pod(machine, "default/q") == f"/kubepods/besteffort/pod{UID[::-1].replace('-', 'a')[:32]}"
    error = refused(machine, "web")
    assert error.message == "'web' may be 2 containers"
    assert error.details == (
        f"containerd container {A[:12]} 'default/p/web'",
        f"containerd container {C[:12]} 'default/q/web'",
    )
    assert "is not running" in refused(machine, "once").message


def test_a_pod_that_is_none(machine):
    machine.containerd(A, 100, ("default", "p"), "web")
    machine.process(100, f"/elsewhere/{A}")
    assert refused(machine, "default/p", find.pod).message.startswith("no cgroup above ")
    assert refused(machine, "default/pp", find.pod).hint == "did you mean 'default/p'?"
    for name in ("p", "/p", "default/", "a/b/c"):
        with pytest.raises(UsageError):
            find.pod(name, str(machine.root))
    (machine.proc / "100/stat").unlink()
    assert refused(machine, "default/p", find.pod).message == "no container of pod 'default/p' is running"


def test_a_pod_by_that_of_another_is_not_taken(machine):
    machine.containerd(A, 100, ("default", "p"), "web", uid=UID[::-1])
    machine.process(100, f"{POD}/cri-containerd-{A}.scope")
    assert "is a pod's by its name" in refused(machine, "default/p", find.pod).message


@pytest.mark.parametrize("told", ["/here/web", ""])
def test_runc_with_an_id_that_somebody_chose(machine, told):
    machine.runc("web", 100, 5000, told)
    machine.process(100, "/here/web/below")
    assert cgroup(machine, "web") == "/here/web"
    assert refused(machine, "here").hint == "did you mean 'web'?"


def test_runc_and_crun_with_cgroups_of_other_names(machine):
    machine.runc("web", 100, 5000, "/group/one")
    machine.process(100, "/group/one")
    machine.crun("db", 200, 6000, "/group/two")
    machine.process(200, "/group/two/below", 6000)
    machine.crun("lone", 300, 6000, "")
    machine.process(300, "/user.slice/session-2.scope", 6000)
    machine.crun("ours", 400, 6000, "/user.slice")
    machine.process(400, "/user.slice/session-2.scope", 6000)
    assert (cgroup(machine, "web"), cgroup(machine, "db")) == ("/group/one", "/group/two")
    for name in ("lone", "ours"):  # isotrace itself is below /user.slice
        assert "nothing says that this is the container's cgroup" in refused(machine, name).message


def test_an_id_in_two_runtimes_and_in_two_namespaces_are_two_containers(machine):
    machine.runc("web", 100, 5000, "/runc/web")
    machine.crun("web", 200, 5000, "/crun/web")
    machine.process(100, "/runc/web")
    machine.process(200, "/crun/web")
    error = refused(machine, "web")
    assert (error.message, error.details) == ("'web' may be 2 containers", ("runc container web", "crun container web"))
    (machine.proc / "200/stat").unlink()
    assert cgroup(machine, "web") == "/runc/web"


def test_lxc_by_its_cgroup(machine):
    machine.write("var/lib/lxc/web/config", "lxc.uts.name = web\n")
    machine.write("var/lib/lxc/old/config", "")
    machine.process(100, "/lxc.payload.web")
    machine.process(200, "/lxc/old")
    assert (cgroup(machine, "web"), cgroup(machine, "old")) == ("/lxc.payload.web", "/lxc/old")
    (machine.mount / "lxc.payload.web/cgroup.events").write_text("populated 0\nfrozen 0\n")
    machine.write("var/lib/lxc/web-2/config", "")
    machine.process(400, "/lxc.payload.web-2")
    assert "lxc container web is not running" in refused(machine, "web").message
    assert cgroup(machine, "web-2") == "/lxc.payload.web-2"
    machine.process(500, "/lxc.payload.web-1")
    assert refused(machine, "web").message.endswith("and lxc.payload.web-1 may be its or another's")
    machine.process(300, "/lxc.payload.old")
    assert "two cgroups may be its" in refused(machine, "old").message


def test_systemd_nspawn_without_its_supervisor(machine):
    unit = "machine-my\\x2dweb.scope"
    machine.machine("my-web", 100, unit)
    machine.machine("vm", 200, "machine-qemu.scope", "vm")
    machine.machine("gone", 300, "machine-gone.scope")
    machine.process(100, f"/machine.slice/{unit}/payload/init.scope")
    machine.process(200, "/machine.slice/machine-qemu.scope")
    machine.process(300, f"/machine.slice/{unit}/payload")  # a number that is used again, by another container
    assert cgroup(machine, "my-web") == f"/machine.slice/{unit}/payload"
    assert refused(machine, "vm").message == "no container is named 'vm'"
    assert "nothing says that this is the container's cgroup" in refused(machine, "gone").message


def test_a_process_of_another_container_is_not_believed_whatever_it_calls_its_cgroups(machine):
    machine.docker(A, "web", 100)
    machine.docker(B, "other", 200)
    machine.process(100, f"/system.slice/docker-{B}.scope/docker-{A}.scope")  # 100 was used again
    assert refused(machine, "web").message.endswith(f"which is the cgroup of container {B[:12]}")


@pytest.mark.parametrize(
    ("older", "path", "said"),
    [
        (f"4:memory:/docker/{A}\n1:name=systemd:/\n", "/", f"with everybody, and in memory:/docker/{A} of version 1"),
        ("", "/", "in the root cgroup of version 2, with everybody: "),
        ("", f"/../docker/{A}", "isotrace is in a cgroup namespace"),
    ],
)  # fmt: skip
def test_the_root_cgroup_is_no_containers(machine, older, path, said):
    machine.docker(A, "web", 100)
    machine.process(100, path, older=older)
    assert said in refused(machine, "web").message


def test_version_1_alone_and_no_cgroup_file_system(machine):
    machine.docker(A, "web", 100)
    machine.process(100, "/")
    (machine.proc / "100/cgroup").write_text(f"4:memory:/docker/{A}\n")
    assert f"in no cgroup of version 2, and in memory:/docker/{A} of version 1" in refused(machine, "web").message
    (machine.proc / "self/mountinfo").write_text("23 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    assert "no cgroup file system of version 2 is mounted" in refused(machine, "web").message


def test_a_directory_that_is_not_that_cgroup_is_not_taken(machine):
    machine.docker(A, "web", 100)
    group = machine.process(100, f"/docker/{A}")
    (group / "cgroup.procs").write_text("1\n1000\n")
    assert "is not the cgroup of its process 100" in refused(machine, "web").message
    (group / "cgroup.procs").unlink()
    (group / "cgroup.threads").write_text("100\n")
    assert cgroup(machine, "web") == f"/docker/{A}"


def test_what_is_known_and_does_not_run_is_said_so(machine):
    machine.docker(A, "web")
    machine.docker(B, "db", 200)  # stopped together with the machine, long ago
    assert refused(machine, "web").message == f"docker container {A[:12]} 'web' is not running: it has no process"
    assert refused(machine, "db").message.endswith("is not running: its process 200 has ended")


def test_digits_that_two_ids_begin_with_are_an_error_that_names_both(machine):
    twin = A[:8] + "0" * 56
    machine.docker(A, "web", 100)
    machine.docker(twin, "db")
    machine.process(100, f"/docker/{A}")
    error = refused(machine, A[:8])
    assert error.message == f"'{A[:8]}' may be 2 containers"
    assert sorted(error.details) == sorted([f"docker container {A[:12]} 'web'", f"docker container {twin[:12]} 'db'"])
    assert cgroup(machine, A[:9]) == f"/docker/{A}"
    machine.docker(B, A[:8])  # a name is meant before the digits of an id
    assert "is not running" in refused(machine, A[:8]).message


def test_what_cannot_be_read_is_said(machine):
    machine.docker(A, "web", 100)
    machine.process(100, f"/docker/{A}")
    top = machine.root / "run/crun"
    top.mkdir(parents=True)
    (top / "x").mkdir()
    (top / "x/status").write_text("{")
    os.mkfifo(machine.write("var/lib/docker/containers/old/x", "").with_name("config.v2.json"))
    machine.write("var/lib/docker/containers/older/config.v2.json/x", "")
    found = find.container("web", str(machine.root))
    assert [line.partition(": ")[2] for line in found.troubles] == ["not a regular file"] * 2 + ["not JSON"]
    assert find.container(A, str(machine.root)).troubles == ()
    assert refused(machine, "db").details[0].endswith("config.v2.json: not a regular file")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: nothing can be taken away from itself")
def test_a_directory_that_is_closed_is_said_with_the_reason(machine):
    machine.docker(A, "web", 100)
    child = os.fork()
    if child == 0:
        for path in (machine.root, *machine.root.parents):
            if path.name.startswith(("test_", "pytest-")):
                os.chmod(path, 0o755)
        os.chmod(machine.root / "var/lib/docker/containers", 0o700)
        os.setresuid(65534, 65534, 65534)
        error = refused(machine, "web")
        good = any("Permission denied" in line for line in error.details) and "be root" in error.hint
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_nothing_there_says_which_runtimes_were_asked(machine):
    error = refused(machine, "web")
    assert error.message == "no container is named 'web'"
    assert "docker, podman, containerd, CRI-O, LXC" in error.hint
    with pytest.raises(IsotraceError, match="no such directory"):
        find.container("web", str(machine.root / "missing"))


def test_names_are_hostile(machine):
    machine.docker(A, "\x1b[2Jweb\n\u202e", 100)
    error = refused(machine, "web")
    assert error.hint == r"did you mean '\x1b[2Jweb\n\u202e'?"
    assert "\\x1b" in refused(machine, A[:5]).message


def options(**given):
    names = ("ppid", "pid", "tree", "comm", "command")
    values = dict.fromkeys(("uid", "cgroup", "container", "pod", "container_root"))
    return values | dict.fromkeys(names, ()) | {"follow": False, "wait": False} | given


def test_the_option_is_a_target_with_the_containers_name(machine):
    machine.docker(A, "web", 100)
    path = machine.process(100, f"/docker/{A}")
    target = take_target(options(container="web", container_root=str(machine.root)))
    assert target == Target(cgroup=str(path), container="container web")
    assert str(target) == "--container web" and target.conditions == {"cgroup"}
    assert plan.concerned(target)[0].startswith("--container: a process that is moved out of it")
    assert ended(target, lambda: False) is None
    (path / "cgroup.events").write_text("populated 0\n")
    assert ended(target, lambda: False) == "container web ended"
    assert ended(Target(cgroup=str(path), container="container web", follow=True), lambda: True) is None
    assert ended(Target(cgroup=str(path)), lambda: False) is None
    with pytest.raises(IsotraceError, match="container web has ended meanwhile"):
        target.defines()  # no cgroup.controllers there: no cgroup any more


@pytest.mark.parametrize(
    "given",
    [
        {"container": "a", "cgroup": "/"},
        {"container": "a", "pod": "b/c"},
        {"container_root": "/", "cgroup": "/x"},
        {"wait": True},
        {"wait": True, "pod": "b"},
    ],
)
def test_options_that_exclude_each_other(given):
    with pytest.raises(UsageError):
        take_target(options(**given))


_JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=6) | some.sampled_from(IDS),
    lambda below: some.lists(below, max_size=3) | some.dictionaries(some.text(max_size=4), below, max_size=3),
    max_leaves=6,
)


def full(machine):
    """A container of every runtime. Returns their files."""
    files = [machine.docker(IDS[0], "web", 100), machine.runc(IDS[0], 100, 5000, "/x")]
    files += [machine.stored({IDS[1]: "pod-man", IDS[2]: "k8s_x"}), machine.pidfile(IDS[1], 101)]
    files += [
        machine.crio(IDS[2], 102, ("default", "p"), "web"),
        machine.containerd(IDS[3], 103, ("default", "p"), "db"),
    ]
    files += [machine.crun("chosen", 104), machine.machine("nspawn", 105, "machine-nspawn.scope")]
    files += [machine.write("etc/docker/daemon.json", '{"data-root": "/data"}')]
    paths = [f"/docker/{IDS[0]}", f"/libpod-{IDS[1]}.scope", f"{POD}/crio-{IDS[2]}.scope", f"{POD}/{IDS[3]}"]
    for pid, path in enumerate([*paths, "/chosen", "/machine-nspawn.scope"], 100):
        machine.process(pid, path)
        files += [machine.proc / str(pid) / "cgroup", machine.proc / str(pid) / "stat"]
    return files


def changed(value, at, new):
    """The same JSON with ``new`` in place of the value that is number ``at`` in it."""
    count = iter(range(10_000))

    def walk(part):
        if next(count) == at:
            return new
        if isinstance(part, dict):
            return {key: walk(below) for key, below in part.items()}
        return [walk(below) for below in part] if isinstance(part, list) else part

    return walk(value)


@settings(max_examples=150, deadline=None)
@given(some.data())
def test_whatever_is_in_the_files_it_is_a_cgroup_or_one_line(data):
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        machine = Machine(Path(directory))
        patch.setattr(procfs, "PROC", machine.proc)
        files = full(machine)
        for file in data.draw(some.lists(some.sampled_from(files), min_size=1, max_size=3, unique=True)):
            old = file.read_bytes()
            try:
                new = json.dumps(changed(json.loads(old), data.draw(some.integers(0, 25)), data.draw(_JSON))).encode()
            except ValueError:
                at = data.draw(some.integers(0, len(old)))
                new = old[:at] + data.draw(some.binary(max_size=8)) + old[at + data.draw(some.integers(0, 4)) :]
            file.write_bytes(data.draw(some.sampled_from([new, new, old[: len(old) // 2], b"[" * 3000])))
        name = data.draw(
            some.sampled_from(["web", "db", "pod-man", "chosen", "nspawn", "default/p", IDS[0][:6], "nobody"])
        )
        for look, asked in ((find.container, name), (find.pod, "default/p")):
            try:
                found = look(asked, str(machine.root)).cgroup
            except IsotraceError as error:
                lines = (error.message, error.hint, *error.details)
                assert all(line.isprintable() for line in lines)
            else:
                assert found != machine.mount and machine.mount in found.parents and found.is_dir()


def test_every_runtime_of_the_full_machine_is_found(machine):
    """What the property before begins with is true."""
    full(machine)
    found = {name: cgroup(machine, name) for name in (IDS[0], "pod-man", "default/p/web", "db", "chosen", "nspawn")}
    assert all(re.search(r"docker|libpod|crio|kubepods|chosen|nspawn", path) for path in found.values())
    assert pod(machine, "default/p") == POD
