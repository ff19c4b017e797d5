"""Gives sockets and seccomp filter programs: compared with strace by test_differential.py."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct

LIBC = ctypes.CDLL(None)
PACKETS = [
    *((0x28, 0, 0, 12), (0x15, 0, 3, 0x800), (0x30, 0, 0, 23), (0x20, 0, 0, 0xFFFFF004), (0x20, 0, 0, 0xFFF00010)),
    *((0x20, 0, 0, 0xFFE00002), (0xB1, 0, 0, 14), (2, 0, 0, 3), (3, 0, 0, 3), (4, 0, 0, 5), (0x84, 0, 0, 0)),
    *((0x5C, 0, 0, 0), (5, 0, 0, 1), (7, 0, 0, 0), (0x87, 0, 0, 0), (0x60, 0, 0, 1), (0x80, 0, 0, 0), (0x40, 0, 0, 2)),
    *(
        (0x16, 0, 0, 0),
        (6, 0, 0, 0xFFFF),
        *((bits | kind, 1, 2, 3) for bits in (0xFF00, 0xF8, 0xE8) for kind in range(8)),
    ),
]
CALLS = [
    *((0x20, 0, 0, 4), (0x15, 1, 0, 0xC000003E), (6, 0, 0, 0x7FFF0000), (0x20, 0, 0, 0), (0x15, 0, 1, 0x1234)),
    *((6, 0, 0, 0x50005), (6, 0, 0, 0x7FFF0000)),
]
kept = []


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    """A struct sock_fprog."""
    code = b"".join(struct.pack("<HBBI", *one) for one in instructions)
    kept.append(ctypes.create_string_buffer(code, len(code)))
    return struct.pack("<H6xQ", len(instructions), ctypes.addressof(kept[-1]))


with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for option in (26, 51):
        for given in (program(*PACKETS), program((6, 0, 0, 1)), program(), b"too short") * 2:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, given)
LIBC.prctl(38, 1, 0, 0, 0)
for struct_of in (CALLS, CALLS[-1:], [], [(6, 0, 0, 0x7FFF0000)] * 40) * 3:
    LIBC.syscall(317, 1, 0, ctypes.create_string_buffer(program(*struct_of)))
    LIBC.prctl(22, 2, ctypes.create_string_buffer(program(*struct_of)), ctypes.c_ulong(0), ctypes.c_ulong(0))
