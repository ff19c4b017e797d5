"""Refusing a call from the table of ``isotrace top``: keys in, errno at the program, hits on the screen."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time

import pytest
from asked import Asked
from terminal import PATIENCE, Terminal

FEATURES = os.environ.get("ISOTRACE_VM_FEATURES", "").split(",")
USER = 54321
BY_NUMBER = "override" in FEATURES  # fmod_ret alone does not reach the functions of 32-bit calls

#: A process that answers each line, a Python expression, with "ok" or the name of an errno.
WORKER = """
import errno, os, sys

def make():
    os.mkdir("/tmp/isotrace-made")
    os.rmdir("/tmp/isotrace-made")

def child(call):
    pid = os.fork()
    if not pid:
        try:
            call()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    if status := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise OSError(status, "in the child")

for line in sys.stdin:
    try:
        eval(line)
        print("ok", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"""


class Worker(Asked):
    """A process of a user who has no other, to be refused something."""

    def __init__(self, name):
        super().__init__([os.path.realpath(sys.executable), "-S", "-c", WORKER], user=USER, cwd="/")
        assert self.ask(f"open('/proc/self/comm', 'w').write({name!r})") == "ok"


@pytest.fixture
def workers():
    found = Worker("first"), Worker("second")
    yield found
    for worker in found:
        worker.end()


@pytest.fixture
def terminal(tmp_path, workers):
    if not shutil.which("tmux"):
        pytest.skip("needs tmux: to press keys and read the screen")
    found = Terminal(tmp_path / "tmux")
    found.start(f"--uid {USER}", 120, 30)
    found.wait("nothing was called yet")
    yield found
    found.close()


def only(terminal, text):
    """Filter the rows, so that the cursor is on the one that is meant."""
    terminal.keys("/")
    terminal.wait("filter: type")
    terminal.keys(*text)
    terminal.wait(rf"/{text}\s*$")
    terminal.keys("Enter")
    terminal.wait(rf"^[└─ ]*{text} ")


def accept(terminal, *expected):
    """Read what refusing would rest on, say yes, and wait until it is so."""
    question = terminal.wait(r"y denies it")
    assert all(text in question for text in expected), question
    terminal.keys("y")
    terminal.wait(r"is denied to .* by ")


def answers(worker, expression, wanted):
    """Whether the answer becomes ``wanted``: the kernel detaches a moment after a process has ended."""
    deadline = time.monotonic() + PATIENCE
    while (answer := worker.ask(expression)) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer == wanted


def test_a_call_is_refused_counted_and_works_again(terminal, workers):
    first, second = workers
    assert first.ask("make()") == "ok"
    only(terminal, "mkdir")
    terminal.keys("d")
    accept(terminal, "Deny mkdir?", "TOCTOU-safe yes", "2 processes now")
    assert "1 denied" in terminal.screen()
    assert [worker.ask("make()") for worker in workers for _ in range(3)] == ["EPERM"] * 6
    assert second.ask("child(make)") == "EPERM"
    terminal.keys("D")
    listed = terminal.wait(r"mkdir → EPERM +7 hits")
    assert f"latest: second {second.process.pid}" not in listed, "the latest was its child"
    assert "latest: second" in listed
    terminal.keys("u")
    terminal.wait("mkdir works again .* 7 times")
    assert [worker.ask("make()") for worker in workers] == ["ok", "ok"]


def test_a_call_that_no_hook_meets(terminal, workers):
    first, _ = workers
    assert first.ask("os.sched_get_priority_max(0)") == "ok"
    only(terminal, "sched_get_priority_max")
    terminal.keys("d")
    if not BY_NUMBER:
        panel = terminal.wait("any other key closes this")
        assert "sched_get_priority_max cannot be denied here" in panel and "  lsm: no security hook is met" in panel
        terminal.keys("x")
        assert first.ask("os.sched_get_priority_max(0)") == "ok"
        return
    accept(terminal, "Deny sched_get_priority_max?", "32-bit yes")
    assert first.ask("os.sched_get_priority_max(0)") == "EPERM"
    terminal.keys("u")
    terminal.wait("sched_get_priority_max works again .* 1 times")
    assert first.ask("os.sched_get_priority_max(0)") == "ok"


def test_one_family_until_isotrace_is_killed(terminal, workers):
    first, second = workers
    assert second.ask("[make() for _ in range(300)]") == "ok"
    terminal.keys("2")
    only(terminal, "second")
    terminal.keys("d")
    terminal.wait(rf"Deny what to second {second.process.pid}")
    terminal.wait(r"(mk|rm)dir +300 calls")
    terminal.keys("Enter")
    accept(terminal, f"second {second.process.pid} and its descendants: 1 process now")
    assert second.ask("make()") == second.ask("child(make)") == "EPERM"
    assert first.ask("make()") == "ok"
    os.kill(terminal.pid, signal.SIGKILL)
    assert answers(second, "make()", "ok")
