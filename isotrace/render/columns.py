"""Argument kinds to text, a column at a time.

``column(call, index)`` builds, once for each argument of each call, the function that renders that argument for a
group of records. Values repeat, so scalar kinds are looked up in a memo that computes what it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from isotrace.catalog.alternatives import chooser
from isotrace.catalog.model import Arg, Syscall
from isotrace.decode import filters, packed, scalars, signals, style, xlat
from isotrace.decode.dirents import DIRENTS, DIRENTS32, DIRENTS64, Dirents
from isotrace.decode.quote import hexbytes, quote
from isotrace.decode.sockaddr import sockaddr
from isotrace.decode.structs import STRUCTS, Struct, fdset
from isotrace.render import execs, messages
from isotrace.render.messages import PAGE
from isotrace.render.rows import Column, Netlink, Rows
from isotrace.render.texts import fault, many, string
from isotrace.render.view import SHORT, How
from isotrace.trace import vectors
from isotrace.trace.captures import STRING_MAX, may_be_netlink, size_of
from isotrace.trace.events import CUT, FAULT, PART_BEFORE, PART_DATA, PART_IOV, Blob

Render = Callable[[Rows], Column]
Scalar = Callable[[int], str]

#: What a column holds where the argument is not shown at all.
OMITTED = "\0"
#: Behind an argument whose memory was read only after the call had returned: it may have changed since.
LATER = " /* read later */"

_MEMO_LIMIT = 1 << 16
_MEMO_BLOBS, _MEMO_BYTES = 4096, 256
_ELEMENTS = 32
_SET = 128  # bytes of a descriptor set that are copied


def _remembered(render: Callable[[Blob], str | None]) -> Callable[[Blob], str | None]:
    """``render``, which depends on nothing but the capture, with its results for small captures kept: they come again."""
    known: dict[Blob, str] = {}

    def remembered(blob: Blob) -> str | None:
        text = known.get(blob)
        if text is None:
            text = render(blob)
            if text is not None and len(blob[4]) <= _MEMO_BYTES:
                if len(known) >= _MEMO_BLOBS:
                    known.clear()
                known[blob] = text
        return text

    return remembered


class Memo(dict[int, str]):
    """Value → text, computed when first asked for; emptied when it grows past its limit."""

    def __init__(self, compute: Scalar) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, value: int) -> str:
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        text = self[value] = self._compute(value)
        return text


SCALARS: dict[str, Scalar] = {
    "int": lambda v: str(scalars.s32(v)),
    "uint": lambda v: str(scalars.u32(v)),
    "long": lambda v: str(scalars.s64(v)),
    "ulong": str,
    "size": str,
    "off": lambda v: str(scalars.s64(v)),
    "hex": scalars.hexa,
    "ptr": scalars.ptr,
    "fd": scalars.fd,
    "dirfd": scalars.dirfd,
    "pid": lambda v: str(scalars.s32(v)),
    "uid": scalars.uid,
    "gid": scalars.uid,
    "uid16": scalars.uid16,
    "gid16": scalars.uid16,
    "mode": scalars.mode,
    "dev": scalars.dev,
    "signal": lambda v: signals.signal(v) if v <= 0xFFFFFFFF else str(v),
}


_SETS: dict[str, Callable[[str, int], str]] = {
    "flags": xlat.flags,
    "enum": xlat.enum,
    "flags32": lambda name, value: xlat.flags(name, scalars.u32(value)),
    "enum32": lambda name, value: xlat.enum(name, scalars.u32(value)),
    "ipcmode": packed.ipcmode,
    "vectorlength": packed.vectorlength,
}


def scalar(arg: Arg) -> Scalar | None:
    """The renderer of a kind that needs nothing but one register, or None for the other kinds."""
    if arg.kind in _SETS:
        return partial(_SETS[arg.kind], arg.params[0])
    return SCALARS.get(arg.kind) or packed.PACKED.get(arg.kind)


def _register(call: Syscall, index: int, render: Scalar) -> Render:
    """``render`` of as many bits of the register as the call looks at: the others may hold anything."""
    width = call.widths[index] if index < len(call.widths) else 64
    memo = Memo(render if width == 64 else lambda value: render(value & ((1 << width) - 1)))
    return lambda rows: [memo[value] for value in rows.arg(index)]


def _pair(index: int, high: int, render: Scalar) -> Render:
    def column(rows: Rows) -> Column:
        low, upper = rows.arg(index), rows.arg(high)
        return [render((a & 0xFFFFFFFF) | (b & 0xFFFFFFFF) << 32) for a, b in zip(low, upper, strict=True)]

    return column


def _memory(index: int, render: Callable[[Blob], str | None], ptr_on_error: bool = False) -> Render:
    """Each record's capture through ``render``; the address where there is none, or too little of it could be read."""
    render = _remembered(render)

    def column(rows: Rows) -> Column:
        return [
            scalars.ptr(address)
            if ptr_on_error and failed
            else fault(address)
            if blob is None or blob.state == FAULT or (text := render(blob)) is None
            else text
            for blob, address, failed in zip(rows.memory(index), rows.arg(index), rows.unfilled, strict=True)
        ]

    return column


def _socket_buffer(call: Syscall, index: int, filled: bool) -> Render:
    """Bytes, or messages where the call is on a netlink socket."""
    plain = _memory(index, _buffer, filled)

    def column(rows: Rows) -> Column:
        texts = plain(rows)
        for position, on in enumerate(rows.netlink):
            blob = rows.memory(index)[position] if on is not None else None
            if on is not None and blob is not None and blob.state != FAULT and not (filled and rows.unfilled[position]):
                texts[position] = messages.netlink(blob, on, rows.arg(index)[position])
        return texts

    return column


def _path(blob: Blob) -> str:
    return quote(blob.data.partition(b"\0")[0])


def _buffer(blob: Blob) -> str:
    return quote(blob.data, blob.state == CUT)


def _one(known: Struct, blob: Blob) -> str | None:
    """A whole struct; None where a part of it could not be read."""
    data = blob.data[: known.size]
    if known.own_size is not None and len(data) >= known.own_size + 4:
        own = int.from_bytes(data[known.own_size : known.own_size + 4], "little") or known.size
        if len(data) >= min(own, known.size):
            return _part(known, data[:own])
    return known.decode(data) if len(data) == known.size else None


def _part(known: Struct, data: bytes, given: bool = True) -> str:
    """A struct of which some bytes are there. What was not ``given`` is zero; what it did not fill is unknown."""
    if len(data) >= known.size:
        return known.decode(data[: known.size])
    if known.prefix:
        return known.prefix(data) if given or not known.filled else known.filled(data)
    return known.decode(data.ljust(known.size, b"\0")) if given or known.own_size is not None else hexbytes(data)


def _several(known: Struct, blob: Blob, most: int | None = _ELEMENTS) -> str:
    data, size = blob.data, known.size
    there = len(data) // size
    count = there if most is None else min(there, most)
    decode = known.element or known.decode
    return many((decode(data[i * size : (i + 1) * size]) for i in range(count)), blob.state == CUT or count < there)


def _array(on_success: bool) -> _Make:
    every, some = _with_struct(partial(_several, most=None), on_success), _with_struct(_several, on_success)

    def make(call: Syscall, index: int, arg: Arg, how: How) -> Render:
        plain = (every if how.full else some)(call, index, arg, how)
        size = STRUCTS[arg.params[0]].size if arg.params[0] in STRUCTS else 0

        def column(rows: Rows) -> Column:
            texts = plain(rows)
            for position, (blob, address) in enumerate(zip(rows.memory(index), rows.arg(index), strict=True)):
                text = texts[position]
                if blob is not None and text.endswith("...]") and (how.full or len(blob.data) < _ELEMENTS * size):
                    # so many as the call always takes it takes at once
                    at_once = arg.params[1].isdecimal()
                    texts[position] = fault(address) if at_once else _unread(text, blob, address, size)
            return texts

        return column

    return make


def _unread(text: str, blob: Blob, address: int, size: int) -> str:
    """The text of an array that was cut; where it could not be read any further, strace says at which element."""
    there = len(blob.data)
    if there >= min(blob.full, STRING_MAX) or (address + there) % PAGE:
        return text
    return f"{text[:-1]} /* {address + there // size * size:#x} */]" if there >= size else fault(address)


def _sized(call: Syscall, index: int, arg: Arg, how: How, on_success: bool) -> Render:
    """A struct of which the caller, or the kernel, says how many bytes there are."""
    known, length = _struct(arg, how), arg.params[1]
    place = _position(call, length.lstrip("*"))
    if length == "optlen":  # a socket's option has one size: what is shorter is refused, what is behind it not read
        known = replace(known, least=known.size)

    def text(blob: Blob | None, address: int, size: int | None, unfilled: bool) -> str:
        if (on_success and unfilled) or not address or not size or not known.least <= size <= known.most:
            return scalars.ptr(address)
        if blob is None or len(blob.data) < min(size, known.size):
            return fault(address)
        shown = _part(known, blob.data[:size], not on_success)
        if shown == "{}":
            return scalars.ptr(address)
        if length.endswith("optlen"):
            return shown
        return _beyond(shown, blob.data[known.size : size], known.size, size)

    def column(rows: Rows) -> Column:
        registers = zip(rows.registers, rows.results, strict=True)
        sizes: list[int | None] = [size_of(call, index, arg, *row) for row in registers]
        if length.startswith("*"):
            sizes = list(map(_shorter, rows.given(place), rows.memory(place)))
        return list(map(text, rows.memory(index), rows.arg(index), sizes, rows.unfilled))

    return column


def _beyond(text: str, rest: bytes, known: int, size: int) -> str:
    """The text of a struct, and what the caller has behind the bytes that are known: zeros are nothing."""
    if size > known and not rest:
        return f"{text[:-1]}, ???}}"
    if any(rest):
        text = f"{text[:-1]}, /* bytes {known}..{known + len(rest) - 1} */ {hexbytes(rest)}}}"
    return f"{text[:-1]}, ...}}" if size > known + len(rest) and len(rest) and text[-4:-1] != "..." else text


def _clipped(call: Syscall, index: int, arg: Arg, render: Render) -> Render:
    """``render`` of no more than the caller had room for: a result can be more than that."""

    length = arg.params[-1]
    place = _position(call, length[1:]) if length.startswith("*") else None
    room = (
        _position(call, length.partition("<")[2]) if "xattr" in call.name else None
    )  # without any they ask for the size

    def column(rows: Rows) -> Column:
        sizes = [size_of(call, index, arg, *row) for row in zip(rows.registers, rows.results, strict=True)]
        if place is not None:
            sizes = list(map(_shorter, rows.given(place), rows.memory(place)))
        texts = render(rows.cut(index, sizes))
        if room is None:
            return texts
        lines = zip(texts, rows.arg(index), rows.arg(room), strict=True)
        return [text if size else scalars.ptr(address) for text, address, size in lines]

    return column


def _hex(blob: Blob) -> str:
    return hexbytes(blob.data) + ("..." if blob.state == CUT else "")


def _directory(index: int, layout: Dirents, how: How) -> Render:
    """getdents: the address and how many entries the buffer holds, or the entries."""

    def text(blob: Blob | None, address: int) -> str:
        if blob is None or blob.state == FAULT:
            return scalars.ptr(address)
        cut = blob.state == CUT
        if how.full:
            return many(layout.entries(blob.data), cut)
        entries, least = layout.count(blob.data), "at least " if cut else ""
        return f"{address:#x} /* {least}{entries} {'entry' if entries == 1 else 'entries'} */"

    return lambda rows: list(map(text, rows.memory(index), rows.arg(index)))


_SLEEP_CUT = (-4, -516)  # EINTR, ERESTART_RESTARTBLOCK


def _remaining(index: int, known: Struct) -> Render:
    """What is left of a sleep: the kernel writes it only when the sleep is cut short."""

    def text(blob: Blob | None, address: int, result: int) -> str:
        if blob is None or blob.state == FAULT or result not in _SLEEP_CUT:
            return scalars.ptr(address)
        return _one(known, blob) or fault(address)

    return lambda rows: list(map(text, rows.memory(index), rows.arg(index), rows.results))


def _asked(index: int, known: Struct) -> Render:
    """What the caller gave, whatever has become of it; the address where that is not known."""

    def text(blob: Blob | None, address: int) -> str:
        if blob is None:
            return scalars.ptr(address)
        return (None if blob.state == FAULT else _one(known, blob)) or fault(address)

    return lambda rows: list(map(text, rows.given(index), rows.arg(index)))


def _moved(index: int, known: Struct) -> Render:
    """An offset that the call moves: ``[0] => [5]``, as long as it did something."""
    asked = _asked(index, known)

    def text(before: str, blob: Blob | None, address: int, result: int) -> str:
        moved = result > 0 and address and blob is not None and blob.state != FAULT
        return f"{before} => {_one(known, blob) or '?'}" if moved and blob else before

    return lambda rows: list(map(text, asked(rows), rows.memory(index), rows.arg(index), rows.results))


def _numbers(blobs: Iterable[Blob | None], known: Struct) -> list[str | None]:
    """Numbers behind pointers, as text; None for those that could not be read."""
    return [
        None if blob is None or len(blob.data) < known.size else known.decode(blob.data[: known.size]).strip("[]")
        for blob in blobs
    ]


def _wants(index: int, known: Struct) -> Render:
    """A length in and out: ``[110 => 24]``, ``[24]`` where they are the same; ``?`` for what is not known."""

    def text(before: str | None, after: str | None, address: int, unfilled: bool) -> str:
        if not address or (before is None and (unfilled or after is None)):
            return fault(address) if address and after is None else scalars.ptr(address)
        if unfilled or after is None or after == before:
            return f"[{before}]"
        return f"[{before or '?'} => {after}]"

    def column(rows: Rows) -> Column:
        before, after = _numbers(rows.given(index), known), _numbers(rows.memory(index), known)
        return list(map(text, before, after, rows.arg(index), rows.unfilled))

    return column


def _descriptors(index: int, count: int) -> Render:
    """A set of descriptors for select: those below nfds that were asked about."""

    def text(blob: Blob | None, address: int, nfds: int) -> str:
        if blob is None or scalars.s32(nfds) < 0:
            return scalars.ptr(address)
        if blob.state == FAULT or len(blob.data) < min(blob.full, _SET):
            return fault(address)
        shown = fdset(blob.data, scalars.s32(nfds))
        return f"{shown[:-1]} ...]" if blob.state == CUT else shown

    return lambda rows: list(map(text, rows.given(index), rows.arg(index), rows.arg(count)))


def _filled_address(call: Syscall, index: int, length: int) -> Render:
    """A socket address that the kernel filled: as long as it is, and as there was room for."""
    whole = _address(index, True)

    def column(rows: Rows) -> Column:
        lengths = zip(rows.given(length), rows.memory(length), strict=True)
        return whole(rows.cut(index, [_shorter(before, after) for before, after in lengths]))

    return column


def _shorter(*lengths: Blob | None) -> int | None:
    """The least of some lengths behind pointers, of those that could be read."""
    known = [int.from_bytes(blob.data, "little") for blob in lengths if blob is not None and len(blob.data) == 4]
    return min(known, default=None)


def _address(index: int, on_success: bool) -> Render:
    """A socket address; one that is too short to say its family is only a pointer."""
    whole = _memory(index, lambda blob: sockaddr(blob.data, len(blob.data)) if len(blob.data) >= 2 else "", on_success)

    def column(rows: Rows) -> Column:
        return [text or scalars.ptr(address) for text, address in zip(whole(rows), rows.arg(index), strict=True)]

    return column


def _width(call: Syscall) -> vectors.Width:
    return vectors.NARROW if call.abi == "i386" else vectors.WIDE


def _vector(call: Syscall, index: int, on_success: bool) -> Render:
    width = _width(call)

    def column(rows: Rows) -> Column:
        return [
            scalars.ptr(address) if on_success and failed else messages.iovec(array, data, address, width, on)
            for array, data, address, failed, on in zip(
                rows.parts(index, PART_IOV),
                rows.parts(index, PART_DATA),
                rows.arg(index),
                rows.unfilled,
                rows.netlink,
                strict=True,
            )
        ]

    return column


def _message(call: Syscall, index: int, on_success: bool) -> Render:
    width = _width(call)

    def text(blobs: list[Blob], before: Blob | None, address: int, unfilled: bool, on: Netlink | None) -> str:
        room = messages.name_length(before.data, width) if before is not None else None
        if on_success and unfilled:
            return scalars.ptr(address) if room is None else f"{{msg_namelen={scalars.s32(room)}}}"
        return messages.msghdr(blobs, address, width, room, on)

    def column(rows: Rows) -> Column:
        before = rows.memory(index, PART_BEFORE)
        return list(map(text, rows.of(index), before, rows.arg(index), rows.unfilled, rows.netlink))

    return column


def _messages(call: Syscall, index: int, arg: Arg, how: How) -> Render:
    width, length = _width(call), arg.params[0]

    def text(blobs: list[Blob], before: Blob | None, address: int, count: int, result: int, on: Netlink | None) -> str:
        if length == "ret" and count <= 0:
            return scalars.ptr(address)
        return messages.mmsghdrs(blobs, address, (count, result), width, before, on)

    def column(rows: Rows) -> Column:
        counts = rows.results if length == "ret" else [scalars.u32(n) for n in rows.arg(_position(call, length))]
        before = rows.memory(index, PART_BEFORE)
        return list(map(text, rows.of(index), before, rows.arg(index), counts, rows.results, rows.netlink))

    return column


def _argv(index: int, how: How) -> Render:
    return lambda rows: [
        execs.arguments(blobs, address, how.full)
        for blobs, address in zip(rows.of(index), rows.arg(index), strict=True)
    ]


def _envp(index: int, how: How) -> Render:
    return lambda rows: [
        execs.environment(blobs, address, how.full)
        for blobs, address in zip(rows.of(index), rows.arg(index), strict=True)
    ]


def _alternative(call: Syscall, index: int, arg: Arg, how: How) -> Render:
    """Groups the records once more, by what the argument is for each of them."""
    which = chooser(call, arg)
    renderers: dict[Arg, Render] = {}

    def column(rows: Rows) -> Column:
        groups: dict[Arg, list[int]] = {}
        for position, chosen in enumerate(which.each(rows.registers)):
            groups.setdefault(chosen, []).append(position)
        found = [""] * len(rows)
        for chosen, positions in groups.items():
            if chosen not in renderers:
                renderers[chosen] = column_of(call, index, chosen, how)
            part = rows.subset(positions) if len(groups) > 1 else rows
            if scalar(chosen) is None:  # what needs nothing but registers has no memory
                sizes = [size_of(call, index, chosen, *row) for row in zip(part.registers, part.results, strict=True)]
                part = part.cut(index, sizes)
            texts = renderers[chosen](part)
            for position, text in zip(positions, texts, strict=True):
                found[position] = text
        return found

    return column


_Make = Callable[[Syscall, int, Arg, How], Render]


def _program(call: Syscall, index: int, arg: Arg, how: How) -> Render:
    """A struct that points to a filter program; in full, the program itself."""
    known, what = STRUCTS[arg.params[0]], arg.params[1]
    plain = _memory(index, partial(_one, known))

    def column(rows: Rows) -> Column:
        texts = plain(rows)
        programs = zip(rows.memory(index), rows.memory(index, PART_DATA), strict=True)
        for position, (head, data) in enumerate(programs):
            if head and data and head.state != FAULT and data.state != FAULT and len(head.data) >= known.size:
                count = int.from_bytes(head.data[:2], "little")
                texts[position] = f"{{len={count}, filter={filters.program(data.data, count, what)}}}"
        return texts

    return column if how.full else plain


def _struct(arg: Arg, how: How) -> Struct:
    known = STRUCTS[arg.params[0]]
    return (known.full or known) if how.full else known


def _bytes(call: Syscall, index: int, filled: bool) -> Render:
    sent = index == 1 and may_be_netlink(call, descriptors=True)
    return _socket_buffer(call, index, filled) if sent else _memory(index, _buffer, filled)


def _with_struct(render: Callable[[Struct, Blob], str | None], on_success: bool) -> _Make:
    def make(call: Syscall, index: int, arg: Arg, how: How) -> Render:
        if arg.params[0] not in STRUCTS:
            return _register(call, index, scalars.ptr)
        return _memory(index, partial(render, _struct(arg, how)), on_success)

    return make


def _either(call: Syscall, index: int, arg: Arg, how: How) -> Render:
    """A struct in and out: what was given where the call failed, all of it otherwise."""
    halves = (replace(arg, params=(name,)) for name in arg.params)
    given, filled = (_memory(index, partial(_one, _struct(half, how))) for half in halves)

    def column(rows: Rows) -> Column:
        texts = zip(given(rows), filled(rows), rows.unfilled, strict=True)
        return [before if unfilled else after for before, after, unfilled in texts]

    return column


def _unless_filled(index: int, filled: list[int], render: Render) -> Render:
    """``render``, but the address where the call has filled that very memory: what it was given is not there any more."""

    def column(rows: Rows) -> Column:
        texts, addresses = render(rows), rows.arg(index)
        for other in filled:
            for i, (address, same, failed) in enumerate(zip(addresses, rows.arg(other), rows.unfilled, strict=True)):
                if address == same and address and not failed:
                    texts[i] = scalars.ptr(address)
        return texts

    return column


def _done(call: Syscall, index: int, arg: Arg, how: How) -> Render:
    """What the call filled where it returned more than 0: wait4 that found nobody leaves a status as it was."""
    filled = _memory(index, partial(_one, _struct(arg, how)), True)

    def column(rows: Rows) -> Column:
        return [
            text if result > 0 else scalars.ptr(address)
            for text, result, address in zip(filled(rows), rows.results, rows.arg(index), strict=True)
        ]

    return column


def _position(call: Syscall, name: str) -> int:
    return [arg.name for arg in call.args].index(name)


_KINDS: dict[str, _Make] = {
    "none": lambda call, i, arg, how: lambda rows: [OMITTED] * len(rows),
    "off64": lambda call, i, arg, how: _pair(i, _position(call, arg.params[0]), SCALARS["off"]),
    "flags64": lambda call, i, arg, how: _pair(i, _position(call, arg.params[1]), partial(xlat.flags, arg.params[0])),
    "path": lambda call, i, arg, how: _memory(i, string),
    "str": lambda call, i, arg, how: _memory(i, string),
    "outpath": lambda call, i, arg, how: _memory(i, _path, True),
    "inbuf": lambda call, i, arg, how: _bytes(call, i, False),
    "outbuf": lambda call, i, arg, how: _bytes(call, i, True),
    "outhex": lambda call, i, arg, how: _memory(i, _hex, True),
    "outdirents64": lambda call, i, arg, how: _directory(i, DIRENTS64, how),
    "outdirents": lambda call, i, arg, how: _directory(i, DIRENTS32 if call.abi == "i386" else DIRENTS, how),
    "outrem": lambda call, i, arg, how: _remaining(i, _struct(arg, how)),
    "in": _with_struct(_one, False),
    "inout": _with_struct(_one, False),
    "either": _either,
    "program": _program,
    "out": _with_struct(_one, True),
    "inarray": _array(False),
    "inoutarray": _array(False),
    "outarray": _array(True),
    "sockaddr": lambda call, i, arg, how: _address(i, False),
    "outsockaddr": lambda call, i, arg, how: _filled_address(call, i, _position(call, arg.params[0])),
    "outdone": _done,
    "insized": lambda call, i, arg, how: _sized(call, i, arg, how, False),
    "outsized": lambda call, i, arg, how: _sized(call, i, arg, how, True),
    "was": lambda call, i, arg, how: _asked(i, _struct(arg, how)),
    "moves": lambda call, i, arg, how: _moved(i, _struct(arg, how)),
    "wants": lambda call, i, arg, how: _wants(i, _struct(arg, how)),
    "fdset": lambda call, i, arg, how: _descriptors(i, _position(call, arg.params[0])),
    "incpuset": lambda call, i, arg, how: _memory(i, messages.cpuset),
    "outcpuset": lambda call, i, arg, how: _memory(i, messages.cpuset, True),
    "iniov": lambda call, i, arg, how: _vector(call, i, False),
    "outiov": lambda call, i, arg, how: _vector(call, i, True),
    "inmsg": lambda call, i, arg, how: _message(call, i, False),
    "outmsg": lambda call, i, arg, how: _message(call, i, True),
    "inmmsg": _messages,
    "outmmsg": _messages,
    "argv": lambda call, i, arg, how: _argv(i, how),
    "envp": lambda call, i, arg, how: _envp(i, how),
    "alt": _alternative,
}


#: Of the kinds that are in memory those that are shown also where addresses are not followed.
_ALWAYS = frozenset({"none", "off64", "flags64", "path", "str", "outpath", "inbuf", "outbuf", "outhex", "alt"})


#: Arguments that have, in one call, a name for a value that is none elsewhere.
_NAMED: dict[tuple[str, str], Scalar] = {
    ("fanotify_mark", "dfd"): lambda value: (
        style.constant("-1", "FAN_NOFD") if scalars.s32(value) == -1 else scalars.dirfd(value)
    ),
}


def column_of(call: Syscall, index: int, arg: Arg, how: How = SHORT) -> Render:
    """The renderer of ``arg``, which stands at position ``index`` of the call."""
    if how.raw:
        return _register(call, index, scalars.hexa)
    render = _NAMED.get((call.name, arg.name)) or scalar(arg)
    if render is not None:
        return _register(call, index, render)
    if not how.followed and arg.kind not in _ALWAYS:
        return _register(call, index, scalars.ptr)
    made = _KINDS[arg.kind](call, index, arg, how)
    if arg.kind == "in" and (filled := [i for i, other in enumerate(call.args) if other.kind == "out"]):
        return _unless_filled(index, filled, made)
    clipped = arg.kind in ("outbuf", "outarray") and arg.params[-1].startswith(("ret<", "*"))
    return _clipped(call, index, arg, made) if clipped else made
