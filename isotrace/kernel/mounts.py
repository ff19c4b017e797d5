"""The kernel's own file systems, mounted or not."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_FSCONFIG_CMD_CREATE = 6

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _detached(kind: str) -> int:
    """A descriptor of the root of a mount that no path leads to; needs Linux 5.2."""
    context = _checked(_libc.syscall(_SYS_FSOPEN, kind.encode(), 1))
    try:
        _checked(_libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0))
        return _checked(_libc.syscall(_SYS_FSMOUNT, context, 1, 0))
    finally:
        os.close(context)


@contextlib.contextmanager
def root_of(kind: str, places: Sequence[Path], shown: str) -> Iterator[int]:
    """A descriptor of the root of the file system ``kind``: at the first of ``places`` that has ``shown``, or mounted for a
    moment where none does. Raises ``OSError``.
    """
    there = next((path for path in places if (path / shown).exists()), None)
    fd = os.open(there, os.O_PATH | os.O_CLOEXEC) if there else _detached(kind)
    try:
        yield fd
    finally:
        os.close(fd)


def read(kind: str, places: Sequence[Path], shown: str, name: str) -> str:
    """The text of the file ``name`` of such a file system. Raises ``OSError``."""
    with root_of(kind, places, shown) as root:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
        with os.fdopen(fd) as file:
            return file.read()
