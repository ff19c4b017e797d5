"""Just enough of BTF for the self-check of a guest: the id of a kernel function."""

from __future__ import annotations

import struct
from pathlib import Path

#: What follows the 12 bytes of a type, by kind: (fixed bytes, bytes for each of vlen). Others have nothing.
TRAILERS = {
    1: (4, 0),  # int
    3: (12, 0),  # array
    4: (0, 12),  # struct
    5: (0, 12),  # union
    6: (0, 8),  # enum
    13: (0, 8),  # function prototype
    14: (4, 0),  # variable
    15: (0, 12),  # data section
    17: (4, 0),  # declaration tag
    19: (0, 12),  # 64-bit enum
}
FUNC = 12


def function_id(name: str, path: Path = Path("/sys/kernel/btf/vmlinux")) -> int:
    """The BTF id of the kernel function ``name``, 0 where there is no BTF. Raises ``LookupError`` when there is none."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    _magic, _version, _flags, header, types, types_size, strings, strings_size = struct.unpack_from("<HBBIIIII", data)
    names = data[header + strings : header + strings + strings_size]
    wanted = names.find(b"\0" + name.encode() + b"\0") + 1
    at, number = header + types, 0
    while at < header + types + types_size:
        number += 1
        offset, info = struct.unpack_from("<II", data, at)
        kind, length = info >> 24 & 0x1F, info & 0xFFFF
        if kind == FUNC and wanted and offset == wanted:
            return number
        fixed, each = TRAILERS.get(kind, (0, 0))
        at += 12 + fixed + each * length
    raise LookupError(f"no function {name} in BTF")
