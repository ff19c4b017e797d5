"""isotrace in namespaces of its own: the numbers are its pid namespace's, nobody outside is seen, cgroups are found."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import tracer

from isotrace.kernel import procfs

_HERE = Path(__file__).parent
_ISOTRACE = f"{sys.executable} -m isotrace"
#: What is traced: a shell whose children read a file that is not there, and say so to nobody.
_LOOP = "while :; do cat /x/inside 2>/dev/null; sleep 0.1; done"
_BORN = re.compile(r"^(\d+) sh  (?:clone|vfork|fork)\(.*= (\d+)$", re.MULTILINE)

pytestmark = pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare: a namespace")


def _inside(script: str, *namespaces: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell's script as the first process of a pid namespace with a /proc of its own, and of other namespaces."""
    command = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child", *namespaces, "sh", "-eu", "-c", script]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=3 * tracer.PATIENCE, env=tracer.environment(), cwd=directory,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _run(script: str, *namespaces: str, directory: Path) -> str:
    done = _inside(script, *namespaces, directory=directory)
    assert done.returncode == 0, done.stderr
    return done.stderr


def _comms(lines: list[tracer.Line]) -> set[str]:
    return {line.comm for line in lines}


def test_the_numbers_are_those_of_the_namespace(tmp_path: Path) -> None:
    script = f"""
        sh -c '{_LOOP}' & echo $! >target
        {_ISOTRACE} log --ppid $! --for 2s -o children
        {_ISOTRACE} log --tree $! --for 2s -o tree
        {_ISOTRACE} log -f --ppid 1 --calls exit_group --for 1s -o first
        {_ISOTRACE} log --format json -o started -- sh -c 'echo $$ $PPID >said; /bin/true; :'
    """
    errors = _run(script, directory=tmp_path)
    target = int((tmp_path / "target").read_text())
    children = tracer.parse((tmp_path / "children").read_text())
    assert _comms(children) <= {"sh", "cat", "sleep"} and target not in {line.tid for line in children}
    text = (tmp_path / "tree").read_text()
    born = {int(child): int(parent) for parent, child in _BORN.findall(text)}  # as the kernel tells the shell
    traced = {line.tid for line in tracer.parse(text)}
    assert born and set(born.values()) == {target} and len(traced & set(born)) >= len(born) - 1
    ended = {int(line.tid) for line in tracer.parse(text) if line.text.startswith("+++ exited")}
    senders = {int(pid) for pid in re.findall(r"si_pid=(\d+)", text)}
    assert senders and len(senders - ended) <= 1
    assert _comms(tracer.parse((tmp_path / "first").read_text())) >= {"cat"}
    started = [json.loads(line) for line in (tmp_path / "started").read_text().splitlines()]
    own, parent = map(int, (tmp_path / "said").read_text().split())
    assert {one["ppid"] for one in started if one["pid"] == own} == {parent}
    assert {one["ppid"] for one in started if one["comm"] == "true"} == {own}
    assert errors.count(", 0 lost") == 4


def test_a_namespace_below_is_seen_with_our_numbers(tmp_path: Path) -> None:
    script = f"""
        unshare --fork --pid --mount-proc --kill-child sh -c '{_LOOP}' & middle=$!
        until grep -hE '^NSpid:[[:space:]][0-9]+[[:space:]]1$' /proc/[0-9]*/status >below; do sleep 0.1; done
        {_ISOTRACE} log --tree $middle --for 2s -o tree
        {_ISOTRACE} top --once --for 1s --tree $middle --format json >top
    """
    _run(script, directory=tmp_path)
    below = (tmp_path / "below").read_text().split()
    assert below[0] == "NSpid:" and below[2:] == ["1"]
    lines = tracer.parse((tmp_path / "tree").read_text())
    assert int(below[1]) in {line.tid for line in lines if line.comm == "sh"}
    cats = {line.tid for line in lines if line.comm == "cat"}
    assert cats and min(cats) > int(below[1])
    counted = json.loads((tmp_path / "top").read_text())["processes"]
    assert {one["process"] for one in counted} == {"sh", "cat", "sleep"} and all(one["calls"] for one in counted)


def test_nobody_outside_is_seen(tmp_path: Path) -> None:
    """Whose user, name and number of a parent are those that are asked for, and who is in no namespace below."""
    outside = subprocess.Popen(["sh", "-c", _LOOP.replace("inside", "outside")])
    try:
        script = f"""
            sh -c '{_LOOP}' &
            {_ISOTRACE} log --uid 0 --comm cat --comm sh --for 2s -o named
            {_ISOTRACE} log --ppid 1 -f --for 1s -o born
            {_ISOTRACE} record --uid 0 --for 1s -o all.arrow
            {_ISOTRACE} log --from all.arrow -o recorded
        """
        errors = _run(script, directory=tmp_path)
        assert outside.poll() is None
    finally:
        outside.kill()
        outside.wait()
    limit = "only processes in isotrace's own pid namespace, or below it, are seen\n"
    assert errors.count(limit) == 2 and errors.startswith(f"isotrace: --comm: {limit}")
    for name in ("named", "born", "recorded"):
        text = (tmp_path / name).read_text()
        assert '"/x/inside"' in text and "/x/outside" not in text
        assert 0 not in {line.tid for line in tracer.parse(text)}


@pytest.fixture
def cgroup() -> Iterator[Path]:
    mount = procfs.mounted("cgroup2")
    if mount is None:
        pytest.skip("needs cgroup2: the unified hierarchy is not mounted")
    top = Path(mount, f"isotrace-test-{os.getpid()}")
    (top / "in/chosen").mkdir(parents=True)
    try:
        yield top
    finally:
        for path in (top / "in/chosen", top / "in", top):
            with suppress(OSError):
                path.rmdir()


def test_a_cgroup_in_a_cgroup_namespace(cgroup: Path, tmp_path: Path) -> None:
    """The root that is seen there is deep in the hierarchy."""
    script = f"""
        echo $$ >{cgroup}/in/cgroup.procs
        exec unshare --cgroup sh -eu -c '
            mount -t cgroup2 none {tmp_path}/cg
            sh -c "echo \\$\\$ >{tmp_path}/cg/chosen/cgroup.procs; exec cat" <fifo & inside=$!
            exec 3>fifo
            until grep -q /chosen /proc/$inside/cgroup; do sleep 0.1; done
            {_ISOTRACE} log --cgroup {tmp_path}/cg/chosen --for 2s -o chosen & log=$!
            while kill -0 $log 2>/dev/null; do echo some; sleep 0.1; done >&3
            exec 3>&-
            umount {tmp_path}/cg
        '
    """
    (tmp_path / "cg").mkdir()
    os.mkfifo(tmp_path / "fifo")
    _run(script, "--mount", directory=tmp_path)
    text = (tmp_path / "chosen").read_text()
    assert _comms(tracer.parse(text)) == {"cat"} and 'read(0, "some\\n"' in text


def test_where_it_cannot_be_it_is_said(tmp_path: Path) -> None:
    """A /proc of another namespace; a user namespace, as that of a rootless container."""
    done = subprocess.run(
        ["unshare", "--fork", "--pid", sys.executable, "-m", "isotrace", "log", "--", "true"],
        capture_output=True, text=True, timeout=tracer.PATIENCE, env=tracer.environment(),
    )  # fmt: skip
    assert done.returncode == 3 and done.stderr.splitlines() == [
        "isotrace: /proc is not that of isotrace's own pid namespace",
        "  hint: unshare with --fork --mount-proc, nsenter with --mount as well",
    ]
    done = subprocess.run(
        ["unshare", "--pid", sys.executable, "-m", "isotrace", "log", "--pid", str(os.getpid())],
        capture_output=True, text=True, timeout=tracer.PATIENCE, env=tracer.environment(),
    )  # fmt: skip
    assert done.returncode == 3 and done.stderr.splitlines() == [
        "isotrace: isotrace's children would be in another pid namespace than isotrace",
        "  hint: unshare with --fork --mount-proc",
    ]
    done = _inside(f"{_ISOTRACE} log -- true", "--user", "--map-root-user", directory=tmp_path)
    assert done.returncode == 3 and "user namespace" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("file", ["test_targets.py", "test_log.py"])
def test_the_same_tests_inside(file: str, tmp_path: Path) -> None:
    if "ISOTRACE_TEST_INSIDE" in os.environ:
        pytest.skip("needs to be outside")
    python = f"{sys.executable} -m pytest -q -x --tb=short -p no:cacheprovider --basetemp={tmp_path}/inside"
    done = _inside(f"ISOTRACE_TEST_INSIDE=1 {python} {_HERE / file} -k 'not lkm'", "--cgroup", directory=tracer.ROOT)
    assert done.returncode == 0, done.stdout[-4000:]
