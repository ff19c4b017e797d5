"""Probes that ask the verifier: tiny programs, loaded and dropped.

Only ``raw_tracepoint`` attaches anything: a program that returns at once. The others never run.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from isotrace.kernel import bpf, btf, probe_system
from isotrace.kernel.answer import Answer, no, refusal, unknown, verifier_reason, yes
from isotrace.kernel.assembly import MAP_FD, RETURN_0, call, load, op, put, stack

# enum bpf_map_type, bpf_prog_type and bpf_attach_type
_ARRAY, _PROG_ARRAY, _RINGBUF = 2, 3, 27
_KPROBE, _RAW_TRACEPOINT, _TRACING, _LSM = 2, 17, 26, 29
_MODIFY_RETURN, _LSM_MAC = 26, 27

# enum bpf_func_id
_TAIL_CALL, _PROBE_WRITE_USER, _OVERRIDE_RETURN, _SEND_SIGNAL = 12, 36, 58, 109
_PROBE_READ_USER, _PROBE_READ_KERNEL, _PROBE_READ_USER_STR = 112, 113, 114

_LOG_BYTES = 65536
_SIGKILL = 9


# ---- programs ----------------------------------------------------------------------------------------------


_OVERRIDE = put(2, 0) + call(_OVERRIDE_RETURN) + RETURN_0
_SIGNAL = put(1, _SIGKILL) + call(_SEND_SIGNAL) + RETURN_0
# r1 = r10 - 8: eight bytes of the stack
_STACK = stack(1, -8)
# *(r10 - 8) = 0, to be written from there
_ZERO = stack(2, -8) + op(0x7A, 2)
_WRITE_USER = _ZERO + put(1, 0) + put(3, 8) + call(_PROBE_WRITE_USER) + RETURN_0


def _read(helper: int) -> bytes:
    return _STACK + put(2, 8) + put(3, 0) + call(helper) + RETURN_0


def _tail_call(map_fd: int) -> bytes:
    """r1 is the context still; r2 the map, by descriptor; r3 the slot."""
    return load(2, MAP_FD, map_fd) + put(3, 0) + call(_TAIL_CALL) + RETURN_0


# ---- attempts ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _memory() -> Iterator[None]:
    """Until 5.11 (80ee81e0403c) programs and maps count against RLIMIT_MEMLOCK: lift it for a moment."""
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, before)


def _refused(attempt: str, error: OSError, said: str = "") -> Answer:
    return refusal(attempt, error.errno or 0, probe_system.privileged(), said)


def _verifier_words(kind: int, program: bytes, attach_type: int, btf_id: int) -> str:
    """The verifier's reason for refusing, asked for by loading once more with a log."""
    log = ctypes.create_string_buffer(_LOG_BYTES)
    with contextlib.suppress(OSError):
        os.close(bpf.prog_load(kind, program, attach_type=attach_type, attach_btf_id=btf_id, log=log))
    return verifier_reason(log.value.decode(errors="replace"))


def loads(what: str, kind: int, program: bytes, attach_type: int = 0, btf_id: int = 0) -> Answer:
    """Whether the kernel takes ``program``; it is never attached."""
    try:
        with _memory():
            os.close(bpf.prog_load(kind, program, attach_type=attach_type, attach_btf_id=btf_id))
    except OSError as error:
        return _refused(what, error, _verifier_words(kind, program, attach_type, btf_id))
    return yes(f"{what}: the verifier takes it")


def _creates(what: str, kind: int, key: int, value: int, entries: int) -> Answer:
    try:
        with _memory():
            os.close(bpf.map_create(kind, key, value, entries))
    except OSError as error:
        return _refused(what, error)
    return yes(f"{what}: created")


def _loads_for(function: str, what: str, kind: int, attach_type: int) -> Answer:
    """Whether a program for the kernel function loads, found by its BTF number."""
    try:
        number = btf.vmlinux().type_id(function, btf.KIND_FUNC)
    except KeyError:
        return no(f"{function} is not in the kernel's BTF")
    return loads(f"{what} {function}", kind, RETURN_0, attach_type, number)


def loads_lsm(function: str) -> Answer:
    """Whether an LSM program for ``function``, a bpf_lsm_*, loads."""
    return _loads_for(function, "an LSM program for", _LSM, _LSM_MAC)


def loads_fmod_ret(function: str) -> Answer:
    """Whether a fmod_ret program for ``function`` loads."""
    return _loads_for(function, "a fmod_ret program for", _TRACING, _MODIFY_RETURN)


# ---- probes ------------------------------------------------------------------------------------------------


def bpf_syscall() -> Answer:
    """The system call itself, with the simplest map."""
    return _creates("an array map", _ARRAY, 4, 4, 1)


def ringbuf() -> Answer:
    """Ring buffer maps, since 5.8."""
    return _creates("a ring buffer map", _RINGBUF, 0, 0, mmap.PAGESIZE)


def raw_tracepoint_loads() -> Answer:
    """Programs for raw tracepoints, without attaching one."""
    return loads("a raw tracepoint program", _RAW_TRACEPOINT, RETURN_0)


def raw_tracepoint() -> Answer:
    """Attach a program that returns at once to sys_enter, and take it off."""
    step = "loading a raw tracepoint program"
    try:
        with _memory():
            program = bpf.prog_load(_RAW_TRACEPOINT, RETURN_0)
        try:
            step = "attaching to sys_enter"
            os.close(bpf.raw_tracepoint_open("sys_enter", program))
        finally:
            os.close(program)
    except OSError as error:
        return _refused(step, error)
    return yes("attached to sys_enter and taken off again")


def tail_call() -> Answer:
    """Programs that jump to one another through a program array."""
    try:
        with _memory():
            slots = bpf.map_create(_PROG_ARRAY, 4, 4, 1)
    except OSError as error:
        return _refused("a program array map", error)
    try:
        return loads("a tail call", _RAW_TRACEPOINT, _tail_call(slots))
    finally:
        os.close(slots)


def probe_read_user() -> Answer:
    """The helpers that read a traced process's memory, since 5.5."""
    helpers = {"bpf_probe_read_user": _PROBE_READ_USER, "bpf_probe_read_user_str": _PROBE_READ_USER_STR}
    return _all([loads(name, _RAW_TRACEPOINT, _read(helper)) for name, helper in helpers.items()])


def _all(answers: list[Answer]) -> Answer:
    """The first that is not yes, or the last."""
    return next((answer for answer in answers if answer.verdict != "yes"), answers[-1])


def probe_read_kernel() -> Answer:
    """The helper that reads kernel memory; lockdown=confidentiality takes it away (ff40e51043af, 5.13)."""
    return loads("bpf_probe_read_kernel", _RAW_TRACEPOINT, _read(_PROBE_READ_KERNEL))


def jit() -> Answer:
    """Whether a loaded program is machine code."""
    try:
        with _memory():
            program = bpf.prog_load(_RAW_TRACEPOINT, RETURN_0)
        try:
            length = bpf.jited_length(program)
        finally:
            os.close(program)
    except OSError as error:
        refused = _refused("loading a program", error)
        return Answer("unknown", refused.why, refused.remedy)
    return yes(f"a program of 2 instructions became {length} bytes") if length else no("programs are interpreted")


def unlocked() -> Answer:
    """Lockdown, from securityfs, or from what it forbids."""
    answer = probe_system.lockdown()
    if answer.verdict != "unknown":
        return answer
    # Under lockdown the helper is gone since 51e1bb9eeaf7 (5.14, and stable kernels before).
    control = raw_tracepoint_loads()
    write = loads("bpf_probe_write_user", _RAW_TRACEPOINT, _WRITE_USER)
    if control.verdict == "yes" and write.verdict == "no":
        return no("locked down: bpf_probe_write_user is refused, as by lockdown=integrity")
    return answer


def lsm_bpf() -> Answer:
    """Whether BPF LSM programs load and would also be called."""
    program = loads_lsm("bpf_lsm_file_open")
    if program.verdict != "yes":
        return program
    active = probe_system.active_lsms()
    if active is None:
        return unknown("the program loads, but the active LSMs cannot be read: securityfs is not mounted")
    if "bpf" not in active:
        return no(f"the program loads but would not be called: active LSMs are {','.join(active)}")
    return yes(f"{program.why}; active LSMs: {','.join(active)}")


def fmod_ret_security() -> Answer:
    """Whether a program may decide the result of an LSM hook's caller."""
    return loads_fmod_ret("security_file_open")


def fmod_ret_syscall() -> Answer:
    """Whether a program may decide the result of a call's entry point."""
    return loads_fmod_ret(f"{probe_system.entry_prefix()}openat")


def override() -> Answer:
    """bpf_override_return, and a kprobe to call it from."""
    program = loads("bpf_override_return", _KPROBE, _OVERRIDE)
    if program.verdict != "yes":
        return program
    kprobes = probe_system.kprobe()
    if kprobes.verdict != "yes":
        return kprobes
    functions = probe_system.error_injection()
    return no(functions.why) if functions.verdict == "no" else program


def signal() -> Answer:
    """bpf_send_signal, since 5.3."""
    return loads("bpf_send_signal", _RAW_TRACEPOINT, _SIGNAL)


def readable_btf() -> Answer:
    """The kernel's type information and every offset that ``log`` needs of it. Raises ``KernelError``."""
    found = btf.constants()
    return yes(f"{btf.VMLINUX}: {len(found)} offsets found")


def btf_is_there() -> Answer:
    """The same at a glance: whether the file can be opened."""
    with Path(btf.VMLINUX).open("rb"):
        return yes(str(btf.VMLINUX))
