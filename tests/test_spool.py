"""Between the ring and the sinks: everything comes out in the order in which it went in, wherever it was kept meanwhile."""

from __future__ import annotations

import errno
import os
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrace.errors import IsotraceError
from isotrace.run import spool as spools
from isotrace.run.delivery import Delivery
from isotrace.run.spool import Made, Spool
from isotrace.run.stats import Stats
from isotrace.trace import events
from isotrace.trace.ring import HEADER, ROW, Chunk, batch_of

EVENT_SIZE = events.EVENT.itemsize
ROWS = (HEADER + EVENT_SIZE) // ROW


def chunk(first: int, count: int) -> Chunk:
    """``count`` calls whose tids count from ``first``."""
    body = np.zeros(count, dtype=events.EVENT)
    body["tid"] = np.arange(first, first + count)
    raw = b"".join(bytes(HEADER) + one.tobytes() for one in body)
    return Chunk(np.frombuffer(raw, dtype=np.uint8).copy(), np.arange(count) * ROWS)


def made(tid: int) -> Made:
    one = chunk(tid, 1)
    return Made(batch_of(one.data, one.rows))


def tids(spool: Spool) -> list[int]:
    found = []
    while (item := spool.get(0)) is not None:
        found += item.batch().events["tid"].tolist()
    return found


def spilled(spool: Spool, times: int = 1000) -> None:
    """Write what memory has no room for, as the spool's thread does."""
    for _ in range(times):
        spool.spill(0)


#: A positive number: a chunk of so many records; 0: a batch of one; -1: what is there is taken; -2: one item is written.
STEPS = st.lists(st.integers(-2, 40), max_size=60)


@settings(deadline=None)
@given(STEPS, st.integers(0, 20_000), st.integers(1, 20_000))
def test_what_goes_in_comes_out_in_order(steps, memory, segment):
    spool = Spool(memory, segment)
    found, number = [], 0
    for step in steps:
        if step == -2:
            assert spool.spill(0)
        elif step == -1:
            found += tids(spool)
        elif step == 0:
            spool.put(made(number))
            number += 1
        else:
            spool.put(chunk(number, step))
            number += step
        assert len(spool) == number - len(found)
    assert found + tids(spool) == list(range(number)) and len(spool) == 0 and not spool.full


def test_what_is_in_a_file_has_no_name_and_goes_with_the_last_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(spools.tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    spool = Spool(memory=0, segment=1)
    for number in range(5):
        spool.put(chunk(number, 1))
    spilled(spool)
    assert len(os.listdir("/proc/self/fd")) == before + 5 and not list(tmp_path.iterdir())
    tids(spool)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the one that would be written to next


def test_a_full_disk_is_said_and_what_comes_then_is_still_kept(monkeypatch):
    spool = Spool(memory=100)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwritev", full)
    for number in range(4):
        spool.put(chunk(number, 1))
    spilled(spool)
    assert "no space left on device" in spool.trouble and spool.full
    assert tids(spool) == [0, 1, 2, 3] and not spool.full


def test_a_disk_that_does_not_answer_holds_up_neither_who_puts_nor_who_gets(monkeypatch):
    writing, answer, real = threading.Event(), threading.Event(), os.pwritev

    def stuck(fd, parts, at):
        writing.set()
        answer.wait()
        return real(fd, parts, at)

    monkeypatch.setattr(os, "pwritev", stuck)
    size = 10 * (chunk(0, 1).data.nbytes + 8)
    spool = Spool(memory=100, most=size)
    thread = threading.Thread(target=spilled, args=(spool,))
    spool.put(chunk(0, 1))
    thread.start()
    assert writing.wait(60)
    for number in range(1, 9):
        spool.put(chunk(number, 1))
        assert not spool.trouble
    spool.put(chunk(9, 1))
    assert spool.full and "comes faster than" in spool.trouble
    assert tids(spool) == list(range(10)) and not spool.full
    for number in range(10, 15):
        spool.put(chunk(number, 1))
    answer.set()
    thread.join()
    assert tids(spool) == list(range(10, 15))


class Sink:
    """Keeps what it is given; ``wait`` holds it up, ``error`` ends it."""

    def __init__(self, error=None):
        self.tids, self.flushed, self.completed = [], 0, 0
        self.wait, self._error = threading.Event(), error
        self.wait.set()

    def write(self, batch):
        self.wait.wait()
        if self._error:
            raise self._error
        self.tids += batch.events["tid"].tolist()

    def flush(self):
        self.flushed += 1

    def complete(self):
        self.completed += 1


def test_a_sink_that_waits_holds_nobody_up():
    sink, stats = Sink(), Stats()
    delivery = Delivery([sink], stats)
    delivery.start()
    sink.wait.clear()
    for number in range(100):
        delivery.put(chunk(number, 1))
    delivery.end()
    assert delivery.busy and not sink.tids and not stats.delivered.sum()
    sink.wait.set()
    delivery.join(60)
    assert sink.tids == list(range(100)) and sink.flushed and sink.completed == 1
    assert stats.delivered.sum() == 100 and not delivery.busy


def test_what_a_sink_raises_is_raised_by_whoever_looks():
    delivery = Delivery([Sink(IsotraceError("no space"))], Stats())
    delivery.start()
    delivery.put(chunk(0, 1))
    delivery.join(60)
    with pytest.raises(IsotraceError, match="no space"):
        delivery.check()
    delivery.check()


def test_without_sinks_it_is_counted_at_once():
    stats = Stats()
    delivery = Delivery([], stats)
    delivery.start()
    delivery.put(chunk(0, 7))
    assert stats.delivered.sum() == 7 and not delivery.busy


def test_a_quiet_run_still_flushes():
    sink = Sink()
    delivery = Delivery([sink], Stats())
    delivery.start()
    deadline = time.monotonic() + 60
    while not sink.flushed and time.monotonic() < deadline:
        time.sleep(0.01)
    delivery.end()
    assert sink.flushed
