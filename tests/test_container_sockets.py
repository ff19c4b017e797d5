"""--container where only a runtime's socket tells; and what a user can do by answering on one."""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
from container_states import IDS, UID, Machine
from fake_runtime import Runtime, container, docker, http
from hypothesis import given, settings
from hypothesis import strategies as some
from test_containers import cgroup, pod, refused
from test_waiting import looking, until, waited_for

from isotrace.containers import find, sockets
from isotrace.kernel import namespaces, procfs

A, B, C = IDS[:3]
ROOT = os.geteuid() == 0
#: Users with runtimes; whoever is not root can be no other.
USER, OTHER = (12345, 12346) if ROOT else (os.getuid(), os.getuid())
needs_root = pytest.mark.skipif(not ROOT, reason="needs root: to be several users")
_PODS = {"io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.name": "p", "io.kubernetes.pod.uid": UID}


def scope(id, user=0):
    """The cgroup of a container as podman and Docker name it."""
    below = f"/user.slice/user-{user}.slice/user@{user}.service/user.slice" if user else "/system.slice"
    return f"{below}/docker-{id}.scope"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    made.monkeypatch = monkeypatch
    monkeypatch.setattr(procfs, "PROC", made.proc)
    monkeypatch.setattr(namespaces, "cgroup_depth", lambda: 0)
    monkeypatch.setattr(namespaces, "check_proc", lambda: None)
    return made


@pytest.fixture
def serve(machine):
    """Start a runtime at a path below /run."""
    started = []

    def start(path, answer, user=None, owner=None):
        if user is None:
            user = int(path.split("/")[1]) if path.startswith("user/") else os.getuid()
            if not path.startswith("user/"):
                machine.monkeypatch.setattr(sockets, "_ROOT", user)
        started.append(Runtime(machine.root / "run" / path, user, answer, owner))
        return started[-1]

    yield start
    for one in started:
        one.close()


def theirs(user, name="docker.sock"):
    return f"user/{user}/{name}"


# ---- root's runtimes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "runtime"), [("docker.sock", "docker"), ("podman/podman.sock", "podman")])
def test_a_container_that_no_file_tells_of_is_found_by_name_by_id_and_by_its_first_digits(
    machine, serve, path, runtime
):
    serve(path, docker(container(A, "web", 100), container(B, "db")))
    machine.process(100, scope(A))
    assert [cgroup(machine, name) for name in ("web", A, A[:12], A[:4])] == [scope(A)] * 4
    assert find.container("web", str(machine.root)).name == "web"
    assert refused(machine, "db").message == f"{runtime} container {B[:12]} 'db' is not running: it has no process"
    assert refused(machine, "wen").hint == "did you mean 'web'?"


def test_one_socket_by_two_names_is_asked_once(machine, serve):
    asked = serve("podman/podman.sock", docker(container(A, "web", 100)))
    (machine.root / "run/docker.sock").symlink_to("podman/podman.sock")
    machine.process(100, scope(A))
    assert cgroup(machine, "web") == scope(A)
    assert asked.asked == 2  # the list, and the container


def test_where_files_tell_nobody_is_asked(machine, serve):
    asked = serve("docker.sock", docker(container(B, "web", 200)))
    machine.docker(A, "web", 100)
    machine.process(100, scope(A))
    machine.process(200, scope(B))
    assert cgroup(machine, "web") == scope(A)
    assert asked.asked == 0
    (machine.proc / "100/stat").unlink()
    assert cgroup(machine, "web") == scope(B)


def test_what_files_and_a_socket_say_of_a_container_is_of_one(machine, serve):
    """The file does not know the process yet."""
    machine.docker(A, "web")
    serve("docker.sock", docker(container(A, "web", 100)))
    machine.process(100, scope(A))
    assert cgroup(machine, "web") == scope(A)


def test_a_pod_by_the_labels(machine, serve):
    above = f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice"
    labels = {**_PODS, "io.kubernetes.container.name": "app"}
    serve("docker.sock", docker(container(A, "k8s_app", 100, labels), container(B, "k8s_POD", 200, _PODS)))
    for pid, id in ((100, A), (200, B)):
        machine.process(pid, f"{above}/docker-{id}.scope")
    assert pod(machine, "default/p") == above
    assert cgroup(machine, "app") == cgroup(machine, "default/p/app") == f"{above}/docker-{A}.scope"


@pytest.mark.parametrize("path", ["/system.slice/ssh.service", f"/system.slice/docker-{B}.scope", "/"])
def test_a_socket_is_believed_no_more_than_a_file(machine, serve, path):
    serve("docker.sock", docker(container(A, "web", 100)))
    machine.docker(B, "db", 200)
    machine.process(100, path)
    assert f"docker container {A[:12]} 'web': its process 100 is in" in refused(machine, "web").message


def test_nobody_listens_any_more(machine, monkeypatch):
    monkeypatch.setattr(sockets, "_ROOT", os.getuid())
    path = machine.root / "run/docker.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert refused(machine, "web").details == ()


# ---- users' runtimes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["docker.sock", "podman/podman.sock"])
def test_a_users_container_by_its_name_and_by_that_with_the_users_number(machine, serve, name):
    serve(theirs(USER, name), docker(container(A, "web", 100)))
    machine.process(100, scope(A, USER), user=USER)
    for called in ("web", A, A[:6], f"{USER}/web", f"{USER}/{A[:6]}"):
        assert cgroup(machine, called) == scope(A, USER)
    assert find.container("web", str(machine.root)).name == f"{USER}/web"
    assert refused(machine, f"{USER + 7}/web").message == f"no container is named '{USER + 7}/web'"
    assert refused(machine, f"{USER}/wen").hint == "did you mean 'web'?"
    assert "web" not in refused(machine, "wen").hint  # users' names are no advice to root


@needs_root
def test_a_process_with_an_id_of_the_users_below_its_own(machine, serve, monkeypatch):
    """That of a container's user: it is the user's by its namespace, which is asked of the kernel."""
    serve(theirs(USER), docker(container(A, "web", 100)))
    machine.process(100, scope(A, USER), user=100999)
    os.chown(machine.mount / scope(A, USER).strip("/"), USER, USER)
    assert f"its process 100 is not one of user {USER}" in refused(machine, "web").message
    monkeypatch.setattr(procfs, "user_namespace_owner", {100: USER}.get)
    assert cgroup(machine, "web") == scope(A, USER)


def test_the_owner_of_a_user_namespace_is_the_kernels_answer(monkeypatch):
    monkeypatch.setattr(procfs, "PROC", Path("/proc"))
    assert procfs.user_namespace_owner(os.getpid()) is not None
    assert procfs.user_namespace_owner(1 << 30) is None
    assert procfs.is_of_user(os.getpid(), os.getuid()) and not procfs.is_of_user(os.getpid(), 54321)


@needs_root
def test_a_user_cannot_claim_a_process_that_is_another_s(machine, serve):
    serve(theirs(USER), docker(container(A, "web", 100)))
    machine.process(100, scope(A, USER))  # a cgroup that the user may have named; root's process in it
    assert f"its process 100 is not one of user {USER}" in refused(machine, "web").message


@needs_root
def test_a_user_cannot_claim_a_cgroup_that_is_root_s_by_a_process_that_is_there(machine, serve):
    """Such as that of root's container, in which something runs as that user."""
    serve(theirs(USER), docker(container(A, "web", 100)))
    machine.process(100, scope(A), user=USER)
    os.chown(machine.mount / scope(A).strip("/"), 0, 0)
    assert f"docker-{A}.scope is user 0's, not user {USER}'s" in refused(machine, "web").message


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("claimed", [A, B])
def test_a_users_claim_neither_hides_nor_doubles_a_container_of_root_s(machine, serve, runs, claimed):
    asked = serve(theirs(USER), docker(container(claimed, "web", 200), container(A[:30] + B[30:], A[:4], 200)))
    machine.process(200, scope(claimed, USER), user=USER)
    machine.docker(A, "web", 100)
    if runs:
        machine.process(100, scope(A))
    for name in ("web", A, A[:4]):
        if runs:
            assert cgroup(machine, name) == scope(A)
        else:
            assert "is not running: its process 100 has ended" in refused(machine, name).message
    assert asked.asked == 0


def test_a_users_claim_does_not_hide_what_root_s_socket_tells(machine, serve):
    asked = serve(theirs(USER), docker(container(B, "web", 200)))
    serve("docker.sock", docker(container(A, "web", 100)))
    machine.process(200, scope(B, USER), user=USER)
    machine.process(100, scope(A))
    assert cgroup(machine, "web") == scope(A)
    assert asked.asked == 0


def test_ids_that_a_user_lists_are_in_nobodys_way(machine, serve):
    """A cgroup inside another container's is not believed: these are no other containers."""
    serve(theirs(USER), docker(container(B, "pod", 200)))
    serve("podman/podman.sock", docker(container(A, "web", 100)))
    path = f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope"
    machine.process(100, path)
    assert cgroup(machine, "web") == path


@needs_root
def test_two_users_with_one_name_are_told_apart_by_their_numbers(machine, serve):
    for user, id, pid in ((USER, A, 100), (OTHER, B, 200)):
        serve(theirs(user), docker(container(id, "web", pid)))
        machine.process(pid, scope(id, user), user=user)
    error = refused(machine, "web")
    assert (error.message, error.hint) == ("'web' may be 2 containers", f"give UID/NAME, such as {USER}/NAME")
    assert error.details == (
        f"docker container {A[:12]} '{USER}/web' of user {USER}",
        f"docker container {B[:12]} '{OTHER}/web' of user {OTHER}",
    )
    assert cgroup(machine, f"{OTHER}/web") == scope(B, OTHER)


@needs_root
@pytest.mark.parametrize("id", [A, B])
def test_a_claim_that_is_not_believed_is_not_in_another_users_way(machine, serve, id):
    serve(theirs(USER), docker(container(A, "web", 100)))
    machine.process(100, scope(A, USER), user=USER)
    serve(theirs(OTHER), docker(container(id, "web", 100)))
    assert cgroup(machine, "web") == scope(A, USER)


@needs_root
def test_a_socket_of_somebody_else_is_not_asked(machine, serve):
    machine.process(100, scope(A, USER), user=USER)
    asked = [
        serve(theirs(USER), docker(container(A, "web", 100)), user=OTHER),
        serve("docker.sock", docker(container(A, "web", 100)), user=USER, owner=USER),
    ]
    (machine.root / "run" / theirs(USER, "podman")).symlink_to(machine.root / "run" / theirs(OTHER, "podman"))
    asked.append(serve(theirs(OTHER, "podman/podman.sock"), docker(container(A, "web", 100)), user=USER, owner=USER))
    root = str(machine.root)
    assert refused(machine, "web").details == (
        f"not readable: {root}/run/docker.sock: it is user {USER}'s, and not asked",
        f"not readable: {root}/run/user/{USER}/docker.sock: it is user {OTHER}'s, and not asked",
        f"not readable: {root}/run/user/{OTHER}/podman/podman.sock: it is user {USER}'s, and not asked",
    )
    assert [one.asked for one in asked] == [0, 0, 0]


@needs_root
def test_a_server_of_somebody_else_behind_a_users_socket_is_not_asked(machine, serve):
    machine.process(100, scope(A, USER), user=USER)
    serve(theirs(USER), docker(container(A, "web", 100)), user=OTHER, owner=USER)
    (line,) = refused(machine, "web").details
    assert line.endswith(f"user {OTHER} listens there, and is not asked")


def test_a_file_system_that_a_user_mounts_is_not_looked_into(machine, serve, monkeypatch):
    asked = serve(theirs(USER), docker(container(A, "web", 100)))
    here = [replace(one, kind="fuse.sshfs") for one in procfs.mounts(Path("/proc/self/mountinfo").read_bytes())]
    own = procfs.mounts()
    monkeypatch.setattr(procfs, "mounts", lambda data=None: here if data else own)
    lines = refused(machine, "web").details
    assert lines and all(line.endswith("it is in a file system of a user's, and not asked") for line in lines)
    assert asked.asked == 0


# ---- answers ---------------------------------------------------------------------------------------------------------


def slow():
    """Never an answer: a byte at a time, each soon enough."""
    yield b"HTTP/1.1 200 OK\r\nX-A: "
    while True:
        time.sleep(0.02)
        yield b"a"


def endless(head, part):
    return itertools.chain([head], itertools.repeat(part))


def listing(data):
    return [http(json.dumps(data).encode())]


_HEAD = b"HTTP/1.1 200 OK\r\n"
HOSTILE = {
    "says nothing": (lambda: iter(lambda: time.sleep(60) or b"", None), "it does not answer within"),
    "a byte at a time": (slow, "it does not answer within"),
    "a body a byte at a time": (
        lambda: itertools.chain([_HEAD + b"\r\n["], ((time.sleep(0.02), b" ")[1] for _ in itertools.count())),
        "it does not answer within",
    ),
    "hangs up": (lambda: [], "no answer"),
    "another protocol": (lambda: [b"SSH-2.0-x\r\n"], "no answer of a runtime's"),
    "escapes": (lambda: [b"\x1b[2J\x1b]0;x\x07\r\n\r\n"], "no answer of a runtime's"),
    "a line without an end": (lambda: endless(_HEAD, b"a" * 4096), "no answer of a runtime's"),
    "headers without an end": (lambda: endless(_HEAD, b"A: b\r\n" * 64), "no answer of a runtime's"),
    "continue for ever": (lambda: endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 64), "it says more than 1 MiB"),
    "a body without an end": (lambda: endless(_HEAD + b"\r\n[", b"[" * 4096), "it says more than 1 MiB"),
    "chunks without an end": (
        lambda: endless(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\n[[\r\n" * 99),
        "it says more than 1 MiB",
    ),
    "trailers without an end": (
        lambda: endless(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 99),
        "it says more than 1 MiB",
    ),
    "chunks of no size": (
        lambda: [_HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
        "no answer of a runtime's",
    ),
    "less than it said": (lambda: [_HEAD + b"Content-Length: 99999999999999999999\r\n\r\n["], "what is not JSON"),
    "an error": (lambda: [http(b"{}", "500 \x1b[2J")], "it answers with status 500"),
    "no list": (lambda: listing({"message": "x"}), "it answers with what is not a list"),
    "no JSON": (lambda: [http(b"\xff\x00[")], "it answers with what is not JSON"),
    "JSON too deep": (lambda: [http(b"[" * 100000)], "it answers with what is not JSON"),
    "what is no container": (
        lambda: listing([{"Id": "../../x", "Names": ["/web"]}]),
        "it lists what is not a container",
    ),
    "too many": (lambda: listing([container(A, "web")] * 513), "it lists more than 512 containers"),
    "too many of a name": (lambda: listing([container(A, "web", 1)] * 17), "of that name"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_a_user_answers_is_one_line_and_other_containers_are_found(machine, serve, monkeypatch, what):
    monkeypatch.setattr(sockets, "_SECONDS", 20.0 if "answer within" not in HOSTILE[what][1] else 0.3)
    make, said = HOSTILE[what]
    serve(theirs(USER), lambda path: make() if path.startswith("/containers/json") else listing({}))
    (line,) = refused(machine, "web").details
    assert line.startswith(f"not readable: {machine.root}/run/user/{USER}/docker.sock: ") and said in line
    serve(theirs(USER, "podman/podman.sock"), docker(container(A, "web", 100)))
    machine.process(100, scope(A, USER), user=USER)
    found = find.container("web", str(machine.root))
    assert found.name == f"{USER}/web" and len(found.troubles) == 1
    serve("docker.sock", docker(container(B, "web", 200)))
    machine.process(200, scope(B))
    assert find.container("web", str(machine.root)).troubles == ()


def test_a_socket_at_which_too_many_wait(machine):
    path = machine.root / "run" / theirs(USER)
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(str(path))
        os.chown(path, USER, -1)
        server.listen(0)
        first.connect(str(path))
        (line,) = refused(machine, "web").details
    assert "docker.sock: " in line


def test_names_that_are_none_are_left_out(machine, serve):
    entry = container(A, "web", 100) | {"Names": ["/web", "/a\x1b[2J", "/a/b", "", 5, None, "/" + "x" * 200, "/ö"]}
    serve(theirs(USER), docker(entry))
    machine.process(100, scope(A, USER), user=USER)
    assert cgroup(machine, "web") == scope(A, USER)
    for name in ("a\x1b[2J", "x" * 200, "ö", ""):
        refused(machine, name)


def test_pods_are_root_s_alone(machine, serve):
    asked = serve(theirs(USER), docker(container(A, "web", 100, {**_PODS, "io.kubernetes.container.name": "app"})))
    machine.process(100, scope(A, USER), user=USER)
    assert refused(machine, "default/p", find.pod).message == "no pod is named 'default/p'"
    assert asked.asked == 0
    for name in ("app", "default/p/app"):
        assert refused(machine, name).message == f"no container is named '{name}'"


_JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(1 << 63), 1 << 64) | some.text() | some.sampled_from([A, "/web"]),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(some.sampled_from(["Id", "Names", "Labels", "State", "Pid", "Running", "x"]), inner)
    ),
    max_leaves=12,
)


@given(listed=some.lists(_JSON, max_size=3) | _JSON, alone=_JSON)
@settings(max_examples=200, deadline=None)
def test_whatever_is_answered_it_is_records_or_a_reason(listed, alone):
    class Server:
        def get(self, path):
            return listed if path.startswith("/containers/json") else alone

    asked = sockets.Socket("docker.sock", "docker", 1000)
    try:
        found = list(sockets._records(Server(), asked, lambda record: True))
    except sockets._NotAsked as error:
        assert str(error).isprintable()
    else:
        assert all(record.owner == 1000 and record.pid >= 0 and record.id.isalnum() for record in found)


# ---- --wait ----------------------------------------------------------------------------------------------------------


def test_a_container_that_only_a_socket_tells_of_is_waited_for(machine, serve, monkeypatch):
    monkeypatch.setattr(sockets, "_PAUSE", 0.05)
    with looking(waited_for(machine), monkeypatch) as seen:
        until(lambda: seen.lines)
        assert seen.lines == ["waiting for container web"]
        path = machine.process(100, scope(A))
        serve("docker.sock", docker(container(A, "web", 100)))
        until(lambda: seen.places[-1] and len(seen.lines) > 1)
        assert seen.places[-1].path == path


def test_who_waits_asks_seldom_and_never_all_users(machine, serve, monkeypatch):
    roots = serve("docker.sock", docker())
    users = serve(theirs(USER), docker(container(A, "web", 100)))
    machine.process(100, scope(A, USER), user=USER)
    search = waited_for(machine).waited.search
    assert roots.asked == 1
    for _ in range(50):
        with pytest.raises(find.NotThere):
            search()
    assert (roots.asked, users.asked) == (1, 0)
    monkeypatch.setattr(search._asking, "_next", 0.0)
    with pytest.raises(find.NotThere):
        search()
    until(lambda: roots.asked == 2)
    assert waited_for(machine, container=f"{USER}/web").waited.now


def test_a_socket_that_does_not_answer_does_not_keep_what_files_tell_waiting(machine, serve, monkeypatch):
    """The first look waits for it; while it is asked again a look is over before it has answered."""
    monkeypatch.setattr(sockets, "_SECONDS", 0.2)
    asked = serve("docker.sock", lambda path: iter(lambda: time.sleep(3600) or b"", None))
    search = waited_for(machine).waited.search
    monkeypatch.setattr(sockets, "_SECONDS", 3600.0)
    monkeypatch.setattr(search._asking, "_next", 0.0)
    with pytest.raises(find.NotThere):
        search()
    assert search._asking._thread.is_alive()
    machine.docker(A, "web", 100)
    path = machine.process(100, scope(A))
    assert search().cgroup == path
    assert asked.asked >= 1
