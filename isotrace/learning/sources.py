"""The recordings that something is learned from: read and folded, and once more for the lines of some rows."""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from isotrace.decode.quote import escape
from isotrace.errors import IsotraceError
from isotrace.learning.folding import FIRST, At, Folded, Tally
from isotrace.learning.requests import Asked, Reading, plain
from isotrace.policy import PathRequest
from isotrace.recording import friendly, parts, progress, reader
from isotrace.recording.parts import Verdict
from isotrace.recording.reader import Recording
from isotrace.recording.schema import Head
from isotrace.units import many

_TEXT = ("kind", "time", "tid", "comm", "text")


@dataclass
class Sources:
    """Recordings that were read, and what their calls ask for."""

    paths: list[str]
    recordings: list[Recording]
    folded: Folded
    calls: dict[Asked, Tally]
    verdict: Verdict
    momentary: frozenset[str] = frozenset()  # files that were made and removed

    @property
    def heads(self) -> list[Head]:
        """What they say of themselves."""
        return [one.head for one in self.recordings]

    @property
    def local(self) -> bool:
        """Whether all were made on this machine."""
        return all(head.host == platform.node() for head in self.heads)

    def lost(self) -> list[tuple[Recording, int]]:
        """The recordings that lack calls, and how many."""
        return _lost(self.recordings)

    def with_interpreters(self) -> dict[Asked, Tally]:
        """The calls, and what the kernel itself executes for them: what is behind #! in a script, as it is now."""
        found = dict(self.calls)
        for asked, tally in self.calls.items() if self.local else ():
            if asked.call in ("execve", "execveat"):
                for request in asked.objects:
                    if isinstance(request, PathRequest) and (script := interpreter(request.path)):
                        path = here(script, True)
                        found[replace(asked, requests=(PathRequest(path, frozenset("rx")),), missed=())] = tally
        return found

    def name(self, at: At) -> str:
        """A row, for people: ``t.arrow:17``, the first row being 1."""
        path = os.path.basename(self.recordings[at.recording].name.strip("'\""))
        return f"{escape(os.fsencode(path))}:{at.row + 1}"

    def lines(self, wanted: Collection[At]) -> Iterator[tuple[At, str]]:
        """Rows as lines of text, in order."""
        for index, path in enumerate(self.paths):
            numbers = sorted(at.row for at in wanted if at.recording == index)
            if numbers:
                yield from _lines(path, index, numbers)


def _lines(path: str, index: int, numbers: Sequence[int]) -> Iterator[tuple[At, str]]:
    recording = Recording(path)
    state, begin, left = friendly.State.of(recording.head), 0, list(numbers)
    for rows in recording.arrow():
        here = [number - begin for number in left if begin <= number < begin + rows.num_rows]
        made = recording.attempt(rows, lambda rows: friendly.made(rows, _TEXT, state, friendly.arrow()))
        if here and made is not None:
            for number in here:
                tid, comm, text = (made.column(name)[number].as_py() for name in _TEXT[2:])
                yield At(index, begin + number), f"{tid} {comm}  {text}"
        left = left[len(here) :]
        begin += rows.num_rows
        if not left:
            break
    recording.close()


def read(patterns: Sequence[str], *, most: int | None = FIRST, renamed: tuple[tuple[str, str], ...] = ()) -> Sources:
    """Read the recordings, the earliest first. Raises ``IsotraceError`` where one cannot be read or no call is in them."""
    paths = reader.again(reader.found(patterns))
    recordings = reader.open_all(paths)
    folded = Folded(most)
    with progress.shown():
        for index, recording in enumerate(recordings):
            folded.take(recording, index)
    verdict = parts.verdict(recordings)
    reader.close_all(recordings)
    if not folded.alike:
        raise _nothing(recordings, verdict)
    local = all(one.head.host == platform.node() for one in recordings)
    reading = Reading(folded, here if local else plain, renamed)
    calls = reading.asked()
    return Sources([one.path for one in recordings], recordings, folded, calls, verdict, reading.momentary)


def _lost(recordings: Sequence[Recording]) -> list[tuple[Recording, int]]:
    return [(one, one.end.lost) for one in recordings if one.end and one.end.lost and not one.end.continued]


def _nothing(recordings: Sequence[Recording], verdict: Verdict) -> IsotraceError:
    """Why no call is there."""
    lost = sum(count for _, count in _lost(recordings))
    why = (*verdict.lines, *([f"{many(lost, 'call')} lost when it was recorded"] if lost else []))
    if why:
        return IsotraceError(f"no recorded call can be used: {why[0]}", "record it again", why[1:])
    return IsotraceError("no call was recorded", "record with the calls that matter: isotrace record -y -o FILE -- CMD")


def interpreter(path: str) -> str:
    """The program behind #! in a file; "" where there is none, or it cannot be read without waiting."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            head = os.read(descriptor, 256) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return ""
    words = head[2:].partition(b"\n")[0].split() if head.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words and words[0].startswith(b"/") else ""


def here(path: str, follow: bool) -> str:
    """A path without links, as they are on this machine now; what /proc says is each process's own."""
    head, tail = os.path.split(path)
    found = os.path.realpath(path) if follow else os.path.join(os.path.realpath(head), tail)
    return path if found.startswith("/proc/") or path.startswith("/proc/") else found
