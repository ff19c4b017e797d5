"""Files and directories of container runtimes, read so that nothing in them can harm: they are hostile text.

What is not there is nothing. What is there and cannot be read, or is not what it should be, is kept as a trouble.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isotrace.decode.quote import safe

_MOST = 16 << 20  # bytes: the largest state files that runtimes write have some 100 KiB
_SETTLED = 1_000_000_000  # ns without a change after which the time of the last one tells one content from another


@dataclass
class States:
    """The directories below ``root``, which is in front of every path; ``troubles`` are lines for the user."""

    root: Path = Path("/")
    troubles: list[str] = field(default_factory=list)
    #: The directories in which something was looked for, in that order.
    looked: dict[str, None] = field(default_factory=dict)

    def place(self, path: str) -> str:
        """Where ``path``, an absolute one, is."""
        return f"{str(self.root).rstrip('/')}/{path.lstrip('/')}"

    def names(self, path: str) -> list[str]:
        """What is in a directory, sorted."""
        self._look(path)
        try:
            return sorted(os.listdir(self.place(path)))
        except OSError as error:
            self._note(path, error)
        except ValueError:  # a path from a file, with a NUL in it
            self.doubt(path, "no path")
        return []

    def exists(self, path: str) -> bool:
        """Whether there is such a file; also where that cannot be told, which is then a trouble."""
        self._look(os.path.dirname(path))
        try:
            os.stat(self.place(path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            self._note(path, error)
        return True

    def text(self, path: str) -> str | None:
        """A file's content, as ``os.fsdecode`` does it."""
        self._look(os.path.dirname(path))
        try:
            fd = os.open(self.place(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            self._note(path, error)
            return None
        except ValueError:
            self.doubt(path, "no path")
            return None
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                self.doubt(path, "not a regular file")
                return None
            if (before := self._before(path, found)) is not None:
                return before
            with open(fd, "rb", closefd=False) as file:
                data = file.read(_MOST + 1)
        except OSError as error:
            self._note(path, error)
            return None
        finally:
            os.close(fd)
        if len(data) > _MOST:
            self.doubt(path, f"more than {_MOST >> 20} MiB")
            return None
        return self._keep(path, found, os.fsdecode(data))

    def json(self, path: str) -> Any:
        """What a file has, or None."""
        if (text := self.text(path)) is None:
            return None
        if (found := self._parsed(path, text)) is None:
            self.doubt(path, "not JSON")
        return found

    def _parsed(self, path: str, text: str) -> Any:
        return parsed(text)

    def _before(self, path: str, found: os.stat_result) -> str | None:
        """What such a file had, where that is known and it cannot have another content now."""
        return None

    def _keep(self, path: str, found: os.stat_result, text: str) -> str:
        return text

    def _look(self, path: str) -> None:
        if "\0" not in path:
            self.looked[self.place(path).rstrip("/") or "/"] = None

    def doubt(self, path: str, why: str) -> None:
        """Keep what is wrong with a file."""
        self.troubles.append(f"{safe(self.place(path))}: {why}")

    def _note(self, path: str, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            self.doubt(path, error.strerror or str(error))


class Again(States):
    """The same for who looks again and again: what has not changed is not read and parsed anew."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._kept: dict[str, tuple[tuple[int, ...], str]] = {}
        self._json: dict[str, tuple[str, Any]] = {}
        self._last: tuple[dict[str, tuple[tuple[int, ...], str]], dict[str, tuple[str, Any]]] = ({}, {})

    def begin(self) -> None:
        """Look from the beginning; what was not looked at the last time is forgotten."""
        self._last, self._kept, self._json = (self._kept, self._json), {}, {}
        self.troubles, self.looked = [], {}

    def _parsed(self, path: str, text: str) -> Any:
        before = self._json.get(path) or self._last[1].get(path)
        if before is None or before[0] != text:
            before = (text, parsed(text))
        self._json[path] = before
        return before[1]

    def _before(self, path: str, found: os.stat_result) -> str | None:
        before = self._kept.get(path) or self._last[0].get(path)
        if before is None or before[0] != _version(found):
            return None
        self._kept[path] = before
        return before[1]

    def _keep(self, path: str, found: os.stat_result, text: str) -> str:
        # Of a file that has changed just now another change would have the same time.
        if time.time_ns() - found.st_mtime_ns > _SETTLED:
            self._kept[path] = (_version(found), text)
        return text


def _version(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


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
