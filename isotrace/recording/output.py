"""The file that a recording goes into: new, its owner's alone, cut back to its last whole batch where writing fails."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from isotrace.errors import IsotraceError
from isotrace.process.telling import opened, write_all

_MODE = 0o600


class File:
    """Appends whole messages. ``path`` "-" is standard output. ``size`` is what has been written, in bytes."""

    def __init__(self, path: str, name: str | None = None, fd: int | None = None) -> None:
        """Make the file; ``name`` is what it is called in errors, ``fd`` one that ``pipe`` has opened.

        Raises ``IsotraceError``.
        """
        self.path = path if name is None else name
        self.size = 0
        self._fd = _create(path, self.path) if fd is None else fd

    @property
    def seekable(self) -> bool:
        """Whether it is a file with a name and an end, which can be cut and renamed."""
        return stat.S_ISREG(os.fstat(self._fd).st_mode)

    def append(self, data: bytes | bytearray) -> None:
        """Write all of it, or cut the file back to what was there before. Raises ``IsotraceError``."""
        try:
            write_all(self._fd, data)
        except OSError as error:
            if self.seekable:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, self.size)
            raise _cannot(self.path, error) from None
        self.size += len(data)

    def close(self) -> None:
        """Give up the descriptor."""
        if self._fd > 2:
            os.close(self._fd)


def pipe(path: str) -> int | None:
    """What ``path`` leads to, opened for writing, where that is a named pipe, whose reader is waited for; else None.

    Call it while Ctrl-C still ends a wait. Raises ``IsotraceError``.
    """
    try:
        if path != "-" and os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
            return opened(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot(path, error) from None
    return None


def _create(path: str, name: str) -> int:
    """A file of ours: one that is there already is replaced, for somebody may have it open."""
    if path == "-":
        return 1
    flags = os.O_WRONLY | os.O_CLOEXEC
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                return _existing(path, flags)
            os.unlink(path)
        return os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _MODE)
    except OSError as error:
        raise _cannot(name, error) from None


def _existing(path: str, flags: int) -> int:
    """A pipe, a device, or the file that a link leads to, which is emptied and closed to others."""
    fd = os.open(path, flags | os.O_TRUNC)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.fchmod(fd, _MODE)
    return fd


def _cannot(path: str, error: OSError) -> IsotraceError:
    name = "standard output" if path == "-" else repr(path)
    if error.errno == errno.ENOSPC:
        return IsotraceError(f"cannot write {name}: no space left on device", "what was written until then can be read")
    if error.errno == errno.EPIPE:
        return IsotraceError(f"the reader of {name} is gone")
    return IsotraceError(f"cannot write {name}: {(error.strerror or str(error)).lower()}", "name another file")
