"""System calls that Python has no function for. All raise ``OSError``."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Callable

from isotrace.catalog.model import X32_BIT
from isotrace.kernel import sandbox
from isotrace.process import children
from isotrace.process.libc import syscall

OPEN_TREE, OPENAT2, IO_URING_SETUP, IO_URING_ENTER = 428, 437, 425, 426
OPENAT, CREAT, NAME_TO_HANDLE_AT, OPEN_BY_HANDLE_AT, RENAMEAT2, EXECVEAT = 257, 85, 303, 304, 316, 322
_I386_OPEN = 5
_OP_CONNECT, _OP_OPENAT = 16, 18  # IORING_OP_*, 5.5 and 5.6
IOSQE_ASYNC = 1 << 4
AT_FDCWD = -100

# A function of (number, b, c, d): a call by int 0x80; the result is in eax.
_INT80 = bytes.fromhex("53 89f8 89f3 89d1 31d2 cd80 5b c3".replace(" ", ""))


def call(number: int, *arguments: object) -> int:
    """A call of x86-64 by number; integers are passed in full."""
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return syscall(ctypes.c_long(number), *words)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def open_by_int80(path: str) -> int:
    """i386's open of a file, whose name is put where 32 bits reach."""
    low = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40)  # MAP_32BIT
    name = os.fsencode(path) + b"\0"
    low.write(name)
    address = ctypes.addressof(ctypes.c_char.from_buffer(low))
    enter = sandbox.function(_INT80, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
    result = int(enter(_I386_OPEN, address, os.O_RDONLY))
    if result < 0:
        raise _error(-result)
    return result


def open_by_x32(path: str) -> int:
    """x32's openat."""
    return call(X32_BIT | OPENAT, AT_FDCWD, os.fsencode(path), os.O_RDONLY, 0)


def open_with_upper_half(path: str) -> int:
    """openat by a number whose upper 32 bits, which the kernel does not look at, are set."""
    return call(OPENAT | 1 << 32, AT_FDCWD, os.fsencode(path), os.O_RDONLY, 0)


def openat2(path: str) -> int:
    """openat2 for reading."""
    how = struct.pack("=QQQ", os.O_RDONLY, 0, 0)
    return call(OPENAT2, AT_FDCWD, os.fsencode(path), how, len(how))


def handle_of(path: str) -> bytes:
    """The struct file_handle of a file."""
    room = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 8 + 128)
    call(NAME_TO_HANDLE_AT, AT_FDCWD, os.fsencode(path), room, ctypes.byref(ctypes.c_int()), 0)
    return room.raw


def open_handle(mount: str, handle: bytes) -> int:
    """The file of a handle, on the mount that a path is on."""
    directory = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return call(OPEN_BY_HANDLE_AT, directory, handle, os.O_RDONLY)
    finally:
        os.close(directory)


def _ring(entries: int = 4) -> tuple[int, tuple[int, ...]]:
    """io_uring_setup: a ring, and struct io_uring_params as 30 words."""
    params = ctypes.create_string_buffer(120)
    ring = call(IO_URING_SETUP, entries, params)
    return ring, struct.unpack("=30I", params.raw)


def ring_made() -> int:
    """A ring's descriptor."""
    return _ring()[0]


def ring_does(entry: bytes) -> int:
    """Have io_uring do one struct io_uring_sqe; its result."""
    ring, words = _ring()
    sq, cq = words[10:20], words[20:30]  # sq_off, cq_off
    try:
        submitted = mmap.mmap(ring, sq[6] + 4 * words[0], offset=0)
        completed = mmap.mmap(ring, cq[5] + 16 * words[1], offset=0x8000000)
        entries = mmap.mmap(ring, 64 * words[0], offset=0x10000000)
        entries[:64] = entry.ljust(64, b"\0")
        struct.pack_into("=I", submitted, sq[6], 0)
        struct.pack_into("=I", submitted, sq[1], 1)
        call(IO_URING_ENTER, ring, 1, 1, 1, None, 0)  # IORING_ENTER_GETEVENTS
        (tail,) = struct.unpack_from("=I", completed, cq[1])
        if not tail:
            raise _error(5)
        result: int = struct.unpack_from("=QiI", completed, cq[5])[1]
    finally:
        os.close(ring)
    if result < 0:
        raise _error(-result)
    return result


def ring_opens(path: str, flags: int) -> int:
    """A file opened by io_uring; with IOSQE_ASYNC by a worker of it."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return ring_does(struct.pack("=BBHiQQII", _OP_OPENAT, flags, 0, AT_FDCWD, 0, ctypes.addressof(name), 0, 0))


def ring_connects(descriptor: int, address: bytes) -> int:
    """A socket connected by io_uring."""
    room = ctypes.create_string_buffer(address, len(address))
    return ring_does(
        struct.pack("=BBHiQQII", _OP_CONNECT, 0, 0, descriptor, len(address), ctypes.addressof(room), 0, 0)
    )


def in_child(action: Callable[[], object]) -> None:
    """Do it in a process of its own, whose error is raised here."""
    told = mmap.mmap(-1, 2)
    pid = children.fork()
    if pid == 0:
        try:
            action()
            told[:] = b"\0\1"
        except OSError as error:
            told[:] = bytes([error.errno or 1, 1])
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if not told[1] and status:  # neither done nor another program
        raise _error(5)
    if told[0]:
        raise _error(told[0])
