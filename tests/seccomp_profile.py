"""A seccomp profile of Docker as it is meant, in a small evaluator, and as libseccomp and the kernel take it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import tempfile

from isotrace import catalog
from isotrace.catalog import multiplexed

ARCH = {"x86_64": 0xC000003E, "x32": 0xC000003E, "i386": 0x40000003, "arm64": 0xC00000B7}
ALLOW, LOG, KILL, ERRNO, KILL_THREAD = 0x7FFF0000, 0x7FFC0000, 0x80000000, 0x00050000, 0
ACTIONS = {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_LOG": LOG, "SCMP_ACT_KILL_PROCESS": KILL, "SCMP_ACT_ERRNO": ERRNO}
_COMPARISONS = {"SCMP_CMP_NE": 1, "SCMP_CMP_EQ": 4}


def value(action, number):
    """The filter's result."""
    return ACTIONS[action] | (number or 0 if action == "SCMP_ACT_ERRNO" else 0)


def rest(profile):
    return value(profile["defaultAction"], profile["defaultErrnoRet"])


def evaluate(profile, abi, number, args=(0,) * 6):
    """The result for a call, by names, as seccomp_rule_add(3) has it: what is listed without conditions comes first."""
    if abi == "x32" and "SCMP_ARCH_X32" not in architectures(profile):
        return KILL_THREAD
    call = catalog.by_number(abi).get(number)
    named = {call.name} if call else set()
    found = _listed(profile, named, args)
    if found is None and call and abi == "i386" and call.name in multiplexed.CALLS:
        inside = multiplexed.CALLS[call.name].get(args[0])
        found = _listed(profile, {inside} - {None}, args)
    return rest(profile) if found is None else found


def _listed(profile, named, args):
    entries = [entry for entry in profile["syscalls"] if named & set(entry["names"])]
    for entry in sorted(entries, key=lambda entry: len(entry.get("args", ()))):
        if all(_holds(test, args) for test in entry.get("args", ())):
            return value(entry["action"], entry.get("errnoRet"))
    return None


def _holds(test, args):
    same = args[test["index"]] == test["value"]
    return same if test["op"] == "SCMP_CMP_EQ" else not same


class _Compare(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def library():
    found = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_init.argtypes = [ctypes.c_uint32]
    found.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    found.seccomp_arch_resolve_name.argtypes = [ctypes.c_char_p]
    found.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    found.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    found.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Compare)
    ]  # fmt: skip
    for name in ("seccomp_load", "seccomp_release"):
        getattr(found, name).argtypes = [ctypes.c_void_p]
    found.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return found


def knows(abi, name):
    """Whether libseccomp has a number for the call, or, on i386, a way through socketcall or ipc (-101 and below)."""
    token = {"x32": 0x4000003E}.get(abi, ARCH[abi])
    return library().seccomp_syscall_resolve_name_arch(ctypes.c_uint32(token), name.encode()) not in (
        -1,
        *range(-20000, -9999),
    )


def context(profile):
    """(library, context) with the rules added as runc adds them: names that are not known are left out."""
    scmp = library()
    made = scmp.seccomp_init(rest(profile))
    assert made
    for name in architectures(profile):
        token = scmp.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
        assert token, name
        assert scmp.seccomp_arch_add(made, token) in (0, -errno.EEXIST)
    for entry in profile["syscalls"]:
        for name in entry["names"]:
            number = scmp.seccomp_syscall_resolve_name(name.encode())
            action = value(entry["action"], entry.get("errnoRet"))
            if number == -1 or action == rest(profile):
                continue
            tests = [_Compare(one["index"], _COMPARISONS[one["op"]], one["value"], 0) for one in entry.get("args", ())]
            added = scmp.seccomp_rule_add_array(made, action, number, len(tests), (_Compare * len(tests))(*tests))
            assert added == 0, (name, added)
    return scmp, made


def architectures(profile):
    if "architectures" in profile:
        return profile["architectures"]
    own = next(one for one in profile["archMap"] if one["architecture"] == "SCMP_ARCH_X86_64")
    return [own["architecture"], *own["subArchitectures"]]


def program(profile):
    """The filter that libseccomp makes of it: classic BPF."""
    scmp, made = context(profile)
    with tempfile.TemporaryFile() as file:
        assert scmp.seccomp_export_bpf(made, file.fileno()) == 0
        scmp.seccomp_release(made)
        file.seek(0)
        return list(struct.iter_unpack("=HBBI", file.read()))


def interpret(steps, number, arch, args=(0,) * 6):
    """What the kernel's interpreter would return."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *args)
    at, accumulator = 0, 0
    while True:
        operation, yes, no, operand = steps[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x05:
                at += operand
            case 0x06:
                return operand
            case 0x15 | 0x25 | 0x35:
                held = {0x15: accumulator == operand, 0x25: accumulator > operand, 0x35: accumulator >= operand}
                at += yes if held[operation] else no
            case _:
                raise AssertionError(hex(operation))


def under(profile, function):
    """What ``function`` returns in a child that has loaded the profile, a small number; or -signal."""
    scmp, made = context(profile)
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            if scmp.seccomp_load(made) == 0:
                status = function()
        finally:
            os._exit(status)
    scmp.seccomp_release(made)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)
