"""What a thread that waits in an open asks for, by the call that it is in.

Its registers stay as they are while it waits: nobody changes them. What is in memory may be changed, and is not believed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from isotrace import catalog
from isotrace.kernel import fanotify, procfs
from isotrace.policy.accesses import of_flags

_ABIS = {"x86_64": ("x86_64", "x32", "i386"), "aarch64": ("arm64",)}
_FLAGS = {"open": 1, "openat": 2, "open_by_handle_at": 2}  # the register that has an open's flags
_EXECUTES = frozenset(("execve", "execveat"))
_OPENS = frozenset((*_FLAGS, *_EXECUTES, "creat", "openat2"))
_WORDS = 7  # of /proc/PID/syscall, up to the last argument


@dataclass(frozen=True)
class Opened:
    """The call, "?" where it is not known, its registers, and the letters of what it does to the file."""

    call: str
    abi: str
    args: tuple[int, ...]
    access: str


def opened(tid: int, mask: int) -> Opened:
    """What is asked for; both reading and writing where that cannot be told: openat2, io_uring, what others open."""
    call, abi, args = _call(procfs.read(tid, "syscall") or b"")
    if mask & fanotify.EXEC:
        return Opened(call, abi, args, "x")
    if call in _EXECUTES:
        return Opened(call, abi, args, "")  # which was asked about as executing
    if call == "creat":
        return Opened(call, abi, args, "w")
    access = of_flags(args[_FLAGS[call]]) if call in _FLAGS else "rw"
    return Opened(call, abi, args, access)


def _call(text: bytes) -> tuple[str, str, tuple[int, ...]]:
    words = text.split()
    if len(words) < _WORDS or not words[0].isdigit():
        return "?", _abis()[0], ()
    number, args = int(words[0]), tuple(int(word, 16) for word in words[1:_WORDS])
    for abi in _abis():
        call = _numbers(abi).get(number)
        if call in _OPENS:
            return call, abi, tuple(one & 0xFFFFFFFF for one in args) if abi == "i386" else args
    return _numbers(_abis()[0]).get(number, "?"), _abis()[0], args


def _abis() -> tuple[str, ...]:
    """Numbers alone do not tell whose they are; but no number is one of an open for two of them."""
    return _ABIS.get(os.uname().machine, ("x86_64",))


@cache
def _numbers(abi: str) -> Mapping[int, str]:
    return {number: call.name for number, call in catalog.by_number(abi).items()}


def prepare() -> None:
    """Read the tables now: who looks at events must not open a file meanwhile that may be marked."""
    for abi in _abis():
        _numbers(abi)
