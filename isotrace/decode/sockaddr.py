"""Socket addresses and control messages as strace prints them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from . import style
from .quote import escape, hexbytes, quote
from .scalars import hexa, ifindex, padded, s32, uid
from .xlat import SETS, enum, flags

_MAX_LENGTH = 128


def _unix(data: bytes, ifname: Callable[[int], str]) -> str:
    path = data[2:110]
    if path[:1] != b"\0":
        return f"sun_path={quote(path.partition(bytes(1))[0])}"
    return f"sun_path=@{quote(path[1:])}"


def inet(data: bytes) -> str:
    """The four bytes of an IPv4 address: ``inet_addr("127.0.0.1")``."""
    return style.constant(hexbytes(data), f"inet_addr({quote(socket.inet_ntop(socket.AF_INET, data).encode())})")


def _port(data: bytes) -> str:
    return style.constant(hexbytes(data), f"htons({int.from_bytes(data, 'big')})")


def _inet(data: bytes, ifname: Callable[[int], str]) -> str:
    return f"sin_port={_port(data[2:4])}, sin_addr={inet(data[4:8])}"


def _inet6(data: bytes, ifname: Callable[[int], str]) -> str:
    address = data[8:24]
    shown = quote(socket.inet_ntop(socket.AF_INET6, address).encode())
    flow = style.constant(hexbytes(data[4:8]), f"htonl({int.from_bytes(data[4:8], 'big')})")
    text = f"sin6_port={_port(data[2:4])}, sin6_flowinfo={flow}, "
    if style.by_name():
        text += f"inet_pton(AF_INET6, {shown}, &sin6_addr)"
    else:
        text += f"sin6_addr={style.constant(hexbytes(address), f'inet_pton(AF_INET6, {shown})')}"
    if len(data) <= 24:
        return text
    scope = int.from_bytes(data[24:28].ljust(4, b"\0"), "little")
    local = (address[0] == 0xFE and address[1] & 0xC0 == 0x80) or (address[0] == 0xFF and address[1] & 0x0F == 2)
    return f"{text}, sin6_scope_id={ifname(scope) if local else scope}"


def _netlink(data: bytes, ifname: Callable[[int], str]) -> str:
    pad, pid, groups = struct.unpack_from("<HiI", data, 2)
    before = f"nl_pad={pad:#x}, " if pad else ""
    return f"{before}nl_pid={pid}, nl_groups={padded(groups, 8)}"


def _packet(data: bytes, ifname: Callable[[int], str]) -> str:
    (protocol,) = struct.unpack_from(">H", data, 2)
    index, hardware, kind, length = struct.unpack_from("<iHBB", data, 4)
    text = f"sll_protocol=htons({enum('ethernet_protocols', protocol)}), sll_ifindex={ifname(index)}, "
    text += f"sll_hatype={enum('arp_hardware_types', hardware)}, "
    text += f"sll_pkttype={enum('af_packet_types', kind)}, sll_halen={length}"
    if not length:
        return text
    shown = [padded(byte, 2) for byte in data[12 : 12 + length]]
    if length > len(data) - 12:
        shown.append("...")
    return f"{text}, sll_addr=[{', '.join(shown)}]"


def _vsock(data: bytes, ifname: Callable[[int], str]) -> str:
    reserved, port, cid, flag = struct.unpack_from("<HIIB", data, 2)
    before = f"svm_reserved1={reserved:#x}, " if reserved else ""
    text = f"{before}svm_cid={enum('vsock_cids', cid)}, svm_port={enum('vsock_ports', port)}"
    return f"{text}, svm_flags={flags('vsock_flags', flag)}" + (
        "" if not any(data[15:16]) else f", svm_zero={hexbytes(data[15:16])}"
    )


def _alg_flags(value: int) -> str:
    """strace shows these flags both as a number and by name."""
    text = flags("alg_sockaddr_flags", value)
    return f"{value:#x} /* {text} */" if any(value & bit for bit, _ in SETS["alg_sockaddr_flags"].pairs) else text


def _alg(data: bytes, ifname: Callable[[int], str]) -> str:
    feat, mask = struct.unpack_from("<II", data, 16)
    kind, name = data[2:16].partition(b"\0")[0], data[24:88].partition(b"\0")[0]
    text = f"salg_type={quote(kind)}, salg_feat={_alg_flags(feat)}, "
    return f"{text}salg_mask={_alg_flags(mask)}, salg_name={quote(name)}"


_FAMILIES: dict[int, tuple[Callable[[bytes, Callable[[int], str]], str], int]] = {
    1: (_unix, 3),
    2: (_inet, 16),
    10: (_inet6, 24),
    16: (_netlink, 12),
    17: (_packet, 20),
    38: (_alg, 89),
    40: (_vsock, 16),
}


def endpoint(data: bytes, readable: Callable[[bytes], str] = escape) -> str:
    """Where an address leads: ``10.0.0.1:80``, ``[::1]:80``, ``/run/x``, ``@abstract``; other families as strace has them.

    ``data`` may have NULs behind the address; "" where it is too short to have a family, or is a socket's without a name.
    """
    family, port = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "big")
    if family == socket.AF_INET and len(data) >= 8:
        return f"{socket.inet_ntop(socket.AF_INET, data[4:8])}:{port}"
    if family == socket.AF_INET6 and len(data) >= 24:
        return f"[{socket.inet_ntop(socket.AF_INET6, data[8:24])}]:{port}"
    if family == socket.AF_UNIX:
        abstract = len(data) > 3 and not data[2]
        return "@" + readable(data[3:].rstrip(b"\0")) if abstract else readable(data[2:].partition(b"\0")[0])
    return sockaddr(data.rstrip(b"\0").ljust(16, b"\0"), len(data)) if len(data) > 1 else ""


def sockaddr(data: bytes, length: int, ifname: Callable[[int], str] = ifindex) -> str:
    """A socket address whose length the caller or the kernel gave as ``length`` and of which ``data`` was
    captured.

    ``ifname`` prints an interface index.
    A ``length`` below 2, or fewer bytes captured than that, has no family: the caller prints the pointer
    instead; here it is ``{}``.
    """
    data = data[: max(0, min(length, _MAX_LENGTH))]
    if len(data) < 2:
        return "{}"
    family = data[0] | data[1] << 8
    name = f"sa_family={enum('addrfams', family)}"
    if len(data) == 2:
        return f"{{{name}}}"
    decode, shortest = _FAMILIES.get(family, (None, 0))
    if decode is None or len(data) < shortest:
        return f"{{{name}, sa_data={quote(data[2:])}}}"
    return f"{{{name}, {decode(data, ifname)}}}"


def _cmsg_data(level: int, kind: int, body: bytes) -> str:
    """What a control message carries, or "" when it has no body."""
    if level == 1 and kind == 1:
        return f"[{', '.join([str(fd) for (fd,) in struct.iter_unpack('<i', body[: len(body) & ~3])])}]"
    if level == 1 and kind == 2 and len(body) >= 12:
        pid, user, group = struct.unpack_from("<iII", body)
        return f"{{pid={pid}, uid={uid(user)}, gid={uid(group)}}}"
    if level == 1 and kind == 4 and len(body) >= 4:
        return f"[{s32(int.from_bytes(body[:4], 'little'))}]"
    if level == 1 and kind in (29, 35, 63, 64) and len(body) >= 16:
        seconds, fraction = struct.unpack_from("<qq", body)
        return f"{{tv_sec={seconds}, {'tv_usec' if kind in (29, 63) else 'tv_nsec'}={fraction}}}"
    if level == 0 and kind == 2 and len(body) >= 4:
        return f"[{s32(int.from_bytes(body[:4], 'little'))}]"
    if level == 0 and kind == 1 and body:
        return f"[{body[0]:#x}]"
    if level == 0 and kind == 8 and len(body) >= 12:
        spec, address = (socket.inet_ntop(socket.AF_INET, body[n : n + 4]) for n in (4, 8))
        index = s32(int.from_bytes(body[:4], "little"))
        return f'{{ipi_ifindex={ifindex(index)}, ipi_spec_dst=inet_addr("{spec}"), ipi_addr=inet_addr("{address}")}}'
    return quote(body)


def _cmsg(length: int, level: int, kind: int, body: bytes, cut: bool) -> str:
    types = {0: "ip_cmsg_types", 1: "scmvals"}.get(level)
    name = enum(types, kind) if types else hexa(kind)
    head = f"cmsg_len={length}, cmsg_level={enum('socketlayers', level)}, cmsg_type={name}"
    if not body:
        return f"{{{head}, ...}}" if cut else f"{{{head}}}"
    return f"{{{head}, cmsg_data={_cmsg_data(level, kind, body)}{'...' if cut else ''}}}"


def cmsgs(data: bytes, word: int = 8) -> str:
    """The control messages in ``data`` (a struct msghdr's msg_control); ``word`` is 4 for a 32-bit caller."""
    header = word + 8
    found, at = [], 0
    while len(data) - at >= header:
        length = int.from_bytes(data[at : at + word], "little")
        level, kind = struct.unpack_from("<ii", data, at + word)
        body = data[at + header : at + max(length, header)]
        found.append(_cmsg(length, level & 0xFFFFFFFF, kind & 0xFFFFFFFF, body, cut=length > len(data) - at))
        if length < header:
            break
        at += (length + word - 1) & -word
    if at < len(data) and not found:
        return f'"{escape(data)}"'
    return f"[{', '.join(found)}]"
