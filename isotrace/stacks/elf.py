"""What an ELF file says of its code: build id, names of functions, tables for unwinding.

Whoever is traced may have written the file. It is read in bounded pieces (a file that shrinks while it is
mapped would kill whoever has it mapped), and whatever is wrong with it makes it a file that says nothing.
"""

from __future__ import annotations

import lzma
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from elftools.elf.elffile import ELFFile

from isotrace.stacks.cfi import Row, Tables
from isotrace.stacks.demangle import demangled

DEBUG = Path("/usr/lib/debug")
_PIECE_MAX = 256 << 20  # bytes of a section
_CODE_PIECE = 16 << 20  # bytes of code that are looked through at a time
_SECTIONS_MAX = 20_000
_SEGMENTS_MAX = 256
_MACHINE = "EM_X86_64"
_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_NOTYPE, _FUNC, _IFUNC = 0, 2, 10
_NESTED = 16  # symbols before an address that are looked at for one that covers it
_NAME_MAX = 4096
_NEVER = 1 << 64
_SET_POINTER = (0x89E5, 0x8BEC)  # mov %rsp,%rbp, behind push %rbp (0x55) and 0x48
_PROLOGUE_MAX = 256  # bytes of a function within which that is


class Symbols:
    """Names by address. ``table`` is ``(n,)`` of the ELF's own, ``strings`` what its names point into."""

    def __init__(self, table: npt.NDArray[np.void], strings: bytes) -> None:
        kinds = table["info"] & 0xF
        wanted = np.isin(kinds, (_NOTYPE, _FUNC, _IFUNC)) & (table["section"] != 0) & (table["name"] != 0)
        table = table[wanted & ((kinds != _NOTYPE) | (table["size"] == 0))]
        self._table = table[np.argsort(table["value"], kind="stable")]
        self._values = np.ascontiguousarray(self._table["value"])
        self._strings = strings

    def __len__(self) -> int:
        return len(self._values)

    def at(self, address: int) -> tuple[str, int] | None:
        """The name of what is at ``address``, demangled, and where that begins; None where nothing is known to be there."""
        end = int(np.searchsorted(self._values, np.uint64(address), "right"))
        best: tuple[tuple[int, int, bool, int], str, int] | None = None
        for index in range(end - 1, max(end - 1 - _NESTED, -1), -1):
            row = self._table[index]
            begin, size, info = int(row["value"]), int(row["size"]), int(row["info"])
            if best and begin != best[2]:
                break
            if size and address >= begin + size:
                continue
            name = self._name(int(row["name"]))
            rank = (int(info & 0xF != _NOTYPE), -abs((info >> 4) - 1), not name.startswith("_"), -len(name))
            if name and (best is None or rank > best[0]):
                best = rank, name, begin
        return (demangled(best[1]), best[2]) if best else None

    def prologues(self, begin: int, code: bytes) -> dict[int, int]:
        """Where those in ``code``, loaded at ``begin``, begin that keep a frame pointer, and in how many bytes they do."""
        data = np.frombuffer(code, np.uint8)
        places = np.flatnonzero(data[:-3] == 0x55)
        places = places[data[places + 1] == 0x48]
        places = places[np.isin(data[places + 2].astype(np.uint16) << 8 | data[places + 3], _SET_POINTER)]
        values = np.unique(self._values)
        values = values[(values >= begin) & (values < begin + len(data))].astype(np.int64) - begin
        if not len(values) or not len(places):
            return {}
        ends = np.minimum(values + _PROLOGUE_MAX, np.append(values[1:], len(data)))
        first = places[np.minimum(np.searchsorted(places, values), len(places) - 1)]
        has = (first >= values) & (first < ends)
        return dict(zip((values[has] + begin).tolist(), (first[has] - values[has] + 4).tolist(), strict=True))

    def _name(self, at: int) -> str:
        end = self._strings.find(b"\0", at, at + _NAME_MAX)
        name = self._strings[at:end].partition(b"@")[0]  # the version of a symbol in a file for debuggers
        return name.decode("utf-8", "backslashreplace") if end > at else ""


@dataclass(frozen=True)
class _Segment:
    offset: int
    address: int
    size: int


@dataclass
class Image:
    """One file. ``build_id`` is b"" where it has none; ``entry`` the address where the program begins."""

    build_id: bytes
    entry: int
    segments: tuple[_Segment, ...]
    symbols: Symbols
    tables: Tables | None
    prologues: dict[int, int] = field(default_factory=dict)  # where functions begin that keep one → bytes until they do

    def __post_init__(self) -> None:
        self.row = lru_cache(1 << 14)(self._row)
        self.symbol = lru_cache(1 << 14)(self.symbols.at)

    def address(self, offset: int) -> int | None:
        """The address of the byte at ``offset`` of the file, as the file counts addresses."""
        for one in self.segments:
            if one.offset <= offset < one.offset + one.size:
                return offset - one.offset + one.address
        return None

    def _row(self, address: int) -> Row | None:
        """How to leave the frame of an instruction, None where that is not in the file."""
        try:
            return self.tables.row(address) if self.tables else None
        except ValueError:
            return None

    def keeps_frame_pointer(self, address: int) -> bool:
        """Whether the function there begins as one does that keeps a frame pointer, and is past that."""
        found = self.symbol(address)
        return found is not None and address >= found[1] + self.prologues.get(found[1], _NEVER)


class _File:
    """An ELF file, a piece at a time."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._elf = elf = ELFFile(stream)
        if elf.elfclass != 64 or not elf.little_endian or elf["e_machine"] != _MACHINE:
            raise ValueError("another machine's program")
        count = min(elf.num_sections(), _SECTIONS_MAX)
        self._sections = [elf._get_section_header(index) for index in range(count)]  # without loading what they name
        self._names = self._piece(self._sections[elf["e_shstrndx"]]) if count > elf["e_shstrndx"] else b""
        loaded = [elf._get_segment_header(index) for index in range(min(elf.num_segments(), _SEGMENTS_MAX))]
        self._segments = [one for one in loaded if one["p_type"] in ("PT_LOAD", "PT_NOTE")]

    def _piece(self, section: Any) -> bytes:
        if section["sh_type"] == "SHT_NOBITS" or section["sh_size"] > _PIECE_MAX or section["sh_flags"] & 0x800:
            return b""
        self._stream.seek(section["sh_offset"])
        return self._stream.read(section["sh_size"])

    def section(self, name: str) -> tuple[bytes, int]:
        """The content of a section, and where it is loaded; b"" where there is none."""
        wanted = name.encode() + b"\0"
        for one in self._sections:
            if self._names[one["sh_name"] : one["sh_name"] + len(wanted)] == wanted:
                return self._piece(one), one["sh_addr"]
        return b"", 0

    def symbols(self, names: tuple[str, str]) -> Symbols:
        """Of a table of symbols and its strings."""
        table, strings = self.section(names[0])[0], self.section(names[1])[0]
        return Symbols(np.frombuffer(table, _SYMBOL, len(table) // _SYMBOL.itemsize), strings)

    def build_id(self) -> bytes:
        for segment in self._segments:
            if segment["p_type"] == "PT_NOTE" and segment["p_filesz"] <= 1 << 16:
                self._stream.seek(segment["p_offset"])
                for name, kind, content in _notes(self._stream.read(segment["p_filesz"])):
                    if name == b"GNU\0" and kind == 3:
                        return content
        return b""

    def segments(self) -> tuple[_Segment, ...]:
        return tuple(
            _Segment(one["p_offset"], one["p_vaddr"], one["p_filesz"])
            for one in self._segments
            if one["p_type"] == "PT_LOAD"
        )

    def code(self) -> Iterator[tuple[int, bytes]]:
        for one in self._segments:
            if one["p_type"] == "PT_LOAD" and one["p_flags"] & 1 and one["p_filesz"] <= _PIECE_MAX:
                for at in range(0, one["p_filesz"], _CODE_PIECE):
                    self._stream.seek(one["p_offset"] + at)
                    size = min(_CODE_PIECE + _PROLOGUE_MAX, one["p_filesz"] - at)
                    yield one["p_vaddr"] + at, self._stream.read(size)

    def tables(self) -> Tables | None:
        try:
            return Tables(*self.section(".eh_frame"), *self.section(".eh_frame_hdr"))
        except (ValueError, struct.error, IndexError):
            return None

    def entry(self) -> int:
        return int(self._elf["e_entry"])


def _notes(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    at = 0
    while at + 12 <= len(data):
        name, content, kind = (int.from_bytes(data[at + i : at + i + 4], "little") for i in (0, 4, 8))
        begin = at + 12 + (name + 3 & ~3)
        yield data[at + 12 : at + 12 + name], kind, data[begin : begin + content]
        at = begin + (content + 3 & ~3)


def read(stream: BinaryIO, path: str = "") -> Image:
    """What the file says; ``path`` is where files with its symbols are looked for. Raises ``ValueError``."""
    try:
        file = _File(stream)
        build_id, tables = file.build_id(), file.tables()
        symbols = file.symbols((".symtab", ".strtab"))
        if not len(symbols):
            symbols = _elsewhere(file, build_id, path) or _compressed(file) or file.symbols((".dynsym", ".dynstr"))
        prologues: dict[int, int] = {}
        for begin, code in file.code():
            prologues = symbols.prologues(begin, code) | prologues
        return Image(build_id, file.entry(), file.segments(), symbols, tables, prologues)
    except Exception as error:  # whatever the parser makes of a file that is none
        raise ValueError(f"no ELF file that can be read: {error}") from None


def opened(path: str | Path) -> BinaryIO:
    """A regular file, open for reading. Raises ``OSError``."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError("no regular file")
    return open(fd, "rb")


def _elsewhere(file: _File, build_id: bytes, path: str) -> Symbols | None:
    """The symbols of a stripped file, from the file that was split off."""
    link, _ = file.section(".gnu_debuglink")
    name, mark, _ = link.partition(b"\0")
    checksum = int.from_bytes(link[-4:], "little")
    places = _places(build_id, os.fsdecode(name) if mark and b"/" not in name else "", path)
    for place in places:
        try:
            with opened(place) as stream:
                other = _File(stream)
                if (build_id and other.build_id() == build_id) or (mark and _checksum(stream) == checksum):
                    found = other.symbols((".symtab", ".strtab"))
                    if len(found):
                        return found
        except Exception:  # as in read()
            continue
    return None


def _places(build_id: bytes, name: str, path: str) -> Iterator[Path]:
    if len(build_id) > 2:
        yield DEBUG / ".build-id" / build_id[:1].hex() / f"{build_id[1:].hex()}.debug"
    if name and path:
        directory = Path(path).parent
        yield directory / name
        yield directory / ".debug" / name
        yield DEBUG / directory.relative_to("/") / name


def _checksum(stream: BinaryIO) -> int:
    stream.seek(0)
    found = 0
    while piece := stream.read(1 << 20):
        found = zlib.crc32(piece, found)
    return found


def _compressed(file: _File) -> Symbols | None:
    """The symbols that some distributions leave in a stripped file, .gnu_debugdata: an ELF file in xz."""
    packed, _ = file.section(".gnu_debugdata")
    if not packed:
        return None
    data = lzma.LZMADecompressor(memlimit=256 << 20).decompress(packed, 64 << 20)
    found = _File(BytesIO(data)).symbols((".symtab", ".strtab"))
    return found if len(found) else None


def own(name: bytes) -> Image | None:
    """What the kernel has mapped into isotrace itself under that name, such as ``[vdso]``."""
    try:
        for line in Path("/proc/self/maps").read_bytes().splitlines():
            if line.endswith(b" " + name):
                start, _, end = line.split()[0].partition(b"-")
                with open("/proc/self/mem", "rb", buffering=0) as memory:
                    memory.seek(int(start, 16))
                    return read(BytesIO(memory.read(int(end, 16) - int(start, 16))))
    except (OSError, ValueError):
        pass
    return None
