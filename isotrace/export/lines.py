"""Recordings as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from isotrace.export.files import Target
from isotrace.recording import reader
from isotrace.recording.reader import Recording
from isotrace.render import stamps
from isotrace.render.view import PLAIN, View
from isotrace.sinks.ahead import Ahead
from isotrace.sinks.folded import Folded
from isotrace.sinks.formats import Beside
from isotrace.sinks.strace import Strace
from isotrace.trace import events, plan


def folded(recordings: Sequence[Recording], to: str | None) -> int:
    """Calls counted by their stacks, for flame graphs."""
    count = 0
    with Target(to) as target:
        sink = Folded(target, plan.all_calls())
        for batch in reader.batches(recordings):
            sink.write(batch)
            count += len(batch.call_slots())
        sink.complete()
    return count


def strace(recordings: Sequence[Recording], to: str | None, view: View = PLAIN) -> int:
    """As ``strace -f -ttt -T -o FILE`` writes it."""
    count = 0
    with Target(to) as target:
        twice = reader.once_more(recordings)
        lines = Strace(target, plan.all_calls(), Beside(clock=stamps.EPOCH, durations=True, view=view))
        sink = Ahead(lines, reader.batches(twice))
        reader.close_all(twice)
        for batch in reader.batches(recordings):
            sink.write(batch)
            count += int((batch.events["kind"] == events.CALL).sum())
        sink.complete()
    return count
