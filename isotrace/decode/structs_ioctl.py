"""What ioctl requests point to: loop devices, network interfaces, clocks, input devices, disks, files.

``NAME32`` is the struct of 32-bit calls (i386's and x32's), where the kernel has another for these.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from . import xlat
from .layout import STRUCTS, Struct, add, add_full, value
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


def _loop_info(numbers: int, name: int, key: int) -> Callable[[bytes], str]:
    """``numbers``: where the offset is, and what follows; ``name`` and ``key`` where these are."""

    def text(data: bytes) -> str:
        (number,) = struct.unpack_from("<i", data)
        offset, kind, size, flag = struct.unpack_from("<IIII", data, numbers)
        shown = [f"lo_number={number}", f"lo_offset={hexa(offset)}"]
        if kind:
            shown += [f"lo_encrypt_type={xlat.enum('loop_crypt_type_options', kind)}", f"lo_encrypt_key_size={size}"]
        shown += [f"lo_flags={xlat.flags('loop_flags_options', flag)}", _loop_name(data, "lo_name", name)]
        if kind:
            shown.append(f"lo_encrypt_key={quote(data[key : key + min(size, 32)])}")
        return f"{{{', '.join(shown)}, ...}}"

    return text


STRUCTS |= {
    "loop_info64": Struct(232, _loop_info64),
    "loop_info": Struct(168, _loop_info(32, 48, 112)),
    "loop_info32": Struct(140, _loop_info(16, 32, 96)),
    "ushort": value("H"),
    "long": value("q"),
    "long32": value("i"),
    "ulong32": value("I"),
    "hexint": value("I", "x"),
    "modem": value("I", "flags", "modem_flags"),
    "rtc_vl": value("I", "flags", "rtc_vl_flags"),
    "label": Struct(256, cstring),
    "ifname": Struct(_NAME, cstring),
}
add("""
loop_config = fd:I block_size:I info:232s:struct:loop_info64 -:64x
fsxattr = fsx_xflags:I:flags:file_attr_xflags fsx_extsize:I fsx_nextents:I fsx_projid:I:x fsx_cowextsize:I -:8x
fsxattr_set = fsx_xflags:I:flags:file_attr_xflags fsx_extsize:I -:4x fsx_projid:I:x fsx_cowextsize:I -:8x
input_id = bustype:H vendor:H product:H version:H
hd_geometry = heads:B sectors:B cylinders:H -:4x start:Q
hd_geometry32 = heads:B sectors:B cylinders:H start:I
epoll_params = busy_poll_usecs:I busy_poll_budget:H prefer_busy_poll:B ?__pad:B:x
uffdio_range = start:Q:x len:Q:x
uffdio_register_given = range:16s:struct:uffdio_range mode:Q:flags:uffd_register_modes -:8x
uffdio_register = range:16s:struct:uffdio_range mode:Q:flags:uffd_register_modes ioctls:Q:flags:uffd_ioctls
uffdio_copy_given = dst:Q:x src:Q:x len:Q:x mode:Q:flags:uffd_copy_modes -:8x
uffdio_copy = dst:Q:x src:Q:x len:Q:x mode:Q:flags:uffd_copy_modes copy:Q:x
uffdio_zeropage_given = range:16s:struct:uffdio_range mode:Q:flags:uffd_zeropage_modes -:8x
uffdio_zeropage = range:16s:struct:uffdio_range mode:Q:flags:uffd_zeropage_modes zeropage:Q:x
kvm_userspace_memory_region = slot:I flags:I:flags:kvm_mem_flags guest_phys_addr:Q:x memory_size:Q userspace_addr:Q:p
kvm_regs = rax:Q:x ... -:40x rsp:Q:x rbp:Q:x ... -:64x rip:Q:x rflags:Q:x
kvm_segment = base:Q:x limit:I selector:H type:B present:B dpl:B db:B s:B l:B g:B avl:B -:2x
kvm_sregs = cs:24s:struct:kvm_segment ...
rand_pool_info = entropy_count:i buf_size:i ...
seccomp_notif_resp = id:Q:x val:q error:i flags:I:x
""")


add_full("""
kvm_regs = rax:Q:x rbx:Q:x rcx:Q:x rdx:Q:x rsi:Q:x rdi:Q:x rsp:Q:x rbp:Q:x r8:Q:x r9:Q:x r10:Q:x r11:Q:x r12:Q:x r13:Q:x
    r14:Q:x r15:Q:x rip:Q:x rflags:Q:x
""")


def _api(data: bytes) -> str:
    """What was asked for is written over."""
    api, features, ioctls = struct.unpack("<QQQ", data)
    filled = f"features={xlat.flags('uffd_api_features', features)}, ioctls={xlat.flags('uffd_ioctls', ioctls)}"
    return f"{{api={hexa(api)}, features=? => {filled}}}"


STRUCTS["uffdio_api"] = Struct(24, _api)


def _fiemap_asked(data: bytes) -> str:
    start, length, flag, _, extents = struct.unpack_from("<QQIII", data)
    flags = xlat.flags("fiemap_flags", flag)
    return f"{{fm_start={start}, fm_length={length}, fm_flags={flags}, fm_extent_count={extents}}}"


def _fiemap(data: bytes) -> str:
    flag, mapped = struct.unpack_from("<II", data, 16)
    return f"{_fiemap_asked(data)} => {{fm_flags={xlat.flags('fiemap_flags', flag)}, fm_mapped_extents={mapped}, ...}}"


STRUCTS["fiemap_asked"] = Struct(32, _fiemap_asked)
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


def _map(code: str) -> Callable[[bytes], str]:
    """``code``: of the two addresses."""

    def text(data: bytes) -> str:
        begin, end, base, irq, dma, port = struct.unpack_from(f"<2{code}HBBB", data)
        where = f"mem_start={hexa(begin)}, mem_end={hexa(end)}, base_addr={hexa(base)}"
        return f"ifr_map={{{where}, irq={hexa(irq)}, dma={hexa(dma)}, port={hexa(port)}}}"

    return text


#: The struct of each request → what is behind the name.
_REQUESTS: dict[str, Callable[[bytes], str]] = {
    **{f"ifreq_{name}": _address(f"ifr_{name}") for name in ("addr", "dstaddr", "broadaddr", "netmask")},
    **{f"ifreq_{name}": _number(f"ifr_{name}") for name in ("metric", "mtu", "ifindex")},
    "ifreq_qlen": _number("ifr_qlen"),
    "ifreq_flags": _flags,
    "ifreq_hwaddr": _hardware,
    "ifreq_slave": lambda data: f"ifr_slave={cstring(data[:_NAME])}",
    "ifreq_newname": lambda data: f"ifr_newname={cstring(data[:_NAME])}",
    "ifreq_map": _map("Q"),
}


def _request(rest: Callable[[bytes], str]) -> Callable[[bytes], str]:
    return lambda data: f"{{ifr_name={cstring(data[:_NAME])}, {rest(data[_NAME:])}}}"


def _index(data: bytes) -> str:
    return f"ifr_ifindex={int.from_bytes(data[_NAME : _NAME + 4], 'little', signed=True)}"


_DECODERS = {name: _request(rest) for name, rest in _REQUESTS.items()} | {
    "ifreq_name": lambda data: f"{{ifr_name={cstring(data[:_NAME])}}}",
    "ifreq_byindex": lambda data: f"{{{_index(data)}, ifr_name={cstring(data[:_NAME])}}}",
    "ifreq_index": lambda data: f"{{{_index(data)}}}",
}
STRUCTS |= {name: Struct(40, decode) for name, decode in _DECODERS.items()}
STRUCTS |= {f"{name}32": Struct(32, decode) for name, decode in _DECODERS.items()}
STRUCTS["ifreq_map32"] = Struct(32, _request(_map("I")))
