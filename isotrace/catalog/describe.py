"""What an argument's kind means, in words for a person."""

from __future__ import annotations

from isotrace.catalog import alternatives
from isotrace.catalog.model import Arg, Syscall

_WORDS = {
    "int": "signed number",
    "uint": "unsigned number",
    "long": "signed number of register size",
    "ulong": "unsigned number of register size",
    "size": "size or count",
    "off": "offset",
    "hex": "number, shown in hex",
    "ptr": "address",
    "fd": "file descriptor",
    "dirfd": "directory descriptor, or AT_FDCWD",
    "pid": "process ID",
    "uid": "user ID",
    "gid": "group ID",
    "uid16": "user ID of 16 bits",
    "gid16": "group ID of 16 bits",
    "mode": "permission bits, in octal",
    "modetype": "file type and permission bits",
    "dev": "device number",
    "signal": "signal",
    "none": "not shown",
    "noreturn": "does not return",
    "off64": "low half of a 64-bit number; high half: {0}",
    "flags": "bits of {0}",
    "flags32": "bits of {0}",
    "enum": "one of {0}",
    "enum32": "one of {0}",
    "flags64": "low half of bits of {0}; high half: {1}",
    "path": "file name",
    "outpath": "file name filled by the call; how many bytes: {0}",
    "str": "string",
    "inbuf": "bytes given to the call; how many: {0}",
    "outbuf": "bytes filled by the call; how many: {0}",
    "outhex": "bytes filled by the call, no text; how many: {0}",
    "outdirents": "directory entries; how many bytes: {0}",
    "outdirents64": "directory entries; how many bytes: {0}",
    "in": "pointer to {0}, read by the call",
    "out": "pointer to {0}, filled by the call",
    "inout": "pointer to {0}, read and filled",
    "either": "pointer to {0}, filled as {1}",
    "program": "pointer to {0}, a filter program",
    "outrem": "pointer to {0}, filled when the call is interrupted",
    "outdone": "pointer to {0}, filled where the result is more than 0",
    "insized": "pointer to {0}, read by the call; how many bytes: {1}",
    "outsized": "pointer to {0}, filled by the call; how many bytes: {1}",
    "was": "pointer to {0}, read by the call and written over",
    "moves": "pointer to {0}, read and moved on by the call",
    "wants": "pointer to {0}: a length, read and filled",
    "fdset": "set of descriptors, read and filled; how many descriptors: {0}",
    "inarray": "array of {0}, read by the call; how many: {1}",
    "outarray": "array of {0}, filled by the call; how many: {1}",
    "inoutarray": "array of {0}, read and filled; how many: {1}",
    "sockaddr": "socket address of {0} bytes",
    "outsockaddr": "socket address filled by the call, size in *{0}",
    "iniov": "buffers given to the call; how many: {0}",
    "outiov": "buffers filled by the call; how many: {0}",
    "inmsg": "message given to the call",
    "outmsg": "message filled by the call",
    "inmmsg": "messages given to the call; how many: {0}",
    "outmmsg": "messages filled by the call; how many: {0}",
    "incpuset": "CPU mask; how many bytes: {0}",
    "outcpuset": "CPU mask filled by the call; how many bytes: {0}",
    "argv": "arguments of the program",
    "envp": "environment of the program",
    "socktype": "one of socktypes, with bits of sock_type_flags",
    "cloneflags": "bits of clone_flags, with the exit signal",
    "sigmask": "set of signals",
    "ipckey": "IPC key, or IPC_PRIVATE",
    "pidtype": "PIDTYPE_… of the kernel, which headers have not",
    "serial": "a key by its serial number, or KEY_SPEC_…",
    "ipcmode": "bits of {0}, with permission bits",
    "vectorlength": "length of vectors, with bits of {0}",
    "taggedaddr": "what the kernel takes of tagged addresses",
    "swapflags": "bits of swap_flags, with a priority",
    "pgoff": "offset in pages",
    "mpolmode": "memory policy",
    "quotacmd": "quota command and type",
    "ioprio": "I/O priority",
    "packetproto": "protocol in network byte order",
    "futexbits": "mask of waiters",
    "openbits": "bits of open_mode_flags, without an access mode",
    "futexwakeop": "packed operation",
}


def notation(arg: Arg) -> str:
    """The kind as meanings.txt writes it: ``inbuf(count)``."""
    return f"{arg.kind}({','.join(arg.params)})" if arg.params else arg.kind


def meaning(arg: Arg) -> str:
    """One line for an argument's kind; for an ``alt``, only that it depends on another argument."""
    if arg.kind == "alt":
        return "depends on another argument:"
    return _WORDS[arg.kind].format(*map(_length, arg.params))


def _length(param: str) -> str:
    if not param.startswith("ret"):
        return param
    return "as many as returned" + (f", at most {param[4:]}" if param[3:] else "")


def result(call: Syscall) -> Arg:
    """The call's result as an argument named ``ret``, for ``meaning`` and ``cases``."""
    arg = alternatives.result_arg(call)
    return Arg("ret", "noreturn") if arg.kind == "none" else arg


def cases(arg: Arg) -> list[tuple[str, str]]:
    """For an ``alt`` argument its (condition, meaning) pairs, in order; nothing for any other."""
    if arg.kind != "alt":
        return []
    pairs = zip(alternatives.conditions(arg.params[0]), alternatives.kinds(arg.params[0]), strict=True)
    return [("otherwise" if condition == "*" else condition, meaning(kind)) for condition, kind in pairs]
