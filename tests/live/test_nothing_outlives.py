"""Nothing of isotrace outlives isotrace, whatever it is doing: killed at random moments of start, run and end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from tracer import PATIENCE, environment

from isotrace.kernel import features

#: CONTRIBUTING.md says how to ask for more.
TIMES = int(os.environ.get("ISOTRACE_TEST_KILLS", "6"))
SECCOMP = ["block", "--backend", "seccomp", "--deny", "mkdir", "--", "sh", "-c", "mkdir /proc/x; sleep 0.2; exit 3"]
OBJECTS = [*SECCOMP[:2], "lsm", *SECCOMP[3:]]
LOG = ["log", "--calls", "%file", "-o", os.devnull, "--", "sh", "-c", "ls /; sleep 0.2; exit 3"]


#: What compiles, forks and tests itself at the security hooks is for kernels that have them; the rest is alike everywhere.
WORDS = {"lsm": OBJECTS} if "ISOTRACE_VM_KERNEL" in os.environ else {"seccomp": SECCOMP, "log": LOG}


@pytest.fixture(params=WORDS)
def words(request):
    if request.param == "lsm" and all(
        features.check(name).verdict != "yes" for name in ("lsm_bpf", "fmod_ret_security")
    ):
        pytest.skip("needs lsm_bpf or fmod_ret_security: what refuses at the hooks")
    return WORDS[request.param]


def _of_isotrace(mark: str) -> list[str]:
    """The processes that run isotrace's own code: those with the mark whose command line is isotrace's."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and mark.encode() in (entry / "environ").read_bytes():
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                if words[1:3] == [b"-m", b"isotrace"] and state not in "ZX":
                    found.append(f"{entry.name} {state} {(entry / 'wchan').read_text()}")
        except OSError:
            continue
    return found


def _start(words: list[str], mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "isotrace", *words], env=environment(MARK=mark), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("cache", ["off", ""], ids=["compiling", "kept"])
def test_isotrace_is_killed_at_any_moment(words, cache, monkeypatch):
    if cache and words is not LOG:
        return  # of these nothing is kept
    monkeypatch.setenv("ISOTRACE_CACHE", cache) if cache else monkeypatch.delenv("ISOTRACE_CACHE", raising=False)
    began = time.monotonic()
    assert _start(words, uuid.uuid4().hex).wait(PATIENCE) == 3
    whole = time.monotonic() - began
    moments = random.Random(whole)
    for _ in range(TIMES):
        mark = uuid.uuid4().hex
        process = _start(words, mark)
        moment = moments.uniform(0, whole)
        time.sleep(moment)
        process.kill()
        process.wait()
        end = time.monotonic() + PATIENCE
        while (left := _of_isotrace(mark)) and time.monotonic() < end:
            time.sleep(0.01)
        assert not left, f"killed after {moment:.3f} of {whole:.3f} s: {left}"


@pytest.mark.parametrize("value", [None, "7"])
def test_a_command_has_the_variables_of_whoever_started_isotrace(value):
    command = [sys.executable, "-m", "isotrace", *SECCOMP[:6], "env"]
    variables = environment(**({"OPENBLAS_NUM_THREADS": value} if value else {}))
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line).items() >= variables.items()
    assert (value is not None) == ("OPENBLAS" in done.stdout)


_COUNTING_FORKS = """
import os, sys
real = os.fork
log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def fork():
    os.write(log, b"%d\\n" % len(os.listdir("/proc/self/task")))
    return real()
os.fork = fork
sys.argv[0] = "isotrace"
from isotrace.__main__ import main
main()
"""


def test_a_process_that_forks_has_one_thread(words, tmp_path):
    command = [sys.executable, "-c", _COUNTING_FORKS, tmp_path / "threads", *words]
    done = subprocess.run(
        command, env=environment(ISOTRACE_CACHE="off"), capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 3, done.stderr
    assert set((tmp_path / "threads").read_text().split()) == {"1"}


_STAYS_IN = """
import sys, time
from isotrace.enforce.calls.supervisor import Supervisor
def stays(*_):
    print("here", flush=True)
    time.sleep(600)
setattr(Supervisor, sys.argv.pop(1), stays)
sys.argv[0] = "isotrace"
from isotrace.__main__ import main
main()
"""


def _with(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    "sudo", [{}, {"SUDO_UID": "65534", "SUDO_GID": "65534", "SUDO_USER": "nobody"}], ids=["", "sudo"]
)
@pytest.mark.parametrize("denied", ["mkdir", "read", "close", "prctl"])
@pytest.mark.parametrize("step", ["_take", "_serve"])
def test_isotrace_is_killed_before_it_answers_for_its_command(step, denied, sudo):
    """_take: nobody else has the listener of the command's process yet; _serve: what it calls is not answered."""
    mark = uuid.uuid4().hex
    words = ["block", "--backend", "seccomp", "--deny", denied, "--", "true"]
    with subprocess.Popen(
        [sys.executable, "-c", _STAYS_IN, step, *words], env=environment(MARK=mark, **sudo), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout and process.stdout.readline() == "here\n"
        assert len(_with(mark)) == 2
        time.sleep(0.2)  # it gets as far as it can
        process.kill()
        process.wait()
        end = time.monotonic() + PATIENCE
        while (left := _with(mark)) and time.monotonic() < end:
            time.sleep(0.01)
        for pid in left:
            os.kill(pid, 9)
        assert not left
