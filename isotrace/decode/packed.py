"""Registers that pack more than one thing; the kinds are described in isotrace/catalog/model.py."""

from __future__ import annotations

from collections.abc import Callable

from isotrace.decode import style, xlat
from isotrace.decode.scalars import hexa, modetype, octal, s32, u32
from isotrace.decode.signals import sigset

_FUTEX_MATCH_ANY = 0xFFFFFFFF
_FUTEX_OPS = ("FUTEX_OP_SET", "FUTEX_OP_ADD", "FUTEX_OP_OR", "FUTEX_OP_ANDN", "FUTEX_OP_XOR")
_FUTEX_TESTS = (
    "FUTEX_OP_CMP_EQ",
    "FUTEX_OP_CMP_NE",
    "FUTEX_OP_CMP_LT",
    "FUTEX_OP_CMP_LE",
    "FUTEX_OP_CMP_GT",
    "FUTEX_OP_CMP_GE",
)


def pidtype(value: int) -> str:
    """What a pid is of: the kernel's own names, so the number is always there."""
    kind = u32(value)
    name = xlat.SETS["pr_sched_core_pidtype"].names.get(kind, "PIDTYPE_???")
    return style.constant(hexa(kind), f"{hexa(kind)} /* {name} */")


def serial(value: int) -> str:
    """A key by its serial number, or one of those that every process has."""
    number = str(s32(value))
    return style.constant(number, xlat.SETS["key_spec"].names.get(u32(value), number))


def ipckey(value: int) -> str:
    """A System V IPC key."""
    return hexa(u32(value)) if u32(value) else style.constant("0", "IPC_PRIVATE")


def ipcmode(set_name: str, value: int) -> str:
    """Flags with an octal mode in the low nine bits: IPC_CREAT|0600."""
    mode, rest = octal(value & 0o777), u32(value) & ~0o777
    return f"{xlat.flags(set_name, rest)}|{mode}" if rest else mode


def mpolmode(value: int) -> str:
    """A memory policy with its mode flags (linux/mempolicy.h: the flags are bits 13 to 15)."""
    return xlat.flags("policies", u32(value))


def quotacmd(value: int) -> str:
    """quotactl's command: QCMD(Q_GETQUOTA, USRQUOTA)."""
    command, kind = u32(value) >> 8, value & 0xFF
    return style.constant(str(u32(value)), f"QCMD({xlat.enum('quotacmds', command)}, {xlat.enum('quotatypes', kind)})")


def ioprio(value: int) -> str:
    """An I/O priority: class in the top three of 16 bits, data below."""
    return f"IOPRIO_PRIO_VALUE({xlat.enum('ioprio_class', u32(value) >> 13)}, {value & 0x1FFF})"


def packetproto(value: int) -> str:
    """socket's protocol for AF_PACKET, in network byte order."""
    number = (value & 0xFF) << 8 | value >> 8 & 0xFF
    return f"htons({xlat.enum('ethernet_protocols', number)})" if number else "0"


def futexbits(value: int) -> str:
    """The bit set of FUTEX_WAIT_BITSET."""
    return style.constant(hexa(value), "FUTEX_BITSET_MATCH_ANY" if value == _FUTEX_MATCH_ANY else hexa(value))


def futexwakeop(value: int) -> str:
    """The operation and comparison that FUTEX_WAKE_OP packs in one register (FUTEX_OP in linux/futex.h)."""
    value = u32(value)
    shift = "FUTEX_OP_OPARG_SHIFT<<28|" if value >> 31 else ""
    op, test = value >> 28 & 7, value >> 24 & 15
    name = style.constant(hexa(op), _FUTEX_OPS[op] if op < len(_FUTEX_OPS) else f"{op:#x}")
    compare = style.constant(hexa(test), _FUTEX_TESTS[test] if test < len(_FUTEX_TESTS) else f"{test:#x}")
    return f"{shift}{name}<<28|{hexa(value >> 12 & 0xFFF)}<<12|{compare}<<24|{hexa(value & 0xFFF)}"


#: Kind → renderer, for the kinds that take no parameter.
PACKED: dict[str, Callable[[int], str]] = {
    "modetype": modetype,
    "socktype": lambda value: xlat.flags("socktypes", value),
    "cloneflags": lambda value: xlat.flags("clone_flags", value),
    "sigmask": lambda value: sigset(u32(value), 32),
    "ipckey": ipckey,
    "pidtype": pidtype,
    "serial": serial,
    "pgoff": lambda value: hexa(value * 4096),
    "mpolmode": mpolmode,
    "quotacmd": quotacmd,
    "ioprio": ioprio,
    "packetproto": packetproto,
    "futexbits": futexbits,
    "futexwakeop": futexwakeop,
    "openbits": lambda value: xlat.bits("open_mode_flags", value),
}
