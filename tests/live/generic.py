"""Asks generic netlink for its families, and one of them for something: compared with strace by test_differential.py."""

from __future__ import annotations

import contextlib
import socket
import struct

GENERIC, CONTROL, GET_FAMILY, REQUEST = 16, 16, 3, 1


def message(kind: int, command: int, attributes: bytes = b"") -> bytes:
    return struct.pack("<IHHIIBBH", 20 + len(attributes), kind, REQUEST, 1, 0, command, 1, 0) + attributes


with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, GENERIC) as sock:
    sock.bind((0, 0))  # strace finds no others
    sock.send(message(CONTROL, GET_FAMILY, struct.pack("<HH9s3x", 13, 2, b"nlctrl")))
    sock.recv(4096)
    for family in (16, 17, *range(19, 64), 9999):  # strace does not know that 18 is always the same one
        with contextlib.suppress(OSError):
            sock.send(message(family, 250))
            sock.recv(4096)
