"""Recordings of days: FILE is the part that is being written, FILE.1 the one before it, and so on."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass

from isotrace.errors import IsotraceError, UsageError

MIN_SIZE = 1 << 20


@dataclass(frozen=True)
class Rotation:
    """A part ends once it has ``size`` bytes; ``keep`` earlier parts stay."""

    size: int
    keep: int = 9

    def __post_init__(self) -> None:
        if self.size < MIN_SIZE:
            raise UsageError(f"--max-size {self.size} is less than a part can have", "give 1m or more")
        if self.keep < 1:
            raise UsageError("--keep needs at least one earlier part", "give 1 or more")

    def begin(self, path: str) -> None:
        """Refuse to begin where an earlier run has left its parts: nobody could tell them from those of the new one, which
        would remove them in time. Raises ``UsageError``.
        """
        if earlier := numbered(path):
            raise UsageError(
                f"{earlier[0]!r} is there already: a part of an earlier run",
                "move its parts away, or give another name",
            )

    def shift(self, path: str) -> None:
        """Make room for another part at ``path``. Raises ``IsotraceError``."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{path}.{self.keep}")
            for number in range(self.keep - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(f"{path}.{number}", f"{path}.{number + 1}")
            os.rename(path, f"{path}.1")
        except OSError as error:
            raise IsotraceError(f"cannot rename {path!r}: {(error.strerror or '').lower()}", "recording ends") from None


def numbered(path: str) -> list[str]:
    """The files that are there under the names of earlier parts of ``path``: FILE.1, FILE.2, …"""
    directory, name = os.path.split(path)
    try:
        there = os.listdir(directory or ".")
    except OSError:
        return []
    found = [(int(match[1]), one) for one in there if (match := re.fullmatch(rf"{re.escape(name)}\.(\d{{1,9}})", one))]
    return [os.path.join(directory, one) for _, one in sorted(found)]
