"""What ioctl requests point to: loop devices, network interfaces, clocks, input devices, disks, files."""

from __future__ import annotations

import struct
from collections.abc import Callable

from . import xlat
from .layout import STRUCTS, Struct, add, layout, value
from .quote import cstring, quote
from .scalars import hexa
from .sockaddr import sockaddr

#: How long the address of a link is, by its type; of others all is shown that there is room for.
_LINK_ADDRESSES = {0: 7, 1: 6, 3: 7, 6: 6, 7: 1, 15: 2, 24: 16, 27: 8, 32: 20, 270: 5, 772: 6, 774: 6, 801: 6}
_NAME = 16


def _loop_name(data: bytes, name: str, at: int) -> str:
    return f"{name}={cstring(data[at : at + 64])}"


def _loop_info64(data: bytes) -> str:
    """strace leaves out what the kernel fills by itself, and the keys where there is no encryption."""
    offset, _, number, kind, size, flag = struct.unpack_from("<QQIIII", data, 24)
    shown = [f"lo_offset={hexa(offset)}", f"lo_number={number}"]
    if kind:
        shown += [f"lo_encrypt_type={xlat.enum('loop_crypt_type_options', kind)}", f"lo_encrypt_key_size={size}"]
    shown += [f"lo_flags={xlat.flags('loop_flags_options', flag)}", _loop_name(data, "lo_file_name", 56)]
    if kind:
        shown += [_loop_name(data, "lo_crypt_name", 120), f"lo_encrypt_key={quote(data[184 : 184 + min(size, 32)])}"]
    return f"{{{', '.join(shown)}, ...}}"


def _loop_info(data: bytes) -> str:
    (number,) = struct.unpack_from("<i", data)
    offset, kind, size, flag = struct.unpack_from("<IIII", data, 32)
    shown = [f"lo_number={number}", f"lo_offset={hexa(offset)}"]
    if kind:
        shown += [f"lo_encrypt_type={xlat.enum('loop_crypt_type_options', kind)}", f"lo_encrypt_key_size={size}"]
    shown += [f"lo_flags={xlat.flags('loop_flags_options', flag)}", _loop_name(data, "lo_name", 48)]
    if kind:
        shown.append(f"lo_encrypt_key={quote(data[112 : 112 + min(size, 32)])}")
    return f"{{{', '.join(shown)}, ...}}"


STRUCTS |= {"loop_info64": Struct(232, _loop_info64), "loop_info": Struct(168, _loop_info)}
STRUCTS |= {
    "ushort": value("H"),
    "long": value("q"),
    "hexint": value("I", "x"),
    "modem": value("I", "flags", "modem_flags"),
    "rtc_vl": value("I", "flags", "rtc_vl_flags"),
    "label": Struct(256, cstring),
    "ifname": Struct(_NAME, cstring),
    "char": Struct(1, quote),
}
add("""
loop_config = fd:I block_size:I info:232s:struct:loop_info64 -:64x
file_dedupe_range = src_offset:Q src_length:Q dest_count:H -:6x ...
fsxattr = fsx_xflags:I:flags:file_attr_xflags fsx_extsize:I fsx_nextents:I fsx_projid:I:x fsx_cowextsize:I -:8x
fsxattr_set = fsx_xflags:I:flags:file_attr_xflags fsx_extsize:I -:4x fsx_projid:I:x fsx_cowextsize:I -:8x
input_id = bustype:H vendor:H product:H version:H
hd_geometry = heads:B sectors:B cylinders:H -:4x start:Q
epoll_params = busy_poll_usecs:I busy_poll_budget:H prefer_busy_poll:B ?__pad:B:x
uffdio_range = start:Q:x len:Q:x
rand_pool_info = entropy_count:i buf_size:i ...
seccomp_notif_resp = id:Q:x val:q error:i flags:I:x
""")


def _fiemap(data: bytes) -> str:
    start, length, flag, mapped, extents = struct.unpack_from("<QQIII", data)
    flags = xlat.flags("fiemap_flags", flag)
    given = f"{{fm_start={start}, fm_length={length}, fm_flags={flags}, fm_extent_count={extents}}}"
    return f"{given} => {{fm_flags={flags}, fm_mapped_extents={mapped}, ...}}"


STRUCTS["fiemap"] = Struct(32, _fiemap)


# ---- network interfaces --------------------------------------------------------------------------------------------


def _address(name: str) -> Callable[[bytes], str]:
    return lambda data: f"{name}={sockaddr(data[:16], 16)}"


def _number(name: str) -> Callable[[bytes], str]:
    return lambda data: f"{name}={int.from_bytes(data[:4], 'little', signed=True)}"


def _hardware(data: bytes) -> str:
    kind = int.from_bytes(data[:2], "little")
    shown = ":".join([f"{byte:02x}" for byte in data[2 : 2 + _LINK_ADDRESSES.get(kind, 14)][:14]])
    return f"ifr_hwaddr={{sa_family={xlat.enum('arp_hardware_types', kind)}, sa_data={shown}}}"


def _flags(data: bytes) -> str:
    return f"ifr_flags={xlat.flags('iffflags', int.from_bytes(data[:2], 'little'))}"


def _map(data: bytes) -> str:
    begin, end, base, irq, dma, port = struct.unpack_from("<QQHBBB", data)
    where = f"mem_start={hexa(begin)}, mem_end={hexa(end)}, base_addr={hexa(base)}"
    return f"ifr_map={{{where}, irq={hexa(irq)}, dma={hexa(dma)}, port={hexa(port)}}}"


#: The struct of each request → what is behind the name.
_REQUESTS: dict[str, Callable[[bytes], str]] = {
    **{f"ifreq_{name}": _address(f"ifr_{name}") for name in ("addr", "dstaddr", "broadaddr", "netmask")},
    **{f"ifreq_{name}": _number(f"ifr_{name}") for name in ("metric", "mtu", "ifindex")},
    "ifreq_qlen": _number("ifr_qlen"),
    "ifreq_flags": _flags,
    "ifreq_hwaddr": _hardware,
    "ifreq_slave": lambda data: f"ifr_slave={cstring(data[:_NAME])}",
    "ifreq_newname": lambda data: f"ifr_newname={cstring(data[:_NAME])}",
    "ifreq_map": _map,
}


def _request(rest: Callable[[bytes], str]) -> Struct:
    return Struct(40, lambda data: f"{{ifr_name={cstring(data[:_NAME])}, {rest(data[_NAME:])}}}")


def _by_index(data: bytes) -> str:
    index = int.from_bytes(data[_NAME : _NAME + 4], "little", signed=True)
    return f"{{ifr_ifindex={index}, ifr_name={cstring(data[:_NAME])}}}"


STRUCTS |= {name: _request(rest) for name, rest in _REQUESTS.items()}
STRUCTS["ifreq_name"] = Struct(40, lambda data: f"{{ifr_name={cstring(data[:_NAME])}}}")
STRUCTS["ifreq_byindex"] = Struct(40, _by_index)
STRUCTS["ifreq_index"] = layout("-:16x ifr_ifindex:i -:20x")
