"""isotrace block beside a command of the same user, on the same terminal: what the command cannot do to it."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import time

import pytest
from tracer import PATIENCE, environment

from isotrace.enforce.calls import notify

pytestmark = pytest.mark.skipif(
    notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"
)
BLOCK = [sys.executable, "-m", "isotrace", "block", "--backend", "seccomp", "--deny", "mkdir"]


def as_nobody():
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("needs privileges: setpriv becomes nobody")
    return ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


_REACHES = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
def tried(name, result):
    print(name, "THROUGH" if result >= 0 else os.strerror(ctypes.get_errno()))
def opened(name, flags=os.O_RDONLY):
    try:
        os.close(os.open(f"/proc/{pid}/{name}", flags))
        print(name, "THROUGH")
    except OSError as error:
        print(name, error.strerror)
here, there = ctypes.create_string_buffer(8), (ctypes.c_size_t * 2)(0, 8)
local = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
there[0] = int(sys.argv[2], 16) if len(sys.argv) > 2 else ctypes.addressof(here)
tried("attach", libc.ptrace(16, pid, 0, 0))
tried("seize", libc.ptrace(0x4206, pid, 0, 0))
tried("process_vm_readv", libc.process_vm_readv(pid, local, 1, there, 1, 0))
tried("process_vm_writev", libc.process_vm_writev(pid, local, 1, there, 1, 0))
event = ctypes.create_string_buffer(b"\\x01\\0\\0\\0\\x70\\0\\0\\0" + bytes(104))
tried("perf_event_open", libc.syscall(298, event, pid, -1, -1, 0))
tried("kcmp", libc.syscall(312, pid, os.getpid(), 0, 0, 0))
descriptor = os.pidfd_open(pid)
for number in range(32):
    tried(f"getfd {number}", libc.syscall(438, descriptor, number, 0))
for name in ("maps", "environ", "auxv", "stack", "syscall", "io"):
    opened(name)
for name in ("mem", "oom_score_adj", "clear_refs", "coredump_filter"):
    opened(name, os.O_WRONLY)
tried("user namespace", libc.unshare(0x10000000))
tried("attach", libc.ptrace(16, pid, 0, 0))
print("end", flush=True)
"""


def test_a_command_of_the_same_user_does_not_reach_into_isotrace():
    reach = 'exec "$0" -c "$1" $PPID'
    run = [*as_nobody(), *BLOCK, "-o", os.devnull, "--", "sh", "-c", reach, sys.executable, _REACHES]
    done = subprocess.run(run, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    through = {line.removesuffix(" THROUGH") for line in done.stdout.splitlines() if line.endswith("THROUGH")}
    assert through <= {"user namespace"}, done.stdout
    assert done.stdout.count("Operation not permitted") > 32, done.stdout + done.stderr


def test_the_same_is_possible_to_a_process_that_does_not_keep_it_away():
    """What the test above shows is isotrace's doing, not the kernel's."""
    parent = "import os, subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], str(os.getpid())])"
    with subprocess.Popen([*as_nobody(), sys.executable, "-c", parent, _REACHES], stdout=-1, text=True) as process:
        said = "".join(iter(process.stdout.readline, "end\n"))
        process.kill()  # a tracer that was let in leaves it stopped
    if "attach THROUGH" not in said:
        pytest.skip("needs ptrace: something else keeps processes of one user apart here")
    assert "getfd 0 THROUGH" in said and "mem THROUGH" in said, said


def on_terminal(command, until=None, keys=b""):
    """Run it on a terminal of its own, pressing ``keys`` once ``until`` has appeared; (status, what it wrote)."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, environment())
    said, end = b"", time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            said += os.read(terminal, 65536)
        except OSError:
            break
        if until and until in said:
            os.write(terminal, keys)
            until = None
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode(errors="replace")


@pytest.mark.parametrize("bits", ["64", "32"])
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_a_command_types_nothing_into_the_terminal(compiled, bits, user):
    if user == "root" and os.geteuid() != 0:
        pytest.skip("needs root: whom no sysctl keeps from typing")
    types = [*(as_nobody() if user == "nobody" else []), *BLOCK, "--", compiled("types", f"-m{bits}")]
    status, said = on_terminal([*map(str, types)])
    assert status == 1 and re.search("TIOCSTI: Operation not permitted", said), said
    assert re.search("TIOCLINUX: Operation not permitted", said) and "interrupted" not in said, said


def test_job_control_works_on_the_shared_terminal(tmp_path):
    """Ctrl-C is the command's, any number of them, and what it asks for is refused afterwards as before."""
    script = (
        "trap 'echo caught' INT; echo now-it-runs; for i in 1 2 3 4 5 6 7 8; do sleep 0.2; done; mkdir {0}/x; exit 9"
    )
    command = [*BLOCK, "--", "sh", "-c", script.format(tmp_path)]
    status, said = on_terminal(command, b"now-it-runs", b"\x03\x03\x03")
    assert status == 9 and "caught" in said and not list(tmp_path.iterdir())
    assert "Operation not permitted" in said and "the terminal's keys go to the command" in said, said


def test_a_shell_under_it_has_job_control():
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    script = "set -m; sleep 30 & kill -STOP %1; jobs; kill -KILL %1; wait; fg 2>/dev/null; tty; exit 4"
    status, said = on_terminal([*BLOCK, "--", "bash", "--norc", "-ic", script])
    assert status == 4 and "/dev/pts/" in said and "no job control" not in said, said
