"""Where the messages of an Arrow stream begin and end, found without decoding any: a cut or corrupt file is read as far
as it goes.

A message is 0xffffffff, the size of its metadata (a flatbuffer, padded to 8 bytes), the metadata, and a body whose size the
metadata tells (format/Message.fbs of Arrow). Size 0 is the end of the stream.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from isotrace.errors import IsotraceError
from isotrace.units import many

SCHEMA, DICTIONARY, BATCH = 1, 2, 3

_MARK = b"\xff\xff\xff\xff"
_PREFIX = struct.Struct("<II")
_META_MAX = 1 << 20  # bytes of metadata; ours have some thousand
_BODY_MAX = 1 << 30
_WINDOW = 1 << 20


@dataclass(frozen=True)
class Frame:
    """One message: where it begins, its kind, its bytes in all, and for a batch how many rows it says it has.

    ``data`` is the message itself where it came by a pipe; of a file it is read by ``Frames.read_into``.
    """

    at: int
    kind: int
    size: int
    rows: int = 0
    data: bytes = b""

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.at + self.size


class NoMessage(ValueError):
    """What is there begins no message."""


def _field(data: bytes, table: int, number: int) -> int:
    """Where field ``number`` of a flatbuffer's table is, or 0 where it has its default."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, vtable)[0]
    entry = 4 + 2 * number
    offset = struct.unpack_from("<H", data, vtable + entry)[0] if entry + 2 <= size else 0
    return table + offset if offset else 0


def describe(metadata: bytes) -> tuple[int, int, int]:
    """(kind, bytes of the body, rows) from a message's metadata. Raises ``NoMessage``."""
    try:
        table = struct.unpack_from("<I", metadata)[0]
        kind_at, header_at, body_at = (_field(metadata, table, number) for number in (1, 2, 3))
        kind = metadata[kind_at] if kind_at else 0
        body = struct.unpack_from("<q", metadata, body_at)[0] if body_at else 0
        rows = 0
        if kind == BATCH:
            header = header_at + struct.unpack_from("<I", metadata, header_at)[0]
            rows_at = _field(metadata, header, 0)
            rows = struct.unpack_from("<q", metadata, rows_at)[0] if rows_at else 0
    except (struct.error, IndexError):
        raise NoMessage from None
    if kind not in (SCHEMA, DICTIONARY, BATCH) or not 0 <= body <= _BODY_MAX or not 0 <= rows <= _BODY_MAX:
        raise NoMessage
    return kind, body, rows


def metadata_of(message: bytes | memoryview) -> tuple[int, bytes]:
    """Where the metadata of a message begins, and the metadata. Raises ``NoMessage``."""
    if len(message) < _PREFIX.size:
        raise NoMessage
    _, length = _PREFIX.unpack_from(message)
    return _PREFIX.size, bytes(message[_PREFIX.size : _PREFIX.size + length])


def beginning_of_last(data: bytes) -> int:
    """Where the last of some whole messages begins. Raises ``NoMessage``."""
    at, view = 0, memoryview(data)
    while True:
        begin, metadata = metadata_of(view[at:])
        end = at + begin + len(metadata) + describe(metadata)[1]
        if end >= len(data):
            return at
        at = end


class Frames:
    """The messages of a file, in order; ``path`` "-" is standard input. Raises ``IsotraceError`` where it cannot be read.

    ``complete``: the stream's end was met. ``cut``: the file ends within a message. ``torn``: how often what came could not
    be understood and the next message was looked for. ``beyond``: what there is after the stream's end, in words. A file
    that grows can be asked again.
    """

    def __init__(self, path: str) -> None:
        self.name = "standard input" if path == "-" else repr(path)
        self.complete = self.cut = False
        self.torn = 0
        self.beyond = ""
        self._at = 0
        self._ahead = b""  # of a pipe: what has been read and not been used
        try:
            self._fd = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            mode = os.fstat(self._fd).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                raise IsotraceError(f"{self.name} is a device, not a recording", "isotrace record -o FILE makes one")
        except OSError as error:
            raise cannot(self.name, error) from None
        self.regular = stat.S_ISREG(mode)

    def close(self) -> None:
        """Give up the descriptor."""
        if self._fd > 2:
            os.close(self._fd)
            self._fd = -1

    @property
    def position(self) -> int:
        """Bytes that have been read, as whole messages."""
        return self._at

    def size(self) -> int:
        """Bytes that there are by now; of a pipe those that were read."""
        return os.fstat(self._fd).st_size if self.regular else self._at

    @property
    def empty(self) -> bool:
        """Whether there is nothing, not even a beginning."""
        return not (self.size() or self._ahead)

    @property
    def begins_well(self) -> bool:
        """Whether what is there of the next message may be the beginning of one."""
        return _MARK.startswith(self._read(self._at, len(_MARK)))

    def rest(self) -> Iterator[bytes]:
        """The bytes from here to the end, some at a time. Raises ``OSError``."""
        if self.regular:
            os.lseek(self._fd, self._at, os.SEEK_SET)
        while data := os.read(self._fd, _WINDOW):
            yield data

    def seek(self, position: int) -> None:
        """Go on at a message that was met before. Only for a regular file."""
        self._at, self.complete, self.cut, self.beyond = position, False, False, ""

    def __iter__(self) -> Iterator[Frame]:
        """The messages from here to the end of what there is."""
        while (frame := self.next()) is not None:
            yield frame

    def first(self) -> Frame | None:
        """The first message; None where there is none, also in what begins otherwise, however long that is."""
        try:
            return self._whole()
        except NoMessage:
            return None

    def next(self) -> Frame | None:
        """The next whole message; None where there is none (yet)."""
        while not self.complete:
            try:
                return self._whole()
            except NoMessage:
                self.torn += 1
                if not self._find():
                    self.cut = True
                    return None
        return None

    def _after(self, end: int) -> str:
        """What there is from ``end`` on; in a pipe what has come by now."""
        if self.regular:
            return many(left, "byte") if (left := self.size() - end) > 0 else ""
        waiting = select.select([self._fd], [], [], 0)[0]
        return "some bytes" if waiting and os.read(self._fd, 1) else ""

    def _whole(self) -> Frame | None:
        start = self._at
        prefix = self._read(start, _PREFIX.size)
        self.cut = 0 < len(prefix) < _PREFIX.size
        if len(prefix) < _PREFIX.size:
            return None
        mark, length = _PREFIX.unpack(prefix)
        if mark != 0xFFFFFFFF or length > _META_MAX:
            raise NoMessage
        if not length:
            self.complete, self.beyond = True, self._after(start + _PREFIX.size)
            return None
        metadata = self._read(start + _PREFIX.size, length)
        self.cut = len(metadata) < length
        if self.cut:
            return None
        kind, size, rows = describe(metadata)
        whole = _PREFIX.size + length + size
        data = b"" if self.regular else self._read(start, whole)
        self.cut = start + whole > self.size() if self.regular else len(data) < whole
        if self.cut:
            return None
        self._at = start + whole
        self._ahead = b""
        return Frame(start, kind, whole, rows, data)

    def read_into(self, frame: Frame, room: memoryview) -> None:
        """The bytes of a message; ``room`` has its size. Raises ``OSError``, also where the file became shorter."""
        if not self.regular:
            room[:] = frame.data
            return
        done = 0
        while done < frame.size:
            count = os.preadv(self._fd, [room[done:]], frame.at + done)
            if not count:
                raise OSError(f"{self.name} has become shorter")
            done += count

    def _read(self, at: int, size: int) -> bytes:
        """``size`` bytes from ``at`` on, or as many as there are."""
        try:
            if self.regular:
                return self._pread(at, size)
            skip = at - self._at
            while len(self._ahead) < skip + size and (more := os.read(self._fd, skip + size - len(self._ahead))):
                self._ahead += more
            return self._ahead[skip : skip + size]
        except OSError as error:
            raise cannot(self.name, error) from None

    def _pread(self, at: int, size: int) -> bytes:
        found = os.pread(self._fd, size, at)
        while len(found) < size and (more := os.pread(self._fd, size - len(found), at + len(found))):
            found += more
        return found

    def _find(self) -> bool:
        """Go to the next place where a batch may begin. Not in a pipe, which cannot be read again."""
        if not self.regular:
            return False
        at = self._at + 8
        while window := self._pread(at, _WINDOW):
            place = window.find(_MARK)
            while place >= 0:
                if (at + place) % 8 == 0 and self._begins(at + place):
                    self._at = at + place
                    return True
                place = window.find(_MARK, place + 1)
            at += max(8, len(window) - 8)
            if len(window) < _WINDOW:
                return False
        return False

    def _begins(self, at: int) -> bool:
        mark, length = _PREFIX.unpack(self._pread(at, _PREFIX.size).ljust(_PREFIX.size, b"\0"))
        if mark != 0xFFFFFFFF or not 0 < length <= _META_MAX or length % 8:
            return False
        try:
            kind, size, _ = describe(self._pread(at + _PREFIX.size, length))
        except NoMessage:
            return False
        return kind == BATCH and at + _PREFIX.size + length + size <= self.size()


def cannot(name: str, error: OSError) -> IsotraceError:
    """That a recording cannot be read, and why."""
    hints = {
        errno.EACCES: "recordings are their owner's alone (mode 0600): sudo, or the user who made it",
        errno.EISDIR: "name the recordings in it: a pattern such as 'DIR/*.arrow' will do",
    }
    return IsotraceError(
        f"cannot read {name}: {(error.strerror or str(error)).lower()}", hints.get(error.errno or 0, "")
    )
