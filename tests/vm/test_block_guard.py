"""isotrace protects itself from the target, and ends loudly where another root user takes its programs away."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.live.tracer import PATIENCE, environment, started, until
from tests.vm.enforced import need_for
from tests.vm.family import FEATURES, block, family

CHMOD = "os.chmod('/tmp', 0o1777)"
FTRACE = Path("/proc/sys/kernel/ftrace_enabled")
BACKENDS = [name for name in ("auto", "override") if name == "auto" or "override" in FEATURES]


@pytest.fixture
def switch():
    """Switches ftrace off, or says that the kernel does not let it be (live patches); it is on again afterwards."""

    def off():
        try:
            FTRACE.write_text("0\n")
        except OSError as error:
            assert error.errno in (errno.EBUSY, errno.EOPNOTSUPP)
            return False
        return True

    yield off
    FTRACE.write_text("1\n")


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_programs_are_switched_off_the_run_ends_loudly_or_goes_on_refusing(backend, switch):
    with (
        family() as one,
        block("--pid", one.root.pid, "--deny", "chmod", "--errno", "EXDEV", "--backend", backend) as run,
    ):
        run.ready(one.root, CHMOD, "EXDEV")
        if not switch() or one.root.ask(CHMOD) == "EXDEV":  # programs that this switch does not take away
            assert run.process.poll() is None or "ENFORCEMENT HAS ENDED" in run.said
            return
        assert run.process.wait(PATIENCE) == 1
        assert "ENFORCEMENT HAS ENDED: " in run.said and "kernel.ftrace_enabled is 0" in run.said


def test_two_on_one_target_are_each_protected_and_outlast_each_other():
    need_for("lsm" if "lsm_bpf" in FEATURES else "fmod_ret")
    rules = ("--errno", "EXDEV", "--format", "json")
    with family() as one, block("--pid", one.root.pid, "--deny", "chmod", *rules) as first:
        first.ready(one.root, CHMOD, "EXDEV")
        with block("--pid", one.root.pid, "--deny", "socket", *rules) as second:
            second.ready(one.root, "socket.socket().close()", "EXDEV")
            for run in (first, second):
                assert one.root.ask(f"os.kill({run.process.pid}, 9)") == "EPERM"
                assert one.root.ask(f"os.kill({run.process.pid}, 0)") == "ok"
            assert first.end() == 0
            assert one.root.ask(CHMOD) == "ok"
            assert one.root.ask("socket.socket().close()") == "EXDEV"
            assert second.end() == 0
    for run in (first, second):
        assert [rule["asked"] for rule in run.summary["standing"]][:1] == ["protects isotrace"]
        assert run.summary["standing"][0]["hits"] >= 1
        assert any(line["asked"] == "protects isotrace" and line["call"] == "kill" for line in run.objects[:-1])


def test_isotrace_inside_is_held_by_seccomp_and_takes_nothing_from_the_one_outside(tmp_path):
    need_for("lsm" if "lsm_bpf" in FEATURES else "fmod_ret")
    made = tmp_path / "made"
    inner = [sys.executable, "-m", "isotrace", "block", "--deny", "mkdir", "--", "mkdir", made]
    with block("--deny", "chmod", "--", *inner) as run:
        assert run.process.wait(3 * PATIENCE) == 1, run.said
        assert "deny mkdir → EPERM: seccomp" in run.said and not made.exists()


def test_a_process_that_isotrace_has_from_the_shell_before_it_is_none_of_its_own(tmp_path):
    need_for("lsm" if "lsm_bpf" in FEATURES else "fmod_ret")
    go, answer, said = (tmp_path / name for name in ("go", "answer", "said"))
    attack = f"until test -e {go}; do sleep 0.1; done; kill -STOP $$; echo $? >{answer}; sleep 60"
    become = f"({attack}) >/dev/null 2>&1 & exec {sys.executable} -m isotrace block --pid $! --deny chmod"
    with said.open("wb") as stream, started(["sh", "-c", become], stderr=stream, env=environment()) as run:
        until(lambda: "enforcing from now on" in said.read_text(), "it refuses")
        go.touch()
        until(lambda: answer.exists() and answer.read_text().strip(), "an answer")
        assert answer.read_text().strip() != "0" and _state(run.pid) != "T", said.read_text()


def test_a_command_that_is_traced_by_isotrace_does_not_end_it():
    """By seccomp, where nothing keeps the command from asking for that."""
    stopped = "import ctypes, os, signal; ctypes.CDLL(None).ptrace(0, 0, 0, 0); os.kill(os.getpid(), signal.SIGSTOP)"
    with block("--backend", "seccomp", "--deny", "mkdir", "--", sys.executable, "-c", stopped) as run:
        until(lambda: _state(_child(run.process.pid)) == "t", "the command is stopped")
        assert run.process.poll() is None
        os.kill(_child(run.process.pid), signal.SIGKILL)
        assert run.process.wait(PATIENCE) == 128 + signal.SIGKILL, run.said


def _child(pid: int) -> int:
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(words[-1]) if words else 0


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
