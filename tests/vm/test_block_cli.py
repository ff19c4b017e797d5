"""``isotrace block`` on processes that run already, as its users see it. A start takes ten seconds under emulation, so
that each test looks at many things."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.live.tracer import PATIENCE, until
from tests.vm.enforced import available, need
from tests.vm.family import FEATURES, block, family, library

HOOKS = "lsm" if "lsm_bpf" in FEATURES else "fmod_ret"
CHMOD = "os.chmod('/tmp', 0o1777)"  # what no other call of these tests depends on
GUARANTEES = "TOCTOU-safe yes · io_uring closed · 32-bit yes"


@pytest.fixture(scope="module")
def rush(tmp_path_factory):
    return library(tmp_path_factory.mktemp("rush"))


@pytest.fixture
def file(tmp_path):
    """A file on the guest's tmpfs: its root is an overlay, where one open comes to the hook twice."""
    (tmp_path / "file").write_text("content")
    return str(tmp_path / "file")


def opens(path):
    return f"os.close(os.open({path!r}, os.O_RDONLY))"


def makes(path):
    return f"os.mkdir({path!r})"


@pytest.mark.race
@pytest.mark.parametrize("backend", ["auto", "lkm"])
def test_children_are_refused_and_nobody_else(backend, rush, file, tmp_path):
    asked = ("--deny", "open", "--deny", "chmod", "--errno", "EXDEV", "--format", "json", "--backend", backend)
    if backend == "lkm":
        need("lkm")
    guarantees = (
        f"{HOOKS} · {GUARANTEES}" if backend == "auto" else "lkm · TOCTOU-safe yes · io_uring closed · 32-bit yes"
    )
    with available(backend), family(rush) as one, family() as other:
        child = one.fork()
        with block("--ppid", one.root.pid, *asked) as run:
            run.ready(child, CHMOD, "EXDEV")
            assert f"isotrace: deny open → EXDEV: {guarantees}" in run.said
            later = one.fork()
            assert child.ask(opens(file)) == later.ask(opens(file)) == "EXDEV"
            assert one.root.ask(f"rush({file!r}, 200, 0)") == "0"
            assert one.root.ask(opens(file)) == other.root.ask(opens(file)) == other.fork().ask(opens(file)) == "ok"
            assert one.fork(child).ask(opens(file)) == "ok"  # a grandchild is no child
            run.process.send_signal(signal.SIGSTOP)
            assert child.ask(f"failures(3000, lambda: os.open({file!r}, os.O_RDONLY))") == "3000"
            run.process.send_signal(signal.SIGCONT)
            until(lambda: "repeated" in run.text, "folded lines")
            assert run.end() == 0
        for member in (child, later, one.fork()):
            assert member.ask(opens(file)) == "ok"
        assert child.ask(CHMOD) == "ok"
    assert run.hits() == [2 + 200 + 3000, 1]
    lines = run.objects[:-1]
    lost = run.summary["lost"]
    if backend == "auto":
        assert lost > 500, "a ring of 1 MiB has no room for 3000 of its records"
    assert sum(line["count"] for line in lines) + lost == sum(run.hits())
    assert not lost or f"{lost} lines lost, the denials themselves were not" in run.said
    assert {line["what"] for line in lines if line["call"] == "openat"} == {file}
    assert {line["pid"] for line in lines} >= {child.pid, later.pid} and len(lines) < 250
    assert one.root.pid not in {line["pid"] for line in lines}
    assert {line["action"] for line in lines} == {"EXDEV"}


POLICY = """
version = 1
[groups.files]
action = "EXDEV"
deny = "open"
[groups.noted]
action = "audit"
deny = ["chmod", "socket"]
[groups.never]
action = "kill"
deny = ["mkdir", "symlink"]
"""


@pytest.mark.race
def test_a_tree_under_a_policy_of_several_groups_until_isotrace_is_killed(rush, file, tmp_path):
    (tmp_path / "p.toml").write_text(POLICY)
    new = str(tmp_path / "new")
    with family(rush) as one, family() as other:
        child = one.fork()
        grandchild = one.fork(child)
        with block("--tree", one.root.pid, "--policy", tmp_path / "p.toml") as run:
            run.ready(grandchild, opens(file), "EXDEV")
            assert one.root.ask(opens(file)) == child.ask(opens(file)) == "EXDEV"
            child.leave()
            until(lambda: grandchild.ask("os.getppid()") != str(child.pid), "another parent")
            assert grandchild.ask(opens(file)) == "EXDEV"
            assert one.fork(grandchild).ask(opens(file)) == "EXDEV"
            assert one.root.ask(f"rush({file!r}, 100, 1)") == "0"
            assert grandchild.ask(CHMOD) == "ok"
            assert grandchild.ask("socket.socket().close()") == "ok"
            assert grandchild.ask(f"failures(50, lambda: {opens(file)})") == "50"
            assert other.root.ask(opens(file)) == "ok"
            assert grandchild.ask(f"child(lambda: {makes(new)})") == "signal 9"
            assert one.fork().ask(makes(new)) == "" and not Path(new).exists()
            until(lambda: text_count(run, "deny mkdir") == 2, "both kills are shown")
            until(lambda: text_count(run, "(files: deny open)", grandchild.pid) >= 51, "all refusals are shown")
            run.end(signal.SIGKILL)
        assert grandchild.ask(opens(file)) == one.root.ask(opens(file)) == "ok"
        assert one.root.ask(f"rush({file!r}, 10, 1)") == "20"
    assert f"files: deny open → EXDEV: {HOOKS} · {GUARANTEES}" in run.said
    assert "chmod(" in run.text and " allowed  (noted: deny chmod)" in run.text
    assert "killed  (never: deny mkdir)" in run.text
    assert re.search(r'openat\(".*/file"\) = -1 EXDEV  \(files: deny open\)', run.text)
    assert len([line for line in run.text.splitlines() if line.split()[1] == str(grandchild.pid)]) < 20


def text_count(run, what, tid=None):
    """How many refusals the lines with ``what`` stand for."""
    lines = [line for line in run.text.splitlines() if what in line and (tid is None or line.split()[1] == str(tid))]
    more = [re.search(r"  (\d+) more$", line) for line in lines]
    return sum(int(found[1]) if found else 1 for found in more)


@pytest.mark.race
def test_descendants_of_what_matches(rush, file, tmp_path):
    Path(tmp_path, "secret").mkdir()
    secret = Path(tmp_path, "secret", "key")
    secret.touch()
    words = ("--deny-path", f"{tmp_path}/secret/", "--allow-path", file, "--deny-path", f"w:{tmp_path}/*")
    with family(rush) as one, family() as other:
        child = one.fork()
        grandchild = one.fork(child)
        with block("--ppid", one.root.pid, "-f", *words, "--errno", "EACCES") as run:
            run.ready(grandchild, opens(str(secret)), "EACCES")
            assert grandchild.ask(opens(file)) == child.ask(opens(file)) == "ok"
            assert child.ask(makes(f"{tmp_path}/new")) == "EACCES" and child.ask(f"os.unlink({file!r})") == "ok"
            assert child.ask(f"rush({str(secret)!r}, 100, 1)") == "0"
            child.leave()
            until(lambda: grandchild.ask("os.getppid()") != str(child.pid), "another parent")
            assert grandchild.ask(opens(str(secret))) == "EACCES"
            assert one.root.ask(opens(str(secret))) == other.root.ask(opens(str(secret))) == "ok"
            assert run.end(signal.SIGTERM) == 0
        assert grandchild.ask(opens(str(secret))) == "ok"
    assert f"deny-path {tmp_path}/secret/ → EACCES: 202 denied" in run.said
    assert f"deny-path w:{tmp_path}/* → EACCES: 1 denied" in run.said


def test_isotrace_itself_is_never_refused_and_ends_when_the_time_is_up(file):
    """It is in the cgroup that is the target, and goes on opening files there: /proc, to see whether anybody is left."""
    if "cgroup2" not in FEATURES:
        pytest.skip("needs cgroup2: the target")
    group = Path("/sys/fs/cgroup/isotrace-block")
    group.mkdir()
    with family() as one:
        (group / "cgroup.procs").write_text(str(one.root.pid))
        with block("--cgroup", group, "--deny", "open", "--format", "json", "--audit", "--for", "20s") as run:
            (group / "cgroup.procs").write_text(str(run.process.pid))
            until(lambda: one.root.ask(opens(file)) == "ok" and file in run.text, "the refusal is seen")
            assert run.process.wait(PATIENCE) == 0
    refused = {line["pid"] for line in run.objects[:-1]}
    assert one.root.pid in refused and run.process.pid not in refused
    until(lambda: not (group / "cgroup.procs").read_text(), "an empty cgroup")
    group.rmdir()


def test_calls_by_number_and_pid_1_never(rush, file, tmp_path):
    """On a kernel with one of the mechanisms that judge by number; pid 1, of the same name as the target, must reap."""
    if not {"override", "fmod_ret_syscall"} & set(FEATURES):
        with family() as one, block("-v", "--pid", one.root.pid, "--deny", "open", "--backend", "override") as run:
            assert run.process.wait(PATIENCE) == 3
            assert "nothing was started, nothing is denied" in run.said and "  override: no override" in run.said
        return
    name = Path("/proc/1/comm").read_text().strip()
    expected = "fmod_ret_call" if "fmod_ret_syscall" in FEATURES else "override"
    words = ["--deny", "wait,open", "--errno", "EXDEV", "--backend", "override", "--format", "json"]
    guarantees = "TOCTOU-safe yes · io_uring closed · 32-bit yes"
    if "override" not in FEATURES:  # fmod_ret alone does not reach the functions of 32-bit calls
        with family() as one, block("--pid", one.root.pid, *words) as run:
            assert run.process.wait(PATIENCE) == 3
            assert "not their 32-bit entry: creat, " in run.said and "would help: --best-effort" in run.said
        words.append("--best-effort")
        guarantees = "TOCTOU-safe no · io_uring closed · 32-bit no"
    with family(rush) as one, family() as other:
        one.root.ask(f"open('/proc/self/comm', 'w').write({name!r})")
        with block("--comm", name, *words) as run:
            run.ready(one.root, opens(file), "EXDEV")
            assert f"{expected} · {guarantees}" in run.said
            child = one.fork()
            assert child.ask(opens(file)) == child.ask("call(425, 1, ROOM)") == "EXDEV"
            grandchild = one.fork(child)
            child.leave()
            until(lambda: grandchild.ask("os.getppid()") == "1", "another parent")
            assert grandchild.ask(opens(file)) == grandchild.ask("os.wait()") == "EXDEV"
            assert other.root.ask(opens(file)) == "ok"
            os.kill(grandchild.pid, signal.SIGKILL)
            until(lambda: not Path(f"/proc/{grandchild.pid}").exists(), "pid 1 waits for its children")
            assert run.end() == 0
        assert one.root.ask(opens(file)) == "ok"
    assert run.hits() == [5]
    assert 1 not in {line["pid"] for line in run.objects[:-1]}
