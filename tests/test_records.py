"""The part of a run that records: what comes out of a backend reaches the sinks, is counted, and completes a recording."""

from __future__ import annotations

import errno
import os
import threading
import time
from itertools import islice

import numpy as np
import pytest

from isotrace.backends import Counters, Loss
from isotrace.errors import IsotraceError
from isotrace.run import records, spool
from isotrace.run.records import Records
from isotrace.trace import events
from isotrace.trace.plan import Facts, Options, make, slot_of
from isotrace.trace.ring import HEADER, ROW, Chunk
from isotrace.trace.target import Target

READ = slot_of("x86_64", 0)
ROWS = (HEADER + events.EVENT.itemsize) // ROW


def chunk(first, count):
    """``count`` calls of read whose tids count from ``first``."""
    body = np.zeros(count, dtype=events.EVENT)
    body["tid"], body["slot"] = np.arange(first, first + count), READ
    raw = b"".join(bytes(HEADER) + one.tobytes() for one in body)
    return Chunk(np.frombuffer(raw, dtype=np.uint8).copy(), np.arange(count) * ROWS)


class Backend:
    """Has what is put into ``waiting``; ``lost`` is what the kernel had no room for."""

    def __init__(self):
        self.waiting, self.lost, self.told, self.sent = [], [], 0, 0
        self.calls = []

    def open(self, pid=None):
        self.calls.append(f"open {pid}")

    def chunks(self):
        while self.waiting:
            self.sent += len(self.waiting[0])
            yield self.waiting.pop(0)

    def losses(self):
        found, self.told = self.lost[self.told :], len(self.lost)
        return found

    def wait(self, _seconds):
        time.sleep(0.001)

    def pids(self):
        return set()

    def alive(self):
        return False

    def detach(self):
        self.calls.append("detach")

    def counters(self):
        lost = sum(one.records for one in self.lost)
        return Counters(seen={READ: self.sent + sum(map(len, self.waiting)) + lost}, lost={READ: lost})

    def close(self):
        self.calls.append("close")


class Sink:
    def __init__(self):
        self.seen, self.go = [], threading.Event()
        self.go.set()

    def write(self, batch):
        self.go.wait(60)
        self.seen += [(int(e["kind"]), int(e["tid"]), int(e["result"])) for e in batch.events]

    def flush(self):
        pass

    def complete(self):
        pass


@pytest.fixture
def backend(monkeypatch):
    found = Backend()
    plan = make(Options(Target(pid=os.getpid())), Facts(), [])
    monkeypatch.setattr(records, "_planned", lambda _options, _loader: (plan, found))
    return found


def part(sink, **options):
    return Records(Options(Target(pid=os.getpid())), None, lambda _calls: [sink], **options)


def finished(one):
    one.stop("")
    while one.unwritten(0.1):
        pass
    one.finish()
    one.close()


def test_everything_is_shown_in_order_and_a_loss_stands_where_it_was(backend, capfd):
    sink = Sink()
    one = part(sink)
    one.open(None)
    one.start()
    backend.waiting = [chunk(0, 3), chunk(3, 2)]
    one.serve(0)
    backend.lost = [Loss(7, b"cat", READ, 4)]
    one.serve(0)
    backend.waiting = [chunk(5, 1)]
    finished(one)
    calls = [(events.CALL, tid, 0) for tid in range(6)]
    assert sink.seen == [*calls[:5], (events.LOST, 7, 4), calls[5]]
    assert backend.calls[0] == "open None" and backend.calls[-1] == "close" and "detach" in backend.calls
    assert "10 calls, 6 delivered, 4 lost" in capfd.readouterr().err


def test_strict_makes_a_loss_an_error(backend):
    one = part(Sink(), strict=True)
    one.start()
    backend.lost = [Loss(7, b"cat", READ, 4)]
    one.stop("")
    while one.unwritten(0.1):
        pass
    with pytest.raises(IsotraceError, match="4 calls were lost"):
        one.finish()


def test_what_is_still_to_be_written_is_said_until_it_is(backend):
    sink = Sink()
    sink.go.clear()
    one = part(sink)
    one.start()
    backend.waiting = [chunk(0, 1234)]
    one.serve(0)
    one.stop("")
    assert one.unwritten(0) == "1,234 calls that were already seen"
    sink.go.set()
    while one.unwritten(0.1):
        pass
    assert len(sink.seen) == 1234


def test_with_memory_and_disk_full_the_ring_is_left_as_it_is_and_taken_at_the_end(backend, monkeypatch, capfd):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spool.Spool.__init__, "__defaults__", (0, 1, 1 << 30))
    monkeypatch.setattr(os, "pwritev", full)
    sink = Sink()
    sink.go.clear()
    one = part(sink)
    one.start()
    backend.waiting = [chunk(0, 10), chunk(10, 10)]
    said, deadline = "", time.monotonic() + 60
    while "no space" not in said and time.monotonic() < deadline:
        one.serve(0)
        said += capfd.readouterr().err
    backend.waiting = [chunk(10 * i, 10) for i in range(2, 5)]
    one.serve(0)
    one.serve(0)
    assert backend.waiting, "what cannot be kept is not taken"
    one.stop("")
    assert not backend.waiting
    sink.go.set()
    finished(one)
    said += capfd.readouterr().err
    assert [tid for _, tid, _ in sink.seen] == list(range(50)) and "50 calls, 50 delivered, 0 lost" in said
    assert said.count("no space left on device: calls may be lost") == 1


class Recorder(Sink):
    def __init__(self):
        super().__init__()
        self.began, self.ended, self.closed = False, None, False
        self.settled, self.rest = None, np.zeros(0, np.uint16)

    def begin(self, _options, _pids):
        self.began = True

    def settle(self):
        if self.settled:
            raise self.settled

    def unwritten(self):
        return self.rest

    def end(self, stats, _calls, reason):
        self.ended = (stats.seen, reason)

    def close(self):
        self.closed = True


def test_a_recording_is_completed_once_all_has_been_written(backend):
    recorder = Recorder()
    one = part(Sink(), recorder=recorder, quiet=True)
    one.start()
    backend.waiting = [chunk(0, 5)]
    one.stop("process 7 ended")
    assert recorder.began and recorder.ended is None
    while one.unwritten(0.1):
        pass
    one.finish()
    one.close()
    assert recorder.ended == (5, "process 7 ended") and recorder.closed and len(recorder.seen) == 5


def test_a_recording_of_a_run_that_failed_is_closed_and_not_completed(backend):
    recorder = Recorder()
    one = part(Sink(), recorder=recorder, quiet=True)
    one.start()
    backend.waiting = [chunk(0, 5)]
    one.serve(0)
    one.finish()
    one.close()
    assert recorder.ended is None and recorder.closed and len(recorder.seen) == 5


class Full(Sink):
    """An output whose disk is full."""

    def write(self, _batch):
        raise IsotraceError("cannot write 't.txt': no space left on device", "free some space")


def served(one: Records, capfd) -> str:
    """Serve until something is said."""
    said, deadline = "", time.monotonic() + 60
    while not said and time.monotonic() < deadline:
        one.serve(0.01)
        said = capfd.readouterr().err
    return said


def test_an_output_that_fails_ends_alone_and_that_is_said_and_an_error(backend, capfd):
    recorder = Recorder()
    one = part(Full(), recorder=recorder)
    one.start()
    backend.waiting = [chunk(0, 5)]
    assert "t.txt': no space left on device: the recording goes on without it" in served(one, capfd)
    backend.waiting = [chunk(5, 5)]
    one.stop("")
    while one.unwritten(0.1):
        pass
    with pytest.raises(IsotraceError, match=r"not everything was written: cannot write 't\.txt'"):
        one.finish()
    assert (
        len(recorder.seen) == 10 and recorder.ended == (10, "") and "10 calls, 10 delivered" in capfd.readouterr().err
    )


class FullRecorder(Recorder, Full):
    """A recording whose disk is full."""


def test_a_recording_that_fails_leaves_the_lines_and_is_not_completed(backend, capfd):
    recorder, lines = FullRecorder(), Sink()
    one = part(lines, recorder=recorder)
    one.start()
    backend.waiting = [chunk(0, 5)]
    assert "no space left on device: the output goes on without it" in served(one, capfd)
    one.stop("")
    while one.unwritten(0.1):
        pass
    with pytest.raises(IsotraceError, match="not everything was written"):
        one.finish()
    assert len(lines.seen) == 5 and recorder.ended is None and "5 calls, 5 delivered" in capfd.readouterr().err


def test_what_a_full_disk_kept_out_of_the_recording_was_not_delivered(backend, capfd):
    recorder = Recorder()
    recorder.settled, recorder.rest = IsotraceError("no space left on device"), np.zeros(3, np.uint16)
    one = Records(Options(Target(pid=os.getpid())), None, lambda _calls: [], recorder)
    one.start()
    backend.waiting = [chunk(0, 5)]
    one.stop("")
    while one.unwritten(0.1):
        pass
    with pytest.raises(IsotraceError, match="no space left"):
        one.finish()
    assert recorder.ended is None and "5 calls, 2 delivered, 3 lost" in capfd.readouterr().err


def test_what_still_comes_at_the_end_is_waited_for_as_long_as_something_comes(backend, monkeypatch, capfd):
    """A record that a program has not finished stands before others; the reader may be late."""
    monkeypatch.setattr(records, "_SETTLE", 0)
    monkeypatch.setattr(records, "_TICK", 0)
    real = backend.chunks
    monkeypatch.setattr(backend, "chunks", lambda: islice(real(), 1))
    sink = Sink()
    one = part(sink)
    one.start()
    backend.waiting = [chunk(10 * i, 10) for i in range(5)]
    one.stop("")
    finished(one)
    assert [tid for _, tid, _ in sink.seen] == list(range(50))
    assert "50 calls, 50 delivered, 0 lost" in capfd.readouterr().err
