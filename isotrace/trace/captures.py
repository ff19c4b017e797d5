"""Which user memory the kernel program copies for a call: the catalogue's argument kinds as rows of ``struct capture``."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from isotrace.catalog.alternatives import chooser, result_arg
from isotrace.catalog.model import Arg, Syscall
from isotrace.catalog.rings import PREFIX
from isotrace.decode.scalars import s32
from isotrace.decode.structs import STRUCTS

CAPTURES = 5
NONE, STRING, BYTES, IOVEC, MSGHDR, MESSAGES, FILE, BASE, PROGRAM = range(9)
#: Of a row FILE, as its unit: AT_FDCWD is a descriptor, too.
OR_HOME = 1
#: What descriptors a call makes, FILES_… of bpf/event.h: none, the result, two in memory that argument n - 2 points to.
MADE_NONE, MADE_RESULT, MADE_PAIR = range(3)
ONE, RESULT, POINTER, NARROW, BITS = 0, 8, 17, 25, 33
STRING_MAX = 4096

#: Arguments of the kind "path" that name nothing when the call is made: (call, argument).
NO_PATHS = frozenset({("symlink", "old"), ("symlinkat", "oldname"), ("mount", "dev_name")})

_PATH_LIMIT = STRING_MAX - 1
_SOCKADDR_LIMIT = 128
_MESSAGES = 4  # of a vector, as in bpf/trace_record.h
_ELEMENTS = 32  # of an array, at most: what strace shows
_ROW = struct.Struct("<BBBBHH")
_TAIL = 8  # bytes of struct captures behind its rows
_BEYOND = 32  # bytes of a struct that is longer than the one that is known
_SET = 128  # bytes of a descriptor set: FD_SETSIZE


class Capture(NamedTuple):
    """One row: what to do with argument ``arg``, where its length comes from, and the most bytes to take."""

    op: int
    arg: int
    length: int = ONE
    on_success: bool = False
    unit: int = 1
    limit: int = 0


def pack(captures: tuple[Capture, ...], before: bool = False, made: int = MADE_NONE, netlink: bool = False) -> bytes:
    """``struct captures`` for the kernel's map; ``before``: the call has captures at its beginning as well.

    ``netlink``: its first argument may be a netlink socket.
    """
    return pack_rows(captures) + bytes([before, made, netlink]).ljust(_TAIL, b"\0")


def pack_rows(captures: tuple[Capture, ...]) -> bytes:
    """CAPTURES rows of ``struct capture``."""
    rows = [_ROW.pack(*capture) for capture in captures]
    return b"".join(rows).ljust(CAPTURES * _ROW.size, b"\0")


def captures_of(call: Syscall, string_limit: int) -> tuple[Capture, ...]:
    """The captures of a call, at most CAPTURES; strings and buffers at most ``string_limit`` bytes."""
    found = [row for index, arg in enumerate(call.args) if (row := _capture(call, index, arg, string_limit))]
    return tuple(found[:CAPTURES])


def befores_of(call: Syscall) -> tuple[Capture, ...]:
    """The captures of a call at its beginning, of what the kernel writes over; at most CAPTURES."""
    rows = (_capture(call, index, arg, STRING_MAX) for index, arg in enumerate(call.args) if arg.kind in _OVERWRITTEN)
    found = [row for row in rows if row]
    messages = [(i, arg) for i, arg in enumerate(call.args) if arg.kind in ("outmsg", "outmmsg")]
    return (*(_headers(call, i, arg) for i, arg in messages), *found)


def files_of(call: Syscall) -> tuple[Capture, ...]:
    """The captures of what the call's descriptors are, when it begins."""
    kinds = {"fd": 0, "dirfd": OR_HOME}
    return tuple(Capture(FILE, i, unit=kinds[arg.kind]) for i, arg in enumerate(call.args) if arg.kind in kinds)


def bases_of(call: Syscall) -> tuple[Capture, ...]:
    """The captures of where the call's paths begin: at the directory whose descriptor comes before, or the working one."""
    found, directory, name = [], 0, call.name.removeprefix(PREFIX)
    for index, arg in enumerate(call.args):
        if arg.kind == "dirfd":
            directory = index + 1
        elif arg.kind == "path" and (name, arg.name) not in NO_PATHS:
            found.append(Capture(BASE, index, unit=directory))
            directory = 0
    return tuple(found)


#: Calls that are given a program of classic BPF: the argument that points to it; which argument has what value then.
_PROGRAMS = {
    "seccomp": ((2, 0, 1),),  # SECCOMP_SET_MODE_FILTER
    "prctl": ((2, 0, 22),),  # PR_SET_SECCOMP
    "setsockopt": ((3, 2, 26), (3, 2, 51)),  # SO_ATTACH_FILTER, SO_ATTACH_REUSEPORT_CBPF
}


def programs_of(call: Syscall) -> tuple[Capture, ...]:
    """The captures of the instructions of programs that the call is given."""
    rows = _PROGRAMS.get(call.name, ())
    return tuple(Capture(PROGRAM, arg, which, unit=value, limit=STRING_MAX) for arg, which, value in rows)


#: Calls whose messages may be netlink's; read and its kin only where what descriptors are is asked for.
_SOCKETS = frozenset(
    {"send", "sendto", "sendmsg", "sendmmsg", "recv", "recvfrom", "recvmsg", "recvmmsg", "recvmmsg_time64"}
)
_STREAMS = frozenset({"read", "write", "readv", "writev"})


def may_be_netlink(call: Syscall, descriptors: bool) -> bool:
    """Whether it is to be looked at whether the call's first argument is a netlink socket."""
    return call.name in _SOCKETS or (descriptors and call.name in _STREAMS)


def made_by(call: Syscall) -> int:
    """Which descriptors the call makes: MADE_…"""
    if call.ret == "fd" or (call.ret.startswith("alt(") and _may_make(call)):
        return MADE_RESULT
    pairs = [index for index, arg in enumerate(call.args) if arg.kind == "out" and arg.params[0] == "fdpair"]
    return MADE_PAIR + pairs[0] if pairs else MADE_NONE


def _may_make(call: Syscall) -> bool:
    return any(case.arg.kind == "fd" for case in chooser(call, result_arg(call)).cases)


def _headers(call: Syscall, index: int, arg: Arg) -> Capture:
    """The msghdr of recvmsg, the first mmsghdr of recvmmsg: how long what the kernel fills may be."""
    narrow = call.abi == "i386"
    if arg.kind == "outmsg":
        return Capture(BYTES, index, ONE, False, *(2 * [28 if narrow else 56]))
    size = 32 if narrow else 64
    return Capture(BYTES, index, _length(call, "vlen")[0], False, size, _MESSAGES * size)


def _length(call: Syscall, name: str) -> tuple[int, int]:
    """A length's source and, for a literal count, its factor."""
    if name.startswith("ret"):
        return RESULT, 1
    if name.isdecimal():
        return ONE, int(name)
    index = _position(call, name.lstrip("*"))
    if name.startswith("*"):
        return POINTER + index, 1
    return (NARROW + index if call.widths[index : index + 1] == (32,) else index + 1), 1


def _bytes(call: Syscall, index: int, length: str, unit: int, limit: int, on_success: bool) -> Capture:
    source, factor = _length(call, length)
    return Capture(BYTES, index, source, on_success, unit * factor, min(limit, STRING_MAX))


def _struct(index: int, name: str, on_success: bool) -> Capture | None:
    known = STRUCTS.get(name)
    if known is None or known.size > STRING_MAX:
        return None
    return Capture(BYTES, index, ONE, on_success, known.size, known.size)


def _sized(call: Syscall, index: int, arg: Arg) -> Capture | None:
    """As many bytes of a struct as the caller has, and some of those that it has beyond what is known of the struct."""
    known = STRUCTS.get(arg.params[0])
    return _bytes(call, index, arg.params[1], 1, known.size + _BEYOND, arg.kind == "outsized") if known else None


def _array(call: Syscall, index: int, arg: Arg) -> Capture | None:
    known = STRUCTS.get(arg.params[0])
    if known is None:
        return None
    limit = min(_ELEMENTS * known.size, STRING_MAX)
    return _bytes(call, index, arg.params[1], known.size, limit, arg.kind == "outarray")


def _alternative(call: Syscall, index: int, arg: Arg, limit: int) -> Capture | None:
    """One capture that has what any case needs: the kernel program does not look at which case it is.

    Cases that differ in kind become so many bytes as the largest needs; rendering cuts them (``size_of``).
    """
    rows = {row for case in chooser(call, arg).cases if (row := _capture(call, index, case.arg, limit))}
    if len(rows) <= 1:
        return next(iter(rows), None)
    if {row.op for row in rows} == {STRING} or len({row._replace(limit=0) for row in rows}) == 1:
        return max(rows, key=lambda row: row.limit)
    size = max(map(_room, rows))
    size = min(size, STRING_MAX)
    return Capture(BYTES, index, ONE, all(row.on_success for row in rows), size, size)


def _room(row: Capture) -> int:
    """How many bytes it copies at most: of a string one more, which tells whether it ends there."""
    if row.op == STRING:
        return row.limit + 1
    return min(row.unit, row.limit) if row.op == BYTES and row.length == ONE else row.limit


def size_of(call: Syscall, index: int, arg: Arg, registers: Sequence[int], result: int) -> int | None:
    """How many bytes ``arg`` has in a call with these registers; None where the registers do not tell."""
    row = _capture(call, index, arg, STRING_MAX)
    if row is None or row.op != BYTES:
        return None
    count = _returned(call, arg, registers, result) if row.length == RESULT else count_in(registers, row.length)
    return None if count is None else row.unit * count


def _returned(call: Syscall, arg: Arg, registers: Sequence[int], result: int) -> int:
    """How many the call returned, and there was room for."""
    count, (_, _, room) = max(result, 0), arg.params[-1].partition("<")
    if not room:
        return count
    index = _position(call, room)
    width = call.widths[index] if index < len(call.widths) else 64
    return min(count, registers[index] & ((1 << width) - 1))


def count_in(registers: Sequence[int], length: int) -> int | None:
    """What a ``Capture.length`` comes to for these registers; None where they alone do not tell."""
    if length == ONE:
        return 1
    if length >= BITS:
        return (max(s32(registers[length - BITS]), 0) + 63) // 64 * 8
    if length >= NARROW:
        return registers[length - NARROW] & 0xFFFFFFFF
    return registers[length - 1] if length < RESULT else None


def _position(call: Syscall, name: str) -> int:
    return [arg.name for arg in call.args].index(name)


#: Kinds whose memory is read when the call begins as well: the kernel writes over it.
_OVERWRITTEN = frozenset({"was", "moves", "wants", "fdset"})

#: Kinds that are an array.
ARRAYS = frozenset({"inarray", "inoutarray", "outarray"})

_Make = Callable[[Syscall, int, Arg, int], Capture | None]
_KINDS: dict[str, _Make] = {
    "path": lambda call, i, arg, limit: Capture(STRING, i, limit=_PATH_LIMIT),
    "str": lambda call, i, arg, limit: Capture(STRING, i, limit=limit),
    "outpath": lambda call, i, arg, limit: _bytes(call, i, arg.params[0], 1, STRING_MAX, True),
    "inbuf": lambda call, i, arg, limit: _bytes(call, i, arg.params[0], 1, limit, False),
    "outbuf": lambda call, i, arg, limit: _bytes(call, i, arg.params[0], 1, limit, True),
    "outhex": lambda call, i, arg, limit: _bytes(call, i, arg.params[0], 1, limit, True),
    "outdirents": lambda call, i, arg, limit: _bytes(call, i, arg.params[0], 1, STRING_MAX, True),
    "outdirents64": lambda call, i, arg, limit: _bytes(call, i, arg.params[0], 1, STRING_MAX, True),
    "outrem": lambda call, i, arg, limit: _struct(i, arg.params[0], False),
    "in": lambda call, i, arg, limit: _struct(i, arg.params[0], False),
    "inout": lambda call, i, arg, limit: _struct(i, arg.params[0], False),
    "either": lambda call, i, arg, limit: _struct(i, arg.params[1], False),
    "out": lambda call, i, arg, limit: _struct(i, arg.params[0], True),
    "outdone": lambda call, i, arg, limit: _struct(i, arg.params[0], True),
    "insized": lambda call, i, arg, limit: _sized(call, i, arg),
    "outsized": lambda call, i, arg, limit: _sized(call, i, arg),
    "was": lambda call, i, arg, limit: _struct(i, arg.params[0], False),
    "moves": lambda call, i, arg, limit: _struct(i, arg.params[0], False),
    "wants": lambda call, i, arg, limit: _struct(i, arg.params[0], False),
    "fdset": lambda call, i, arg, limit: Capture(BYTES, i, BITS + _position(call, arg.params[0]), False, 1, _SET),
    "inarray": lambda call, i, arg, limit: _array(call, i, arg),
    "inoutarray": lambda call, i, arg, limit: _array(call, i, arg),
    "outarray": lambda call, i, arg, limit: _array(call, i, arg),
    "incpuset": lambda call, i, arg, limit: _bytes(call, i, arg.params[0], 1, 128, False),
    "outcpuset": lambda call, i, arg, limit: _bytes(call, i, arg.params[0], 1, 128, True),
    "sockaddr": lambda call, i, arg, limit: _bytes(call, i, arg.params[0], 1, _SOCKADDR_LIMIT, False),
    "outsockaddr": lambda call, i, arg, limit: _bytes(call, i, "*" + arg.params[0], 1, _SOCKADDR_LIMIT, True),
    "iniov": lambda call, i, arg, limit: Capture(IOVEC, i, _length(call, arg.params[0])[0], False, 1, limit),
    "outiov": lambda call, i, arg, limit: Capture(IOVEC, i, _length(call, arg.params[0])[0], True, 1, limit),
    "inmsg": lambda call, i, arg, limit: Capture(MSGHDR, i, ONE, False, 1, limit),
    "outmsg": lambda call, i, arg, limit: Capture(MSGHDR, i, ONE, True, 1, limit),
    "inmmsg": lambda call, i, arg, limit: Capture(MESSAGES, i, _length(call, arg.params[0])[0], False, 1, limit),
    "outmmsg": lambda call, i, arg, limit: Capture(MESSAGES, i, _length(call, arg.params[0])[0], True, 1, limit),
    "program": lambda call, i, arg, limit: _struct(i, arg.params[0], False),
    "alt": lambda call, i, arg, limit: _alternative(call, i, arg, limit),
}


def _capture(call: Syscall, index: int, arg: Arg, string_limit: int) -> Capture | None:
    make = _KINDS.get(arg.kind)
    return make(call, index, arg, string_limit) if make else None
