"""`isotrace log --host-paths`: where a container's files are on the host, beside what the container calls them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import tracer

from isotrace.errors import KernelError
from isotrace.kernel.places import Places

HOST = re.compile(r' /\* host (?P<path>".*"|\?) \*/')


@pytest.fixture(autouse=True)
def _followed() -> None:
    try:
        Places()
    except KernelError as error:
        done = tracer.log("--host-paths", "--", "true")
        assert (done.status, done.err.splitlines()[0]) == (KernelError.status, f"isotrace: {error.message}")
        pytest.skip(f"needs cached_lookup: {error.message}")


#: A root of its own, as a container has.
CONTAINER = r"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    args = [one.encode() if isinstance(one, str) else one for one in args]
    if getattr(libc, name)(*args):
        raise OSError(ctypes.get_errno(), name)
BIND, PRIVATE, REC, DETACH = 4096, 1 << 18, 16384, 2
base = os.getcwd()
libc.unshare(0x20000)  # CLONE_NEWNS
call("mount", None, "/", None, PRIVATE | REC, None)
call("mount", f"{base}/root", f"{base}/root", None, BIND, None)
call("mount", f"{base}/data", f"{base}/root/data", None, BIND, None)
call("mount", f"{base}/file", f"{base}/root/etc/one", None, BIND, None)
call("mount", "own", f"{base}/root/tmp", "tmpfs", 0, None)
os.chdir("root")
libc.syscall(155, b".", b"tmp")  # pivot_root
os.chdir("/")
call("umount2", "/tmp", DETACH)
call("mount", "own", "/tmp", "tmpfs", 0, None)
def touch(path):
    os.close(os.open(path, os.O_RDWR | os.O_CREAT))
for path in ("/etc/two", "/etc/three", "/etc/one", "/data/v/deep", "/tmp/t", "/link", "/seen/s"):
    touch(path)
touch("/data/\"\n*")
fd = os.open("/etc/two", os.O_RDONLY); os.unlink("/etc/two"); os.read(fd, 1)
os.chdir("/data"); touch("v/deep")
top = os.open("/", os.O_RDONLY); os.fstat(top)
os.pipe()
"""


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    for name in ("root/etc", "root/data", "root/seen", "root/tmp", "data/v"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("file", "root/etc/one", "data/v/deep"):
        (tmp_path / name).touch()
    (tmp_path / "root/link").symlink_to("/data/v/deep")
    return tmp_path


def isotrace(ground: Path, *options: str, hidden: bool = True, words: Sequence[str] = ()) -> CompletedProcess[str]:
    """In a mount namespace of its own, where something is mounted on one of the directories."""
    mounts = f"mount -t tmpfs own {ground}/root/seen && " if hidden else ""
    script = f'{mounts}exec "$@"'
    words = words or (sys.executable, "-c", CONTAINER)
    log = [sys.executable, "-m", "isotrace", "log", "--host-paths", *options, "--", *words]
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *log]
    found = subprocess.run(
        command, cwd=ground, capture_output=True, text=True, timeout=tracer.PATIENCE, env=tracer.environment()
    )
    assert found.returncode == 0, found.stderr
    return found


def test_each_descriptor_s_file_is_said_to_be_where_the_host_has_it(ground: Path) -> None:
    run = isotrace(ground, "--calls", "openat,read,fstat,newfstatat,pipe2")
    opened = {}
    for line in tracer.parse(run.stdout):
        if line.name == "openat" and (made := re.match(r"\d+<(.*?)>(?!\")(.*)", line.result)):
            opened[made[1]] = made[2]
    base = str(ground)
    assert opened["/etc/one"] == f' /* host "{base}/file" */'
    assert opened["/etc/three"] == f' /* host "{base}/root/etc/three" */'
    assert opened["/data/v/deep"] == f' /* host "{base}/data/v/deep" */'
    assert opened['/data/\\"\\n*'] == f' /* host "{base}/data/\\"\\n*" */'
    assert opened["/tmp/t"] == " /* host ? */"
    assert opened["/seen/s"] == " /* host ? */"
    assert opened["/"] == f' /* host "{base}/root" */'
    through_link = [line for line in tracer.parse(run.stdout) if line.args.count('"/link"')]
    assert through_link[0].result == f'{through_link[0].result[0]}</data/v/deep> /* host "{base}/data/v/deep" */'
    relative = next(line for line in tracer.parse(run.stdout) if '"v/deep"' in line.args)
    assert relative.args.startswith(f'AT_FDCWD</data> /* host "{base}/data" */, "v/deep"')
    deleted = next(line for line in tracer.parse(run.stdout) if line.name == "read" and "(deleted)" in line.args)
    assert not HOST.search(deleted.args)
    pipes = next(line for line in tracer.parse(run.stdout) if line.name == "pipe2" and "pipe:" in line.args)
    assert not HOST.search(pipes.args)
    unmoved = [line for line in tracer.parse(run.stdout) if "</etc/ld.so.cache>" in line.result]
    assert unmoved and not HOST.search(unmoved[0].call)  # before it had a root of its own


def test_what_the_host_does_not_hide_has_a_path(ground: Path) -> None:
    run = isotrace(ground, "--calls", "openat", hidden=False)
    assert f'</seen/s> /* host "{ground}/root/seen/s" */' in run.stdout


#: (what is done, what is never shown): file systems that get the number of one that has gone; directories that are renamed.
CHANGES = {
    "device": (
        "mount -t tmpfs own data && touch data/x && umount data && mount -t tmpfs own root && touch root/x",
        "/root/x",
    ),
    "renamed": (
        "mount --bind data root && mv data gone && mkdir -p data/v && echo >data/v/new && cat data/v/new >/dev/null",
        "/root/v/new",
    ),
    "above": (
        "mount -t tmpfs own data/v && mv data gone && mkdir -p data/v && echo >data/v/q && cat data/v/q >/dev/null",
        '"/* host',
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_other_file_s_path_is_shown_while_file_systems_and_directories_change(ground: Path, change: str) -> None:
    script, false = CHANGES[change]
    run = isotrace(ground, "--calls", "openat,read", hidden=False, words=("sh", "-c", f"{script}; true"))
    assert f'host "{ground}{false}"' not in run.stdout and f"{ground}/data" in run.stdout
    for line in tracer.parse(run.stdout):
        for path in re.findall(r'/\* host "(.*?)" \*/', line.call):
            assert path.startswith(str(ground)), line


def test_the_host_s_paths_stand_beside_resolved_ones_and_in_json(ground: Path) -> None:
    run = isotrace(ground, "--resolve", "--calls", "openat,linkat,renameat2")
    (line,) = [line for line in tracer.parse(run.stdout) if '"v/deep"' in line.args]
    assert line.args.startswith(f'AT_FDCWD</data> /* host "{ground}/data" */, "v/deep" /* "/data/v/deep" */')
    lines = isotrace(ground, "--format", "json", "--calls", "openat").stdout.splitlines()
    values = [one["value"] for one in map(json.loads, lines) if one["type"] == "call"]
    assert any(value.endswith(f'</data/v/deep> /* host "{ground}/data/v/deep" */') for value in values)


def test_a_call_with_two_directories_has_room_for_both(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["n" * 120] * 4)
    (deep / "one").mkdir(parents=True)
    (deep / "two").mkdir()
    program = f"""
import os
one, two = (os.open({str(deep)!r} + name, os.O_RDONLY) for name in ("/one", "/two"))
os.close(os.open("f", os.O_CREAT | os.O_RDWR, dir_fd=one)); os.link("f", "g", src_dir_fd=one, dst_dir_fd=two)
"""
    command = ["--host-paths", "--resolve", "--calls", "linkat", "--", sys.executable, "-c", program]
    (line,) = [line for line in tracer.log(*command).lines if line.name == "linkat"]
    assert line.args.count(str(deep)) == 4 and "/* host" not in line.args  # two directories, two names: as on the host


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "x.isolog", "--host-paths"], "recordings do not say where files are on the host"),
        (["--backend", "lkm", "--host-paths", "--", "true"], ""),
    ],
)
def test_where_it_cannot_be_it_says_so(options: list[str], said: str, tmp_path: Path) -> None:
    recording = tmp_path / "x.isolog"
    command = [sys.executable, "-m", "isotrace", "record", "-o", str(recording), "--", "true"]
    subprocess.run(command, check=True, capture_output=True, env=tracer.environment(), timeout=tracer.PATIENCE)
    command = [sys.executable, "-m", "isotrace", "log", *options]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=tracer.environment(), timeout=tracer.PATIENCE
    )
    assert done.returncode == 2 or (done.returncode and not said)
    assert said in done.stderr and "Traceback" not in done.stderr


def test_isotrace_s_own_mounts_are_what_counts(ground: Path) -> None:
    """A process that only has another root has the host's mounts: its paths are the host's already."""
    program = 'import os; os.chroot("root"); os.close(os.open("/etc/one", os.O_RDONLY))'
    run = tracer.log("--host-paths", "--calls", "openat", "--", sys.executable, "-c", program, cwd=ground)
    (line,) = [line for line in run.lines if '"/etc/one"' in line.args]
    assert line.result.endswith(f"<{os.path.realpath(ground)}/root/etc/one>")
