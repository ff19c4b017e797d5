"""Processes: limits, scheduling, capabilities, clone, identity, keys to kernel objects; single values
behind pointers.
"""

from __future__ import annotations

import struct

from . import style, xlat
from .errnos import errno_name
from .layout import STRUCTS, Struct, add, add_full, layout, value
from .quote import quote
from .scalars import hexa, padded, ptr, s32
from .signals import signal

add("""
rlimit = rlim_cur:Q:rlim64 rlim_max:Q:rlim64
rlimit64 = rlim_cur:Q:rlim64 rlim_max:Q:rlim64
rlimit32 = rlim_cur:I:rlim32 rlim_max:I:rlim32
utsname = sysname:65s:cstring nodename:65s:cstring ... -:260x
old_utsname = sysname:65s:cstring nodename:65s:cstring ... -:195x
oldold_utsname = sysname:9s:cstring nodename:9s:cstring ... -:27x
cap_header = version:I:enum:cap_version pid:i
ucred = pid:i uid:I:id gid:I:id
kcmp_epoll_slot = efd:I:fd tfd:I:fd toff:I
futex_waitv = val:Q:x uaddr:Q:p flags:I:flags:futex_waiter_flags ?__reserved:I:x
kexec_segment = buf:Q:p bufsz:Q mem:Q:p memsz:Q
kexec_segment32 = buf:I:p bufsz:I mem:I:p memsz:I
mmap_arg32 = addr:I:p len:I prot:I:flags:mmap_prot flags:I:flags:mmap_flags fd:i:fd offset:I:x
sel_arg = n:I inp:I:p outp:I:p exp:I:p tvp:I:p
lsm_ctx = id:Q:enum:lsm_ids flags:Q:x len:Q ctx_len:Q ...
seccomp_notif_sizes = seccomp_notif:H seccomp_notif_resp:H seccomp_data:H
sock_fprog = len:H -:6x filter:Q:p
sock_fprog32 = len:H -:2x filter:I:p
landlock_ruleset_attr = handled_access_fs:Q:flags:landlock_ruleset_access_fs
    ?handled_access_net:Q:flags:landlock_ruleset_access_net
    ?scoped:Q:flags:landlock_scope
landlock_path_beneath_attr = allowed_access:Q:flags:landlock_ruleset_access_fs parent_fd:i:fd
landlock_net_port_attr = allowed_access:Q:flags:landlock_ruleset_access_net port:Q
""")


add_full("""
utsname = sysname:65s:cstring nodename:65s:cstring release:65s:cstring version:65s:cstring machine:65s:cstring
    domainname:65s:cstring
old_utsname = sysname:65s:cstring nodename:65s:cstring release:65s:cstring version:65s:cstring machine:65s:cstring
oldold_utsname = sysname:9s:cstring nodename:9s:cstring release:9s:cstring version:9s:cstring machine:9s:cstring
""")


def _page_status(data: bytes) -> str:
    """Where a page is: the number of a node, or why it was not moved, as ``-EFAULT``."""
    (number,) = struct.unpack("<i", data)
    return style.constant(str(number), f"-{errno_name(-number)}" if -4096 < number < 0 else str(number))


def _clone_args(data: bytes) -> str:
    """What clone3 is given, 64 bytes at least: strace leaves out the pointers that the flags do not use."""
    numbers = struct.unpack("<11Q", data.ljust(88, b"\0"))
    flag, pidfd, child, parent, exit_signal, stack, size, tls, ids, id_count, cgroup = numbers
    shown = [f"flags={xlat.bits('clone3_flags', flag)}"]
    if flag & 0x1000:
        shown.append(f"pidfd={ptr(pidfd)}")
    if flag & 0x01200000:
        shown.append(f"child_tid={ptr(child)}")
    if flag & 0x00100000:
        shown.append(f"parent_tid={ptr(parent)}")
    shown.append(f"exit_signal={signal(exit_signal) if exit_signal < 0x7FFFFFFF else exit_signal}")
    shown += [f"stack={ptr(stack)}", f"stack_size={hexa(size)}"]
    if flag & 0x80000:
        shown.append(f"tls={ptr(tls)}")
    if ids or id_count:
        shown += [f"set_tid={ptr(ids)}", f"set_tid_size={id_count}"]
    if len(data) >= 88 and (cgroup or flag & 0x200000000):
        shown.append(f"cgroup={cgroup}")
    return f"{{{', '.join(shown)}}}"


_SCHED = layout(
    "size:I sched_policy:I:sched sched_flags:Q:flags:sched_flags sched_nice:i sched_priority:I "
    "sched_runtime:Q sched_deadline:Q sched_period:Q"
)
_SCHED_CLAMPED = layout(
    "size:I sched_policy:I:sched sched_flags:Q:flags:sched_flags sched_nice:i sched_priority:I "
    "sched_runtime:Q sched_deadline:Q sched_period:Q "
    "sched_util_min:I sched_util_max:I"
)


def _sched_attr(data: bytes) -> str:
    """A struct sched_attr of 48 or 56 bytes, as its own size field says."""
    size = int.from_bytes(data[:4], "little")
    if 0 < size < 48:
        return f"{{size={size}}}"
    text = _SCHED.decode(data[:48]) if size < 56 else _SCHED_CLAMPED.decode(data)
    return f"{text[:-1]}, ...}}" if size > 56 else text


def _capabilities(low: int, high: int) -> str:
    bits = low | high << 32
    names = xlat.SETS["cap"].names
    known = [f"1<<{names[n]}" for n in range(64) if bits >> n & 1 and n in names]
    left = bits & ~sum(1 << n for n in names if n < 64)
    if not known:
        return style.constant(hexa(bits), f"{left:#x} /* CAP_??? */" if left else "0")
    return style.constant(hexa(bits), "|".join([*known, f"{left:#x}"] if left else known))


def _cap_data(data: bytes) -> str:
    """Two struct __user_cap_data: the low and the high 32 capabilities of each set."""
    words = struct.unpack("<6I", data)
    pairs = zip(("effective", "permitted", "inheritable"), words[:3], words[3:], strict=True)
    return f"{{{', '.join([f'{name}={_capabilities(low, high)}' for name, low, high in pairs])}}}"


def _user_desc(data: bytes) -> str:
    number, base, limit, bits = struct.unpack("<IIII", data)
    names = (
        ("seg_32bit", 0, 1),
        ("contents", 1, 3),
        ("read_exec_only", 3, 1),
        ("limit_in_pages", 4, 1),
        ("seg_not_present", 5, 1),
    )
    shown = [
        f"entry_number={number if number != 0xFFFFFFFF else -1}",
        f"base_addr={padded(base, 8)}",
        f"limit={padded(limit, 8)}",
    ]
    shown += [f"{name}={bits >> at & mask}" for name, at, mask in (*names, ("useable", 6, 1), ("lm", 7, 1))]
    return f"{{{', '.join(shown)}}}"


def _fdpair(data: bytes) -> str:
    return "[{}, {}]".format(*struct.unpack("<ii", data))


STRUCTS |= {
    "clone_args": Struct(88, _clone_args, _clone_args),
    "sched_attr": Struct(56, _sched_attr),
    "cap_data": Struct(24, _cap_data),
    "user_desc": Struct(16, _user_desc),
    "fdpair": Struct(8, _fdpair),
    "comm": Struct(16, lambda data: quote(data.partition(b"\0")[0])),
    "int32": value("i"),
    "page_status": Struct(4, lambda data: f"[{_page_status(data)}]", element=_page_status),
    "uint32": value("I"),
    "int64": value("q"),
    "uint64": value("Q"),
    "ulong": value("Q"),
    "ptr": value("Q", "p"),
    "pid": value("i"),
    "uid": value("I", "id"),
    "gid": value("I", "id"),
    "uid16": value("H", "id16"),
    "gid16": value("H", "id16"),
    "signal": value("I", "signal"),
    "fdref": value("i"),
    "tidref": value("i"),
    "sched_param": value("i"),
    "aio_context": value("Q", "p"),
    "aio_context32": value("I", "p"),
    "mpolmode": value("I", "open", "policies"),
    "socktype": value("I", "enum", "socktypes"),
    "addrfam": value("I", "enum", "addrfams"),
    "pr_tsc": value("I", "enum", "pr_tsc"),
    "pr_unalign": value("I", "flags", "pr_unalign_flags"),
    "rw_hint": value("Q", "enum", "rw_hints"),
    "inode_flags": value("I", "flags", "inode_flags"),
    "seccomp_action": value("I", "enum", "seccomp_ret_action"),
}


def _sockerrno(data: bytes) -> str:
    from .errnos import errno_name

    number = s32(int.from_bytes(data, "little"))
    return f"[{errno_name(number) if number else 0}]"


STRUCTS["sockerrno"] = Struct(4, _sockerrno)
