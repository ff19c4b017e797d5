"""Where an export goes: a new file of the user's alone that takes its name once it is whole, or standard output."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from isotrace.errors import IsotraceError
from isotrace.recording.output import File


def unfinished(path: str) -> str:
    """The name, beside ``path``, of what will be it."""
    return f"{path}.unfinished-{os.getpid()}"


class Target:
    """A stream of bytes, for pyarrow too. ``path`` None is standard output. ``write`` raises ``IsotraceError``.

    As a context: what is there under the name stays until all has been written; what an error or Ctrl-C interrupts leaves
    nothing.
    """

    closed = False

    def __init__(self, path: str | None) -> None:
        """Make the file. Raises ``IsotraceError``."""
        self._path = None if path is None else os.path.realpath(path)
        self._named = self._path is not None and (not os.path.exists(self._path) or _regular(self._path))
        self._file = File(unfinished(self._path) if self._path and self._named else self._path or "-", path)

    def __enter__(self) -> Target:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        self.closed = True
        self._file.close()
        if self._path and self._named:
            (_remove if kind else _rename)(unfinished(self._path), self._path)

    def write(self, data: bytes) -> int:
        """Write all of it."""
        self._file.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing more will be written."""
        self.closed = True


def _regular(path: str) -> bool:
    return stat.S_ISREG(os.stat(path).st_mode)


def _rename(path: str, to: str) -> None:
    try:
        os.replace(path, to)
    except OSError as error:
        _remove(path)
        raise IsotraceError(f"cannot write {to!r}: {(error.strerror or '').lower()}", "give another -o") from None


def _remove(path: str, _: object = None) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


class Tree:
    """A directory whose new files take their names, in place of those that are there, once all are whole."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._files: list[str] = []

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        for path in self._files:
            (_remove if kind else _rename)(unfinished(path), path)

    def file(self, *names: str) -> str:
        """Where to write what will be the file of these names, below the root. Raises ``OSError``."""
        path = os.path.join(self._root, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._files.append(path)
        return unfinished(path)


@contextlib.contextmanager
def closed_to_others() -> Iterator[None]:
    """What is made meanwhile is this user's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
