"""A recording in place of a run: the same records to the same sinks, and at the end the counts of what was recorded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import pyarrow as pa

from isotrace.decode.quote import escape
from isotrace.errors import IsotraceError
from isotrace.process.telling import tell
from isotrace.recording import encode, parts, reader
from isotrace.recording.choose import Chosen
from isotrace.recording.reader import Recording
from isotrace.recording.schema import End
from isotrace.sinks import Sink
from isotrace.trace.events import Batch
from isotrace.units import many

_LOOK = 0.2  # seconds between two looks at a file that grows


def chosen(recordings: list[Recording], wanted: Chosen, *, grow: bool = False) -> Iterator[Batch | None]:
    """What is wanted of them, batch by batch; None where nothing more is waiting.

    With ``grow`` it waits for the end of each, and for the parts of a run that come after those given: they are added.
    """
    for recording in recordings:  # those that are added, too
        while True:
            for rows in recording.arrow():
                for batch in recording.attempt(rows, lambda rows: _learnt(rows, wanted)) or ():
                    if wanted.over(batch):
                        for one in recordings:
                            one.left = True
                        return
                    if len(found := wanted.of(batch)):
                        yield found
            yield None
            if not grow:
                break
            if not recording.grows():
                if not _goes_on(recording, recordings):
                    break
                if (following := parts.following(recording)) is not None:
                    recordings.insert(recordings.index(recording) + 1, following)
                    break
            time.sleep(_LOOK)


def _learnt(rows: pa.RecordBatch, wanted: Chosen) -> list[Batch]:
    wanted.learn(rows)
    return list(encode.batches_of(rows))


def _goes_on(recording: Recording, among: Sequence[Recording]) -> bool:
    """Whether this is a part of a run whose next one is not ``among`` them."""
    head, end = recording.head, recording.end
    known = {(one.head.run, one.head.part) for one in among}
    return end is not None and end.continued and (head.run, head.part + 1) not in known


def show(
    recordings: list[Recording], wanted: Chosen, sinks: Sequence[Sink], *, grow: bool, quiet: bool, strict: bool
) -> int:
    """Give the sinks all that is wanted; returns the exit status. Raises ``IsotraceError``."""
    shown = 0
    with contextlib.ExitStack() as closing:
        closing.callback(reader.close_all, recordings)
        with contextlib.suppress(KeyboardInterrupt) if grow else contextlib.nullcontext():
            for batch in chosen(recordings, wanted, grow=grow):
                for sink in sinks:
                    sink.write(batch) if batch is not None else sink.flush()
                shown += len(batch.call_slots()) if batch is not None else 0
        for sink in sinks:
            sink.complete()
        tell(summary(recordings, shown, quiet))
        status = parts.verdict(recordings).say()
    if strict and (lost := _lost(recordings)):
        raise IsotraceError(f"{lost} and --strict asks for all", "the recording cannot be made whole any more")
    return status


def summary(recordings: Sequence[Recording], shown: int, quiet: bool = False) -> list[str]:
    """The lines for standard error: what was shown, and what the run that was recorded counted."""
    ends = [one.end for one in recordings if one.end and not one.end.continued]
    seen, delivered, lost = (sum(getattr(end, name) for end in ends) for name in ("seen", "delivered", "lost"))
    counts = f"; recorded: {seen} calls, {delivered} delivered, {lost} lost" if ends else ""
    found = [] if quiet and not lost else [f"{many(shown, 'call')} shown{counts}"]
    for end in ends:
        found += _losses(end)
    return found


def _losses(end: End) -> list[str]:
    found = []
    if end.lost_by_call:
        named = ", ".join(f"{name} {count}" for name, count in end.lost_by_call.items())
        found.append(f"lost: {escape(named.encode('utf-8', 'replace'))}")
    if end.missed:
        found.append(f"the kernel skipped its programs {many(end.missed, 'time')}: what was called then is not in it")
    if end.extras_lost:
        found.append(f"{many(end.extras_lost, 'record')} of exits, signals or exec arguments lost")
    if end.not_followed:
        found.append(
            f"{many(end.not_followed, 'birth')} of processes missed: such children of the target are not in it"
        )
    return found


def _lost(recordings: Sequence[Recording]) -> str:
    """What is missing, in words; "" where nothing is."""
    if lost := sum(one.end.lost for one in recordings if one.end):
        return f"{lost} calls were lost"
    return next(iter(parts.lacks(recordings)), "")
