"""Nothing that concerns output ends refusing: each write of isotrace's fails, its terminal goes, nobody reads."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import shutil
import subprocess
import sys
import time

import pytest
from tracer import PATIENCE, PROGS, environment

from isotrace.enforce.calls import notify

pytestmark = pytest.mark.skipif(
    notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"
)
TRIES = 4
BLOCK = [sys.executable, "-m", "isotrace", "block", "--backend", "seccomp", "--deny", "mkdir"]
SCRIPT = "for i in $(seq {tries}); do mkdir {where}/$i 2>>{answers}; sleep {pause}; done; echo end >>{answers}; exit 5"


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc: what makes writes fail is C")
    library = tmp_path_factory.mktemp("failing") / "failing_writes.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-o", library, PROGS / "failing_writes.c"], check=True)
    return library


class Tries:
    """A command that asks for what is refused, again and again, and says in a file what came of it."""

    def __init__(self, directory, tries=TRIES, pause=0.02):
        self.made, self.answers, self._tries = directory / "made", directory / "answers", tries
        shutil.rmtree(directory, ignore_errors=True)
        self.made.mkdir(parents=True)
        script = SCRIPT.format(tries=tries, where=self.made, answers=self.answers, pause=pause)
        self.command = ["sh", "-c", script]

    def wait(self):
        end = time.monotonic() + PATIENCE
        while not (self.answers.exists() and self.answers.read_text().endswith("end\n")):
            assert time.monotonic() < end
            time.sleep(0.02)
        return self

    def check(self):
        """All was refused by isotrace, nothing by the kernel in its place (ENOSYS)."""
        said = self.answers.read_text()
        assert not list(self.made.iterdir()) and said.endswith("end\n")
        assert said.count("Operation not permitted") == self._tries, said


@pytest.mark.parametrize(("channel", "error"), [("stdout", errno.EPIPE), ("stderr", errno.EIO), ("file", errno.ENOSPC)])
def test_every_write_fails_from_the_nth_on(failing, tmp_path, channel, error):
    where = {"stdout": {"FAILING_FD": "1"}, "stderr": {"FAILING_FD": "2"}, "file": {"FAILING_FILE": f"{tmp_path}/out"}}
    mark, from_nth = tmp_path / "mark", 0
    options = ["-o", tmp_path / "out"] if channel == "file" else []
    while from_nth == 0 or mark.exists():
        from_nth += 1
        assert from_nth < 50
        mark.unlink(missing_ok=True)
        tries = Tries(tmp_path / "tries")
        variables = {"FAILING_FROM": str(from_nth), "FAILING_ERRNO": str(error), "FAILING_MARK": str(mark)}
        done = subprocess.run(
            [*BLOCK, *options, "--", *tries.command], capture_output=True, text=True, timeout=PATIENCE, check=False,
            env=environment(LD_PRELOAD=str(failing), **where[channel], **variables), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 5 and "Traceback" not in done.stderr, (from_nth, done)
        tries.check()
    assert from_nth > 2


def test_all_readers_leave_at_once(tmp_path):
    """``2>&1 | head``."""
    tries = Tries(tmp_path, 20)
    read, write = os.pipe()
    run = subprocess.Popen([*BLOCK, "--", *tries.command], env=environment(), stdout=write, stderr=write)
    os.close(write)
    os.close(read)
    assert run.wait(PATIENCE) == 5
    tries.check()


def test_outputs_that_were_closed_from_the_start(tmp_path):
    tries = Tries(tmp_path)
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *BLOCK, "--", *tries.command]
    assert subprocess.run(command, env=environment(), timeout=PATIENCE, check=False).returncode == 5
    tries.check()


def test_a_command_that_makes_the_shared_output_not_wait(tmp_path):
    tries = Tries(tmp_path, 3)
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    fill = "import os\nos.set_blocking(1, False)\ntry:\n    while True: os.write(1, b'x' * 512)\n"
    fill += "except BlockingIOError: pass"
    script = tmp_path / "fill.py"
    script.write_text(fill)
    both = f"{sys.executable} {script}; " + tries.command[2]
    run = subprocess.Popen([*BLOCK, "--", "sh", "-c", both], env=environment(), stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    tries.wait()
    with os.fdopen(read, "rb") as stream:
        said = stream.read()
    assert run.wait(PATIENCE) == 5 and b"enforcement goes on" not in run.stderr.read()
    assert said.count(b"mkdir(") == 3
    run.stderr.close()
    tries.check()


def test_a_terminal_that_is_closed(tmp_path):
    """Its foreground processes get SIGHUP; the command does not mind, and stays refused."""
    tries = Tries(tmp_path, 40, 0.05)
    tries.command[2] = "trap '' HUP; " + tries.command[2]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(BLOCK[0], [*BLOCK, "--", *tries.command], environment())
    while not tries.answers.exists() or tries.answers.read_text().count("permitted") < 3:
        os.set_blocking(terminal, False)
        try:
            os.read(terminal, 65536)
        except BlockingIOError:
            time.sleep(0.02)
    os.close(terminal)
    tries.wait()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    tries.check()
