"""The reader of the ring: whatever lengths records have, they are found, in order, without the unfinished ones."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrace.trace import events
from isotrace.trace.ring import BUSY, CHUNK, DISCARD, HEADER, ROW, Ring, batch_of, walk

EVENT_SIZE = events.EVENT.itemsize


def record(payload: int, flags: int = 0) -> bytes:
    """A record as bpf/trace_record.h makes it: header, payload, padded so that both are a multiple of ROW."""
    length = -(-(payload + HEADER) // ROW) * ROW - HEADER
    return struct.pack("<II", length | flags, 0) + bytes(length)


def heads(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype=np.uint32)[:: ROW // 4]


def starts(lengths: list[int]) -> list[int]:
    found, at = [], 0
    for length in lengths:
        found.append(at)
        at += -(-(length + HEADER) // ROW)
    return found


LENGTHS = st.lists(st.integers(EVENT_SIZE, 9000), min_size=1, max_size=200)


@given(LENGTHS)
def test_every_record_is_found_in_order(lengths):
    data = b"".join(record(length) for length in lengths)
    assert walk(heads(data)).tolist() == starts(lengths)


@given(LENGTHS, st.data())
def test_nothing_is_taken_from_a_busy_record_on(lengths, data):
    busy = data.draw(st.integers(0, len(lengths) - 1))
    raw = b"".join(record(n, int(BUSY) if i == busy else 0) for i, n in enumerate(lengths))
    assert walk(heads(raw)).tolist() == starts(lengths)[:busy]


@given(LENGTHS, st.integers(1, 300))
def test_a_record_that_runs_past_the_end_waits(lengths, cut):
    data = b"".join(record(length) for length in lengths)
    rows = max(len(data) // ROW - cut, 1)
    ends = [*starts(lengths)[1:], len(data) // ROW]
    expected = [start for start, end in zip(starts(lengths), ends, strict=True) if end <= rows]
    assert walk(heads(data[: rows * ROW])).tolist() == expected


@given(st.binary(min_size=ROW, max_size=64 * ROW).map(lambda b: b[: len(b) // ROW * ROW]))
def test_garbage_ends_the_walk(data):
    rows = walk(heads(data))
    assert (np.diff(rows) > 0).all()


class FakeRing(Ring):
    """The same reader over plain memory."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._consumer = np.zeros(1, dtype=np.uint64)
        self._producer = np.zeros(1, dtype=np.uint64)
        self._data = np.zeros(size, dtype=np.uint8)

    def put(self, data: bytes) -> None:
        at = int(self._producer[0]) % self._size
        raw = np.frombuffer(data, dtype=np.uint8)
        first = min(len(raw), self._size - at)
        self._data[at : at + first] = raw[:first]
        self._data[: len(raw) - first] = raw[first:]
        self._producer[0] += len(raw)


def event(tid: int, extra: int = 0, flags: int = 0) -> bytes:
    body = np.zeros(1, dtype=events.EVENT)
    body["tid"] = tid
    whole = bytearray(record(EVENT_SIZE + extra, flags))
    whole[HEADER : HEADER + EVENT_SIZE] = body.tobytes()
    return bytes(whole)


@given(st.lists(st.integers(0, 6000), min_size=1, max_size=400))
def test_records_come_out_as_they_went_in_across_the_wrap(extras):
    ring = FakeRing(1 << 16)
    found: list[int] = []
    for tid, extra in enumerate(extras):
        ring.put(event(tid, extra))
        if ring.waiting() > (1 << 16) - 8192:
            found += [t for batch in ring.batches() for t in batch.events["tid"].tolist()]
    found += [t for batch in ring.batches() for t in batch.events["tid"].tolist()]
    assert found == list(range(len(extras)))
    assert ring.waiting() == 0


def test_discarded_records_are_skipped():
    ring = FakeRing(1 << 16)
    ring.put(event(1) + event(2, flags=int(DISCARD)) + event(3))
    chunk = ring.read()
    assert chunk is not None and chunk.batch().events["tid"].tolist() == [1, 3]
    assert ring.waiting() == 0


def test_a_busy_record_is_read_once_it_is_finished():
    ring = FakeRing(1 << 16)
    ring.put(event(1) + event(2, flags=int(BUSY)))
    assert ring.read().batch().events["tid"].tolist() == [1]
    assert ring.read() is None
    at = int(ring._consumer[0])
    ring._data[at : at + 4] = np.frombuffer(struct.pack("<I", len(event(2)) - HEADER), dtype=np.uint8)
    assert ring.read().batch().events["tid"].tolist() == [2]


class Unsteady(FakeRing):
    """A record that is being finished while it is read: whole, and no longer BUSY, once the lengths have been looked at."""

    def _heads(self, start, length):
        found = super()._heads(start, length)
        self.put_back()
        return found


def test_a_record_that_is_finished_while_it_is_read_is_taken_whole_or_not_at_all():
    ring = Unsteady(1 << 16)
    unfinished = bytearray(event(0, flags=int(BUSY)))
    ring.put(event(1) + bytes(unfinished))
    at = len(event(1))
    ring.put_back = lambda: ring._data.__setitem__(slice(at, at + len(event(2))), np.frombuffer(event(2), np.uint8))
    assert ring.read().batch().events["tid"].tolist() == [1]
    assert ring.read().batch().events["tid"].tolist() == [2]


def test_a_steady_writer_cannot_keep_the_reader():
    ring = FakeRing(1 << 16)
    ring.put(b"".join(event(tid) for tid in range(100)))
    read = 0
    for chunk in ring.chunks():
        read += len(chunk)
        ring.put(event(0) * len(chunk))  # as much as was taken
        assert read <= 100
    assert read == 100


def test_calls_are_counted_where_they_lie():
    ring = FakeRing(1 << 16)
    ring.put(b"".join(event(tid, extra=tid) for tid in range(9)))
    other = bytearray(event(9))
    other[HEADER + events.EVENT.fields["kind"][1]] = events.SIGNAL
    ring.put(bytes(other))
    chunk = ring.read()
    assert len(chunk) == 10 and chunk.slots().tolist() == [0] * 9


def test_a_chunk_holds_more_than_the_largest_record():
    assert CHUNK > 1 << 15


def test_blobs_come_with_their_bytes():
    blob = struct.pack("<BBBxHxxQ", 1, events.PART_SELF, events.CUT, 5, 9) + b"hello\0\0\0"
    body = np.zeros(1, dtype=events.EVENT)
    body["blobs"] = 1
    raw = (bytes(HEADER) + body.tobytes() + blob).ljust(160, b"\0")
    batch = batch_of(np.frombuffer(raw, dtype=np.uint8), np.array([0]))
    assert list(batch.blobs(0)) == [events.Blob(1, events.PART_SELF, events.CUT, 9, b"hello")]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_batch_of_no_records_has_the_right_shape(count):
    data = b"".join(event(tid) for tid in range(count)) or bytes(ROW)
    batch = batch_of(np.frombuffer(data, dtype=np.uint8), np.arange(count) * 4)
    assert batch.events["tid"].tolist() == list(range(count))


def test_where_much_is_waiting_it_is_taken_in_larger_pieces_and_in_order():
    ring = FakeRing(1 << 23)
    count = (7 << 20) // len(event(0))
    ring.put(b"".join(event(tid) for tid in range(count)))
    first = ring.read()
    assert len(first.data) > CHUNK
    found = [first, *ring.chunks()]
    assert [tid for chunk in found for tid in chunk.batch().events["tid"].tolist()] == list(range(count))
