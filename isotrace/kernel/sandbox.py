"""A sandboxed child that tries something and is gone: whatever happens to it happens to no one else."""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isotrace.process import children

_SECONDS = 20


@dataclass(frozen=True)
class Ended:
    """What the child said and how it ended: its exit status, or minus the signal."""

    said: bytes
    status: int

    def describe(self) -> str:
        """For a person: ``SIGSEGV`` or ``status 1``."""
        return signal.Signals(-self.status).name if self.status < 0 else f"status {self.status}"


def run(attempt: Callable[[], bytes]) -> Ended:
    """Run ``attempt`` in a silent child without core dumps; its result, at most 4096 bytes, comes back."""
    read, write = os.pipe()
    pid = children.fork()
    if pid == 0:
        _child(attempt, write)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        said = stream.read(4096)
    return Ended(said, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _child(attempt: Callable[[], bytes], write: int) -> None:
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_SECONDS)
        silence()
        os.write(write, attempt())
        status = 0
    finally:
        os._exit(status)


def silence() -> None:
    """In a child: no core dump, nothing on standard input, output and error."""
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def function(code: bytes, result: type[Any], *arguments: type[Any]) -> Callable[..., Any]:
    """Machine ``code`` as a function of these C types; to be called only in a child."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    entry = ctypes.c_char.from_buffer(page)  # keeps the page for as long as the function is kept
    made = ctypes.CFUNCTYPE(result, *arguments)(ctypes.addressof(entry))
    return lambda *values: (made(*values), entry)[0]


def execute(code: bytes) -> int:
    """Run machine ``code`` as a function without arguments that returns an int. Only ever in a child."""
    return int(function(code, ctypes.c_int)())
