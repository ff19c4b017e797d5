"""Who has io_uring: what /proc says of processes of the test's own."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from isotrace.enforce import Enforced, Guarantees, rings
from isotrace.errors import KernelError
from isotrace.policy import names
from isotrace.trace.target import Target

MAKES = """
import ctypes, mmap, os, sys
fd = ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(120))
if "mapped" in sys.argv and fd >= 0:
    kept = mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ)
    os.close(fd)
print(fd, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start():
    """A process that has done what MAKES does with these words."""
    begun = []

    def one(*words):
        process = subprocess.Popen([sys.executable, "-S", "-c", MAKES, *words], stdin=-1, stdout=-1, text=True)
        begun.append(process)
        if int(process.stdout.readline()) < 0:
            pytest.skip("needs io_uring: of this kernel")
        return process.pid

    yield one
    for process in begun:
        process.communicate("")


def enforced(word, ring="closed"):
    return [Enforced(0, names.parse(word), "lsm", Guarantees(True, ring, True))]


@pytest.mark.parametrize("words", [(), ("mapped",)], ids=["a descriptor", "only mapped"])
def test_a_ring_is_found_and_the_target_turned_down(start, words):
    pid = start(*words)
    assert rings.holds_ring(pid)
    for target in (Target(pid=pid), Target(ppid=pid), Target(tree=pid), Target(ppid=os.getpid())):
        with pytest.raises(KernelError, match=f"process {pid} .* had io_uring before the rules"):
            rings.check(enforced("open"), target)
    rings.check(enforced("kill", "not concerned"), Target(pid=pid))


def test_who_has_none_is_not_turned_down():
    process = subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=-1)
    try:
        assert not rings.holds_ring(process.pid)
        rings.check(enforced("open"), Target(pid=process.pid))
    finally:
        process.communicate(b"")
    assert not rings.holds_ring(process.pid), "it is gone"


def test_a_command_has_what_isotrace_has():
    rings.check(enforced("open"), Target(command=("true",)))
    descriptor = ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(120))
    if descriptor < 0:
        pytest.skip("needs io_uring: of this kernel")
    try:
        with pytest.raises(KernelError, match="had io_uring before the rules"):
            rings.check(enforced("open"), Target(command=("true",)))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("comm", [b"x", b") R 1 16 (", b"a b\n)"])
def test_the_flags_of_a_task_whatever_its_name(comm):
    assert rings.flags(b"7 (" + comm + b") S 1 2 3 4 5 4194368 0 0") == 4194368
    assert rings.flags(Path("/proc/self/stat").read_bytes()) & 0x10 == 0
