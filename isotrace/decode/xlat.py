"""Flag sets and enumerations in strace's style: ``O_RDONLY|O_CLOEXEC``, ``0x7b /* SOCK_??? */``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

from . import signals, style
from .scalars import hexa
from .xlat_data import DATA


@dataclass(frozen=True, slots=True)
class XlatSet:
    """One table: its ``kind`` (flags or enum), the comment strace gives an unnamed value, its width and its
    constants in order.

    Where ``base`` names an enumeration, the bits of ``base_mask`` are one value of it (open's access mode,
    a socket's type).
    """

    name: str
    kind: str
    default: str
    bits: int
    base: str
    base_mask: int
    decimal: bool
    pairs: tuple[tuple[int, str], ...]
    names: dict[int, str]

    @property
    def mask(self) -> int:
        """The bits that the constants have: a signed field of a struct is taken as so many."""
        return (1 << self.bits) - 1

    def unsigned(self, value: int) -> int:
        """``value`` as the constants are written."""
        return value & self.mask if value < 0 else value


def _parse(name: str, text: str) -> XlatSet:
    """One set from its text in xlat_data.py."""
    head, *lines = text.splitlines()
    kind, default, bits, base, mask, base_of_numbers = head.split()
    rows = [line.split(" ", 1) for line in lines]
    pairs = tuple([(int(number, 16), constant) for number, constant in rows])
    default, base = ("" if word == "-" else word for word in (default, base))
    decimal = base_of_numbers == "dec"
    return XlatSet(name, kind, default, int(bits), base, int(mask, 16), decimal, pairs, dict(reversed(pairs)))


class _Sets(Mapping[str, XlatSet]):
    """Every set by name; a set is made when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, XlatSet] = {}

    def __getitem__(self, name: str) -> XlatSet:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = _parse(name, DATA[name])
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(DATA)

    def __len__(self) -> int:
        return len(DATA)


SETS: Mapping[str, XlatSet] = _Sets()


def _unnamed(table: XlatSet, value: int) -> str:
    number = str(value) if table.decimal else hexa(value)
    return f"{number} /* {table.default} */" if table.default else number


def _enum(table: XlatSet, value: int) -> str:
    value = table.unsigned(value)
    return table.names.get(value) or _unnamed(table, value)


def _bits(table: XlatSet, value: int) -> str:
    """Flags without an enumerated part: names in the table's order, then what is left; zero by its name or
    as 0.
    """
    if not value:
        return table.names.get(0, "0")
    left, found = value, []
    for bit, name in table.pairs:
        if bit and left & bit == bit:
            found.append(name)
            left &= ~bit
    if not found:
        return _unnamed(table, value)
    return "|".join([*found, f"{left:#x}"] if left else found)


def _flags(table: XlatSet, value: int) -> str:
    value = table.unsigned(value)
    if not table.base:
        return _bits(table, value)
    base = SETS[table.base]
    kind, rest = value & table.base_mask, value & ~table.base_mask
    name = base.names.get(kind)
    if name is None:
        return f"{hexa(kind)} /* {base.default} */|{_bits_after(table, rest)}" if rest else _unnamed(base, kind)
    return f"{name}|{_bits_after(table, rest)}" if rest else name


def _bits_after(table: XlatSet, value: int) -> str:
    """Flags printed behind another part: what has no name is a bare number."""
    text = _bits(table, value)
    return text if any(value & bit == bit for bit, _ in table.pairs if bit) else text.partition(" /*")[0]


def _socket_type(value: int) -> str:
    table, types = SETS["sock_type_flags"], SETS["socktypes"]
    name = types.names.get(value & 0xF)
    if name is None:
        return _bits(table, value)
    rest = value & ~0xF
    return f"{name}|{_bits(table, rest)}" if rest else name


def _clone(value: int) -> str:
    table = SETS["clone_flags"]
    bits, number = value & ~0xFF, value & 0xFF
    if not bits:
        return signals.name(number)
    return f"{_bits(table, bits)}|{signals.name(number)}" if number else _bits(table, bits)


def _memfd(value: int) -> str:
    table = SETS["memfd_create_flags"]
    size, rest = value >> 26 & 0x3F, value & ~(0x3F << 26)
    if not size:
        return _bits(table, rest)
    shifted = f"{size}<<MFD_HUGE_SHIFT"
    return f"{_bits(table, rest)}|{shifted}" if rest else shifted


def _mount(value: int) -> str:
    table = SETS["mount_flags"]
    if value & 0xFFFF0000 != 0xC0ED0000:
        return _bits(table, value)
    rest = value & ~0xFFFF0000
    return f"MS_MGC_VAL|{_bits(table, rest)}" if rest else "MS_MGC_VAL"


_FUTEX_REALTIME = {"FUTEX_WAIT", "FUTEX_WAIT_BITSET", "FUTEX_WAIT_REQUEUE_PI"}


def _futex(value: int) -> str:
    """A futex operation: FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME."""
    table = SETS["futexops"]
    name = table.names.get(value & ~0x180)
    if name is None or (value & 0x100 and name not in _FUTEX_REALTIME):
        return _unnamed(table, value)
    if value & 0x80:
        name += "|FUTEX_PRIVATE_FLAG" if name == "FUTEX_FD" else "_PRIVATE"
    return f"{name}|FUTEX_CLOCK_REALTIME" if value & 0x100 else name


def _mmap(value: int) -> str:
    """mmap's flags: the mapping's type, the bits, and the log2 of a huge page's size."""
    table = SETS["mmap_flags"]
    size, rest = value >> 26 & 0x3F, value & ~(0x3F << 26)
    return f"{_flags(table, rest)}|{size}<<MAP_HUGE_SHIFT" if size else _flags(table, rest)


_DIRECTIONS = ("_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE")


#: Requests that read of an input device as much as there is room for, by their numbers.
_INPUT_READS = {
    **{0x06: "EVIOCGNAME", 0x07: "EVIOCGPHYS", 0x08: "EVIOCGUNIQ", 0x09: "EVIOCGPROP", 0x0A: "EVIOCGMTSLOTS"},
    **{0x18: "EVIOCGKEY", 0x19: "EVIOCGLED", 0x1A: "EVIOCGSND", 0x1B: "EVIOCGSW"},
}


def _input(direction: int, size: int, number: int) -> str | None:
    """A request of an input device that has a size or an axis in its number: EVIOCGBIT(EV_KEY, 96), EVIOCGABS(ABS_X)."""
    reads, axis = direction == 2, number & 0x3F
    if (reads and number >> 6 == 1) or (direction == 1 and number >> 6 == 3):
        name = "EVIOCGABS" if reads else "EVIOCSABS"
        return f"{name}({_enum(SETS['evdev_abs'], axis)})" if size == 24 else None
    if reads and number >> 5 == 1:
        kind = number & 0x1F
        return f"EVIOCGBIT({_enum(SETS['evdev_ev'], kind) if kind else '0'}, {size})"
    return f"{_INPUT_READS[number]}({size})" if reads and number in _INPUT_READS else None


def _ioctl(value: int) -> str:
    """An ioctl request: its name, else taken apart: _IOC(_IOC_READ, 0x54, 0x1, 0x4)."""
    from .ioctl_data import IOCTLS

    direction, size, kind, number = value >> 30 & 3, value >> 16 & 0x3FFF, value >> 8 & 0xFF, value & 0xFF
    name = IOCTLS.get(value) or (_input(direction, size, number) if kind == ord("E") else None)
    return name or f"_IOC({_DIRECTIONS[direction]}, {hexa(kind)}, {hexa(number)}, {hexa(size)})"


def _sched_policy(value: int) -> str:
    policies, flag = SETS["schedulers"], value & 0x40000000
    name = _enum(policies, value & ~0x40000000)
    return f"{name}|SCHED_RESET_ON_FORK" if flag else name


def _personality(value: int) -> str:
    """A personality with the bits that change it; all ones asks for the one that there is."""
    whole = SETS["personality_types"].names.get(value)
    return whole or (hexa(value) if value == 0xFFFFFFFF else _flags(SETS["personality_persona"], value))


_SPECIAL: dict[str, Callable[[int], str]] = {
    "socktypes": _socket_type,
    "sock_type_flags": _socket_type,
    "clone_flags": _clone,
    "memfd_create_flags": _memfd,
    "mount_flags": _mount,
    "futexops": _futex,
    "mmap_flags": _mmap,
    "ioctl_cmds": _ioctl,
    "sched_policies": _sched_policy,
    "personality_persona": _personality,
}


@lru_cache(65536)
def _flag_names(set_name: str, value: int) -> str:
    special = _SPECIAL.get(set_name)
    return special(value) if special else _flags(SETS[set_name], value)


@lru_cache(65536)
def _enum_name(set_name: str, value: int) -> str:
    special = _SPECIAL.get(set_name)
    return special(value) if special else _enum(SETS[set_name], value)


@lru_cache(65536)
def _bit_names(set_name: str, value: int) -> str:
    table = SETS[set_name]
    return _bits(table, table.unsigned(value))


def _clone_numbers(value: int) -> str:
    bits, number = value & ~0xFF, value & 0xFF
    shown = [style.constant(hexa(bits), _bits(SETS["clone_flags"], bits))] if bits or not number else []
    return "|".join([*shown, *([signals.signal(number)] if number else [])])


def _two_numbers(set_name: str, mask: int, value: int) -> str:
    """The bits of ``mask`` and the others, each with their own names."""
    kind, rest = value & mask, value & ~mask
    name = _flag_names(set_name, value)
    first, bar, others = name.partition("|")
    whole = set_name == "mount_flags" and first != "MS_MGC_VAL"
    if whole or not rest or not bar or not (kind or set_name == "personality_persona"):
        return style.constant(hexa(value), name)
    return f"{style.constant(hexa(kind), first)}|{style.constant(hexa(rest), others)}"


#: What strace writes as two numbers.
_IN_PARTS: dict[str, Callable[[int], str]] = {
    "clone_flags": _clone_numbers,
    "socktypes": partial(_two_numbers, "socktypes", 0xF),
    "sock_type_flags": partial(_two_numbers, "sock_type_flags", 0xF),
    "personality_persona": partial(_two_numbers, "personality_persona", 0xFF),
    "mount_flags": partial(_two_numbers, "mount_flags", 0xFFFF0000),
}


#: Of a part of a name; a comment has no comment in it.
_UNNAMED = re.compile(r"(?<=\w) /\* \w+_\?\?\? \*/")


def _numbered(set_name: str, value: int, name: str) -> str:
    """What -X asks for in place of ``name``."""
    table = SETS.get(set_name)
    if table is None:
        return style.constant(hexa(value), _UNNAMED.sub("", name))
    value = table.unsigned(value)
    return style.constant(str(value) if table.decimal else hexa(value), name)


def flags(set_name: str, value: int) -> str:
    """``value``, as wide as the kernel takes it, as bits of the set ``set_name``. KeyError when there is no such set."""
    name = _flag_names(set_name, value)
    if style.by_name():
        return name
    return _IN_PARTS[set_name](value) if set_name in _IN_PARTS else _numbered(set_name, value, name)


def enum(set_name: str, value: int) -> str:
    """``value``, as wide as the kernel takes it, as one value of ``set_name``. KeyError when there is no such set."""
    name = _enum_name(set_name, value)
    return name if style.by_name() else _numbered(set_name, value, name)


def bits(set_name: str, value: int) -> str:
    """Like flags(), but without what the set's own system call adds (clone's exit signal): for fields of
    structs.
    """
    name = _bit_names(set_name, value)
    return name if style.by_name() else _numbered(set_name, value, name)


def names(*set_names: str) -> frozenset[str]:
    """Those of ``set_names`` that flags() and enum() do not know."""
    return frozenset(name for name in set_names if name not in DATA and name not in _SPECIAL)
