"""/proc with names that others chose: any bytes, and nothing is taken for what it is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrace.errors import IsotraceError
from isotrace.kernel import procfs
from isotrace.kernel.procfs import Mount
from isotrace.trace import target

ROOT = Path(__file__).parents[1]
HOSTILE = ["\u2028", "\x85", "\x1c", "\r", "\x0b", "\udcff", "\udc80x", "ü", ") Z 1", " - tmpfs"]

names = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 10} & set(name))
paths = st.lists(names.filter(lambda name: b"/" not in name), max_size=3).map(lambda parts: b"/" + b"/".join(parts))


def mangled(name: bytes) -> bytes:
    """As the kernel writes a path in mountinfo (mangle_path with " \\t\\n\\\\#")."""
    return re.sub(rb"[ \t\n\\#]", lambda match: b"\\%03o" % match[0][0], name)


@given(st.binary())
def test_any_bytes_are_read_or_are_one_clear_error(data):
    try:
        assert all(isinstance(mount, Mount) for mount in procfs.mounts(data))
    except IsotraceError as error:
        assert error.message.isprintable() and "\n" not in error.message
    process = procfs.stat(data)
    assert process is None or b"\0" in data or process.pid >= 0
    assert procfs.number(data, b"Uid") is None or b"Uid:" in data
    assert b"\n" not in procfs.cgroup(data)
    assert b"\n".join(procfs.lines(data)) == data.removesuffix(b"\n")
    assert all(b" " not in word for word in procfs.words(data))


@given(st.lists(st.tuples(paths, paths, names), max_size=4))
def test_mounts_are_what_was_mounted_whatever_their_names(mounted):
    text = b"".join(
        b"36 35 8:%d %s %s rw,noatime shared:7 master:1 - tmpfs %s rw\n"
        % (number, mangled(root), mangled(point), mangled(source))
        for number, (root, point, source) in enumerate(mounted)
    )
    found = procfs.mounts(text)
    assert [(mount.device, os.fsencode(mount.root), os.fsencode(mount.point), mount.kind) for mount in found] == [
        (8 << 20 | number, root, point, "tmpfs") for number, (root, point, _) in enumerate(mounted)
    ]


@given(st.binary(max_size=15).filter(lambda name: 0 not in name), st.sampled_from("RSDZTX"), st.integers(0, 1 << 22))
def test_a_process_is_what_the_kernel_says_whatever_its_name(name, state, parent):
    found = procfs.stat(b"1234 (%s) %s %d 1234 1234 0 -1 4194560\n" % (name, state.encode(), parent))
    assert found == procfs.Process(1234, parent, name, state)


@given(names.filter(lambda name: b"/" not in name))
def test_a_cgroup_is_its_own_whatever_its_name(name):
    assert procfs.cgroup(b"1:name=systemd:/0::x\n0::/a/%s\n" % name) == b"/a/" + name


@pytest.mark.parametrize("name", HOSTILE)
def test_a_living_process_is_told_by_its_name(name):
    program = "import ctypes, os, sys; ctypes.CDLL(None).prctl(15, os.fsencode(sys.argv[1])); print(); input()"
    raw = os.fsencode(name)
    with subprocess.Popen([sys.executable, "-c", program, raw], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        found = target.read_process(process.pid)
        assert found is not None and (found.comm, found.ppid) == (raw, os.getpid())
        assert process.pid in target.matching(target.Target(comm=name, ppid=os.getpid()))
        target.Target(comm=name).defines()
        process.stdin.close()


_IN_NAMESPACE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
uid = os.getuid()
if libc.unshare(0x20000 | (0 if uid == 0 else 0x10000000)):
    sys.exit(77)
if uid:
    open("/proc/self/uid_map", "w").write(f"0 {uid} 1")
libc.mount(b"none", b"/", None, 0x44000, None)
for name in sys.argv[2:]:
    where = os.path.join(os.fsencode(sys.argv[1]), os.fsencode(name))
    os.mkdir(where)
    if libc.mount(b"none", where, b"tmpfs", 0, None):
        sys.exit(77)
from isotrace.enforce.hooks.objects import Anchors
from isotrace.kernel import procfs
found = {mount.point for mount in procfs.mounts()}
assert all(os.path.join(sys.argv[1], name) in found for name in sys.argv[2:]), found
Anchors([])
"""


def test_mount_points_that_any_user_makes_are_read(tmp_path):
    """In a mount namespace of their own, which ends with the child."""
    names = [name for name in HOSTILE if "/" not in name]
    command = [sys.executable, "-c", _IN_NAMESPACE, tmp_path, *map(os.fsencode, names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("needs namespaces: this user may not mount")
    assert done.returncode == 0, done.stderr
