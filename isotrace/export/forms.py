"""The forms by name, where each goes without -o, and the way there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from isotrace.errors import UsageError
from isotrace.recording import parts, progress, reader
from isotrace.recording.parts import Verdict
from isotrace.recording.reader import Recording
from isotrace.render.view import PLAIN, View
from isotrace.units import many


@dataclass(frozen=True)
class Form:
    """``suffix`` is put in place of the recording's where it goes to a file; None: to standard output.

    ``one_host``: processes are told apart by their pids alone.
    """

    write: Callable[[Sequence[Recording], str | None], int]
    suffix: str | None = None
    one_host: bool = False


def _parquet(recordings: Sequence[Recording], to: str | None) -> int:
    from isotrace.export import tables

    return tables.parquet(recordings, to)


def _csv(recordings: Sequence[Recording], to: str | None) -> int:
    from isotrace.export import tables

    return tables.csv(recordings, to)


def _json(recordings: Sequence[Recording], to: str | None) -> int:
    from isotrace.export import tables

    return tables.json(recordings, to)


def _strace(recordings: Sequence[Recording], to: str | None, view: View = PLAIN) -> int:
    from isotrace.export import lines

    return lines.strace(recordings, to, view)


def _folded(recordings: Sequence[Recording], to: str | None) -> int:
    from isotrace.export import lines

    reader.with_stacks(recordings)
    return lines.folded(recordings, to)


def _chrome(recordings: Sequence[Recording], to: str | None) -> int:
    from isotrace.export import chrome

    return chrome.write(recordings, to)


def _perfetto(recordings: Sequence[Recording], to: str | None) -> int:
    from isotrace.export import perfetto

    return perfetto.write(recordings, to)


FORMS = {
    "parquet": Form(_parquet, ".parquet"),
    "csv": Form(_csv),
    "json": Form(_json),
    "strace": Form(_strace),
    "folded": Form(_folded),
    "perfetto": Form(_perfetto, ".perfetto-trace", one_host=True),
    "chrome": Form(_chrome, ".trace.json", one_host=True),
}


def export(
    files: Sequence[str], name: str, to: str | None, view: View = PLAIN, patterns: Sequence[str] = ()
) -> tuple[list[str], Verdict]:
    """Write the recordings in a form, strace's as ``view`` has it; returns what to say of that, and of them.

    ``patterns``: only calls with such paths.

    Raises ``IsotraceError``.
    """
    form = FORMS[name]
    paths = reader.found(files)
    if to is None and form.suffix and len(paths) == 1 and paths[0] != "-":
        to = str(Path(paths[0]).with_suffix(form.suffix))
    if to is None and form.suffix:
        raise UsageError(f"no output was named for the {name}", "give -o")
    reader.not_among(paths, to)
    recordings = reader.open_all(paths)
    hosts = {(recording.head.host, recording.head.boot_id) for recording in recordings}
    if form.one_host and len(hosts) > 1:
        raise UsageError(
            f"recordings of {len(hosts)} hosts or boots cannot be one {name} trace", "export one at a time"
        )
    if patterns:
        from isotrace.export.some import Named

        for recording in recordings:
            recording.choose(partial(Named, patterns))
    said = reader.abbreviated(recordings) if view.abbreviated is not None else []
    with progress.shown(also_there=to is None):
        count = _strace(recordings, to, view) if name == "strace" else form.write(recordings, to)
    return [*said, *([f"{many(count, 'call')} written to {to!r}"] if to else [])], parts.verdict(recordings)
