"""Is this guest the kernel that the matrix says it is, with exactly the features that it says?"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm.bench.matrix import load
from tests.vm.btf import function_id

MATRIX = load()
KERNEL = next(kernel for kernel in MATRIX.kernels if kernel.name == os.environ["ISOTRACE_VM_KERNEL"])
TRACING = Path("/sys/kernel/tracing")

SYS_BPF = 321
MAP_CREATE, PROG_LOAD, RAW_TRACEPOINT_OPEN = 0, 5, 17
MAP_RINGBUF = 27
PROG_RAW_TRACEPOINT, PROG_TRACING = 17, 26
MODIFY_RETURN = 26
RETURN_0 = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)  # r0 = 0; exit
ADDRESS = ctypes.addressof
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> int:
    """The bpf system call: a new file descriptor, or ``OSError``."""
    buffer = ctypes.create_string_buffer(attributes.ljust(144, b"\0"))
    fd = libc.syscall(SYS_BPF, command, buffer, 144)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(fd)


def load_program(kind: int, attach: int = 0, btf_id: int = 0) -> int:
    """Load a program that returns 0."""
    code, licence = ctypes.create_string_buffer(RETURN_0), ctypes.create_string_buffer(b"GPL")
    head = struct.pack("<IIQQIIQII", kind, 2, ADDRESS(code), ADDRESS(licence), 0, 0, 0, 0, 0)
    name_and_ifindex = bytes(20)
    tail = struct.pack("<IIIQIIQII", attach, 0, 0, 0, 0, 0, 0, 0, btf_id)
    return bpf(PROG_LOAD, head + name_and_ifindex + tail)


def attaches(program: int, name: bytes = b"") -> bool:
    """Whether the program can be attached to the raw tracepoint ``name``, or to the function it was loaded
    for."""
    text = ctypes.create_string_buffer(name)
    try:
        os.close(bpf(RAW_TRACEPOINT_OPEN, struct.pack("<QI", ADDRESS(text) if name else 0, program)))
    finally:
        os.close(program)
    return True


def cached_lookup() -> bool:
    """Whether openat2 knows RESOLVE_CACHED, and fdinfo has the number of an inode."""
    how = struct.pack("<QQQ", os.O_PATH, 0, 0x20)
    file = libc.syscall(437, -1, b"/", how, len(how))
    if file < 0:
        assert ctypes.get_errno() == errno.EINVAL
        return False
    try:
        return "\nino:\t" in Path(f"/proc/self/fdinfo/{file}").read_text()
    finally:
        os.close(file)


def fmod_ret(function: str) -> bool:
    """Whether a fmod_ret program attaches to a kernel function."""
    try:
        return attaches(load_program(PROG_TRACING, MODIFY_RETURN, function_id(function)))
    except OSError as error:
        assert error.errno == errno.EINVAL, error
        return False


def ringbuf() -> bool:
    """Whether a BPF ring buffer can be made."""
    os.close(bpf(MAP_CREATE, struct.pack("<IIII", MAP_RINGBUF, 0, 0, mmap.PAGESIZE)))
    return True


def kprobe() -> bool:
    """Whether a kprobe can be set and taken away."""
    events = TRACING / "kprobe_events"
    if not events.exists():
        return False
    fd = os.open(events, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, b"p:isotrace_selfcheck do_exit\n")
        os.write(fd, b"-:isotrace_selfcheck\n")
    finally:
        os.close(fd)
    return True


def lsm(name: str) -> bool:
    """Whether a security module is active."""
    return name in Path("/sys/kernel/security/lsm").read_text().split(",")


def symbol(name: str) -> bool:
    """Whether the kernel has a function of that name."""
    return re.search(rf" [tT] {name}$", Path("/proc/kallsyms").read_text(), re.MULTILINE) is not None


def errors_injectable() -> str:
    """The functions that may be made to fail."""
    path = Path("/sys/kernel/debug/error_injection/list")
    return path.read_text() if path.exists() else ""


#: int 0x80 with getpid, and x32's getpid, as a whole program each: exit status 0 when it gave the process's
#: number.
GETPID = {
    "ia32": "mov $20, %%eax; int $0x80",
    "x32": "mov $0x40000027, %%eax; syscall",
}


def answers_getpid(abi: str, directory: Path) -> bool:
    """Whether the system call getpid works by another ABI's entry."""
    source = directory / f"{abi}.c"
    call = f'__asm__ volatile("{GETPID[abi]}" : "=a"(pid) : : "rcx", "r11", "memory");'
    source.write_text(f"#include <unistd.h>\nint main(void) {{ long pid; {call} return pid != getpid(); }}\n")
    subprocess.run(["gcc", "-o", directory / abi, source], check=True)
    return subprocess.run([directory / abi]).returncode == 0


CHECKS: dict[str, Callable[[Path], bool]] = {
    "btf": lambda _: function_id("do_exit") > 0,
    "cached_lookup": lambda _: cached_lookup(),
    "cgroup2": lambda _: Path("/sys/fs/cgroup/cgroup.controllers").exists(),
    "error_injection": lambda _: bool(errors_injectable()),
    "fmod_ret_security": lambda _: fmod_ret("security_file_open"),
    "fmod_ret_syscall": lambda _: fmod_ret("__x64_sys_openat"),
    "ftrace_syscalls": lambda _: (TRACING / "events/syscalls/sys_enter_openat/format").exists(),
    "ia32": lambda directory: answers_getpid("ia32", directory),
    "io_uring": lambda _: symbol("__x64_sys_io_uring_setup"),
    "kprobe": lambda _: kprobe(),
    "landlock": lambda _: lsm("landlock"),
    "lkm": lambda _: Path("/var/lib/isotrace", os.uname().release, "isotrace.ko").exists(),
    "lsm_bpf": lambda _: lsm("bpf"),
    "modules": lambda _: Path("/proc/modules").exists(),
    "override": lambda _: "__x64_sys_openat\t" in errors_injectable() and symbol("bpf_override_return"),
    "raw_tracepoint": lambda _: attaches(load_program(PROG_RAW_TRACEPOINT), b"sys_enter"),
    "ringbuf": lambda _: ringbuf(),
    "syscall_table": lambda _: not symbol("x64_sys_call"),
    "time32": lambda _: symbol("__ia32_compat_sys_pselect6_time32"),
    "x32": lambda directory: answers_getpid("x32", directory),
}


def test_release_is_the_one_of_the_matrix() -> None:
    assert re.fullmatch(KERNEL.release, os.uname().release)


def test_root_is_a_throw_away_overlay() -> None:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    assert ["/", "overlay"] in [mount[1:3] for mount in mounts]


def test_every_feature_has_a_check() -> None:
    assert CHECKS.keys() == MATRIX.features.keys()


@pytest.mark.parametrize("feature", sorted(MATRIX.features))
def test_feature_is_there_exactly_when_the_matrix_says_so(feature: str, tmp_path: Path) -> None:
    assert CHECKS[feature](tmp_path) == (feature in KERNEL.features)


def test_bcc_can_be_imported() -> None:
    code = "import sys; sys.path.append('/usr/lib/python3/dist-packages'); import bcc; print(bcc.BPF.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "BPF\n", done.stderr


#: Sorts arrays of each length whose end is the end of a mapping, and writes the first to be out of order.
SORTS = """
import ctypes, mmap, numpy
size = 4 * mmap.PAGESIZE
pages = mmap.mmap(-1, size + mmap.PAGESIZE)
start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + size), mmap.PAGESIZE, 0) == 0
for count in range(1, 300):
    end = numpy.frombuffer(pages, numpy.uint64, count, size - 8 * count)
    end[:] = numpy.arange(count, 0, -1)
    order = numpy.argsort(end)
    end.sort()
    assert end.tolist() == list(range(1, count + 1)) and order.tolist() == list(range(count))[::-1], count
print("sorted")
"""


def test_vector_instructions_stay_within_their_operands() -> None:
    done = subprocess.run([sys.executable, "-c", SORTS], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "sorted\n"), done.stderr
