"""iovec arrays, message headers and CPU masks: arguments that are put together from several captures."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from isotrace.decode import scalars, xlat
from isotrace.decode.quote import quote
from isotrace.decode.sockaddr import cmsgs, sockaddr
from isotrace.render.rows import Netlink
from isotrace.trace.captures import STRING_MAX
from isotrace.trace.events import CUT, FAULT, PART_CONTROL, PART_DATA, PART_IOV, PART_NAME, PART_SELF, Blob
from isotrace.trace.vectors import WIDE, Width

PAGE = 4096
_LENGTH = struct.Struct("<I")  # msg_len of struct mmsghdr, behind its msghdr


def _missing(blobs: Sequence[Blob], address: int, size: int = 0) -> str | None:
    """The text for an argument that has no readable capture of at least ``size`` bytes."""
    if blobs and blobs[0].state != FAULT and len(blobs[0].data) >= size:
        return None
    return f"{address:#x}<fault>" if blobs and address else scalars.ptr(address)


def netlink(data: Blob, on: Netlink, address: int = 0) -> str:
    """The messages in a buffer at ``address`` of a netlink socket."""
    from isotrace.decode.netlink import messages

    # What ends with a page, where more would have been copied, ends where it could not be read.
    ended = len(data.data) < min(data.full, STRING_MAX) and (address + len(data.data)) % PAGE == 0
    return messages(data.data, data.full, on.protocol, families=on.families, at=address if ended else 0)


def _element(base: int, size: int, data: Blob | None, on: Netlink | None = None) -> str:
    if data is None or data.state == FAULT:
        text = f"{base:#x}<fault>" if data is not None else scalars.ptr(base)
    else:
        text = quote(data.data, data.state == CUT) if on is None else netlink(data, on, base)
    return f"{{iov_base={text}, iov_len={size}}}"


def iovec(array: list[Blob], data: list[Blob], address: int, width: Width = WIDE, on: Netlink | None = None) -> str:
    """An iovec array: ``array`` its one capture, ``data`` those of its elements, in order.

    ``on``: the netlink socket that it was on.
    """
    if (missing := _missing(array, address)) is not None:
        return missing
    whole = len(array[0].data) // width.iovec.size * width.iovec.size
    pairs = list(width.iovec.iter_unpack(array[0].data[:whole]))
    # A NULL base has no capture of its own.
    waiting = iter(data)
    texts = [_element(base, size, next(waiting, None) if base else None, on) for base, size in pairs]
    if array[0].state == CUT:
        unread = whole and len(array[0].data) < array[0].full and (address + len(array[0].data)) % PAGE == 0
        texts.append(f"... /* {address + whole:#x} */" if unread else "...")
    return "[" + ", ".join(texts) + "]"


def _part(blobs: Sequence[Blob], part: int) -> list[Blob]:
    return [blob for blob in blobs if blob.part == part]


def name_length(before: bytes, width: Width = WIDE) -> int | None:
    """The room for an address that a ``struct msghdr`` had; None where not enough of it is there."""
    if len(before) < width.msghdr.size:
        return None
    length: int = width.msghdr.unpack_from(before)[1]
    return length


def msghdr(
    blobs: Sequence[Blob], address: int, width: Width = WIDE, room: int | None = None, on: Netlink | None = None
) -> str:
    """A ``struct msghdr`` from the captures of its argument.

    ``room``: the length of its name before the call; ``on``: the netlink socket that it was on.
    """
    own, name, control = (_part(blobs, part) for part in (PART_SELF, PART_NAME, PART_CONTROL))
    if (missing := _missing(own, address, width.msghdr.size)) is not None:
        return missing
    head = width.msghdr.unpack_from(own[0].data)
    name_at, name_size, iov_at, iov_count, control_at, control_size, flags = head
    length = min(len(name[0].data), name_size if room is None else room) if name and name_size else 0
    # what is shorter than a family is no address
    shown = sockaddr(name[0].data, length) if length >= 2 and name[0].state != FAULT else scalars.ptr(name_at)
    sizes = name_size if room is None or room == name_size else f"{scalars.s32(room)} => {name_size}"
    fields = [f"msg_name={shown}", f"msg_namelen={sizes}"]
    array = iovec(_part(blobs, PART_IOV), _part(blobs, PART_DATA), iov_at, width, on)
    fields += [f"msg_iov={array}", f"msg_iovlen={iov_count}"]
    if control_size and control and control[0].state != FAULT:
        fields.append(f"msg_control={cmsgs(control[0].data, width.word)}")
    elif control_at and control_size:
        fields.append(f"msg_control={control_at:#x}")
    fields.append(f"msg_controllen={control_size}")
    fields.append(f"msg_flags={xlat.flags('msg_flags', flags)}")
    return "{" + ", ".join(fields) + "}"


def mmsghdrs(
    blobs: Sequence[Blob],
    address: int,
    counts: tuple[int, int],
    width: Width = WIDE,
    before: Blob | None = None,
    on: Netlink | None = None,
) -> str:
    """An array of ``struct mmsghdr``, of which the first few were copied: each one's captures begin with itself.

    ``counts``: how many there are, and how many the call has dealt with, whose ``msg_len`` it filled. ``before`` has the
    first few as they were before the call.
    """
    starts = [i for i, blob in enumerate(blobs) if blob.part == PART_SELF]
    if not starts or blobs[0].state == FAULT:
        return _missing(blobs, address) or "[]"
    texts = []
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(blobs)], strict=True)):
        room = name_length(before.data[number * width.mmsghdr :], width) if before is not None else None
        one = blobs[start:end]
        if one[0].state == FAULT or len(one[0].data) < width.msghdr.size + _LENGTH.size:
            texts.append("...")
            break
        (length,) = _LENGTH.unpack_from(one[0].data, width.msghdr.size)
        filled = f", msg_len={length}" if number < counts[1] else ""
        texts.append(f"{{msg_hdr={msghdr(one, address, width, room, on)}{filled}}}")
    more = ["..."] if counts[0] > len(starts) else []
    return "[" + ", ".join([*texts, *more]) + "]"


def cpuset(blob: Blob) -> str:
    """A CPU mask: ``[0 1 5]``."""
    bits = int.from_bytes(blob.data, "little")
    return "[" + " ".join(str(cpu) for cpu in range(bits.bit_length()) if bits >> cpu & 1) + "]"
