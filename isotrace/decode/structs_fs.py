"""Files, file systems, polling."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from . import xlat
from .layout import STRUCTS, Struct, add, add_full
from .scalars import dev, hexa, modetype, octal, uid
from .structs_time import date


@dataclass(frozen=True)
class _Stat:
    """Where a struct stat has its fields, with their codes; ``times`` are those of access, modification and change.

    Each time is followed by its nanoseconds, but in the oldest one.
    """

    dev: tuple[int, str]
    ino: tuple[int, str]
    mode: tuple[int, str]
    nlink: tuple[int, str]
    uid: tuple[int, str]
    gid: tuple[int, str]
    rdev: tuple[int, str]
    size: tuple[int, str]
    times: tuple[int, str]
    blksize: tuple[int, str] | None = None
    blocks: tuple[int, str] | None = None

    def struct(self, size: int) -> Struct:
        """strace shows type and mode, and then the device of a device, the size of anything else."""
        return Struct(size, self._short, full=Struct(size, self._whole))

    @staticmethod
    def _read(data: bytes, where: tuple[int, str]) -> int:
        number: int = struct.unpack_from(f"<{where[1]}", data, where[0])[0]
        return number

    def _extent(self, data: bytes) -> str:
        device = self._read(data, self.mode) & 0o170000 in (0o020000, 0o060000)
        return f"st_rdev={dev(self._read(data, self.rdev))}" if device else f"st_size={self._read(data, self.size)}"

    def _short(self, data: bytes) -> str:
        return f"{{st_mode={modetype(self._read(data, self.mode))}, {self._extent(data)}, ...}}"

    def _whole(self, data: bytes) -> str:
        shown = [f"st_dev={dev(self._read(data, self.dev))}", f"st_ino={self._read(data, self.ino)}"]
        shown += [f"st_mode={modetype(self._read(data, self.mode))}", f"st_nlink={self._read(data, self.nlink)}"]
        shown += [f"st_uid={uid(self._read(data, self.uid))}", f"st_gid={uid(self._read(data, self.gid))}"]
        if self.blksize and self.blocks:
            shown += [f"st_blksize={self._read(data, self.blksize)}", f"st_blocks={self._read(data, self.blocks)}"]
        return f"{{{', '.join([*shown, self._extent(data), *self._moments(data)])}}}"

    def _moments(self, data: bytes) -> Iterator[str]:
        at, code = self.times
        width = struct.calcsize(code)
        for name in ("atime", "mtime", "ctime"):
            seconds = self._read(data, (at, code))
            if self.blksize is None:
                yield f"st_{name}={seconds}{date(seconds)}"
                at += width
                continue
            fraction = self._read(data, (at + width, code.upper()))
            yield f"st_{name}={seconds}{date(seconds, fraction)}"
            yield f"st_{name}_nsec={fraction}"
            at += 2 * width


_STATX = (  # name, where, and the bit of the mask without which strace leaves it out
    ("atime", 64, 0x20),
    ("btime", 80, 0x800),
    ("ctime", 96, 0x80),
    ("mtime", 112, 0x40),
)
_DIO_ALIGN, _MNT_ID = 0x2000, 0x1000


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


def _statx_full(data: bytes) -> str:
    mask, block, attributes, links, user, group, mode = struct.unpack_from("<IIQIIIH", data)
    inode, size, blocks, known = struct.unpack_from("<QQQQ", data, 32)
    shown = [f"stx_mask={xlat.flags('statx_masks', mask)}", f"stx_blksize={block}"]
    shown.append(f"stx_attributes={xlat.flags('statx_attrs', attributes)}")
    optional = [(4, f"stx_nlink={links}"), (8, f"stx_uid={uid(user)}"), (16, f"stx_gid={uid(group)}")]
    optional += [(3, f"stx_mode={modetype(mode)}"), (0x100, f"stx_ino={inode}"), (0x200, f"stx_size={size}")]
    optional.append((0x400, f"stx_blocks={blocks}"))
    shown += [text for bit, text in optional if mask & bit]
    shown.append(f"stx_attributes_mask={xlat.flags('statx_attrs', known)}")
    for name, at, bit in _STATX:
        if mask & bit:
            seconds, fraction = struct.unpack_from("<qI", data, at)
            shown.append(f"stx_{name}={{tv_sec={seconds}, tv_nsec={fraction}}}{date(seconds, fraction)}")
    names = ("stx_rdev_major", "stx_rdev_minor", "stx_dev_major", "stx_dev_minor")
    shown += [f"{name}={value}" for name, value in zip(names, struct.unpack_from("<4I", data, 128), strict=True)]
    mount, memory, offset = struct.unpack_from("<QII", data, 144)
    shown += [f"stx_mnt_id={hexa(mount)}"] if mask & _MNT_ID else []
    if mask & _DIO_ALIGN:
        shown += [f"stx_dio_mem_align={memory}", f"stx_dio_offset_align={offset}"]
    return f"{{{', '.join(shown)}}}"


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


def poll_result(data: bytes, n: int, limit: int | None = 32) -> str:
    """What strace adds to poll's result ``n``: ``([{fd=3, revents=POLLIN}])`` from the array of pollfd in
    ``data``, or ``(Timeout)``.
    """
    if not n:
        return "(Timeout)"
    shown: list[str] = []
    for fd, _, revents in struct.iter_unpack("<iHH", data[: len(data) & ~7]):
        if revents and limit is not None and len(shown) >= limit:
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


STRUCTS |= {
    "stat": _Stat(
        (0, "Q"),
        (8, "Q"),
        (24, "I"),
        (16, "Q"),
        (28, "I"),
        (32, "I"),
        (40, "Q"),
        (48, "Q"),
        (72, "q"),
        (56, "Q"),
        (64, "Q"),
    ).struct(144),
    "stat32": _Stat(
        (0, "I"),
        (4, "I"),
        (8, "H"),
        (10, "H"),
        (12, "H"),
        (14, "H"),
        (16, "I"),
        (20, "I"),
        (32, "i"),
        (24, "I"),
        (28, "I"),
    ).struct(64),
    "stat64_i386": _Stat(
        (0, "Q"),
        (88, "Q"),
        (16, "I"),
        (20, "I"),
        (24, "I"),
        (28, "I"),
        (32, "Q"),
        (44, "Q"),
        (64, "i"),
        (52, "I"),
        (56, "Q"),
    ).struct(96),
    "old_stat": _Stat(
        (0, "H"), (2, "H"), (4, "H"), (6, "H"), (8, "H"), (10, "H"), (12, "H"), (16, "I"), (20, "i")
    ).struct(32),
    "statx": Struct(256, _statx, full=Struct(256, _statx_full)),
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
fstrim_range = start:Q:x len:Q minlen:Q
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
add_full("""
dqblk = dqb_bhardlimit:Q dqb_bsoftlimit:Q dqb_curspace:Q dqb_ihardlimit:Q dqb_isoftlimit:Q dqb_curinodes:Q
    dqb_btime:Q dqb_itime:Q dqb_valid:I:flags:if_dqblk_valid -:4x
nextdqblk = dqb_bhardlimit:Q dqb_bsoftlimit:Q dqb_curspace:Q dqb_ihardlimit:Q dqb_isoftlimit:Q dqb_curinodes:Q
    dqb_btime:Q dqb_itime:Q dqb_valid:I:flags:if_dqblk_valid dqb_id:I
""")
