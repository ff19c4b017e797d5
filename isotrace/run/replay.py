"""A recording in place of a run: the same records to the same sinks, and at the end the counts of what was recorded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from isotrace.decode.quote import escape
from isotrace.errors import IsotraceError
from isotrace.process.telling import tell
from isotrace.recording import reader
from isotrace.recording.choose import Chosen
from isotrace.recording.reader import Recording
from isotrace.recording.schema import End
from isotrace.sinks import Sink
from isotrace.trace.events import Batch

_LOOK = 0.2  # seconds between two looks at a file that grows


def chosen(recordings: Sequence[Recording], wanted: Chosen, *, grow: bool = False) -> Iterator[Batch | None]:
    """What is wanted of them, batch by batch; None where nothing more is waiting. With ``grow`` it waits for the end."""
    for recording in recordings:
        while True:
            for rows in recording.arrow():
                wanted.learn(rows)
                for batch in recording.batches_of(rows):
                    if wanted.over(batch):
                        return
                    if len(found := wanted.of(batch)):
                        yield found
            yield None
            if not grow or not recording.grows():
                break
            time.sleep(_LOOK)


def show(
    recordings: Sequence[Recording], wanted: Chosen, sinks: Sequence[Sink], *, grow: bool, quiet: bool, strict: bool
) -> int:
    """Give the sinks all that is wanted; returns the exit status. Raises ``IsotraceError``."""
    shown = 0
    with contextlib.ExitStack() as closing:
        for recording in recordings:
            closing.callback(recording.close)
        with contextlib.suppress(KeyboardInterrupt) if grow else contextlib.nullcontext():
            for batch in chosen(recordings, wanted, grow=grow):
                for sink in sinks:
                    sink.write(batch) if batch is not None else sink.flush()
                shown += len(batch.call_slots()) if batch is not None else 0
        tell(summary(recordings, shown, quiet))
    if strict and (lost := _lost(recordings)):
        raise IsotraceError(f"{lost} and --strict asks for all", "the recording cannot be made whole any more")
    return 0


def summary(recordings: Sequence[Recording], shown: int, quiet: bool = False) -> list[str]:
    """The lines for standard error: what was shown, what the run that was recorded counted, and what the file lacks."""
    ends = [one.end for one in recordings if one.end and not one.end.continued]
    seen, delivered, lost = (sum(getattr(end, name) for end in ends) for name in ("seen", "delivered", "lost"))
    counts = f"; recorded: {seen} calls, {delivered} delivered, {lost} lost" if ends else ""
    found = [] if quiet and not lost else [f"{shown} calls shown{counts}"]
    for end in ends:
        found += _losses(end)
    return [*found, *reader.problems(recordings)]


def _losses(end: End) -> list[str]:
    found = []
    if end.lost_by_call:
        named = ", ".join(f"{name} {count}" for name, count in end.lost_by_call.items())
        found.append(f"lost: {escape(named.encode('utf-8', 'replace'))}")
    if end.missed:
        found.append(f"the kernel passed over its programs {end.missed} times: what was called then is not in it")
    if end.extras_lost:
        found.append(f"{end.extras_lost} records of exits, signals or exec arguments lost")
    if end.not_followed:
        found.append(f"{end.not_followed} births of processes missed: such children of the target are not in it")
    return found


def _lost(recordings: Sequence[Recording]) -> str:
    """What is missing, in words; "" where nothing is."""
    if lost := sum(one.end.lost for one in recordings if one.end):
        return f"{lost} calls were lost"
    return next(iter(reader.problems(recordings)), "")
