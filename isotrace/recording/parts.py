"""Recordings that belong together: parts of a run, what is missing among them, and what to say once all were read."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isotrace.errors import IsotraceError
from isotrace.process.telling import tell
from isotrace.recording import rotate
from isotrace.recording.reader import Recording
from isotrace.units import many


@dataclass(frozen=True)
class Verdict:
    """What to say of recordings once they were read. ``damaged``: some of what is in them could not be. ``incomplete``: of
    their runs something is not in them.
    """

    lines: tuple[str, ...] = ()
    damaged: bool = False
    incomplete: bool = False

    def say(self) -> int:
        """Say it on standard error; returns the exit status."""
        tell(self.lines)
        return int(self.damaged)

    def of_whole(self, incomplete_ok: bool) -> int:
        """The exit status of what is said of whole runs; says it where that is for what is missing."""
        if self.incomplete and not self.damaged and not incomplete_ok:
            tell(["some of the run is not in the recording, so the status is 1: --incomplete-ok takes what there is"])
        return int(self.damaged or (self.incomplete and not incomplete_ok))


def verdict(recordings: Sequence[Recording]) -> Verdict:
    """What to say of them once they were read."""
    return Verdict(
        (*lacks(recordings), *_mixed(recordings)),
        any(one.damaged for one in recordings),
        any(_lacks_calls(one) for one in recordings) or any(_missing(recordings)),
    )


def _lacks_calls(recording: Recording) -> bool:
    """Whether it was cut, or calls were lost when it was made."""
    end = recording.end
    if end is None:
        return not recording.left
    return not end.continued and bool(end.lost or end.missed or end.not_followed)


def both(one: Verdict, other: Verdict) -> Verdict:
    """That on two recordings which were read one after the other."""
    return Verdict((*one.lines, *other.lines), one.damaged or other.damaged, one.incomplete or other.incomplete)


def lacks(recordings: Sequence[Recording]) -> list[str]:
    """What each of them lacks, and which parts of their runs are not among them."""
    problems = (problem for one in recordings for problem in one.problems())
    return [*problems, *_doubled(recordings), *_missing(recordings)]


def _doubled(recordings: Sequence[Recording]) -> Iterator[str]:
    parts: dict[tuple[str, int], Recording] = {}
    for one in recordings:
        key = (one.head.run, one.head.part)
        if key in parts:
            yield f"{one.name} is what {parts[key].name} is: its calls count twice"
        parts[key] = one


def _missing(recordings: Sequence[Recording]) -> Iterator[str]:
    runs: dict[str, dict[int, Recording]] = {}
    for one in recordings:
        runs.setdefault(one.head.run, {})[one.head.part] = one
    for parts in runs.values():
        last = parts[max(parts)]
        if missing := max(parts) + 1 - len(parts):
            yield f"{last.name}: {many(missing, 'earlier part')} of its run not given, or not kept"
        if last.end and last.end.continued:
            yield f"{last.name}: the run goes on in a part that was not given"


def _mixed(recordings: Sequence[Recording]) -> Iterator[str]:
    """Files that are named as parts of one run and are of several."""
    runs: dict[str, set[str]] = {}
    for one in recordings:
        runs.setdefault(_base(one.path), set()).add(one.head.run)
    for base, found in runs.items():
        if len(found) > 1:
            yield f"{base!r} and the files numbered after it are of {len(found)} runs, the earliest came first"


def _base(path: str) -> str:
    """Without the number of a part."""
    return re.sub(r"\.\d+$", "", path)


def following(recording: Recording) -> Recording | None:
    """The part of the run that comes after this one and is there by now, wherever it was renamed to; None where none is."""
    found: dict[int, Recording] = {}
    for path in _places(recording.path):
        with contextlib.suppress(IsotraceError):
            one = Recording(path)
            if one.head.run == recording.head.run and one.head.part > recording.head.part:
                found[one.head.part] = one
            else:
                one.close()
    for part in sorted(found)[1:]:
        found[part].close()
    return found[min(found)] if found else None


def _places(path: str) -> list[str]:
    bases = {path, _base(path)} if path != "-" else set()
    return [place for base in bases for place in (base, *rotate.numbered(base)) if os.path.exists(place)]
