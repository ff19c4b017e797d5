"""Registers with a meaning of their own: raw unsigned 64-bit value → the text strace prints."""

from __future__ import annotations

from . import style

_TYPES = {
    0o100000: "S_IFREG|",
    0o140000: "S_IFSOCK|",
    0o010000: "S_IFIFO|",
    0o120000: "S_IFLNK|",
    0o040000: "S_IFDIR|",
    0o060000: "S_IFBLK|",
    0o020000: "S_IFCHR|",
    0: "",
}
_MODE_BITS = ((0o4000, "S_ISUID|"), (0o2000, "S_ISGID|"), (0o1000, "S_ISVTX|"))


def u32(value: int) -> int:
    """The low 32 bits, unsigned."""
    return value & 0xFFFFFFFF


def s32(value: int) -> int:
    """The low 32 bits as a C ``int``."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def s64(value: int) -> int:
    """The low 64 bits as a C ``long``."""
    return ((value & 0xFFFFFFFFFFFFFFFF) ^ 0x8000000000000000) - 0x8000000000000000


def hexa(value: int) -> str:
    """Hexadecimal as C's ``%#x`` prints it: zero has no prefix."""
    return f"{value:#x}" if value else "0"


def padded(value: int, width: int) -> str:
    """Hexadecimal as C's ``%#0*x`` prints it: ``width`` counts the prefix, and zero has none."""
    return f"{value:#0{width}x}" if value else "0" * width


def octal(value: int) -> str:
    """Octal as C's ``%#03o`` prints it: 000, 01, 0644."""
    return f"0{value:o}".zfill(3)


def ptr(value: int) -> str:
    """An address: NULL or 0x…"""
    return f"{value:#x}" if value else "NULL"


def ifindex(value: int) -> str:
    """The index of a network interface. The loopback interface is the first in every network namespace since Linux 3.7;
    the others are known by name only where the caller is.
    """
    return style.constant(str(value), 'if_nametoindex("lo")') if value == 1 else str(value)


def fd(value: int) -> str:
    """A file descriptor: the kernel takes the low 32 bits."""
    return str(s32(value))


def dirfd(value: int) -> str:
    """A directory file descriptor: AT_FDCWD (-100) by name."""
    number = s32(value)
    return style.constant("-100", "AT_FDCWD") if number == -100 else str(number)


def uid(value: int) -> str:
    """A user or group id: all ones means "leave it" and prints -1."""
    number = u32(value)
    return "-1" if number == 0xFFFFFFFF else str(number)


def uid16(value: int) -> str:
    """A 16-bit user or group id of the old i386 calls."""
    number = value & 0xFFFF
    return "-1" if number == 0xFFFF else str(number)


def mode(value: int) -> str:
    """Permission bits, as open's and chmod's argument: 0644."""
    return octal(value & 0xFFFF)


def modetype(value: int) -> str:
    """A mode with its file type, as in struct stat and mknod's argument: S_IFREG|0644."""
    value = u32(value)
    kind = _TYPES.get(value & 0o170000)
    if kind is None:
        return octal(value)
    bits = "".join([name for bit, name in _MODE_BITS if value & bit])
    return style.constant(octal(value), f"{kind}{bits}{octal(value & ~0o177000)}")


def dev(value: int) -> str:
    """A device number: makedev(0x8, 0x1)."""
    major = (value >> 8 & 0xFFF) | (value >> 32 & 0xFFFFF000)
    minor = (value & 0xFF) | (value >> 12 & 0xFFFFFF00)
    return style.constant(hexa(value), f"makedev({hexa(major)}, {hexa(minor & 0xFFFFFFFF)})")
