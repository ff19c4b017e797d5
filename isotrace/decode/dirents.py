"""What getdents fills a buffer with: directory entries of different lengths, one behind the other."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .quote import quote
from .xlat import enum


@dataclass(frozen=True)
class Dirents:
    """``head`` has inode, offset and length; the name is behind it.

    The type is a byte before the name, or, with ``type_last``, the last byte of the entry.
    """

    head: struct.Struct
    type_last: bool

    @property
    def _name_at(self) -> int:
        return self.head.size + (not self.type_last)

    def _spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Where each entry begins and ends, as far as the bytes go."""
        at = 0
        while at + self.head.size <= len(data):
            length = self.head.unpack_from(data, at)[2]
            yield at, at + length
            if length <= self.head.size:
                break
            at += length

    def count(self, data: bytes) -> int:
        """How many entries there are, the one that is there in part among them."""
        return sum(1 for _ in self._spans(data))

    def entries(self, data: bytes) -> Iterator[str]:
        """Those that are there as a whole: ``{d_ino=5, d_off=1, d_reclen=24, d_type=DT_DIR, d_name="."}``."""
        for begin, end in self._spans(data):
            if end > len(data) or end <= begin + self._name_at:
                return
            inode, offset, length = self.head.unpack_from(data, begin)
            name = f"d_name={quote(data[begin + self._name_at : end - self.type_last].partition(bytes(1))[0])}"
            kind = f"d_type={enum('dirent_types', data[end - 1 if self.type_last else begin + self.head.size])}"
            rest = f"{name}, {kind}" if self.type_last else f"{kind}, {name}"
            yield f"{{d_ino={inode}, d_off={offset}, d_reclen={length}, {rest}}}"


#: struct linux_dirent64, the same on every ABI; struct linux_dirent of 64-bit and of 32-bit callers.
DIRENTS64 = Dirents(struct.Struct("<QqH"), False)
DIRENTS = Dirents(struct.Struct("<QQH"), True)
DIRENTS32 = Dirents(struct.Struct("<IIH"), True)
