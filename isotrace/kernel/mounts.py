"""The kernel's own file systems, mounted or not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from isotrace.process.libc import syscall

_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_FSCONFIG_CMD_CREATE = 6
_TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))


def _detached(kind: str) -> int:
    """A descriptor of the root of a mount that no path leads to; needs Linux 5.2."""
    context = syscall(_SYS_FSOPEN, kind.encode(), 1)
    try:
        syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return syscall(_SYS_FSMOUNT, context, 1, 0)
    finally:
        os.close(context)


def read(kind: str, places: Sequence[Path], shown: str, name: str) -> str:
    """The text of the file ``name`` of the file system ``kind``; see ``descriptor``. Raises ``OSError``."""
    with os.fdopen(descriptor(kind, places, shown, name)) as file:
        return file.read()


def descriptor(kind: str, places: Sequence[Path], shown: str, name: str) -> int:
    """The file ``name`` of the file system ``kind``, open for reading, found at the first of ``places`` that has ``shown``,
    or mounted for a moment where none does. Raises ``OSError``.
    """
    there = next((path for path in places if (path / shown).exists()), None)
    root = os.open(there, os.O_PATH | os.O_CLOEXEC) if there else _detached(kind)
    try:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
    finally:
        os.close(root)


def tracefs(name: str) -> str:
    """The text of a file of tracefs. Raises ``OSError``."""
    return read("tracefs", _TRACEFS, "events", name)
