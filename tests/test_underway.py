"""Calls that are under way: each is told once, since when it began, while the thread is in it."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from isotrace.backends.tracepoint import BEGINNING
from isotrace.run.underway import UnderWay
from isotrace.trace import events, plan, unfinished

SLOTS = plan.slots_for(None, 32)
READ, CLOSE = plan.slot_of("x86_64", 0), plan.slot_of("x86_64", 3)
LONG_AGO = 5_000_000_000  # ns


@pytest.fixture
def reader():
    """The number of a thread that waits in read(2), until it is over."""
    there, to = os.pipe()
    tids = []
    thread = threading.Thread(target=lambda: (tids.append(threading.get_native_id()), os.read(there, 77)))
    thread.start()
    while not tids or not inside(tids[0]):
        time.sleep(0.001)
    yield tids[0]
    os.write(to, b"x")
    thread.join()
    os.close(there)
    os.close(to)


def inside(tid: int) -> bool:
    with open(f"/proc/self/task/{tid}/syscall") as file:
        words = file.read().split()
    return words[0] == "0" and int(words[3], 16) == 77


def calls(*found: tuple[int, int, int]) -> np.ndarray:
    """(tid, slot, how long ago it began)"""
    rows = np.zeros(len(found), dtype=BEGINNING)
    for row, (tid, slot, ago) in zip(rows, found, strict=True):
        row["pid"], row["tid"], row["slot"], row["time"] = os.getpid(), tid, slot, time.monotonic_ns() - ago
    return rows


def test_a_call_is_told_once_and_since_when(reader):
    rows = calls((reader, READ, LONG_AGO))
    under_way = UnderWay(lambda: rows, SLOTS, lambda _: None)
    (row,) = under_way.look().events
    assert (row["kind"], row["tid"], row["slot"], row["args"][2]) == (events.UNFINISHED, reader, READ, 77)
    assert row["time"] - row["duration"] == rows["time"][0]
    assert not len(under_way.look())


@pytest.mark.parametrize(("slot", "ago"), [(READ, 0), (CLOSE, LONG_AGO), (plan.slot_of("x86_64", 59), LONG_AGO)])
def test_nothing_is_told_that_is_young_or_another_call(reader, slot, ago):
    rows = calls((reader, slot, ago))
    assert not len(UnderWay(lambda: rows, SLOTS, lambda _: None).look())


def test_nothing_is_told_of_a_call_that_returned_while_it_was_looked_at(reader):
    """What was read of its memory may be of the next one."""
    answers = [calls((reader, READ, LONG_AGO)), calls((reader, READ, 0))]
    under_way = UnderWay(lambda: answers.pop(0) if len(answers) > 1 else answers[0], SLOTS, lambda _: None)
    assert not len(under_way.look())
    deadline = time.monotonic() + 60
    while not len(told := under_way.look()):
        assert time.monotonic() < deadline, "the next one is told in its turn"
    assert told.events["time"] - told.events["duration"] == answers[0]["time"]
    assert not len(under_way.look())


def test_what_cannot_be_told_yet_is_told_later(reader, monkeypatch):
    """A thread that is on a processor has no registers in /proc."""
    rows = calls((reader, READ, LONG_AGO))
    under_way = UnderWay(lambda: rows, SLOTS, lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(unfinished, "_registers", lambda _task: None)
        assert not len(under_way.look())
    assert len(under_way.look()) == 1 and not len(under_way.look())


def test_it_is_told_from_a_thread_of_its_own(reader):
    rows, told, came = calls((reader, READ, LONG_AGO)), [], threading.Event()
    under_way = UnderWay(lambda: rows, SLOTS, lambda made: (told.append(made), came.set()))
    under_way.start()
    assert came.wait(60)
    under_way.end()
    assert [row["tid"] for made in told for row in made.batch().events] == [reader]


def test_a_kernel_that_has_no_memory_for_it_ends_it_quietly(capfd):
    def fail() -> np.ndarray:
        raise OSError(12, os.strerror(12))

    under_way = UnderWay(fail, SLOTS, lambda _: None)
    under_way.start()
    while under_way._thread.is_alive():
        time.sleep(0.01)
    under_way.end()
    assert capfd.readouterr() == ("", "")
