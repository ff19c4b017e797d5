"""The bpf(2) system call: maps, program loading for probes, raw tracepoint links.

BCC compiles and loads isotrace's programs (``backends/loader.py``); what remains are a few commands on file
descriptors, which need neither BCC nor LLVM in the process that runs for hours. Every function raises ``OSError``.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path

from isotrace.process.libc import syscall

_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _PROG_LOAD = 0, 1, 2, 3, 4, 5
_OBJ_PIN, _OBJ_GET, _LINK_CREATE = 6, 7, 28
_PERF_EVENT = 41  # BPF_PERF_EVENT, an attach type
_OBJ_GET_INFO, _RAW_TRACEPOINT_OPEN, _MAP_FREEZE = 15, 17, 22
_MAP_LOOKUP_BATCH, _MAP_UPDATE_BATCH, _MAP_DELETE_BATCH = 24, 26, 27
#: At these the kernel calls bpf_disable_instrumentation(); at _MAP_NEXT_KEY it does not.
_MAP_ACCESSES = {_MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_LOOKUP_BATCH, _MAP_UPDATE_BATCH, _MAP_DELETE_BATCH}

_INFO_ID = 4  # offsetof(struct bpf_prog_info, id), the same in bpf_map_info and bpf_link_info
_INFO_LINKED = 8  # offsetof(struct bpf_link_info, prog_id)
_PROG_GET_FD_BY_ID = 13
_INFO_LENGTHS = 16  # offsetof(struct bpf_prog_info, jited_prog_len); xlated_prog_len follows
_INFO_RECURSION_MISSES = 208  # offsetof(struct bpf_prog_info, recursion_misses)
_INFO_VERIFIED = 216  # offsetof(struct bpf_prog_info, verified_insns)


@cache
def _number() -> int:
    return _SYS_BPF[os.uname().machine]


@contextmanager
def _unpreempted() -> Iterator[None]:
    """No other task of an ordinary policy runs on this CPU meanwhile; where that is not to be had, they may.

    While bpf() is at a map the kernel skips the programs of kprobes and perf events on that CPU
    (bpf_disable_instrumentation(), which leaves preemption on since 5.8): a task that comes between would not be seen.
    """
    before = os.sched_getscheduler(0)
    if before == os.SCHED_OTHER:
        with suppress(OSError):  # no CAP_SYS_NICE, or a cgroup without real-time
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        if before == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _bpf(command: int, attr: ctypes.Array[ctypes.c_char]) -> int:
    with _unpreempted() if command in _MAP_ACCESSES else nullcontext():
        return syscall(_number(), command, attr, len(attr))


def _attr(layout: str, *values: int) -> ctypes.Array[ctypes.c_char]:
    """``union bpf_attr``, zero-filled to 128 bytes: the kernel takes any size whose unknown tail is zero."""
    return ctypes.create_string_buffer(struct.pack("=" + layout, *values).ljust(128, b"\0"), 128)


def map_create(kind: int, key_size: int, value_size: int, entries: int, *, flags: int = 0, name: str = "") -> int:
    """Create a map of type ``kind`` (an ``enum bpf_map_type`` value) and return its file descriptor."""
    head = struct.pack("=IIIIIII16s", kind, key_size, value_size, entries, flags, 0, 0, _short(name))
    return _bpf(_MAP_CREATE, ctypes.create_string_buffer(head.ljust(128, b"\0"), 128))


def _short(name: str) -> bytes:
    """A name as the kernel keeps it, BPF_OBJ_NAME_LEN less the NUL."""
    return name.encode()[:15]


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


def map_lookup_batch(fd: int, token: int | None, keys: int, values: int, room: int) -> tuple[int, int | None]:
    """Copy up to ``room`` entries of a hash map to the addresses ``keys`` and ``values``.

    Returns how many were copied and the ``token`` for the next call, None at the map's end. Raises ``OSError``: ENOSPC
    when ``room`` is less than one bucket holds, EINVAL or ENOTSUPP where the kernel has no batches (they came in 5.6).
    """
    before, after = ctypes.c_uint32(token or 0), ctypes.c_uint32()
    start = ctypes.addressof(before) if token is not None else 0
    attr = _attr("QQQQIIQQ", start, ctypes.addressof(after), keys, values, room, fd, 0, 0)
    following: int | None
    try:
        _bpf(_MAP_LOOKUP_BATCH, attr)
        following = after.value
    except FileNotFoundError:
        following = None
    return int(struct.unpack_from("=I", attr.raw, 32)[0]), following


def map_update_all(fd: int, entries: Mapping[bytes, bytes]) -> None:
    """Store all of ``entries``; in one system call where the kernel has batches."""
    if not entries:
        return
    keys, values = (ctypes.create_string_buffer(raw, len(raw)) for raw in map(b"".join, (entries, entries.values())))
    attr = _attr("QQQQIIQQ", 0, 0, ctypes.addressof(keys), ctypes.addressof(values), len(entries), fd, 0, 0)
    try:
        _bpf(_MAP_UPDATE_BATCH, attr)
    except OSError:  # before 5.6, and for kinds of maps that have none
        for key, value in entries.items():
            map_update(fd, key, value)


def map_delete_batch(fd: int, keys: int, count: int) -> None:
    """Remove the ``count`` keys at the address ``keys``; stops with ``OSError`` at one that is not there."""
    _bpf(_MAP_DELETE_BATCH, _attr("QQQQIIQQ", 0, 0, keys, 0, count, fd, 0, 0))


def prog_load(
    kind: int,
    instructions: bytes,
    *,
    attach_type: int = 0,
    attach_btf_id: int = 0,
    name: str = "isotrace_probe",
    log: ctypes.Array[ctypes.c_char] | None = None,
) -> int:
    """Load raw ``instructions`` as a program of type ``kind`` under the GPL and return its descriptor.

    The descriptor is the caller's to close. A verifier's refusal is an ``OSError``, and its words are in ``log``, a
    buffer of 128 bytes or more.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    level, size, address = (1, len(log), ctypes.addressof(log)) if log is not None else (0, 0, 0)
    head = struct.pack(
        "=IIQQIIQII16sIIIIQIIQII",
        *(kind, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence)),
        *(level, size, address, 0, 0, _short(name), 0, attach_type, 0, 0, 0, 0, 0, 0, 0, attach_btf_id),
    )
    return _bpf(_PROG_LOAD, ctypes.create_string_buffer(head.ljust(144, b"\0"), 144))


def raw_tracepoint_open(name: str, prog_fd: int) -> int:
    """Attach the program to raw tracepoint ``name``, or, where that is "", to the hook or function it was loaded for.

    Closing the returned descriptor detaches it.
    """
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, _attr("QI", ctypes.addressof(text) if name else 0, prog_fd))


def link_perf_event(event_fd: int, prog_fd: int) -> int:
    """A link by which the perf event runs the program (5.15, commit b89fbfbb854c); closing it detaches."""
    return _bpf(_LINK_CREATE, _attr("IIII", prog_fd, event_fd, _PERF_EVENT, 0))


def obj_pin(fd: int, path: str) -> None:
    """Give a map, program or link a name in a bpf file system, which keeps it."""
    name = ctypes.create_string_buffer(path.encode())
    _bpf(_OBJ_PIN, _attr("QI", ctypes.addressof(name), fd))


def obj_get(path: str) -> int:
    """A descriptor of what has that name in a bpf file system."""
    name = ctypes.create_string_buffer(path.encode())
    return _bpf(_OBJ_GET, _attr("Q", ctypes.addressof(name)))


def recursion_misses(prog_fd: int) -> int:
    """How often the kernel skipped the program because it was already running on that CPU.

    ``bpf_prog_info.recursion_misses`` exists since 5.12 (commit 9ed9e9ba2337); older kernels report 0.
    """
    return int(struct.unpack_from("=Q", _info(prog_fd), _INFO_RECURSION_MISSES)[0])


def map_info(fd: int) -> tuple[int, int, int, int, int]:
    """Type, key size, value size, entries and flags of a map, as the kernel has them."""
    kind, _id, keys, values, entries, flags = struct.unpack_from("=6I", _info(fd))
    return kind, keys, values, entries, flags


def program_id(fd: int) -> int:
    """The number by which bpf(2) finds the program."""
    return int(struct.unpack_from("=I", _info(fd), _INFO_ID)[0])


def map_id(fd: int) -> int:
    """The number by which bpf(2) finds the map."""
    return int(struct.unpack_from("=I", _info(fd), _INFO_ID)[0])


def link_id(fd: int) -> int | None:
    """The number by which bpf(2) finds the link (5.8); None for a descriptor that is none, such as a perf event's."""
    try:
        return int(struct.unpack_from("=I", _info(fd), _INFO_ID)[0])
    except OSError:
        return None


def linked_program(fd: int) -> int:
    """The number of the program that a link runs."""
    return int.from_bytes(_info(fd)[_INFO_LINKED : _INFO_LINKED + 4], "little")


def has_program(number: int) -> bool:
    """Whether there is a program of that number, and so whatever runs it."""
    try:
        os.close(_bpf(_PROG_GET_FD_BY_ID, _attr("I", number)))
    except FileNotFoundError:
        return False
    return True


def map_freeze(fd: int) -> None:
    """Take no more changes from user space (5.2); programs may go on changing the map."""
    _bpf(_MAP_FREEZE, _attr("I", fd))


def jited_length(prog_fd: int) -> int:
    """Bytes of machine code that the program was compiled to; 0 where the kernel interprets it."""
    return int(struct.unpack_from("=I", _info(prog_fd), _INFO_LENGTHS)[0])


def program_sizes(prog_fd: int) -> tuple[int, int, int]:
    """Bytes of machine code, bytes of instructions as the kernel has them, and how many the verifier went through.

    The last is 0 before 5.16 (commit aba64c7da983), the first where the kernel interprets the program.
    """
    info = _info(prog_fd)
    return *struct.unpack_from("=II", info, _INFO_LENGTHS), *struct.unpack_from("=I", info, _INFO_VERIFIED)


def _info(fd: int) -> bytes:
    """``struct bpf_prog_info`` or ``bpf_map_info``, as much of it as the kernel knows."""
    info = ctypes.create_string_buffer(256)
    _bpf(_OBJ_GET_INFO, _attr("IIQ", fd, len(info), ctypes.addressof(info)))
    return info.raw


@cache
def possible_cpus() -> int:
    """How many values a per-CPU map holds for each key."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")
    return max(int(part.split("-")[-1]) for part in ranges) + 1
