"""Threads are slowed and get back what they had, whatever ends isotrace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from isotrace.enforce import throttle
from isotrace.enforce.throttle import Scheduling, Throttle, scheduling, started
from tests.live.tracer import PATIENCE

DEADLINE, IDLE, BATCH = 6, 5, 3


@pytest.fixture
def busy():
    """A process that works, with scheduling of its own."""
    with subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) as process:
        os.setpriority(os.PRIO_PROCESS, process.pid, 5)
        throttle.schedule(process.pid, Scheduling(BATCH, nice=5))
        yield process.pid
        process.kill()


def test_a_thread_gets_back_what_it_had(busy):
    had, one = scheduling(busy), Throttle()
    assert (had.policy, had.nice) == (BATCH, 5)
    for _ in range(2):  # a second time it is slow already
        assert one.slow(busy, busy) == "deadline"
        assert scheduling(busy).policy == DEADLINE
    one.give_back(busy, busy)
    one.give_back(busy, busy)
    assert scheduling(busy) == had
    one.close()
    one.close()
    assert one.slow(busy, busy) == "" and scheduling(busy) == had


def test_one_whose_processors_are_chosen_is_idle(busy):
    if len(os.sched_getaffinity(busy)) == 1:
        return  # it is on every processor
    os.sched_setaffinity(busy, {min(os.sched_getaffinity(busy))})
    had, one = scheduling(busy), Throttle()
    assert one.slow(busy, busy) == "idle" and scheduling(busy).policy == IDLE
    one.close()
    assert scheduling(busy) == had


def test_who_has_ended_is_not_slowed(busy):
    one = Throttle()
    os.kill(busy, signal.SIGKILL)
    while started(busy, busy):
        time.sleep(0.01)
    assert one.slow(busy, busy) == ""
    one.close()


OWNER = """
import sys
from isotrace.enforce.throttle import Throttle
one = Throttle()
print(one.slow(int(sys.argv[1]), int(sys.argv[1])), flush=True)
input()
"""


def test_killed_isotrace_leaves_nobody_slow(busy):
    had, command = scheduling(busy), [sys.executable, "-c", OWNER, str(busy)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "deadline\n"
        owner.kill()
    end = time.monotonic() + PATIENCE
    while scheduling(busy) != had:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "1000"]) as one:
        yield one.pid
        one.kill()


@pytest.mark.parametrize("had", [Scheduling(0), Scheduling(0, nice=-7), Scheduling(BATCH, 1, 5), Scheduling(IDLE)])
@pytest.mark.parametrize("everywhere", [True, False])
def test_it_has_what_it_had_of_every_ordinary_kind(sleeper, had, everywhere):
    if not everywhere:  # then the kernel has no deadline for it
        os.sched_setaffinity(sleeper, {min(os.sched_getaffinity(sleeper))})
    throttle.schedule(sleeper, had)
    before, one = scheduling(sleeper), Throttle()
    one.prepare(sleeper, sleeper)
    assert one.slow(sleeper, sleeper) and scheduling(sleeper).policy in (DEADLINE, IDLE)
    one.give_back(sleeper, sleeper)
    assert scheduling(sleeper) == before
    one.close()


def test_it_keeps_a_nice_value_and_a_policy_of_somebody_elses(sleeper):
    one = Throttle()
    one.slow(sleeper, sleeper)
    os.setpriority(os.PRIO_PROCESS, sleeper, 4)
    one.give_back(sleeper, sleeper)
    assert (scheduling(sleeper).policy, scheduling(sleeper).nice) == (0, 4)
    one.slow(sleeper, sleeper)
    throttle.schedule(sleeper, Scheduling(BATCH, nice=9))
    one.give_back(sleeper, sleeper)
    assert (scheduling(sleeper).policy, scheduling(sleeper).nice) == (BATCH, 9)
    one.close()


def test_who_was_stopped_goes_on_at_its_end_and_who_was_left_does_not(sleeper):
    with subprocess.Popen(["sleep", "1000"]) as other:
        one = Throttle()
        for pid in (sleeper, other.pid):
            os.kill(pid, signal.SIGSTOP)
            os.waitid(os.P_PID, pid, os.WSTOPPED)
            one.stop(pid, pid)
        one.leave(other.pid, other.pid)
        one.close()
        os.waitid(os.P_PID, sleeper, os.WCONTINUED)
        assert not os.waitid(os.P_PID, other.pid, os.WCONTINUED | os.WNOHANG)
        other.kill()
