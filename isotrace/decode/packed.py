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
    """Flags with an octal mode in the low nine bits: IPC_CREAT|0600; for shmget the log2 of a huge page as well."""
    rest, size = u32(value) & ~0o777, 0
    if set_name == "shm_resource_flags":
        size, rest = rest >> 26, rest & ~(0x3F << 26)
    shown = [xlat.flags(set_name, rest)] if rest else []
    shown += [f"{size}<<{style.constant('26', 'SHM_HUGE_SHIFT')}"] if size else []
    return "|".join([*shown, octal(value & 0o777)])


def vectorlength(set_name: str, value: int) -> str:
    """The length of SVE's or SME's vectors, with flags above its 16 bits: PR_SVE_VL_INHERIT|0x20."""
    bits, length = value & ~0xFFFF, hexa(value & 0xFFFF)
    with style.names():
        name = f"{xlat.flags(set_name, bits)}|{length}" if bits else length
    return style.constant(hexa(value), name)


def swapflags(value: int) -> str:
    """Flags of swapon with the priority in the low fifteen bits: SWAP_FLAG_PREFER|42."""
    bits, priority_of = u32(value) & ~0x7FFF, value & 0x7FFF
    return f"{xlat.flags('swap_flags', bits)}|{priority_of}" if bits else str(priority_of)


def taggedaddr(value: int) -> str:
    """What arm64's kernel takes of tagged addresses: !PR_TAGGED_ADDR_ENABLE|PR_MTE_TCF_SYNC|0x3<<PR_MTE_TAG_SHIFT."""
    tags, rest = value >> 3 & 0xFFFF, value & ~0x7FFFF
    with style.names():
        shown = ["!" * (not value & 1) + "PR_TAGGED_ADDR_ENABLE", xlat.enum("pr_mte_tcf", value & 6)]
    shown += [f"{tags:#x}<<PR_MTE_TAG_SHIFT"] if tags else []
    return style.constant(hexa(value), "|".join([*shown, *([f"{rest:#x}"] if rest else [])]))


def mpolmode(value: int) -> str:
    """A memory policy with its mode flags (linux/mempolicy.h: the flags are bits 13 to 15)."""
    return xlat.flags("policies", u32(value))


def quotacmd(value: int) -> str:
    """quotactl's command: QCMD(Q_GETQUOTA, USRQUOTA)."""
    command, kind = u32(value) >> 8, value & 0xFF
    return style.constant(str(u32(value)), f"QCMD({xlat.enum('quotacmds', command)}, {xlat.enum('quotatypes', kind)})")


def priority(value: int) -> str:
    """An I/O priority in words: class in the top three of 16 bits, data below."""
    return f"IOPRIO_PRIO_VALUE({xlat.enum('ioprio_class', u32(value) >> 13)}, {value & 0x1FFF})"


def ioprio(value: int) -> str:
    """An I/O priority that is an argument: a number, in words, or both."""
    return style.constant(str(s32(value)), priority(value))


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
    name = _shifted(op, 28, _FUTEX_OPS, "FUTEX_OP_???")
    compare = _shifted(test, 24, _FUTEX_TESTS, "FUTEX_OP_CMP_???")
    return f"{shift}{name}|{hexa(value >> 12 & 0xFFF)}<<12|{compare}|{hexa(value & 0xFFF)}"


def _shifted(value: int, shift: int, names: tuple[str, ...], unnamed: str) -> str:
    """``FUTEX_OP_ADD<<28``; what a number without a name is one of stands behind it however constants are written."""
    if value < len(names):
        return f"{style.constant(hexa(value), names[value])}<<{shift}"
    return f"{value:#x}<<{shift} /* {unnamed} */"


#: Kind → renderer, for the kinds that take no parameter.
PACKED: dict[str, Callable[[int], str]] = {
    "modetype": modetype,
    "socktype": lambda value: xlat.flags("socktypes", value),
    "cloneflags": lambda value: xlat.flags("clone_flags", value),
    "sigmask": lambda value: sigset(u32(value), 32),
    "ipckey": ipckey,
    "pidtype": pidtype,
    "serial": serial,
    "taggedaddr": taggedaddr,
    "swapflags": swapflags,
    "pgoff": lambda value: hexa(value * 4096),
    "mpolmode": mpolmode,
    "quotacmd": quotacmd,
    "ioprio": ioprio,
    "packetproto": packetproto,
    "futexbits": futexbits,
    "futexwakeop": futexwakeop,
    "openbits": lambda value: xlat.bits("open_mode_flags", value),
}
