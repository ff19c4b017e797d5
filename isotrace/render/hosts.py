"""Where the files of a call's descriptors are for isotrace, behind what they are for the process: ``log --host-paths``."""

from __future__ import annotations

from collections.abc import Iterable

from isotrace.catalog.model import Syscall
from isotrace.decode.descriptors import ALONE, CUT, DELETED, DESCRIPTOR, SOCKET, UNSURE, Head, joined, place
from isotrace.decode.quote import quote
from isotrace.kernel.places import Places
from isotrace.render.rows import Column, Rows
from isotrace.trace.captures import MADE_RESULT, made_by
from isotrace.trace.events import PART_FILE, PART_PLACE, RESULT_ARG, Blob

UNKNOWN = " /* host ? */"
_KINDS = ("fd", "dirfd")


class Hosts:
    """Says of each descriptor that is a file where that is, if it is elsewhere."""

    def __init__(self, call: Syscall, places: Places) -> None:
        self._places = places
        self._arguments = [index for index, arg in enumerate(call.args) if arg.kind in _KINDS]
        self._makes = made_by(call) == MADE_RESULT

    def beside(self, rows: Rows, args: list[Column], results: Column) -> tuple[list[Column], Column]:
        """The columns of arguments and the results, with the paths behind those that are others."""
        args = args.copy()
        for argument in self._arguments:
            args[argument] = self._column(rows, argument, args[argument])
        return args, self._column(rows, RESULT_ARG, results) if self._makes else results

    def _column(self, rows: Rows, argument: int, texts: Column) -> Column:
        parts: Iterable[list[Blob | None]] = (rows.memory(argument, part) for part in (PART_FILE, PART_PLACE))
        found = zip(texts, *parts, rows.field("time"), strict=True)
        return [text + (self._said(file, inside, at) if file else "") for text, file, inside, at in found]

    def _said(self, file: Blob, inside: Blob | None, at: int) -> str:
        if len(file.data) < DESCRIPTOR.size:
            return ""
        head, own = Head(*DESCRIPTOR.unpack_from(file.data)), place(file.data)
        if own == b"" or head.state & (UNSURE | DELETED) or head.magic == SOCKET:
            return ""
        path = self._path(head, own, inside, at)
        if path is None:
            return UNKNOWN
        return "" if path == own else f" /* host {quote(path)} */"

    def _path(self, file: Head, own: bytes | None, inside: Blob | None, at: int) -> bytes | None:
        if inside is None or len(inside.data) < DESCRIPTOR.size:
            return None
        head, names = Head(*DESCRIPTOR.unpack_from(inside.data)), inside.data[DESCRIPTOR.size :]
        if head.inode != file.inode or head.state & (UNSURE | DELETED | CUT):
            return None
        if head.state & ALONE and not names.startswith(b"/\0"):
            return None
        path = b"/" if head.state & ALONE else joined(names)
        return self._places.path(own, head.other, path, head.inode, at)
