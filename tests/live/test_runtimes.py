"""--container on containers of real runtimes, by their files and by a socket, and on what a user's runtime claims.

Where a runtime is not installed its tests are skipped: CONTRIBUTING.md.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import runc
import runtimes
import tracer
from fake_runtime import Runtime, container, docker
from tracer import attached, until

from isotrace.kernel import procfs

pytestmark = pytest.mark.native
_ID = "3b5c7d9e1f" * 6 + "0a1b"
_USER, _BELOW = 54321, 154321
_LOOP = "while :; do cat /x/inside; sleep 0.2; done"
_NEWUSER = 0x10000000


def _traced(name: str, root: Path, made: runtimes.Runtime | None = None) -> list[dict[str, Any]]:
    """The JSON of a log of the container, which has what is started in it later, and nobody else."""
    options = ("--container", name, "--container-root", root, "--format", "json")
    with attached(*options, ready=lambda: None) as live:
        subprocess.run(["cat", "/x/outside"], stderr=subprocess.DEVNULL)
        if made:
            made.sibling("/bin/cat", "/x/later")
            until(lambda: "/x/later" in live.text(), "what is started in it later is seen")
        until(lambda: "/x/inside" in live.text(), "its own process is seen")
        run = live.stop()
    assert "/x/outside" not in run.file and run.counts[2] == 0
    # who has ended when isotrace looks at what is under way is not known to have been in the container
    return [one for one in run.objects if one["type"] != "unfinished"]


@pytest.mark.parametrize("kind", runtimes.RUNTIMES)
def test_by_its_files(kind: str) -> None:
    with runtimes.running(kind) as made:
        found = _traced(runtimes.name(), made.root, made)
        assert {one["container"] for one in found} == {runtimes.name()}
        assert any(one["pid_inside"] == 1 for one in found)
        shown = tracer.log("--show-containers", "--container-root", made.root, "--", "true").file
        assert f" in {runtimes.name()})" not in shown
        made.close()
        error = _error(runtimes.name(), made.root)
        assert "is not running" in error or "no container is named" in error


def test_by_podmans_socket(tmp_path: Path) -> None:
    """Where none of its files are."""
    with runtimes.running("podman") as made:
        assert isinstance(made, runtimes.Podman)
        with made.serving(tmp_path / "s"):
            found = _traced(runtimes.name(), tmp_path / "s", made)
            assert {one["container"] for one in found} == {runtimes.name()}
            assert "no container is named 'nobody'" in _error("nobody", tmp_path / "s")


def _error(name: str, root: Path) -> str:
    """What is said where a container cannot be had, "" where it is."""
    words = ["log", "--container", name, "--container-root", str(root), "--for", "0.1s", "-o", os.devnull]
    command = [sys.executable, "-m", "isotrace", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=tracer.PATIENCE, env=tracer.environment())
    return done.stderr if done.returncode else ""


def _become(user: int, below: int | None) -> None:
    """Be a user; one of another number in a namespace of that user's, where there is ``below``, which the parent maps."""
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    if below is not None:
        assert not ctypes.CDLL(None).unshare(_NEWUSER)
        os.write(1, b".")
        os.read(0, 1)
        os.setuid(0)


@contextmanager
def _claimed(tmp_path: Path, owner: int, user: int, below: int | None = None) -> Iterator[Path]:
    """A container as a user's runtime on a socket names it: a process of a user in a cgroup of an owner's."""
    mount = procfs.mounted("cgroup2")
    if mount is None:
        pytest.skip("needs cgroup2: the unified hierarchy is not mounted")
    top = Path(mount, runc.group())
    group = top / f"docker-{_ID}.scope"
    group.mkdir(parents=True)
    os.chown(group, owner, owner)
    pipe, script = subprocess.PIPE, f"import os, sys; sys.path[:0] = {sys.path!r}; import test_runtimes as t"
    script += f"; t._become({user}, {below}); os.execv('/bin/sh', ['sh', '-c', {_LOOP!r}])"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    server = None
    try:
        assert process.stdin and process.stdout
        if below is not None:
            assert process.stdout.read(1)
            Path(f"/proc/{process.pid}/uid_map").write_text(f"0 {below} 1\n")
            process.stdin.write(b".")
            process.stdin.flush()
        until(lambda: procfs.read(process.pid, "comm") == b"sh\n", "it is what it is to be")
        (group / "cgroup.procs").write_text(str(process.pid))
        server = Runtime(tmp_path / f"run/user/{_USER}/docker.sock", _USER, docker(container(_ID, "web", process.pid)))
        yield tmp_path
    finally:
        process.kill()
        process.wait()
        if server:
            server.close()
        for path in (group, top):
            until(lambda path=path: _is_removed(path), "its cgroup is gone")


def _is_removed(path: Path) -> bool:
    with suppress(OSError):
        path.rmdir()
    return not path.exists()


@pytest.mark.parametrize("below", [None, _BELOW], ids=["itself", "another of its namespace's"])
def test_a_users_container_is_traced(tmp_path: Path, below: int | None) -> None:
    with _claimed(tmp_path, _USER, _USER, below) as root:
        assert {one["container"] for one in _traced("web", root)} == {f"{_USER}/web"}


@pytest.mark.parametrize(
    ("owner", "user", "said"),
    [(_USER, 0, f"is not one of user {_USER}"), (0, _USER, "is user 0's, not user"), (0, 0, "is not one of user")],
)
def test_what_is_not_a_users_is_not_traced_because_a_socket_says_so(
    tmp_path: Path, owner: int, user: int, said: str
) -> None:
    with _claimed(tmp_path, owner, user) as root:
        assert said in _error("web", root)
