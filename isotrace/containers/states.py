"""Files and directories of container runtimes, read so that nothing in them can harm: they are hostile text.

What is not there is nothing. What is there and cannot be read, or is not what it should be, is kept as a trouble.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isotrace.decode.quote import safe

_MOST = 16 << 20  # bytes: the largest state files that runtimes write have some 100 KiB


@dataclass
class States:
    """The directories below ``root``, which is in front of every path; ``troubles`` are lines for the user."""

    root: Path = Path("/")
    troubles: list[str] = field(default_factory=list)

    def place(self, path: str) -> Path:
        """Where ``path``, an absolute one, is."""
        return self.root / path.lstrip("/")

    def names(self, path: str) -> list[str]:
        """What is in a directory, sorted."""
        try:
            return sorted(os.listdir(self.place(path)))
        except OSError as error:
            self._note(path, error)
        except ValueError:  # a path from a file, with a NUL in it
            self.doubt(path, "no path")
        return []

    def exists(self, path: str) -> bool:
        """Whether there is such a file; also where that cannot be told, which is then a trouble."""
        try:
            self.place(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            self._note(path, error)
        return True

    def text(self, path: str) -> str | None:
        """A file's content, as ``os.fsdecode`` does it."""
        try:
            fd = os.open(self.place(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            self._note(path, error)
            return None
        except ValueError:
            self.doubt(path, "no path")
            return None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                self.doubt(path, "not a regular file")
                return None
            with open(fd, "rb", closefd=False) as file:  # which raises for a directory
                data = file.read(_MOST + 1)
        except OSError as error:
            self._note(path, error)
            return None
        finally:
            os.close(fd)
        if len(data) > _MOST:
            self.doubt(path, f"more than {_MOST >> 20} MiB")
            return None
        return os.fsdecode(data)

    def json(self, path: str) -> Any:
        """What a file has, or None."""
        if (text := self.text(path)) is None:
            return None
        if (found := parsed(text)) is None:
            self.doubt(path, "not JSON")
        return found

    def doubt(self, path: str, why: str) -> None:
        """Keep what is wrong with a file."""
        self.troubles.append(f"{safe(str(self.place(path)))}: {why}")

    def _note(self, path: str, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            self.doubt(path, error.strerror or str(error))


def parsed(text: str) -> Any:
    """What a text of JSON has, None for what is none."""
    import orjson

    try:
        return orjson.loads(os.fsencode(text))
    except ValueError:
        return None


def inside(data: Any, *keys: str) -> Any:
    """What stands below keys of objects in objects; None where one of them is missing, or is no object."""
    for key in keys:
        if not isinstance(data, dict):
            return None
        data = data.get(key)
    return data


def words(data: Any, *keys: str) -> str:
    """A text there, else ""."""
    found = inside(data, *keys)
    return found if isinstance(found, str) else ""


def number(data: Any, *keys: str) -> int:
    """A number there that is none below zero, also where it is written as a text; else 0."""
    found = inside(data, *keys)
    if isinstance(found, str):
        return digits(found)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def digits(text: str) -> int:
    """A number in decimal digits, at most twenty of them, with white space around; 0 for anything else."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else 0
