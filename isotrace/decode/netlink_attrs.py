"""Netlink attributes as strace prints them: tables of rows, and the walk over what a process wrote.

A table is a line ``NAME = SET ATTRIBUTE:KIND …``: SET names the attribute types (xlat_names.txt), and each attribute
that is known has a kind; of the others the bytes are shown. Kinds:

    u8 u16 u32 u64 s8 s16 s32 s64 x8 x16 x32 x64   a number; xint of any size in hex
    be16 be64 ether ip_proto          in network byte order; an Ethernet or an IP protocol
    str strn cstr                     a string with its NUL; of so many bytes; up to a NUL
    hwaddr in4 in6 addr               an address of a link; of IPv4, of IPv6, of the message's family
    ifindex fd uid clock              a number with the meaning that strace gives it
    enum:SET[:SIZE] flags:SET[:SIZE]  a value of, or bits of, a set; SIZE is what the attribute has at least
    struct:NAME[:SIZES] structs:NAME  one struct, or an array; SIZES: shorter ones that kernels have had
    list:CODE[:SET]                   an array of numbers, each behind the name of its place
    nest:TABLE                        attributes

and whatever is in SPECIAL. Nothing here trusts a length: attributes are at least four bytes, so a list ends, and nesting
ends at DEPTH. What was not copied is ``...``; what could not be read, its address.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from . import xlat
from .layout import STRUCTS, ticks
from .quote import hexbytes, quote
from .scalars import hexa, ifindex, uid

CUT = "..."
DEPTH = 16
_HEADER = 4
_TYPE, _NESTED, _NET_ORDER = 0x3FFF, 0x8000, 0x4000


@dataclass(frozen=True, slots=True)
class Look:
    """What a value depends on beside its bytes: the message's address ``family``, the ``kind`` of a link, the ``depth`` of
    nesting; ``limit``: how many bytes of a string and elements of a list are shown; ``families``: what those of generic
    netlink are called, by number; ``at``: the address of the bytes, where those that are missing could not be read.
    """

    family: int = 0
    kind: str = ""
    depth: int = 0
    limit: int = 32
    families: Mapping[int, str] = field(default_factory=dict)
    at: int = 0

    def deeper(self) -> Look:
        """The same, one level of nesting below."""
        return replace(self, depth=self.depth + 1)

    def behind(self, size: int) -> Look:
        """The same, of what begins ``size`` bytes later."""
        return replace(self, at=self.at + size) if self.at else self

    def missing(self, place: int = 0) -> str:
        """What stands for bytes that are not there, from ``place`` on: the address, behind ``...`` where there are some."""
        if not self.at:
            return CUT
        return f"{CUT} /* {self.at + place:#x} */" if place else f"{self.at:#x}<fault>"


#: The bytes that were copied, how many there are, and what they depend on, as text; None where they do not fit.
Decode = Callable[[bytes, int, Look], str | None]

SPECIAL: dict[str, Decode] = {}
"""Kinds that are no rows; the netlink_* modules fill it."""
_ROWS: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Table:
    """The names of some attributes, and what is known of their values."""

    names: str
    kinds: dict[int, Decode]


def add_tables(rows: str) -> None:
    """Add the tables of ``rows``; a line that starts with a blank continues the one above."""
    for line in rows.strip().replace("\n ", " ").splitlines():
        name, _, spec = line.partition(" = ")
        _ROWS[name] = spec


def table_names() -> Sequence[str]:
    """Every table's name."""
    return list(_ROWS)


@cache
def table(name: str) -> Table:
    """The table ``name``, made when it is first asked for. KeyError where a row names what there is not."""
    names, *words = _ROWS[name].split()
    numbers = {constant: number for number, constant in xlat.SETS[names].pairs}
    kinds = {}
    for word in words:
        attribute, *kind = word.split(":")
        kinds[numbers[attribute]] = _kind(*kind)
    return Table(names, kinds)


# ---- the walk ------------------------------------------------------------------------------------------------------


def raw(data: bytes, full: int, look: Look) -> str:
    """Bytes of which nothing is known."""
    if look.at and len(data) < min(full, look.limit):
        return look.missing()
    return hexbytes(data[: look.limit]) + (CUT if full > min(look.limit, len(data)) else "")


def attributes(data: bytes, full: int, known: Table | None, look: Look) -> str:
    """The attributes in ``full`` bytes of which ``data`` was copied: ``[one, another]``, or one as it is."""
    found: list[str] = []
    at, several = 0, False
    while True:
        left = full - at
        if left < _HEADER or len(data) - at < _HEADER or len(found) == look.limit:
            cut = look.missing(at) if len(found) < look.limit else CUT
            found.append(cut if left >= _HEADER else raw(data[at:], left, look.behind(at)))
            break
        length, kind = struct.unpack_from("<HH", data, at)
        size = min(length, left)
        value, inside = data[at + _HEADER : at + max(size, _HEADER)], look.behind(at + _HEADER)
        found.append(_attribute(value, length, kind, size - _HEADER, known, inside))
        following = at + (length + 3 & ~3)
        if length < _HEADER or following >= full:
            break
        at, several = following, True
    return f"[{', '.join(found)}]" if several else found[0]


def _attribute(data: bytes, length: int, kind: int, full: int, known: Table | None, look: Look) -> str:
    marks = "NLA_F_NESTED|" * bool(kind & _NESTED) + "NLA_F_NET_BYTEORDER|" * bool(kind & _NET_ORDER)
    number = kind & _TYPE
    name = xlat.enum(known.names, number) if known else hexa(number)
    head = f"{{nla_len={length}, nla_type={marks}{name}}}"
    if full <= 0:
        return head
    decode = known.kinds.get(number) if known and look.depth < DEPTH else None
    text = decode(data, full, look) if decode else None
    return f"[{head}, {raw(data, full, look) if text is None else text}]"


def nested(name: str) -> Decode:
    """Attributes of the table ``name``."""
    return lambda data, full, look: attributes(data, full, table(name), look.deeper())


def after(head: str, data: bytes, full: int, size: int, name: str, look: Look) -> str:
    """A struct's text and, behind its ``size`` bytes, attributes: ``{…}, [{nla_len=…}, …]``."""
    if full <= size:
        return head
    return f"{head}, {attributes(data[size:], full - size, table(name), look.behind(size))}"


# ---- values --------------------------------------------------------------------------------------------------------


def fixed(size: int, render: Callable[[bytes], str]) -> Decode:
    """A value of ``size`` bytes; what is longer ends with bytes that do not count."""

    def decode(data: bytes, full: int, look: Look) -> str | None:
        if full < size:
            return None
        return render(data[:size]) if len(data) >= size else look.missing()

    return decode


def _number(code: str, render: Callable[[int], str]) -> Decode:
    packed = struct.Struct(code)
    return fixed(packed.size, lambda data: render(packed.unpack(data)[0]))


def _any_size(render: Callable[[int], str], size: int = 0) -> Decode:
    """A number of as many bytes as there are, or of ``size``."""

    def decode(data: bytes, full: int, look: Look) -> str | None:
        if full > 8 or full < size:
            return None
        wanted = size or full
        return render(int.from_bytes(data[:wanted], "little")) if len(data) >= wanted else look.missing()

    return decode


def _string(data: bytes, full: int, look: Look) -> str:
    if look.at and len(data) < min(full, look.limit + 1):
        return look.missing()
    ended = len(data) == full and data[-1:] == b"\0"
    text = data[:-1] if ended else data
    return quote(text[: look.limit], not ended or len(text) > look.limit)


def _bytes(data: bytes, full: int, look: Look) -> str:
    if look.at and len(data) < min(full, look.limit):
        return look.missing()
    return quote(data[: look.limit], full > min(len(data), look.limit))


def _terminated(data: bytes, full: int, look: Look) -> str:
    text, nul, _ = data.partition(b"\0")
    if look.at and not nul and len(data) < min(full, look.limit + 1):
        return look.missing()
    return quote(text[: look.limit], not nul or len(text) > look.limit)


def mac(data: bytes) -> str:
    """The address of a link: 02:00:00:00:00:01."""
    return ":".join([f"{byte:02x}" for byte in data])


def _link_address(data: bytes, full: int, look: Look) -> str | None:
    if full > 32:
        return None
    return mac(data) if len(data) == full else look.missing()


def inet(family: int, data: bytes, name: str = "") -> str:
    """An address of ``family``; ``name`` is the field that it is in."""
    field = f"{name}=" if name else ""
    if family == socket.AF_INET and len(data) >= 4:
        return f'{field}inet_addr("{socket.inet_ntop(family, data[:4])}")'
    if family == socket.AF_INET6 and len(data) >= 16:
        text = f'"{socket.inet_ntop(family, data[:16])}"'
        return f"inet_pton(AF_INET6, {text}, &{name})" if name else f"inet_pton(AF_INET6, {text})"
    return field + hexbytes(data)


def family_address(family: int, data: bytes, full: int, look: Look, name: str = "") -> str:
    """An address in an attribute: bytes where the family has none or they are too few."""
    size = 4 if family == socket.AF_INET else 16 if family == socket.AF_INET6 else 0
    if not size or full < size:
        return (f"{name}=" if name else "") + raw(data, full, look)
    return inet(family, data[:size], name) if len(data) >= size else look.missing()


def elements(data: bytes, full: int, size: int, render: Callable[[int, bytes], str], look: Look) -> str | None:
    """An array of what has ``size`` bytes, each rendered by its place and bytes; None where there is none."""
    count = full // size
    if not count:
        return None
    shown = min(count, len(data) // size, look.limit)
    texts = [render(place, data[place * size : place * size + size]) for place in range(shown)]
    if shown < count:
        if look.at and not shown:
            return look.missing()
        texts.append(look.missing(shown * size) if shown < look.limit else CUT)
    return f"[{', '.join(texts)}]"


def _numbers(code: str, places: str = "") -> Decode:
    packed = struct.Struct(f"<{code}")

    def one(place: int, data: bytes) -> str:
        text = str(packed.unpack(data)[0])
        return f"[{xlat.enum(places, place)}]={text}" if places else text

    return lambda data, full, look: elements(data, full, packed.size, one, look)


def _structure(name: str, sizes: str = "") -> Decode:
    known, shorter = STRUCTS[name], [int(size) for size in sizes.split(",") if size]

    def decode(data: bytes, full: int, look: Look) -> str | None:
        size = known.size if full >= known.size else full if full in shorter else 0
        if not size:
            return None
        if len(data) < size:
            return look.missing()
        return known.decode(data[:size]) if size == known.size or not known.prefix else known.prefix(data[:size])

    return decode


def _structures(name: str) -> Decode:
    known = STRUCTS[name]
    return lambda data, full, look: elements(data, full, known.size, lambda place, one: known.decode(one), look)


def _htons(text: str) -> str:
    return f"htons({text})"


_KINDS: dict[str, Callable[..., Decode]] = {
    "enum": lambda name, size="0": _any_size(lambda value: xlat.enum(name, value), int(size)),
    "flags": lambda name, size="0": _any_size(lambda value: xlat.bits(name, value), int(size)),
    "struct": _structure,
    "structs": _structures,
    "list": _numbers,
    "nest": nested,
}
_PLAIN: dict[str, Decode] = {
    **{f"u{size}": _number(f"<{code}", str) for size, code in ((8, "B"), (16, "H"), (32, "I"), (64, "Q"))},
    **{f"s{size}": _number(f"<{code}", str) for size, code in ((8, "b"), (16, "h"), (32, "i"), (64, "q"))},
    **{f"x{size}": _number(f"<{code}", hexa) for size, code in ((8, "B"), (16, "H"), (32, "I"), (64, "Q"))},
    "xint": lambda data, full, look: _any_size(hexa)(data, full, look) if full in (1, 2, 4, 8) else None,
    "be16": _number(">H", lambda value: _htons(str(value))),
    "be64": _number(">Q", lambda value: f"htobe64({value})"),
    "ether": _number(">H", lambda value: _htons(xlat.enum("ethernet_protocols", value))),
    "ip_proto": _any_size(lambda value: xlat.enum("inet_protocols", value)),
    "str": _string,
    "strn": _bytes,
    "cstr": _terminated,
    "hwaddr": _link_address,
    "in4": fixed(4, lambda data: inet(socket.AF_INET, data)),
    "in6": fixed(16, lambda data: inet(socket.AF_INET6, data)),
    "addr": lambda data, full, look: family_address(look.family, data, full, look),
    "ifindex": _number("<I", ifindex),
    "fd": _number("<i", str),
    "uid": _number("<I", uid),
    "clock": _any_size(ticks),
}


def _kind(name: str, *params: str) -> Decode:
    if name in _KINDS:
        return _KINDS[name](*params)
    return _PLAIN.get(name) or SPECIAL[name]
