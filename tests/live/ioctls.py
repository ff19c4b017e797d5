"""Asks for what can be asked for with ioctl without changing anything: compared with strace by test_differential.py."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct


def ask(file: int | socket.socket, *requests: int, given: bytes = b"", room: int = 0) -> None:
    """Each request with ``given`` in ``room`` bytes; most fail, on a file of another kind."""
    for request in requests:
        with contextlib.suppress(OSError):
            fcntl.ioctl(file, request, bytearray(given.ljust(room, b"\0")))


def interface(name: str, value: bytes = b"") -> bytes:
    return name.encode().ljust(16, b"\0") + value


with socket.socket() as sock:
    known = (0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D, 0x8921, 0x8927, 0x8929, 0x8933, 0x8942, 0x8970)
    ask(sock, *known, given=interface("lo"), room=40)
    ask(sock, *known, given=interface("nosuch"), room=40)
    ask(sock, 0x8910, given=bytes(16) + struct.pack("<i", 1), room=40)
    ask(sock, 0x8914, 0x8922, 0x8924, given=interface("nosuch", bytes(range(1, 24))), room=40)
    ask(sock, 0x8903, 0x8904, 0x8905, 0x894B, 0x4C03, 0x4C05, room=232)
    loop = struct.pack("<QQQQQIIII", 0, 0, 0, 4096, 0, 3, 0, 0, 5) + b"/tmp/x"
    ask(sock, 0x4C04, given=loop, room=232)
    ask(sock, 0x4C02, given=struct.pack("<iIQIIIII", 3, 0, 0, 0, 512, 0, 0, 1) + b"x", room=168)
    ask(sock, 0x4C0A, given=struct.pack("<IIQ", 1, 512, 0).ljust(8, b"\0") + loop, room=304)
terminal, other = os.openpty()
ask(other, 0x5401, 0x5405, 0x5413, 0x5415, 0x540F, 0x541B, 0x5429, 0x5456, room=64)
ask(other, 0x5418, given=b"\6", room=4)
for request, number in ((0x540B, 2), (0x540A, 1), (0x4C80, 9), (0x4C08, 1), (0x1262, 8)):
    with contextlib.suppress(OSError):
        fcntl.ioctl(other, request, number)
folder = os.open("/", os.O_RDONLY)
ask(
    folder,
    0x80086601,
    0x801C581F,
    0x125E,
    0x1260,
    0x1263,
    0x1267,
    0x1268,
    0x127B,
    0x80081272,
    0x301,
    0x81009431,
    room=256,
)
ask(folder, 0x1277, given=struct.pack("<QQ", 0, 4096), room=16)
entropy = os.open("/dev/urandom", os.O_RDONLY)
ask(entropy, 0x80045200, 0x80247009, 0x80047013, 0x80287010, 0x80084502, 0x80084503, room=64)
ask(entropy, 0xC020AA00, 0xC020AA04, given=struct.pack("<QQQ", 0x7F0000001000, 0x2000, 1), room=32)
ask(entropy, 0xC028AA03, given=struct.pack("<QQQQ", 0x7F0000001000, 0x7F0000003000, 0x1000, 1), room=40)
ask(entropy, 0x4020AE46, given=struct.pack("<IIQQQ", 0, 1, 0x1000, 8192, 0x7000), room=32)
ask(entropy, 0x4090AE82, given=bytes(range(144)), room=144)
axis = struct.pack("<6i", 5, 1, 255, 0, 15, 2)
ask(
    entropy,
    0x80044501,
    0x80084504,
    0x80284504,
    0x80184540,
    0x80184543,
    0x8018457E,
    0x80604521,
    0x80204506,
    0x80404518,
    room=96,
)
ask(entropy, 0x401845C0, 0x401845F5, given=axis, room=24)
ask(entropy, 0x40084504, given=struct.pack("<II", 70, 30), room=8)
ask(entropy, 0x40284504, given=struct.pack("<BBHI", 1, 4, 2, 30) + bytes(range(32)), room=40)
for kind in (0x50, 0x51, 0x52, 0x57, 0x5D):
    ask(entropy, 0x40304580, given=struct.pack("<HhH", kind, -1, 0x4000) + bytes(range(1, 43)), room=48)
ask(entropy, 0x40063E00, given=bytes((5, 2, 7, 9, 6, 1)), room=6)
ask(entropy, 0xC0045706, 0xC0045708, given=struct.pack("<i", 30), room=4)
with open("/proc/self/ns/user") as space:
    ask(space.fileno(), 0xB703)
for request in (0x3E01, 0x3E02, 0x80045705, 0x40044581, 0x40044590, 0x40044900):
    with contextlib.suppress(OSError):
        fcntl.ioctl(entropy, request, 7)
