"""Asks bpf(2) for what it does not do: compared with strace by test_differential.py."""

from __future__ import annotations

import ctypes

LIBC = ctypes.CDLL(None)
COMMANDS = {*range(31)} - {11, 12, 23}  # those find what others have made
SIZES = (12, 16, 24, 32, 44, 48, 56, 64, 72)

for command in sorted(COMMANDS):
    for size in SIZES:
        LIBC.syscall(321, command, ctypes.create_string_buffer(size), size)
    full = bytes((7 * i + 1) % 3 * (i % 4 == 0) for i in range(72))
    if command not in (0, 2, 5, 6, 7, 8, 29):  # of these there are more members by now, and flags have names
        LIBC.syscall(321, command, ctypes.create_string_buffer(full, 72), 72)
