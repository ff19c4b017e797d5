"""Structs as rows: a layout is a line of ``field:code[:renderer[:argument]]`` words, and becomes a size and
a decoder.

``code`` is a struct-module code (little-endian, no implicit padding), with a count for an array:
``loads:3Q``. ``-:4x`` is padding.
A ``?`` before the field leaves it out when it is zero; ``...`` is strace's mark for fields that it
abbreviates.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from . import quote, scalars, signals, style, xlat


@dataclass(frozen=True, slots=True)
class Struct:
    """How many bytes to capture, and what turns exactly that many into text.

    ``prefix`` turns fewer into text: the fields that are whole; ``filled`` also the bytes of one that is not. ``own_size``
    is where the struct has a u32 with its size.
    ``element`` is the text in an array, where that differs: ``[7]`` is a number behind a pointer, ``[7, 8]`` are two.
    ``full`` is the same without the abbreviations that strace has unless it is told otherwise (-v). ``least`` and ``most``
    are the sizes that the kernel takes where the caller says how long the struct is: with others it reads nothing of it.
    """

    size: int
    decode: Callable[[bytes], str]
    prefix: Callable[[bytes], str] | None = None
    own_size: int | None = None
    element: Callable[[bytes], str] | None = None
    full: Struct | None = None
    filled: Callable[[bytes], str] | None = None
    least: int = 0
    most: int = 0x7FFFFFFF


Render = Callable[[Any], str]
STRUCTS: dict[str, Struct] = {}
"""Every struct by the name that the catalogue uses; the structs_* modules fill it."""


def _rlimit(infinity: int, name: str) -> Render:
    def render(value: int) -> str:
        if value == infinity:
            return style.constant(str(value), name)
        rounded = value > 1024 and value % 1024 == 0
        return style.constant(str(value), f"{value // 1024}*1024") if rounded else str(value)

    return render


def ticks(value: int) -> str:
    """A clock_t: ticks of 1/100 s, which strace adds in seconds."""
    return style.constant(str(value), f"{value} /* {value / 100:.2f} s */") if value > 0 else str(value)


def _handler(value: int) -> str:
    name = xlat.SETS["sa_handler_values"].names.get(value)
    return style.constant(scalars.hexa(value), name) if name else scalars.ptr(value)


def _swapped(value: int, size: int) -> int:
    """A number in network byte order that was taken in the other."""
    return int.from_bytes(value.to_bytes(size, "little"), "big")


_RENDER: dict[str, Render] = {
    "x": scalars.hexa,
    "p": scalars.ptr,
    "fd": scalars.fd,
    "ifindex": scalars.ifindex,
    "id": scalars.uid,
    "id16": scalars.uid16,
    "dev": scalars.dev,
    "octal": scalars.octal,
    "mode": scalars.modetype,
    "signal": signals.signal,
    "sigset": signals.sigset,
    "sigset32": lambda value: signals.sigset(value, 32),
    "cstring": quote.cstring,
    "quote": quote.quote,
    "hex": quote.hexbytes,
    "ticks": ticks,
    "rlim64": _rlimit(0xFFFFFFFFFFFFFFFF, "RLIM64_INFINITY"),
    "rlim32": _rlimit(0xFFFFFFFF, "RLIM_INFINITY"),
    "handler": _handler,
    "xarray": lambda values: f"[{', '.join([scalars.hexa(value) for value in values])}]",
    "array": lambda values: f"[{', '.join(map(str, values))}]",
    "val": lambda values: f"{{val=[{', '.join([scalars.hexa(value) for value in values])}]}}",
    "x08": lambda value: scalars.padded(value, 10),
    "mac": lambda value: ":".join([f"{byte:02x}" for byte in value]),
    "ether": lambda value: f"htons({xlat.enum('ethernet_protocols', _swapped(value, 2))})",
    "htonl": lambda value: f"htonl({scalars.hexa(_swapped(value, 4))})",
    "later": lambda value: "?",
    "sched": lambda value: xlat.enum("schedulers", value),
}


def renderer(words: list[str], code: str) -> Render:
    """The function that a word's ``renderer[:argument]`` names."""
    if not words:
        return quote.quote if code.endswith("s") else str
    if words[0] == "flags":
        return lambda value: xlat.bits(words[1], value)
    if words[0] == "open":
        return lambda value: xlat.flags(words[1], value)
    if words[0] == "enum":
        return lambda value: xlat.enum(words[1], value)
    if words[0] == "struct":
        return STRUCTS[words[1]].decode
    return _RENDER[words[0]]


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    render: Render | None
    first: int
    count: int
    optional: bool
    end: int
    start: int = 0


def _fields(spec: str) -> tuple[list[_Field], struct.Struct]:
    fields, codes, at = [], "<", 0
    for word in spec.split():
        if word == "...":
            fields.append(_Field("...", None, 0, 0, False, struct.calcsize(codes) + 1))
            continue
        name, code, *rest = word.split(":")
        start = struct.calcsize(codes)
        codes += code
        end = struct.calcsize(codes)
        if code.endswith("x"):
            continue
        number = int(re.sub(r"\D", "", code) or 1)
        count = 1 if code.endswith("s") else number
        if name != "-":
            rest = rest or (["array"] if count > 1 else [])
            fields.append(_Field(name.lstrip("?"), renderer(rest, code), at, count, name[0] == "?", end, start))
        at += count
    return fields, struct.Struct(codes)


def layout(spec: str) -> Struct:
    """The struct that ``spec`` lays out (see the module docstring)."""
    fields, packed = _fields(spec)

    def decode(data: bytes) -> str:
        return text(data, fields)

    def prefix(data: bytes) -> str:
        return text(data.ljust(packed.size, b"\0"), [field for field in fields if field.end <= len(data)])

    def filled(data: bytes) -> str:
        """As far as the kernel filled it: of the last field perhaps some bytes."""
        size = len(data)
        rest = [f"{one.name}={quote.hexbytes(data[one.start :])}" for one in fields if one.start < size < one.end]
        whole = prefix(data)[1:-1]
        return f"{{{', '.join([*([whole] if whole else []), *rest])}}}"

    def text(data: bytes, wanted: list[_Field]) -> str:
        values, shown = packed.unpack(data), []
        for field in wanted:
            if field.render is None:
                shown.append("...")
                continue
            value = values[field.first] if field.count == 1 else values[field.first : field.first + field.count]
            if value or not field.optional:
                shown.append(f"{field.name}={field.render(value)}")
        return f"{{{', '.join(shown)}}}"

    return Struct(packed.size, decode, prefix, filled=filled)


def value(code: str, *words: str, indirect: bool = True) -> Struct:
    """A single value behind a pointer: ``[42]``, or as it is when not ``indirect``."""
    packed, render = struct.Struct(f"<{code}"), renderer(list(words), code)

    def element(data: bytes) -> str:
        return render(packed.unpack(data)[0])

    def decode(data: bytes) -> str:
        return f"[{element(data)}]" if indirect else element(data)

    return Struct(packed.size, decode, element=element)


def _rows(rows: str) -> Iterator[tuple[str, Struct]]:
    for line in re.sub(r"\n\s+", " ", rows.strip()).splitlines():
        name, _, spec = line.partition(" = ")
        yield name, layout(spec)


def add(rows: str) -> None:
    """Add one struct to STRUCTS for each line ``name = spec`` of ``rows``; a line that starts with a blank
    continues the one above.
    """
    STRUCTS.update(_rows(rows))


def add_full(rows: str) -> None:
    """The same of what structs are that STRUCTS has, when nothing is abbreviated."""
    for name, whole in _rows(rows):
        STRUCTS[name] = replace(STRUCTS[name], full=whole)
