"""What can go wrong on the way to a guest: one line and a hint, for one kernel; the rest of the matrix still
runs."""

from __future__ import annotations

import errno
import os

from isotrace.errors import IsotraceError


class BenchError(IsotraceError):
    """This kernel cannot be tested, and that is a fault: a hash that differs, a build that fails."""


class UnavailableError(BenchError):
    """This kernel cannot be had here and now: no network, a suite that vanished, no QEMU, no room on the
    disk."""


def from_oserror(error: OSError) -> BenchError:
    """Say what an ``OSError`` of any stage means for the bench."""
    where = f" at {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(where)
    if error.errno == errno.ENOENT and error.filename and os.sep not in os.fspath(error.filename):
        return UnavailableError(f"{error.filename} is not installed", "make vm-tools installs what the bench calls")
    return BenchError(f"{error.strerror or error}{where}", "check the permissions of the cache directory")


def disk_full(where: str = "") -> UnavailableError:
    """The error for a file system without room; ``where`` is appended to its message."""
    return UnavailableError(f"no space left on the disk{where}", "free some, or set XDG_CACHE_HOME to a larger disk")
