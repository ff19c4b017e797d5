"""Where an export goes: a new file of the user's alone, or standard output."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from isotrace.recording.output import File


class Target:
    """A stream of bytes, for pyarrow too. ``path`` None is standard output. ``write`` raises ``IsotraceError``."""

    closed = False

    def __init__(self, path: str | None) -> None:
        """Make the file. Raises ``IsotraceError``."""
        self._file = File(path or "-")

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def write(self, data: bytes) -> int:
        """Write all of it."""
        self._file.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Give up the file. Safe to call twice."""
        if not self.closed:
            self.closed = True
            self._file.close()


@contextlib.contextmanager
def closed_to_others() -> Iterator[None]:
    """What is made meanwhile is this user's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
