"""A Perfetto trace: a track for each thread, a slice for each call, a flow from a fork to the child's first call.

The file is Perfetto's ``Trace`` message, written packet by packet; names are interned, as its writers do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TracePacket, TrackEvent

from isotrace.export.files import Target
from isotrace.export.slices import Event, Events, Instant, Slice, Thread
from isotrace.recording.reader import Recording

_SEQUENCE = 1
_REALTIME, _MONOTONIC, _BOOTTIME = 1, 3, 6  # builtin_clock.proto
_PROCESS = 1 << 40  # uuids of processes' tracks are above all tids
_MOST = 1 << 16  # bytes that are written at once


def write(recordings: Sequence[Recording], to: str | None) -> int:
    """Returns how many calls were written."""
    found = Events(recordings)
    packets = _Packets()
    with Target(to) as target:
        waiting = bytearray(_framed(_beginning(recordings)))
        for event in found:
            for packet in packets.of(event):
                waiting += _framed(packet)
            if len(waiting) >= _MOST:
                target.write(bytes(waiting))
                waiting.clear()
        target.write(bytes(waiting))
    return found.calls


def _framed(packet: TracePacket) -> bytes:
    """The packet as a Trace of one: traces are concatenated."""
    framed: bytes = Trace(packet=[packet]).SerializeToString()
    return framed


def _beginning(recordings: Sequence[Recording]) -> TracePacket:
    """What the times of the trace are: CLOCK_MONOTONIC, with the wall clock beside it."""
    packet = TracePacket(trusted_packet_sequence_id=_SEQUENCE)
    packet.sequence_flags = TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    packet.trace_packet_defaults.timestamp_clock_id = _MONOTONIC
    head = recordings[0].head
    snapshot = packet.clock_snapshot
    for clock, moment in ((_REALTIME, head.began), (_MONOTONIC, head.monotonic), (_BOOTTIME, head.monotonic)):
        snapshot.clocks.add(clock_id=clock, timestamp=moment)
    return packet


class _Packets:
    """Turns events into packets."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._processes: set[int] = set()

    def of(self, event: Event) -> Iterator[TracePacket]:
        """The packets of an event, in order."""
        if isinstance(event, Thread):
            yield from self._thread(event)
        elif isinstance(event, Instant):
            packet = self._event(event.at, event.tid, TrackEvent.TYPE_INSTANT)
            self._name(packet, event.name)
            yield packet
        else:
            yield from self._slice(event)

    def _thread(self, thread: Thread) -> Iterator[TracePacket]:
        leads = thread.pid == thread.tid
        if leads or thread.pid not in self._processes:
            self._processes.add(thread.pid)
            process = TracePacket(trusted_packet_sequence_id=_SEQUENCE)
            process.track_descriptor.uuid = _PROCESS + thread.pid
            process.track_descriptor.process.pid = thread.pid
            process.track_descriptor.process.process_name = thread.name
            yield process
        packet = TracePacket(trusted_packet_sequence_id=_SEQUENCE)
        track = packet.track_descriptor
        track.uuid, track.parent_uuid = thread.tid, _PROCESS + thread.pid
        track.thread.pid, track.thread.tid, track.thread.thread_name = thread.pid, thread.tid, thread.name
        yield packet

    def _slice(self, call: Slice) -> Iterator[TracePacket]:
        begin = self._event(call.began, call.tid, TrackEvent.TYPE_SLICE_BEGIN)
        self._name(begin, call.name)
        event = begin.track_event
        event.categories.append("failed" if call.failed else "call")
        event.debug_annotations.add(name="call", string_value=call.text)
        event.debug_annotations.add(name="result", string_value=call.result)
        if call.child:
            event.flow_ids.append(call.child)
        if call.born:
            event.terminating_flow_ids.append(call.pid)
        yield begin
        yield self._event(call.began + call.spent, call.tid, TrackEvent.TYPE_SLICE_END)

    @staticmethod
    def _event(at: int, tid: int, kind: int) -> TracePacket:
        packet = TracePacket(timestamp=at, trusted_packet_sequence_id=_SEQUENCE)
        packet.sequence_flags = TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        packet.track_event.type, packet.track_event.track_uuid = kind, tid
        return packet

    def _name(self, packet: TracePacket, name: str) -> None:
        """By number; with the first packet that has it goes what the number means."""
        number = self._names.get(name)
        if number is None:
            number = self._names[name] = len(self._names) + 1
            packet.interned_data.event_names.add(iid=number, name=name)
        packet.track_event.name_iid = number
