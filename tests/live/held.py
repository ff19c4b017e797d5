"""The BPF programs, maps and links that a process holds, and which of them the kernel still has."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import struct
from pathlib import Path

#: The commands of bpf(2) that open a program or a map by its id.
GET_FD_BY_ID = {"prog": 13, "map": 14}
_SYS_BPF = 321
_libc = ctypes.CDLL(None, use_errno=True)

Ids = set[tuple[str, int]]


def held_by(pid: int) -> Ids:
    """What the process has descriptors of, as ("prog", id) and ("map", id)."""
    return {(kind, int(number)) for kind, number in re.findall(r"^(prog|map)_id:\t(\d+)$", _fdinfo(pid), re.M)}


def attached_by(pid: int) -> int:
    """How many links it has: raw tracepoints are links since 5.8."""
    return len(re.findall(r"^link_type:", _fdinfo(pid), re.M))


def _fdinfo(pid: int) -> str:
    """What /proc tells of all descriptors; of those that are closed meanwhile, nothing."""
    texts = []
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            texts.append(entry.read_text())
    return "\n".join(texts)


def still_there(ids: Ids) -> Ids:
    """Those of ``ids`` that the kernel opens. Raises ``OSError`` where it does not let us ask."""
    return {(kind, number) for kind, number in ids if _opens(GET_FD_BY_ID[kind], number)}


def _opens(command: int, number: int) -> bool:
    attributes = ctypes.create_string_buffer(struct.pack("=III", number, 0, 0), 128)
    fd = _libc.syscall(_SYS_BPF, command, attributes, len(attributes))
    if fd < 0:
        code = ctypes.get_errno()
        if code == errno.ENOENT:
            return False
        raise OSError(code, os.strerror(code))
    os.close(fd)
    return True
