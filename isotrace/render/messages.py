"""iovec arrays, message headers and CPU masks: arguments that are put together from several captures."""

from __future__ import annotations

import struct

from isotrace.decode import scalars, xlat
from isotrace.decode.quote import quote
from isotrace.decode.sockaddr import cmsgs, sockaddr
from isotrace.events import CUT, FAULT, Blob

_IOVEC = struct.Struct("<QQ")
_MSGHDR = struct.Struct("<QIxxxxQQQQIxxxx")


def _missing(blobs: list[Blob], address: int) -> str | None:
    """The text for an argument that has no readable capture."""
    if blobs and blobs[0].state != FAULT:
        return None
    return f"{address:#x}<fault>" if blobs and address else scalars.ptr(address)


def _element(base: int, size: int, data: Blob | None) -> str:
    if data is None or data.state == FAULT:
        text = f"{base:#x}<fault>" if data is not None else scalars.ptr(base)
    else:
        text = quote(data.data, data.state == CUT)
    return f"{{iov_base={text}, iov_len={size}}}"


def iovec(array: list[Blob], data: list[Blob], address: int) -> str:
    """An iovec array: ``array`` its one capture, ``data`` those of its elements, in order."""
    if (missing := _missing(array, address)) is not None:
        return missing
    whole = len(array[0].data) // _IOVEC.size * _IOVEC.size
    pairs = list(_IOVEC.iter_unpack(array[0].data[:whole]))
    # A NULL base has no capture of its own.
    waiting = iter(data)
    texts = [_element(base, size, next(waiting, None) if base else None) for base, size in pairs]
    if array[0].state == CUT:
        texts.append("...")
    return "[" + ", ".join(texts) + "]"


def msghdr(
    own: list[Blob], name: list[Blob], array: list[Blob], data: list[Blob], control: list[Blob], address: int
) -> str:
    """A ``struct msghdr``, and the first one of an array of ``struct mmsghdr``."""
    if (missing := _missing(own, address)) is not None:
        return missing
    if len(own[0].data) < _MSGHDR.size:
        return f"{address:#x}"
    name_at, name_size, iov_at, iov_count, control_at, control_size, flags = _MSGHDR.unpack(own[0].data)
    readable = name and name[0].state != FAULT and name_size
    shown = sockaddr(name[0].data, len(name[0].data)) if readable else scalars.ptr(name_at)
    fields = [f"msg_name={shown}", f"msg_namelen={name_size}"]
    fields += [f"msg_iov={iovec(array, data, iov_at)}", f"msg_iovlen={iov_count}"]
    if control_size and control and control[0].state != FAULT:
        fields.append(f"msg_control={cmsgs(control[0].data)}")
    elif control_at and control_size:
        fields.append(f"msg_control={control_at:#x}")
    fields.append(f"msg_controllen={control_size}")
    fields.append(f"msg_flags={xlat.flags('msg_flags', flags)}")
    return "{" + ", ".join(fields) + "}"


def cpuset(blob: Blob) -> str:
    """A CPU mask: ``[0 1 5]``."""
    bits = int.from_bytes(blob.data, "little")
    return "[" + " ".join(str(cpu) for cpu in range(bits.bit_length()) if bits >> cpu & 1) + "]"
