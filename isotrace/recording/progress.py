"""How far the reading of recordings is, on a terminal, once that has taken two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isotrace.decode.quote import safe
from isotrace.process.console import capable
from isotrace.recording import reader
from isotrace.recording.reader import Recording

if TYPE_CHECKING:
    from rich.progress import Progress

AFTER = 2.0  # seconds


class _Bar:
    def __init__(self) -> None:
        self._began = time.monotonic()
        self._progress: Progress | None = None

    def see(self, recording: Recording) -> None:
        if time.monotonic() - self._began < AFTER:
            return
        if self._progress is None:
            self._progress = _started()
        task = self._progress.task_ids[0]
        self._progress.update(task, name=safe(recording.name), completed=recording.done)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def _started() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    class WithCursor(Console):
        """The terminal keeps its cursor: a signal may end isotrace before it could show it again."""

        def show_cursor(self, show: bool = True) -> bool:
            return False

    columns = (
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=WithCursor(stderr=True), transient=True)
    progress.add_task("", total=1.0, name="")
    progress.start()
    return progress


@contextmanager
def shown(also_there: bool = False) -> Iterator[None]:
    """While this is open. ``also_there``: what is read is written meanwhile, and not to be disturbed on a terminal."""
    if not (sys.stderr.isatty() and capable()) or (also_there and sys.stdout.isatty()):
        yield
        return
    bar = _Bar()
    with reader.observed(bar.see):
        try:
            yield
        finally:
            bar.close()
