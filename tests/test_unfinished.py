"""Memory of unfinished calls, read through /proc: what cannot be read is said to be, lengths are the kernel's."""

import ctypes
import os

from isotrace.catalog.load import by_name
from isotrace.trace import captures, events, unfinished

DIRTY = 0xDEADBEEF00000000
TEXT = ctypes.create_string_buffer(b"/some/where")
HERE = ctypes.addressof(TEXT)


def taken(name: str, registers: list[int]) -> list[tuple[int, int, bytes]]:
    """(state, full, data) of each capture, as if this very process were inside of the call."""
    call = by_name("x86_64")[name]
    args = [*registers, *[0] * (6 - len(registers))]
    found = unfinished._captures(os.getpid(), events.X86_64, args, captures.captures_of(call, 32))
    heads = [(events._BLOB.unpack_from(raw), raw[events._BLOB.size :]) for raw in found]
    return [(state, full, data[:size]) for (_arg, _part, state, size, full), data in heads]


def test_what_can_be_read():
    assert taken("openat", [0, HERE]) == [(events.WHOLE, 0, b"/some/where\0")]
    assert taken("write", [1, HERE, 5]) == [(events.WHOLE, 5, b"/some")]


def test_what_cannot_be_read_is_a_fault():
    assert taken("openat", [0, 16]) == [(events.FAULT, 16, b"")]
    assert taken("write", [1, 16, 5]) == [(events.FAULT, 5, b"")]
    assert taken("write", [1, 16, 0]) == [(events.WHOLE, 0, b"")]


def test_a_length_is_as_wide_as_the_kernel_takes_it():
    assert taken("connect", [3, HERE, DIRTY | 4]) == [(events.WHOLE, 4, b"/som")]
