"""Files, file systems, polling."""

from __future__ import annotations

import struct

from . import xlat
from .layout import STRUCTS, Struct, add
from .scalars import dev, hexa, modetype, octal


def _stat(size: int, mode: tuple[int, str], rdev: tuple[int, str], length: tuple[int, str]) -> Struct:
    """A struct stat: strace shows the type and mode and then the device of a device, the size of anything
    else.
    """

    def read(data: bytes, where: tuple[int, str]) -> int:
        number: int = struct.unpack_from(where[1], data, where[0])[0]
        return number

    def decode(data: bytes) -> str:
        bits = read(data, mode)
        device = bits & 0o170000 in (0o020000, 0o060000)
        rest = f"st_rdev={dev(read(data, rdev))}" if device else f"st_size={read(data, length)}"
        return f"{{st_mode={modetype(bits)}, {rest}, ...}}"

    return Struct(size, decode)


def _statx(data: bytes) -> str:
    mask, attributes = struct.unpack_from("<I4xQ", data)
    shown = [
        f"stx_mask={xlat.flags('statx_masks', mask)}",
        f"stx_attributes={xlat.flags('statx_attrs', attributes)}",
    ]
    if mask & 3:
        shown.append(f"stx_mode={modetype(struct.unpack_from('<H', data, 28)[0])}")
    if mask & 0x200:
        shown.append(f"stx_size={struct.unpack_from('<Q', data, 40)[0]}")
    return f"{{{', '.join(shown)}, ...}}"


def _statfs(code: str) -> Struct:
    packed = struct.Struct(code)
    names = ("f_bsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree")

    def decode(data: bytes) -> str:
        kind, *sizes, low, high, length, fragment, flag = packed.unpack(data)
        shown = [
            f"f_type={xlat.enum('fsmagic', kind)}",
            *(f"{n}={v}" for n, v in zip(names, sizes, strict=True)),
        ]
        shown.append(f"f_fsid={{val=[{hexa(low)}, {hexa(high)}]}}")
        shown += [f"f_namelen={length}", f"f_frsize={fragment}"]
        if flag & 0x20:
            shown.append(f"f_flags={xlat.flags('statfs_flags', flag)}")
        return f"{{{', '.join(shown)}}}"

    return Struct(packed.size, decode)


def _pollfd(data: bytes) -> str:
    fd, events = struct.unpack_from("<iH", data)
    return f"{{fd={fd}}}" if fd < 0 else f"{{fd={fd}, events={xlat.flags('pollflags', events)}}}"


def poll_result(data: bytes, n: int, limit: int = 32) -> str:
    """What strace adds to poll's result ``n``: ``([{fd=3, revents=POLLIN}])`` from the array of pollfd in
    ``data``, or ``(Timeout)``.
    """
    if not n:
        return "(Timeout)"
    shown: list[str] = []
    for fd, _, revents in struct.iter_unpack("<iHH", data[: len(data) & ~7]):
        if revents and len(shown) >= limit:
            shown.append("...")
            break
        if revents:
            shown.append(f"{{fd={fd}, revents={xlat.flags('pollflags', revents)}}}")
    return f"([{', '.join(shown)}])"


def _fdset(data: bytes) -> str:
    """A select set of 1024 descriptors: [0 3 5]."""
    bits = int.from_bytes(data, "little")
    return f"[{' '.join([str(fd) for fd in range(len(data) * 8) if bits >> fd & 1])}]"


def fdset(data: bytes, nfds: int) -> str:
    """Those of the first ``nfds`` descriptors that are in the select set ``data``: [0 3 5]."""
    return _fdset((int.from_bytes(data, "little") & ((1 << max(0, nfds)) - 1)).to_bytes(len(data), "little"))


def _open_how(data: bytes) -> str:
    """What openat2 is given; the mode is shown where it matters."""
    flags, mode, resolve = struct.unpack("<QQQ", data)
    shown = [f"flags={xlat.flags('open_mode_flags', flags)}"]
    if mode or flags & 0o20000100:
        shown.append(f"mode={octal(mode)}")
    return f"{{{', '.join(shown)}, resolve={xlat.flags('open_resolve_flags', resolve)}}}"


def _file_handle(data: bytes) -> str:
    size, kind = struct.unpack_from("<Ii", data)
    body = data[8 : 8 + min(size, 128)]
    return f"{{handle_bytes={size}, handle_type={kind}, f_handle={'0x' + body.hex() if body else '...'}}}"


def _count(data: bytes, length_at: int) -> int:
    found = at = 0
    while at + length_at + 2 <= len(data):
        length = data[at + length_at] | data[at + length_at + 1] << 8
        found += 1
        if length < length_at + 3:
            break
        at += length
    return found


def count_dirents64(data: bytes) -> int:
    """How many struct linux_dirent64 the bytes that getdents64 returned hold; strace prints them as ``/* 3
    entries */``.
    """
    return _count(data, 16)


def count_dirents(data: bytes, word: int = 8) -> int:
    """The same for getdents; ``word`` is 4 for a 32-bit caller."""
    return _count(data, 2 * word)


STRUCTS |= {
    "stat": _stat(144, (24, "<I"), (40, "<Q"), (48, "<Q")),
    "stat32": _stat(64, (8, "<H"), (16, "<I"), (20, "<I")),
    "stat64_i386": _stat(96, (16, "<I"), (32, "<Q"), (44, "<Q")),
    "old_stat": _stat(32, (4, "<H"), (12, "<H"), (16, "<I")),
    "statx": Struct(256, _statx),
    "statfs": _statfs("<QQQQQQQIIQQQ32x"),
    "statfs32": _statfs("<IIIIIIIIIIII16x"),
    "statfs64_i386": _statfs("<IIQQQQQIIIII16x"),
    "open_how": Struct(24, _open_how),
    "pollfd": Struct(8, _pollfd),
    "fdset": Struct(128, _fdset),
    "file_handle": Struct(136, _file_handle),
}
STRUCTS["epoll_data"] = Struct(
    8, lambda data: f"{{u32={int.from_bytes(data[:4], 'little')}, u64={int.from_bytes(data, 'little')}}}"
)
add("""
epoll_event = events:I:flags:epollevents data:8s:struct:epoll_data
flock = l_type:H:enum:lockfcmds l_whence:H:enum:whence_codes -:4x l_start:q l_len:q -:8x
flock32 = l_type:H:enum:lockfcmds l_whence:H:enum:whence_codes l_start:i l_len:i -:4x
flock64 = l_type:H:enum:lockfcmds l_whence:H:enum:whence_codes l_start:q l_len:q -:4x
flock_pid = l_type:H:enum:lockfcmds l_whence:H:enum:whence_codes -:4x l_start:q l_len:q l_pid:i -:4x
flock32_pid = l_type:H:enum:lockfcmds l_whence:H:enum:whence_codes l_start:i l_len:i l_pid:i
flock64_pid = l_type:H:enum:lockfcmds l_whence:H:enum:whence_codes l_start:q l_len:q l_pid:i
f_owner_ex = type:I:enum:f_owner_types pid:i
ustat = f_tfree:I -:4x f_tinode:Q -:16x
mount_attr = attr_set:Q:flags:mount_attr_attr attr_clr:Q:flags:mount_attr_attr
    propagation:Q:enum:mount_attr_propagation userns_fd:Q
file_attr = fa_xflags:Q:flags:file_attr_xflags fa_extsize:I fa_nextents:I fa_projid:I fa_cowextsize:I
file_clone_range = src_fd:q src_offset:Q src_length:Q dest_offset:Q
fstrim_range = start:Q:x len:Q:x minlen:Q:x
cachestat = nr_cache:Q nr_dirty:Q nr_writeback:Q nr_evicted:Q nr_recently_evicted:Q
cachestat_range = off:Q len:Q
mnt_id_req = size:I mnt_ns_fd:I mnt_id:Q:x param:Q:x ?mnt_ns_id:Q:x
ns_id_req = size:I ?spare:I ns_id:Q:x ns_type:I:flags:setns_types ?spare2:I user_ns_id:Q:x
xattr_args = value:Q:p size:I flags:I:flags:xattrflags
dqblk = dqb_bhardlimit:Q dqb_bsoftlimit:Q dqb_curspace:Q dqb_ihardlimit:Q dqb_isoftlimit:Q dqb_curinodes:Q
    ... -:24x
nextdqblk = dqb_bhardlimit:Q dqb_bsoftlimit:Q dqb_curspace:Q dqb_ihardlimit:Q dqb_isoftlimit:Q
    dqb_curinodes:Q -:20x dqb_id:I ...
dqinfo = dqi_bgrace:Q dqi_igrace:Q dqi_flags:I:flags:if_dqinfo_flags dqi_valid:I:flags:if_dqinfo_valid
iovec = iov_base:Q:p iov_len:Q
iovec32 = iov_base:I:p iov_len:I
io_event = data:Q:x obj:Q:p res:q res2:q
iocb = aio_data:Q:x ?aio_key:I -:4x aio_lio_opcode:H:enum:aio_cmds ?aio_reqprio:h aio_fildes:i:fd
    aio_buf:Q:p aio_nbytes:Q aio_offset:q -:8x
    ?aio_flags:I:flags:aio_iocb_flags ?aio_resfd:I
""")
