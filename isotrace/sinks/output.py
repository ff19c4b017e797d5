"""The file or descriptor that a sink writes to."""

from __future__ import annotations

import os

from isotrace.errors import IsotraceError
from isotrace.process.console import coloured
from isotrace.process.telling import opened, write_all


class ClosedPipe(IsotraceError):
    """The reader of the output went away. ``so`` is what comes of it, in words."""

    def __init__(self, name: str, so: str = "") -> None:
        self.name = name
        super().__init__(f"the reader of {name} is gone{so and ': '}{so}", "normal when the output goes to head")


class Output:
    """Lines, written whole batches at a time. ``path`` None is standard output."""

    def __init__(self, path: str | None) -> None:
        """Open ``path`` for writing, empty. Raises ``IsotraceError``."""
        self.name = repr(path) if path else "standard output"
        try:
            self._fd = opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644) if path else 1
        except OSError as error:
            raise IsotraceError(f"cannot write {self.name}: {error.strerror}", "choose another file for -o") from None

    @property
    def colour(self) -> bool:
        """Whether a person is reading, on a terminal, who did not ask for plain text (no-color.org)."""
        return coloured(self._fd)

    def write(self, data: bytes) -> None:
        """Write all of ``data``. Raises ``ClosedPipe`` or ``IsotraceError``."""
        try:
            write_all(self._fd, data)
        except BrokenPipeError:
            raise ClosedPipe(self.name) from None
        except OSError as error:
            hint = "free some space, or write elsewhere with -o" if error.errno == 28 else "write elsewhere with -o"
            raise IsotraceError(f"cannot write {self.name}: {error.strerror}", hint) from None
