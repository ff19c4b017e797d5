"""The bpf(2) system call: maps, program loading for probes, raw tracepoint links.

BCC compiles and loads isotrace's programs (``backends/loader.py``); what remains are a few commands on file
descriptors, which need neither BCC nor LLVM in the process that runs for hours. Every function raises ``OSError``.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from functools import cache
from pathlib import Path

_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _PROG_LOAD = 0, 1, 2, 3, 4, 5
_OBJ_GET_INFO, _RAW_TRACEPOINT_OPEN = 15, 17

_SYS_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_PERF_ATTR = 112  # PERF_ATTR_SIZE_VER5
_PERF_CLOEXEC, _PERF_SET_BPF, _PERF_ENABLE = 8, 0x40042408, 0x2400

_INFO_RECURSION_MISSES = 208  # offsetof(struct bpf_prog_info, recursion_misses)

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attr: ctypes.Array[ctypes.c_char]) -> int:
    number = _SYS_BPF[os.uname().machine]
    result: int = _libc.syscall(number, command, attr, len(attr))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _attr(layout: str, *values: int) -> ctypes.Array[ctypes.c_char]:
    """``union bpf_attr``, zero-filled to 128 bytes: the kernel takes any size whose unknown tail is zero."""
    return ctypes.create_string_buffer(struct.pack("=" + layout, *values).ljust(128, b"\0"), 128)


def map_create(kind: int, key_size: int, value_size: int, entries: int) -> int:
    """Create a map of type ``kind`` (an ``enum bpf_map_type`` value) and return its file descriptor."""
    return _bpf(_MAP_CREATE, _attr("IIIII", kind, key_size, value_size, entries, 0))


def map_lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value under ``key``, ``value_size`` bytes (for a per-CPU map: 8-aligned size × possible CPUs), or None."""
    value = ctypes.create_string_buffer(value_size)
    keys = ctypes.create_string_buffer(key, len(key))
    try:
        _bpf(_MAP_LOOKUP, _attr("IIQQQ", fd, 0, ctypes.addressof(keys), ctypes.addressof(value), 0))
    except FileNotFoundError:
        return None
    return value.raw


def map_update(fd: int, key: bytes, value: bytes) -> None:
    """Store ``value`` under ``key``, creating or replacing it."""
    keys = ctypes.create_string_buffer(key, len(key))
    values = ctypes.create_string_buffer(value, len(value))
    _bpf(_MAP_UPDATE, _attr("IIQQQ", fd, 0, ctypes.addressof(keys), ctypes.addressof(values), 0))


def map_delete(fd: int, key: bytes) -> None:
    """Remove ``key``; nothing happens if it is not there."""
    keys = ctypes.create_string_buffer(key, len(key))
    try:
        _bpf(_MAP_DELETE, _attr("IIQQQ", fd, 0, ctypes.addressof(keys), 0, 0))
    except FileNotFoundError:
        return


def map_keys(fd: int, key_size: int) -> list[bytes]:
    """All keys of a hash map, as far as they can be walked while it changes."""
    found: list[bytes] = []
    following = ctypes.create_string_buffer(key_size)
    current: ctypes.Array[ctypes.c_char] | None = None
    while True:
        address = ctypes.addressof(current) if current is not None else 0
        try:
            _bpf(_MAP_NEXT_KEY, _attr("IIQQ", fd, 0, address, ctypes.addressof(following)))
        except FileNotFoundError:
            return found
        found.append(following.raw)
        current = ctypes.create_string_buffer(following.raw, key_size)


def prog_load(kind: int, instructions: bytes, *, attach_type: int = 0, attach_btf_id: int = 0) -> int:
    """Load raw ``instructions`` as a program of type ``kind`` under the GPL and return its descriptor.

    The descriptor is the caller's to close. Used for probes: a verifier's refusal is an ``OSError``.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    head = struct.pack(
        "=IIQQIIQII16sIIIIQIIQII",
        *(kind, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence)),
        *(0, 0, 0, 0, 0, b"isotrace_probe", 0, attach_type, 0, 0, 0, 0, 0, 0, 0, attach_btf_id),
    )
    return _bpf(_PROG_LOAD, ctypes.create_string_buffer(head.ljust(144, b"\0"), 144))


def raw_tracepoint_open(name: str, prog_fd: int) -> int:
    """Attach the program to raw tracepoint ``name``, or, where that is "", to the hook or function it was loaded for.

    Closing the returned descriptor detaches it.
    """
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, _attr("QI", ctypes.addressof(text) if name else 0, prog_fd))


def kprobe_open(function: str, prog_fd: int) -> int:
    """Run the program at the entry of a kernel function; closing the returned descriptor ends that."""
    kind = int(Path("/sys/bus/event_source/devices/kprobe/type").read_text())
    name = ctypes.create_string_buffer(function.encode())
    # struct perf_event_attr: type, size, …, and at 56 config1, which is kprobe_func here
    attr = struct.pack("=II", kind, _PERF_ATTR).ljust(56, b"\0") + struct.pack("=Q", ctypes.addressof(name))
    buffer = ctypes.create_string_buffer(attr.ljust(_PERF_ATTR, b"\0"), _PERF_ATTR)
    fd: int = _libc.syscall(_SYS_PERF_EVENT_OPEN[os.uname().machine], buffer, -1, 0, -1, _PERF_CLOEXEC)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    try:
        fcntl.ioctl(fd, _PERF_SET_BPF, prog_fd)
        fcntl.ioctl(fd, _PERF_ENABLE, 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def recursion_misses(prog_fd: int) -> int:
    """How often the kernel skipped the program because it was already running on that CPU.

    ``bpf_prog_info.recursion_misses`` exists since 5.12 (commit 9ed9e9ba2337); older kernels report 0.
    """
    info = ctypes.create_string_buffer(256)
    _bpf(_OBJ_GET_INFO, _attr("IIQ", prog_fd, len(info), ctypes.addressof(info)))
    return int(struct.unpack_from("=Q", info.raw, _INFO_RECURSION_MISSES)[0])


@cache
def possible_cpus() -> int:
    """How many values a per-CPU map holds for each key."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")
    return max(int(part.split("-")[-1]) for part in ranges) + 1
