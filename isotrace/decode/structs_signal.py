"""Signals: actions, masks, siginfo, wait status."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from . import signals, style, xlat
from .errnos import errno_name
from .layout import STRUCTS, Struct, add, renderer
from .scalars import hexa, ptr, s32, uid
from .signals import signal, sigset


def _sigaction(code: str, order: tuple[int, int, int, int], bits: int) -> Struct:
    """A kernel sigaction; ``order`` gives the places of handler, flags, restorer and mask."""
    packed, handler_text = struct.Struct(code), renderer(["handler"], "")

    def decode(data: bytes) -> str:
        values = packed.unpack(data)
        handler, flag, restorer, mask = (values[n] for n in order)
        text = f"{{sa_handler={handler_text(handler)}, sa_mask={sigset(mask, bits)}, "
        text += f"sa_flags={xlat.flags('sigact_flags', flag)}"
        return f"{text}, sa_restorer={ptr(restorer)}}}" if flag & 0x04000000 else f"{text}}}"

    return Struct(packed.size, decode)


@dataclass(frozen=True, slots=True)
class _Abi:
    """Where the union of a siginfo starts, and its word's size and codes."""

    start: int
    word: int

    def int32(self, data: bytes, at: int) -> int:
        return s32(int.from_bytes(data[self.start + at : self.start + at + 4], "little"))

    def long(self, data: bytes, index: int, base: int = 0) -> int:
        at = self.start + base + index * self.word
        return int.from_bytes(data[at : at + self.word], "little")


_CODES = {
    4: "sigill_codes",
    5: "sigtrap_codes",
    7: "sigbus_codes",
    8: "sigfpe_codes",
    11: "sigsegv_codes",
    17: "sigchld_codes",
}
_CODES |= {27: "sigprof_codes", 29: "sigpoll_codes", 31: "sigsys_codes"}


def si_code(number: int, code: int) -> str:
    """A siginfo's si_code: SI_USER, CLD_EXITED, SEGV_MAPERR, …"""
    unsigned = code & 0xFFFFFFFF
    name = xlat.SETS["siginfo_codes"].names.get(unsigned)
    if name is None and number in _CODES:
        name = xlat.SETS[_CODES[number]].names.get(unsigned)
    return style.constant(hexa(unsigned), name or hexa(unsigned))


def _source(abi: _Abi, data: bytes) -> list[str]:
    return [f"si_pid={abi.int32(data, 0)}", f"si_uid={uid(abi.int32(data, 4))}"]


def _value(abi: _Abi, data: bytes, at: int) -> list[str]:
    return [f"si_int={abi.int32(data, at)}", f"si_ptr={ptr(abi.long(data, 0, at))}"]


def _band(abi: _Abi, data: bytes) -> list[str]:
    bits = abi.word * 8
    band = (abi.long(data, 0) ^ 1 << bits - 1) - (1 << bits - 1)
    return [f"si_band={band}", f"si_fd={abi.int32(data, abi.word)}"]


def _from_user(abi: _Abi, data: bytes, code: int) -> list[str]:
    if code == -2:
        return [
            f"si_timerid={hexa(abi.int32(data, 0) & 0xFFFFFFFF)}",
            f"si_overrun={abi.int32(data, 4)}",
            *_value(abi, data, 8),
        ]
    if code == -5:
        return _band(abi, data)
    source = _source(abi, data)
    return source if code in (0, -6) or not abi.long(data, 0, 8) else source + _value(abi, data, 8)


def _child(abi: _Abi, data: bytes, code: int) -> list[str]:
    status = abi.int32(data, 8)
    ticks, start = renderer(["ticks"], ""), 16 if abi.word == 8 else 12
    times = [f"{name}={ticks(abi.long(data, n, start))}" for n, name in enumerate(("si_utime", "si_stime"))]
    return [*_source(abi, data), f"si_status={status if code == 1 else signal(status)}", *times]


def _fault(abi: _Abi, data: bytes, number: int, code: int) -> list[str]:
    shown = [f"si_addr={ptr(abi.long(data, 0))}"]
    if number == 7 and code in (4, 5):
        shown.append(f"si_addr_lsb={hexa(abi.int32(data, abi.word) & 0xFFFF)}")
    if number == 11 and code == 3:
        shown += [f"si_lower={ptr(abi.long(data, 2))}", f"si_upper={ptr(abi.long(data, 3))}"]
    if number == 11 and code == 4:
        shown.append(f"si_pkey={abi.long(data, 2) & 0xFFFFFFFF}")
    return shown


def _syscall(abi: _Abi, data: bytes) -> list[str]:
    arch = xlat.enum("audit_arch", abi.int32(data, abi.word + 4))
    return [
        f"si_call_addr={ptr(abi.long(data, 0))}",
        f"si_syscall={abi.int32(data, abi.word)}",
        f"si_arch={arch}",
    ]


def _details(abi: _Abi, data: bytes, number: int, code: int) -> list[str]:
    if code <= 0:
        return _from_user(abi, data, code)
    if number == 17:
        return _child(abi, data, code)
    if number in (4, 5, 7, 8, 11):
        return _fault(abi, data, number, code)
    if number == 29:
        return _band(abi, data) if code <= 6 else []
    if number == 31:
        return _syscall(abi, data)
    shown = _source(abi, data) if abi.int32(data, 0) or abi.int32(data, 4) else []
    return shown + _value(abi, data, 8) if abi.long(data, 0, 8) else shown


def _siginfo(abi: _Abi) -> Struct:
    def decode(data: bytes) -> str:
        number, error, code = struct.unpack_from("<iii", data)
        if not number:
            return "{}"
        shown = [f"si_signo={signal(number)}", f"si_code={si_code(number, code)}"]
        if code != 32767:
            shown += [f"si_errno={errno_name(error & 0xFFFFFFFF)}"] if error else []
            shown += _details(abi, data, number, code)
        return f"{{{', '.join(shown)}}}"

    return Struct(128, decode)


def _sigevent(code: str, bits: int) -> Struct:
    packed = struct.Struct(code)

    def decode(data: bytes) -> str:
        value, number, notify, function, attributes = packed.unpack(data)
        shown = [f"sigev_value={{sival_int={s32(value)}, sival_ptr={ptr(value)}}}"] if value else []
        shown.append(f"sigev_signo={signal(number) if notify in (0, 2, 4) else number}")
        shown.append(f"sigev_notify={xlat.enum('sigev_value', notify)}")
        if notify == 4:
            shown.append(f"sigev_notify_thread_id={s32(function)}")
        elif notify == 2:
            shown += [f"sigev_notify_function={ptr(function)}", f"sigev_notify_attributes={ptr(attributes)}"]
        return f"{{{', '.join(shown)}}}"

    return Struct(64, lambda data: decode(data[: packed.size]))


def wait_status(status: int) -> str:
    """A wait status without brackets: ``{WIFEXITED(s) && WEXITSTATUS(s) == 0}``."""
    low, high = status & 0x7F, status >> 8 & 0xFF
    if status == 0xFFFF:
        return "{WIFCONTINUED(s)}"
    if status & 0xFF == 0x7F:
        mark = " | 0x80" if high & 0x80 else ""
        text, rest = f"{{WIFSTOPPED(s) && WSTOPSIG(s) == {signals.name(high & 0x7F)}{mark}}}", status & ~0xFFFF
    elif low and low != 0x7F:
        core = " && WCOREDUMP(s)" if status & 0x80 else ""
        text, rest = f"{{WIFSIGNALED(s) && WTERMSIG(s) == {signals.name(low)}{core}}}", status & ~0xFF
    elif not low:
        text, rest = f"{{WIFEXITED(s) && WEXITSTATUS(s) == {high}}}", status & ~0xFF00
    else:
        return hexa(status)
    event, rest = rest >> 16 & 0xFFFF, rest & 0xFFFF
    text += f"|{xlat.enum('ptrace_events', event)}<<16" if event else ""
    return f"{text}|{rest:#x}" if rest else text


STRUCTS |= {
    "sigaction": _sigaction("<QQQQ", (0, 1, 2, 3), 64),
    "sigaction32": _sigaction("<IIIQ", (0, 1, 2, 3), 64),
    "old_sigaction32": _sigaction("<IIII", (0, 2, 3, 1), 32),
    "siginfo": _siginfo(_Abi(16, 8)),
    "siginfo32": _siginfo(_Abi(12, 4)),
    "sigevent": _sigevent("<QiiQQ", 64),
    "sigevent32": _sigevent("<IiiII", 32),
    "sigset": Struct(8, lambda data: sigset(int.from_bytes(data, "little"))),
    "old_sigset": Struct(4, lambda data: sigset(int.from_bytes(data, "little"), 32)),
    "waitstatus": Struct(4, lambda data: f"[{wait_status(int.from_bytes(data, 'little'))}]"),
}
add("""
sigaltstack = ss_sp:Q:p ss_flags:I:flags:sigaltstack_flags -:4x ss_size:Q
sigaltstack32 = ss_sp:I:p ss_flags:I:flags:sigaltstack_flags ss_size:I
sigset_argpack = sigmask:Q:p sigsetsize:Q
sigset_argpack32 = sigmask:I:p sigsetsize:I
""")
