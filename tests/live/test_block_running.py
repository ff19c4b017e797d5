"""isotrace block on processes that run already, on a kernel where no mechanism serves: it says why, and starts nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tracer import PATIENCE, environment, started, until

from isotrace.enforce.findings import KernelFindings
from isotrace.kernel import features

MECHANISMS = ("lsm_bpf", "fmod_ret_security", "fmod_ret_syscall", "override")


def isotrace(*words):
    command = [sys.executable, "-m", "isotrace", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment(), check=False)


@pytest.fixture(scope="module")
def findings():
    """What this kernel has; the test is about one that has nothing."""
    found = KernelFindings()
    if served := [name for name in MECHANISMS if found[name].verdict == "yes"]:
        pytest.skip(f"needs a kernel that refuses nobody: this one has {', '.join(served)}")
    return found


@pytest.fixture
def sleeper():
    with started(["sleep", "1000"]) as process:
        yield process


def reason(findings, name):
    """What is to be said of a feature: its own evidence."""
    return findings[name].why


@pytest.mark.parametrize("backend", ["auto", "lsm", "override", "seccomp", "signal", "lkm"])
def test_a_running_process_is_not_half_refused(findings, sleeper, backend):
    run = isotrace("block", "-v", "--pid", sleeper.pid, "--deny", "open", "--backend", backend)
    assert run.returncode == 3 and not run.stdout
    assert "isotrace: deny open → EPERM: NOT ENFORCEABLE" in run.stderr
    assert "1 of 1 rules cannot be enforced: nothing was started, nothing is denied" in run.stderr
    said = {line.split(":")[1].strip(): line for line in run.stderr.splitlines() if line.startswith("isotrace:   ")}
    expected = {
        "lsm": reason(findings, "lsm_bpf"),
        "fmod_ret": reason(findings, "fmod_ret_security"),
        "fmod_ret_call": reason(findings, "fmod_ret_syscall"),
        "override": reason(findings, "kprobe" if findings["kprobe"].verdict != "yes" else "override"),
        "seccomp": "works only in a command that isotrace starts",
        "landlock": "judges files and ports, no calls",
        "signal": "can only kill",
        "lkm": "not loaded",
    }
    asked = {"auto": set(expected), "lsm": {"lsm", "fmod_ret"}, "override": {"fmod_ret_call", "override"}}
    assert set(said) == asked.get(backend, {backend})
    assert all(expected[mechanism] in line for mechanism, line in said.items())
    if features.check("unlocked").verdict == "no" and "lsm" in said:
        assert "locked down" in said["lsm"] and "boot without lockdown=" in said["lsm"]


def test_explain_says_the_same(findings, sleeper, tmp_path):
    policy = tmp_path / "p.toml"
    policy.write_text('version = 1\n[groups.a]\ndeny = "open"\ndeny-path = "/etc/shadow"\ndeny-net = ":53"\n')
    run = isotrace("policy", "explain", "-v", policy)
    assert run.returncode == 0
    running, command = run.stdout.split("A command that isotrace starts (-- CMD):")
    by_landlock = features.check("landlock").verdict == "yes"  # the file; any address at a port is not
    assert running.count("NOT ENFORCEABLE") == 3 and command.count("NOT ENFORCEABLE") == 2 - by_landlock
    assert f"lsm: no lsm_bpf: {reason(findings, 'lsm_bpf')}" in running
    assert "override: cannot judge paths" in running and "override: cannot judge addresses" in running
    blocked = isotrace("block", "--pid", sleeper.pid, "--policy", policy)
    assert blocked.returncode == 3 and "3 of 3 rules cannot be enforced" in blocked.stderr
    first, *details, hint = blocked.stderr.splitlines()
    assert first.startswith("isotrace: 3 of 3 rules") and hint == "  hint: -v says what each mechanism lacks"
    assert "  deny open" in details and blocked.stderr.count("no lsm_bpf") == 1 and len(details) <= 9
    weaker = isotrace("block", "--pid", sleeper.pid, "--policy", policy, "--weaker-ok")
    assert weaker.returncode == 3 and sleeper.poll() is None


def test_a_signal_after_the_fact_only_where_that_is_accepted(findings, tmp_path):
    if findings["signal"].verdict != "yes":
        pytest.skip("needs signal: bpf_send_signal")
    words = ("--deny", "mkdir", "--kill")
    script = f"while :; do mkdir {tmp_path}/new && rmdir {tmp_path}/new; read line; done"
    with started(["sh", "-c", script]) as shell:
        strict = isotrace("block", "--tree", shell.pid, *words)
        assert strict.returncode == 3 and "--best-effort accepts that" in strict.stderr
        command = [sys.executable, "-m", "isotrace", "block", "--tree", str(shell.pid), *words, "--best-effort"]
        errors = tmp_path / "errors"
        with errors.open("w") as err, started(command, stderr=err, env=environment()) as run:
            until(lambda: "enforcing from now on" in errors.read_text(), "it refuses")
            assert "LESS THAN ASKED" in errors.read_text()
            shell.stdin.write("\n")
            shell.stdin.flush()
            until(lambda: " killed  (deny mkdir)" in run.stdout.readline(), "a kill")
            run.terminate()
            assert run.wait(PATIENCE) == 0


def test_pid_1_is_never_refused():
    run = isotrace("block", "--pid", 1, "--deny", "open")
    assert run.returncode == 2 and "pid 1 is never denied anything" in run.stderr and len(run.stderr.splitlines()) == 2
