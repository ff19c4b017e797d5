"""The BPF programs and maps that a process holds, and which of them the kernel still has."""

from __future__ import annotations

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
    found: Ids = set()
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        found |= {
            (kind, int(number)) for kind, number in re.findall(r"^(prog|map)_id:\t(\d+)$", entry.read_text(), re.M)
        }
    return found


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
