"""Structure offsets of the running kernel, from its BTF (``/sys/kernel/btf/vmlinux``).

Only what isotrace needs is read: a struct is found by its name's offset in the string section, so no pass over
the 150,000 types is made, unless the number of a type is asked for. Layout of BTF: Documentation/bpf/btf.rst in
the kernel tree.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path

from isotrace.errors import KernelError

VMLINUX = Path("/sys/kernel/btf/vmlinux")

KIND_STRUCT, KIND_FUNC, KIND_VAR = 4, 12, 14
_KIND_POINTER, _KIND_ENUM = 2, 6
_PASSED = (_KIND_POINTER, 9, 10, 11)  # and volatile, const, restrict
_ALIASES = (8, 9, 10, 11)  # typedef and these

# What follows the three words of a type, by kind: (words, words for each of vlen).
_TRAILERS = {
    1: (1, 0),  # int
    3: (3, 0),  # array
    4: (0, 3),  # struct
    5: (0, 3),  # union
    6: (0, 2),  # enum
    13: (0, 2),  # function prototype
    14: (1, 0),  # variable
    15: (0, 3),  # data section
    17: (1, 0),  # declaration tag
    19: (0, 3),  # 64-bit enum
}
_KINDS = 20  # of which this table is complete: Linux 6.0 to 7.x

_HINT = "isotrace needs CONFIG_DEBUG_INFO_BTF=y: every stock kernel of Debian 11+, Ubuntu 20.10+, Fedora 31+ has it"


class Btf:
    """A parsed BTF blob. Raises ``ValueError`` when ``data`` is not BTF."""

    def __init__(self, data: bytes) -> None:
        magic, _version, _flags, header, type_off, type_len, str_off, str_len = struct.unpack_from("<HBBIIIII", data)
        if magic != 0xEB9F:
            raise ValueError("not BTF data")
        self._types = data[header + type_off : header + type_off + type_len]
        self._strings = data[header + str_off : header + str_off + str_len]

    def _name_offset(self, name: str) -> int:
        at = self._strings.find(b"\0" + name.encode() + b"\0")
        if at < 0:
            raise KeyError(name)
        return at + 1

    def _candidates(self, name: str, kind: int) -> Iterator[tuple[int, int]]:
        """Position and vlen of whatever looks like a type record of that name and kind. Raises KeyError."""
        needle = struct.pack("<I", self._name_offset(name))
        at = self._types.find(needle)
        while at >= 0:
            if at % 4 == 0 and at + 12 <= len(self._types):
                info = int.from_bytes(self._types[at + 4 : at + 8], "little")
                if (info >> 24) & 0x1F == kind and info & 0x60FF0000 == 0:
                    yield at, info & 0xFFFF
            at = self._types.find(needle, at + 1)

    def _find(self, name: str, kind: int) -> tuple[int, int]:
        """The first candidate. Raises KeyError."""
        for found in self._candidates(name, kind):
            return found
        raise KeyError(name)

    @cached_property
    def _starts(self) -> array[int]:
        """Position of every type record, in words: the record of type N is at index N - 1."""
        words = memoryview(self._types).cast("I")
        sizes = [_TRAILERS.get(kind, (0, 0)) for kind in range(_KINDS)]
        starts = array("I")
        at, end = 0, len(words)
        while at < end:
            starts.append(at)
            info = words[at + 1]
            if (info >> 24) & 0x1F >= _KINDS:
                raise ValueError(f"BTF has types of a kind that is not known here: {(info >> 24) & 0x1F}")
            fixed, each = sizes[(info >> 24) & 0x1F]
            at += 3 + fixed + each * (info & 0xFFFF)
        return starts

    def type_id(self, name: str, kind: int) -> int:
        """The number of the type, as ``attach_btf_id`` wants it. Raises ``KeyError``.

        The first call walks over all types, about 0.1 s.
        """
        for at, _vlen in self._candidates(name, kind):
            index = bisect_left(self._starts, at // 4)
            if index < len(self._starts) and self._starts[index] == at // 4:
                return index + 1
        raise KeyError(name)

    def offset(self, struct_name: str, member: str) -> int:
        """Byte offset of a named direct member. Raises ``KeyError`` with ``struct.member``."""
        try:
            at, count = self._find(struct_name, KIND_STRUCT)
            wanted = self._name_offset(member)
        except KeyError:
            raise KeyError(f"{struct_name}.{member}") from None
        found = self._member(at, count, wanted)
        if found is None:
            raise KeyError(f"{struct_name}.{member}")
        return found

    def _member(self, at: int, count: int, wanted: int) -> int | None:
        """Byte offset of a member, also of one inside a member without a name."""
        found = self._place(at, count, wanted)
        return None if found is None else found[0]

    def _place(self, at: int, count: int, wanted: int) -> tuple[int, int] | None:
        """Its byte offset and the number of its type."""
        for index in range(count):
            name, kind, bits = struct.unpack_from("<III", self._types, at + 12 + 12 * index)
            if name == wanted:
                return int(bits & 0xFFFFFF) // 8, int(kind)
            if name == 0 and (inside := self._place(*self._record(kind), wanted)) is not None:
                return int(bits & 0xFFFFFF) // 8 + inside[0], inside[1]
        return None

    def _type_of(self, struct_name: str, member: str) -> int:
        """The number of a member's type, without typedefs and the like. Raises ``KeyError``."""
        found = self._place(*self._find(struct_name, KIND_STRUCT), self._name_offset(member))
        if found is None:
            raise KeyError(f"{struct_name}.{member}")
        number = found[1]
        while True:
            at, _vlen = self._record(number)
            if self._types[at + 7] & 0x1F not in _ALIASES:
                return number
            number = int.from_bytes(self._types[at + 8 : at + 12], "little")

    def size(self, struct_name: str, member: str) -> int:
        """How many bytes a direct member has that is a number or a pointer. Raises ``KeyError``."""
        at, _vlen = self._record(self._type_of(struct_name, member))
        pointer = self._types[at + 7] & 0x1F == _KIND_POINTER
        return 8 if pointer else int.from_bytes(self._types[at + 8 : at + 12], "little")

    def struct_of(self, struct_name: str, member: str) -> str:
        """The struct that a direct member is or points to, "" where it is something else. Raises ``KeyError``."""
        number = self._type_of(struct_name, member)
        at, _vlen = self._record(number)
        return self._name(at) if self._types[at + 7] & 0x1F == KIND_STRUCT else self._pointed(number)

    def enumerator(self, name: str) -> int:
        """The value of a constant of an enum of 32 bits. Raises ``KeyError``; the first call walks over all types."""
        needle = struct.pack("<I", self._name_offset(name))
        at = self._types.find(needle)
        while at >= 0:
            begin = self._starts[max(bisect_right(self._starts, at // 4) - 1, 0)] * 4
            place = at - begin - 12
            if self._types[begin + 7] & 0x1F == _KIND_ENUM and place >= 0 and place % 8 == 0:
                return int.from_bytes(self._types[at + 4 : at + 8], "little", signed=True)
            at = self._types.find(needle, at + 1)
        raise KeyError(name)

    def _record(self, number: int) -> tuple[int, int]:
        """Position and vlen of type ``number``."""
        at = self._starts[number - 1] * 4
        return at, int.from_bytes(self._types[at + 4 : at + 6], "little")

    def _name(self, at: int) -> str:
        start = int.from_bytes(self._types[at : at + 4], "little")
        return self._strings[start : self._strings.index(b"\0", start)].decode()

    def has_struct(self, name: str) -> bool:
        """Whether the kernel describes a struct of that name."""
        try:
            self._find(name, KIND_STRUCT)
        except KeyError:
            return False
        return True

    def parameters(self, function: str) -> list[str]:
        """For each parameter the name of the struct it points to, "" where it is something else. Raises ``KeyError``."""
        return [self._pointed(kind) for _, kind in self._prototype(function)]

    def parameter_names(self, function: str) -> list[str]:
        """The names of its parameters. Raises ``KeyError``."""
        found = (self._strings[name : self._strings.index(b"\0", name)] for name, _ in self._prototype(function))
        return [name.decode() for name in found]

    def _prototype(self, function: str) -> list[tuple[int, int]]:
        """For each parameter where its name is, and the number of its type."""
        at, _vlen = self._find(function, KIND_FUNC)
        prototype, count = self._record(int.from_bytes(self._types[at + 8 : at + 12], "little"))
        return [struct.unpack_from("<II", self._types, prototype + 12 + 8 * index) for index in range(count)]

    def _pointed(self, number: int) -> str:
        """The struct that type ``number`` points to, through any const and volatile."""
        pointer = False
        while number:
            at, _vlen = self._record(number)
            kind = (self._types[at + 7]) & 0x1F
            if kind == KIND_STRUCT:
                return self._name(at) if pointer else ""
            if kind not in _PASSED:
                return ""
            pointer |= kind == _KIND_POINTER
            number = int.from_bytes(self._types[at + 8 : at + 12], "little")
        return ""

    def has_function(self, name: str) -> bool:
        """Whether the kernel describes a function of that name."""
        try:
            self._find(name, KIND_FUNC)
        except KeyError:
            return False
        return True


@cache
def vmlinux() -> Btf:
    """The running kernel's BTF. Raises ``KernelError``."""
    try:
        return Btf(VMLINUX.read_bytes())
    except FileNotFoundError:
        raise KernelError("this kernel carries no BTF type information", _HINT) from None
    except (OSError, ValueError) as error:
        raise KernelError(f"cannot read {VMLINUX}: {error}", _HINT) from None


# constant in the BPF programs → (struct, member); thread_info is the first member of task_struct on x86-64.
_OFFSETS = {
    "OFF_REAL_PARENT": ("task_struct", "real_parent"),
    "OFF_TGID": ("task_struct", "tgid"),
    "OFF_PID": ("task_struct", "pid"),
    "OFF_GROUP_LEADER": ("task_struct", "group_leader"),
    "OFF_COMM": ("task_struct", "comm"),
    "OFF_SIGNAL": ("task_struct", "signal"),
    "OFF_LIVE": ("signal_struct", "live"),
    "OFF_CRED": ("task_struct", "real_cred"),
    "OFF_UID": ("cred", "uid"),
    "OFF_EXIT_CODE": ("task_struct", "exit_code"),
    "OFF_BPRM_FILENAME": ("linux_binprm", "filename"),
    "OFF_BPRM_INTERP": ("linux_binprm", "interp"),
    "OFF_THREAD_INFO": ("task_struct", "thread_info"),
    "OFF_STATUS": ("thread_info", "status"),
}


#: Where a cgroup's ancestors are: on kernels up to 6.0.
_ANCESTORS = {
    "OFF_CGROUPS": ("task_struct", "cgroups"),
    "OFF_DFL_CGRP": ("css_set", "dfl_cgrp"),
    "OFF_CGROUP_LEVEL": ("cgroup", "level"),
    "OFF_ANCESTOR_IDS": ("cgroup", "ancestor_ids"),
}


#: The thread that executes while its group ends: named so since 5.17.
_EXECUTOR = (("signal_struct", "group_exec_task"), ("signal_struct", "group_exit_task"))


#: Files, paths, mounts and sockets: what programs at security hooks look at as well as bpf/trace_files.h.
OBJECTS = {
    "OFF_F_PATH": ("file", "f_path"),
    "OFF_F_INODE": ("file", "f_inode"),
    "OFF_PATH_MNT": ("path", "mnt"),
    "OFF_PATH_DENTRY": ("path", "dentry"),
    "OFF_D_PARENT": ("dentry", "d_parent"),
    "OFF_D_NAME": ("dentry", "d_name"),
    "OFF_D_INODE": ("dentry", "d_inode"),
    "OFF_I_INO": ("inode", "i_ino"),
    "OFF_I_MODE": ("inode", "i_mode"),
    "OFF_I_SB": ("inode", "i_sb"),
    "OFF_S_MAGIC": ("super_block", "s_magic"),
    "OFF_S_DEV": ("super_block", "s_dev"),
    "OFF_MNT_ROOT": ("vfsmount", "mnt_root"),
    "OFF_MOUNT_MNT": ("mount", "mnt"),
    "OFF_MOUNT_PARENT": ("mount", "mnt_parent"),
    "OFF_MOUNT_POINT": ("mount", "mnt_mountpoint"),
    "OFF_SOCKET_SK": ("socket", "sk"),
    "OFF_SK_PROTOCOL": ("sock", "sk_protocol"),
    "OFF_SK_FAMILY": ("sock_common", "skc_family"),  # the first member of struct sock
    "OFF_SK_PORT": ("sock_common", "skc_num"),
    "OFF_SK_ADDRESS": ("sock_common", "skc_rcv_saddr"),
}
#: The names of unix sockets, where a kernel has these.
UNIX_NAMES = {
    "OFF_UNIX_ADDRESS": ("unix_sock", "addr"),
    "OFF_UNIX_LENGTH": ("unix_address", "len"),
    "OFF_UNIX_NAME": ("unix_address", "name"),
}
#: What bpf/trace_files.h needs beside them to say what a descriptor is.
_FILE_OFFSETS = {
    "OFF_FILES": ("task_struct", "files"),
    "OFF_FS": ("task_struct", "fs"),
    "OFF_PWD": ("fs_struct", "pwd"),
    "OFF_ROOT": ("fs_struct", "root"),
    "OFF_FS_SEQ": ("fs_struct", "seq"),  # begins with the count of its changes
    "OFF_FDT": ("files_struct", "fdt"),
    "OFF_MAX_FDS": ("fdtable", "max_fds"),
    "OFF_FD": ("fdtable", "fd"),
    "OFF_F_PRIVATE": ("file", "private_data"),
    "OFF_D_SEQ": ("dentry", "d_seq"),
    "OFF_D_HASHED": ("dentry", "d_hash"),
    "OFF_I_RDEV": ("inode", "i_rdev"),
    "OFF_I_PRIVATE": ("inode", "i_private"),
    "OFF_NS_OPERATIONS": ("ns_common", "ops"),
    "OFF_NS_NAME": ("proc_ns_operations", "name"),
    "OFF_PID_TASKS": ("pid", "tasks"),
    "OFF_PID_NUMBERS": ("pid", "numbers"),
    "OFF_SOCKET_INODE": ("socket_alloc", "vfs_inode"),
    "OFF_SK_SOCKET": ("sock", "sk_socket"),
    "OFF_SK_CREATOR": ("sock", "sk_prot_creator"),
    "OFF_PROTO_NAME": ("proto", "name"),
    "OFF_SK_PEER_PORT": ("sock_common", "skc_dport"),
    "OFF_SK_PEER_ADDRESS": ("sock_common", "skc_daddr"),
}
#: Of what a kernel may be built without: all of a group, or none.
_FAMILY_OFFSETS = (
    {
        "OFF_SK_ADDRESS6": ("sock_common", "skc_v6_rcv_saddr"),
        "OFF_SK_PEER_ADDRESS6": ("sock_common", "skc_v6_daddr"),
    },
    {"OFF_UNIX_PEER": ("unix_sock", "peer")} | UNIX_NAMES,
    {"OFF_NETLINK_PORT": ("netlink_sock", "portid")},
)
#: Where the first thread's frames end.
_STACK_OFFSETS = {"OFF_MM": ("task_struct", "mm"), "OFF_START_STACK": ("mm_struct", "start_stack")}
QSTR_NAME = 8  # offsetof(struct qstr, name)
_PPREV = 8  # offsetof(struct hlist_bl_node, pprev)


def file_constants() -> dict[str, int]:
    """The constants that programs need which say what descriptors are. Raises ``KernelError``."""
    btf = vmlinux()
    found = required(OBJECTS | _FILE_OFFSETS)
    found["OFF_D_NAME"] += QSTR_NAME
    found["OFF_D_HASHED"] += _PPREV
    for group in _FAMILY_OFFSETS:
        with suppress(KeyError):
            found |= {name: btf.offset(*path) for name, path in group.items()}
    dentry = [found[name] for name in ("OFF_D_SEQ", "OFF_D_HASHED", "OFF_D_PARENT", "OFF_D_NAME")]
    begin, end = min(dentry) // 8 * 8, max(dentry) // 8 * 8 + 8
    return found | {"DENTRY_FROM": begin, "DENTRY_WORDS": (end - begin) // 8}


#: What bpf/trace_files.h needs to see that a descriptor is a netlink socket.
_NETLINK_SOCKETS = (
    *("OFF_FILES", "OFF_FDT", "OFF_MAX_FDS", "OFF_FD", "OFF_F_PRIVATE", "OFF_F_INODE", "OFF_I_SB", "OFF_S_MAGIC"),
    *("OFF_SOCKET_SK", "OFF_SK_FAMILY", "OFF_SK_PROTOCOL"),
)


def netlink_constants() -> dict[str, int]:
    """The constants that programs need which know netlink sockets; none where this kernel's BTF does not have them all."""
    btf, known = vmlinux(), OBJECTS | _FILE_OFFSETS
    try:
        return {name: btf.offset(*known[name]) for name in _NETLINK_SOCKETS}
    except KeyError:
        return {}


def stack_constants() -> dict[str, int]:
    """The constants of programs that copy stacks. Raises ``KernelError``."""
    return required(_STACK_OFFSETS)


#: How deep the pid namespace is that a task is in.
_PID_OFFSETS = {"OFF_THREAD_PID": ("task_struct", "thread_pid"), "OFF_PID_LEVEL": ("pid", "level")}


def pid_constants() -> dict[str, int]:
    """The constants that programs need which say of whose numbers pids are. Raises ``KernelError``."""
    return required(_PID_OFFSETS)


#: Where the numbers of a process are that it has itself: see bpf/whereabouts.h.
WHEREABOUTS = {
    "OFF_SIGNAL": ("task_struct", "signal"),
    "OFF_SIGNAL_PIDS": ("signal_struct", "pids"),
    "OFF_PID_NUMBERS": ("pid", "numbers"),
    **_PID_OFFSETS,
}


def required(offsets: Mapping[str, tuple[str, str]], hint: str = _HINT) -> dict[str, int]:
    """The offsets of these members, by the same names. Raises ``KernelError`` where this kernel has one of them not."""
    btf = vmlinux()
    try:
        return {name: btf.offset(*path) for name, path in offsets.items()}
    except KeyError as missing:
        raise KernelError(f"this kernel's BTF does not describe {missing.args[0]}", hint) from None


def constants() -> dict[str, int]:
    """The ``-D`` constants that the BPF programs need from this kernel. Raises ``KernelError``."""
    btf = vmlinux()
    found = required(_OFFSETS)
    with suppress(KeyError):
        found |= {name: btf.offset(*path) for name, path in _ANCESTORS.items()}
    for path in _EXECUTOR:
        with suppress(KeyError):
            found.setdefault("OFF_EXECUTOR", btf.offset(*path))
    return found
