"""Ways to make the calls that the catalogue of hooks (isotrace/enforce/hooks.py) says come to one: those of their manual
pages that differ in what the kernel does. Each succeeds, or would, where nothing refuses it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from isotrace.catalog import by_name
from isotrace.process import children

_libc = ctypes.CDLL(None, use_errno=True)
AT, FD_ONLY, NULL = -100, 0x1000, 0


def call(name: str, *args: object) -> int:
    """The errno of a call by its number, or 0. Bytes are passed by their address."""
    ready = [ctypes.c_long(one) if isinstance(one, int) else one for one in args]
    ctypes.set_errno(0)
    result = _libc.syscall(ctypes.c_long(by_name("x86_64")[name].number), *ready)
    return ctypes.get_errno() if result == -1 else 0


def room(size: int = 4096) -> ctypes.Array[ctypes.c_char]:
    """Memory for an answer."""
    return ctypes.create_string_buffer(size)


def _pointer(thing: object) -> int:
    return ctypes.addressof(thing)  # type: ignore[arg-type]


def _vector(size: int = 1) -> tuple[ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]]:
    data = room(64)
    return room_of(struct.pack("=QQ", _pointer(data), size)), data


def room_of(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """Memory that has ``data``."""
    return ctypes.create_string_buffer(data, len(data))


class Things:
    """What the ways need, made in the child before anything is refused to it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, name: str) -> bytes:
        """A file of the directory."""
        return os.fsencode(self._directory / name)

    def prepare(self) -> None:
        """Make them."""
        os.chdir(self._directory)
        for name in ("file", *(f"gone{n}" for n in range(8)), *(f"moved{n}" for n in range(8)), "acl", "module"):
            Path(name).write_bytes(b"content")
        for name in ("dir", "empty0", "empty1", "mnt"):
            os.mkdir(name)
        os.symlink("file", "link")
        self.fd, self.dirfd = os.open("file", os.O_RDWR), os.open(".", os.O_RDONLY)
        self.pathfd, self.linkfd = os.open("file", os.O_PATH), os.open("link", os.O_PATH | os.O_NOFOLLOW)
        self.pipe, self.event = os.pipe(), os.eventfd(1)
        os.set_blocking(self.pipe[0], False)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.setblocking(False)
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind("")
        self.listener.listen()
        self.listener.setblocking(False)
        self.to = struct.pack("=H", socket.AF_INET) + struct.pack(">H", 9) + socket.inet_aton("127.0.0.1") + bytes(8)
        self.inotify = _libc.inotify_init1(os.O_NONBLOCK)
        self.page = _page()
        self.child = children.fork()
        if self.child == 0:
            signal.pause()
            os._exit(0)
        self.pidfd = os.pidfd_open(self.child)
        self.selffd = os.pidfd_open(os.getpid())

    def message(self, address: bytes = b"") -> ctypes.Array[ctypes.c_char]:
        """A msghdr of one byte."""
        self._kept = (room_of(address or b"\0"), *_vector())
        name = _pointer(self._kept[0]) if address else 0
        return room_of(struct.pack("=QIIQQQQQ", name, len(address), 0, _pointer(self._kept[1]), 1, 0, 0, 0))

    def siginfo(self, code: int) -> ctypes.Array[ctypes.c_char]:
        """Of signal 0 is none; SIGCONT does nothing to who runs."""
        return room_of(struct.pack("=iii", signal.SIGCONT, 0, code) + bytes(116))


Way = Callable[[Things], int]
_O_TMPFILE = 0o20200000
_FORK = 17  # SIGCHLD


def _born(name: str, *args: object) -> int:
    """A call that makes a process, which ends at once."""
    number = by_name("x86_64")[name].number
    ctypes.set_errno(0)
    result = _libc.syscall(
        ctypes.c_long(number), *[ctypes.c_long(one) if isinstance(one, int) else one for one in args]
    )
    if result == 0:
        os._exit(0)
    return ctypes.get_errno() if result == -1 else 0


_FILES: dict[str, list[Way]] = {
    "open": [
        lambda t: call("open", b"file", os.O_RDONLY),
        lambda t: call("open", b"dir", os.O_RDONLY | os.O_DIRECTORY),
        lambda t: call("open", b"file", os.O_PATH),
        lambda t: call("open", b"new", os.O_CREAT | os.O_WRONLY, 0o600),
        lambda t: call("open", b".", _O_TMPFILE | os.O_WRONLY, 0o600),
        lambda t: call("open", b"file", os.O_WRONLY | os.O_TRUNC),
    ],
    "openat": [lambda t: call("openat", AT, b"file", 0), lambda t: call("openat", t.dirfd, b"link", 0)],
    "openat2": [lambda t: call("openat2", AT, b"file", room_of(bytes(24)), 24)],
    "creat": [lambda t: call("creat", b"new2", 0o600)],
    "epoll_create": [lambda t: call("epoll_create", 1)],
    "epoll_create1": [lambda t: call("epoll_create1", 0)],
    "eventfd": [lambda t: call("eventfd", 0)],
    "eventfd2": [lambda t: call("eventfd2", 0, 0)],
    "memfd_create": [lambda t: call("memfd_create", b"m", 0)],
    "timerfd_create": [lambda t: call("timerfd_create", 0, 0)],
    "inotify_init": [lambda t: call("inotify_init")],
    "inotify_init1": [lambda t: call("inotify_init1", 0)],
    "fanotify_init": [lambda t: call("fanotify_init", 0, 0)],
    "userfaultfd": [lambda t: call("userfaultfd", 0)],
    "io_uring_setup": [lambda t: call("io_uring_setup", 8, room(120))],
    "pipe": [lambda t: call("pipe", room(8))],
    "pipe2": [lambda t: call("pipe2", room(8), os.O_NONBLOCK)],
    "mq_open": [lambda t: call("mq_open", b"isotrace-ways", os.O_CREAT | os.O_RDWR, 0o600, NULL)],
    "fsopen": [lambda t: call("fsopen", b"tmpfs", 0)],
    "fspick": [lambda t: call("fspick", AT, b"/proc", 0)],
    "open_tree": [lambda t: call("open_tree", AT, b"dir", 0), lambda t: call("open_tree", AT, b"dir", 1)],
    "execve": [
        lambda t: call("execve", b"/bin/true", NULL, NULL),
        lambda t: call("execve", b"/proc/self/exe", NULL, NULL),
    ],
    "execveat": [lambda t: call("execveat", AT, b"/bin/true", NULL, NULL, 0)],
}
_SOCKETS: dict[str, list[Way]] = {
    "socket": [
        lambda t: call("socket", socket.AF_INET, socket.SOCK_STREAM, 0),
        lambda t: call("socket", socket.AF_UNIX, socket.SOCK_DGRAM, 0),
        lambda t: call("socket", socket.AF_NETLINK, socket.SOCK_RAW, 0),
        lambda t: call("socket", socket.AF_PACKET, socket.SOCK_RAW, 0),
    ],
    "socketpair": [lambda t: call("socketpair", socket.AF_UNIX, socket.SOCK_STREAM, 0, room(8))],
    "bind": [lambda t: call("bind", t.tcp.fileno(), t.to[:2] + bytes(14), 16)],
    "connect": [
        lambda t: call("connect", t.udp.fileno(), t.to, 16),
        lambda t: call("connect", t.udp.fileno(), bytes(16), 16),
    ],
    "listen": [lambda t: call("listen", t.tcp.fileno(), 1)],
    "accept": [lambda t: call("accept", t.listener.fileno(), NULL, NULL)],
    "accept4": [lambda t: call("accept4", t.listener.fileno(), NULL, NULL, 0)],
    "sendto": [lambda t: call("sendto", t.udp.fileno(), b"x", 1, 0, t.to, 16)],
    "sendmsg": [lambda t: call("sendmsg", t.udp.fileno(), t.message(t.to), 0)],
    "sendmmsg": [lambda t: call("sendmmsg", t.udp.fileno(), t.message(t.to), 1, 0)],
    "recvfrom": [lambda t: call("recvfrom", t.udp.fileno(), room(8), 8, 0, NULL, NULL)],
    "recvmsg": [lambda t: call("recvmsg", t.udp.fileno(), t.message(), 0)],
    "recvmmsg": [lambda t: call("recvmmsg", t.udp.fileno(), t.message(), 1, 0, NULL)],
    "getsockname": [lambda t: call("getsockname", t.udp.fileno(), room(128), room_of(struct.pack("=I", 128)))],
    "getpeername": [lambda t: call("getpeername", t.udp.fileno(), room(128), room_of(struct.pack("=I", 128)))],
    "getsockopt": [lambda t: call("getsockopt", t.udp.fileno(), 1, 3, room(4), room_of(struct.pack("=I", 4)))],
    "setsockopt": [lambda t: call("setsockopt", t.udp.fileno(), 1, 8, room_of(struct.pack("=I", 4096)), 4)],
    "shutdown": [lambda t: call("shutdown", t.udp.fileno(), 0)],
}
_PROCESSES: dict[str, list[Way]] = {
    "fork": [lambda t: _born("fork")],
    "clone": [lambda t: _born("clone", _FORK, NULL, NULL, NULL, NULL)],
    "clone3": [lambda t: _born("clone3", room_of(struct.pack("=8Q", 0, 0, 0, 0, _FORK, 0, 0, 0)), 64)],
    "kill": [
        lambda t: call("kill", t.child, 0),
        lambda t: call("kill", os.getpid(), signal.SIGCONT),
        lambda t: call("kill", 0, signal.SIGCONT),
    ],
    "tkill": [lambda t: call("tkill", t.child, signal.SIGCONT)],
    "tgkill": [lambda t: call("tgkill", os.getpid(), os.getpid(), signal.SIGCONT)],
    "rt_sigqueueinfo": [
        lambda t: call("rt_sigqueueinfo", t.child, signal.SIGCONT, t.siginfo(-1)),
        lambda t: call("rt_sigqueueinfo", os.getpid(), signal.SIGCONT, t.siginfo(0x80)),
    ],
    "rt_tgsigqueueinfo": [
        lambda t: call("rt_tgsigqueueinfo", t.child, t.child, signal.SIGCONT, t.siginfo(-1)),
        lambda t: call("rt_tgsigqueueinfo", os.getpid(), os.getpid(), signal.SIGCONT, t.siginfo(0x80)),
    ],
    "pidfd_send_signal": [
        lambda t: call("pidfd_send_signal", t.pidfd, signal.SIGCONT, NULL, 0),
        lambda t: call("pidfd_send_signal", t.selffd, signal.SIGCONT, t.siginfo(0x80), 0),
    ],
    "ptrace": [lambda t: call("ptrace", 0x4206, t.child, 0, 0), lambda t: call("ptrace", 0, 0, 0, 0)],
    "process_vm_readv": [
        lambda t: call("process_vm_readv", t.child, _vector()[0], 1, _vector()[0], 1, 0),
        lambda t: call("process_vm_readv", os.getpid(), _vector()[0], 1, _vector()[0], 1, 0),
    ],
    "process_vm_writev": [lambda t: call("process_vm_writev", t.child, _vector()[0], 1, _vector()[0], 1, 0)],
    "process_madvise": [
        lambda t: call("process_madvise", t.pidfd, room_of(struct.pack("=QQ", t.page, 4096)), 1, 20, 0)
    ],
    "kcmp": [
        lambda t: call("kcmp", os.getpid(), t.child, 0, 0, 0),
        lambda t: call("kcmp", os.getpid(), os.getpid(), 0, 0, 0),
    ],
    "pidfd_getfd": [
        lambda t: call("pidfd_getfd", t.pidfd, 0, 0),
        lambda t: call("pidfd_getfd", t.selffd, 0, 0),
    ],
    "setuid": [lambda t: call("setuid", 0)],
    "setreuid": [lambda t: call("setreuid", 0, 0)],
    "setresuid": [lambda t: call("setresuid", 1, 0, 0)],
    "setgid": [lambda t: call("setgid", 0)],
    "setregid": [lambda t: call("setregid", 0, 0)],
    "setresgid": [lambda t: call("setresgid", 1, 0, 0)],
    "setgroups": [lambda t: call("setgroups", 0, NULL)],
    "setpriority": [lambda t: call("setpriority", 0, 0, 5), lambda t: call("setpriority", 1, 0, 5)],
    "sched_setscheduler": [lambda t: call("sched_setscheduler", 0, 0, room_of(bytes(4)))],
    "sched_setparam": [lambda t: call("sched_setparam", 0, room_of(bytes(4)))],
    "sched_setattr": [
        lambda t: call("sched_setattr", 0, room_of(struct.pack("=IIQiI", 48, 0, 0, 0, 0) + bytes(24)), 0)
    ],
    "sched_setaffinity": [lambda t: call("sched_setaffinity", 0, 8, room_of(b"\x01" + bytes(7)))],
    "ioprio_set": [lambda t: call("ioprio_set", 1, 0, 2 << 13)],
    "prctl": [lambda t: call("prctl", 16, room(16)), lambda t: call("prctl", 1, 0), lambda t: call("prctl", 3)],
}
_NAMES: dict[str, list[Way]] = {
    "unlink": [lambda t: call("unlink", b"gone0")],
    "unlinkat": [lambda t: call("unlinkat", AT, b"gone1", 0), lambda t: call("unlinkat", AT, b"empty1", 0x200)],
    "rmdir": [lambda t: call("rmdir", b"empty0")],
    "rename": [lambda t: call("rename", b"moved0", b"to0"), lambda t: call("rename", b"moved1", b"moved2")],
    "renameat": [lambda t: call("renameat", AT, b"moved3", AT, b"to3")],
    "renameat2": [
        lambda t: call("renameat2", AT, b"moved4", AT, b"to4", 1),
        lambda t: call("renameat2", AT, b"moved5", AT, b"moved6", 2),
    ],
    "link": [lambda t: call("link", b"file", b"linked0")],
    "linkat": [
        lambda t: call("linkat", AT, b"file", AT, b"linked1", 0),
        lambda t: call("linkat", t.fd, b"", AT, b"linked2", FD_ONLY),
    ],
    "symlink": [lambda t: call("symlink", b"file", b"sym0")],
    "symlinkat": [lambda t: call("symlinkat", b"file", AT, b"sym1")],
    "mkdir": [lambda t: call("mkdir", b"made0", 0o700)],
    "mkdirat": [lambda t: call("mkdirat", AT, b"made1", 0o700)],
    "mknod": [
        lambda t: call("mknod", b"fifo0", 0o010600, 0),
        lambda t: call("mknod", b"plain0", 0o100600, 0),
        lambda t: call("mknod", b"char0", 0o020600, 0x103),
        lambda t: call("mknod", b"sock0", 0o140600, 0),
    ],
    "mknodat": [
        lambda t: call("mknodat", AT, b"fifo1", 0o010600, 0),
        lambda t: call("mknodat", AT, b"plain1", 0o100600, 0),
    ],
    "readlink": [
        lambda t: call("readlink", b"link", room(), 64),
        lambda t: call("readlink", b"/proc/self/exe", room(), 64),
    ],
    "readlinkat": [lambda t: call("readlinkat", t.linkfd, b"", room(), 64)],
    "stat": [lambda t: call("stat", b"file", room())],
    "lstat": [lambda t: call("lstat", b"link", room())],
    "fstat": [
        lambda t: call("fstat", t.fd, room()),
        lambda t: call("fstat", t.pathfd, room()),
        lambda t: call("fstat", t.pipe[0], room()),
        lambda t: call("fstat", t.udp.fileno(), room()),
        lambda t: call("fstat", t.event, room()),
    ],
    "newfstatat": [
        lambda t: call("newfstatat", AT, b"file", room(), 0),
        lambda t: call("newfstatat", t.fd, b"", room(), FD_ONLY),
    ],
    "statx": [
        lambda t: call("statx", AT, b"file", 0, 0x7FF, room()),
        lambda t: call("statx", t.fd, b"", FD_ONLY, 0x7FF, room()),
    ],
    "access": [lambda t: call("access", b"file", 0)],
    "faccessat": [lambda t: call("faccessat", AT, b"file", 4)],
    "faccessat2": [
        lambda t: call("faccessat2", AT, b"file", 4, 0),
        lambda t: call("faccessat2", t.fd, b"", 4, FD_ONLY),
    ],
    "chdir": [lambda t: call("chdir", b"dir"), lambda t: call("chdir", b"/")],
    "fchdir": [lambda t: call("fchdir", t.dirfd)],
    "chroot": [lambda t: call("chroot", b".")],
}
_CONTENTS: dict[str, list[Way]] = {
    "read": [
        lambda t: call("read", t.fd, room(), 1),
        lambda t: call("read", t.event, room(), 8),
        lambda t: call("read", t.pipe[0], room(), 1),
        lambda t: call("read", t.inotify, room(), 64),
    ],
    "pread64": [lambda t: call("pread64", t.fd, room(), 1, 0)],
    "readv": [lambda t: call("readv", t.fd, _vector()[0], 1)],
    "preadv": [lambda t: call("preadv", t.fd, _vector()[0], 1, 0, 0)],
    "preadv2": [lambda t: call("preadv2", t.fd, _vector()[0], 1, 0, 0, 0)],
    "write": [
        lambda t: call("write", t.fd, b"x", 1),
        lambda t: call("write", t.pipe[1], b"x", 1),
        lambda t: call("write", t.event, bytes(8), 8),
    ],
    "pwrite64": [lambda t: call("pwrite64", t.fd, b"x", 1, 0)],
    "writev": [lambda t: call("writev", t.fd, _vector()[0], 1)],
    "pwritev": [lambda t: call("pwritev", t.fd, _vector()[0], 1, 0, 0)],
    "pwritev2": [lambda t: call("pwritev2", t.fd, _vector()[0], 1, 0, 0, 0)],
    "getdents": [lambda t: call("getdents", t.dirfd, room(), 4096)],
    "getdents64": [lambda t: call("getdents64", t.dirfd, room(), 4096)],
    "fallocate": [lambda t: call("fallocate", t.fd, 0, 0, 4096)],
    "ioctl": [lambda t: call("ioctl", t.fd, 0x5451, 0), lambda t: call("ioctl", t.udp.fileno(), 0x541B, room(4))],
    "fcntl": [
        lambda t: call("fcntl", t.fd, 1, 0),
        lambda t: call("fcntl", t.fd, 3, 0),
        lambda t: call("fcntl", t.pathfd, 1, 0),
        lambda t: call("fcntl", t.fd, 8, os.getpid()),
    ],
    "flock": [lambda t: call("flock", t.fd, 2), lambda t: call("flock", t.fd, 8)],
    "mmap": [
        lambda t: call("mmap", 0, 4096, 1, 2, t.fd, 0),
        lambda t: call("mmap", 0, 4096, 3, 0x22, -1, 0),
    ],
    "mprotect": [lambda t: call("mprotect", _page(), 4096, 1)],
    "pkey_mprotect": [lambda t: call("pkey_mprotect", _page(), 4096, 1, -1)],
}
_ATTRIBUTES: dict[str, list[Way]] = {
    "chmod": [lambda t: call("chmod", b"file", 0o600)],
    "fchmod": [lambda t: call("fchmod", t.fd, 0o600)],
    "fchmodat": [lambda t: call("fchmodat", AT, b"file", 0o600)],
    "chown": [lambda t: call("chown", b"file", 0, 0), lambda t: call("chown", b"file", -1, -1)],
    "lchown": [lambda t: call("lchown", b"link", 0, 0)],
    "fchown": [lambda t: call("fchown", t.fd, 0, 0)],
    "fchownat": [lambda t: call("fchownat", t.fd, b"", 0, 0, FD_ONLY)],
    "utime": [lambda t: call("utime", b"file", NULL)],
    "utimes": [lambda t: call("utimes", b"file", NULL)],
    "futimesat": [lambda t: call("futimesat", AT, b"file", NULL)],
    "utimensat": [lambda t: call("utimensat", AT, b"file", NULL, 0), lambda t: call("utimensat", t.fd, NULL, NULL, 0)],
    "truncate": [lambda t: call("truncate", b"file", 3)],
    "ftruncate": [lambda t: call("ftruncate", t.fd, 3)],
    "setxattr": [lambda t: call("setxattr", b"file", b"trusted.a", b"x", 1, 0)],
    "lsetxattr": [lambda t: call("lsetxattr", b"link", b"trusted.a", b"x", 1, 0)],
    "fsetxattr": [lambda t: call("fsetxattr", t.fd, b"trusted.b", b"x", 1, 0)],
    "removexattr": [lambda t: call("removexattr", b"file", b"trusted.a")],
    "fremovexattr": [lambda t: call("fremovexattr", t.fd, b"trusted.a")],
    "inotify_add_watch": [lambda t: call("inotify_add_watch", t.inotify, b"dir", 0xFFF)],
}
_SYSTEM: dict[str, list[Way]] = {
    "mount": [
        lambda t: call("mount", b"none", b"mnt", b"tmpfs", 0, NULL),
        lambda t: call("mount", b"dir", b"mnt", NULL, 4096, NULL),
        lambda t: call("mount", NULL, b"/", NULL, 1 << 18, NULL),
    ],
    "umount2": [lambda t: call("umount2", b"/proc", 2)],
    "pivot_root": [lambda t: call("pivot_root", b"dir", b"dir")],
    "bpf": [lambda t: call("bpf", 0, room_of(struct.pack("=IIII", 2, 4, 4, 1) + bytes(112)), 72)],
    "perf_event_open": [
        lambda t: call("perf_event_open", room_of(struct.pack("=II", 1, 112) + bytes(104)), 0, -1, -1, 0)
    ],
    "init_module": [lambda t: call("init_module", room(64), 64, b"")],
    "finit_module": [lambda t: call("finit_module", os.open("module", os.O_RDONLY), b"", 0)],
    "settimeofday": [lambda t: call("settimeofday", NULL, NULL)],
    "clock_settime": [lambda t: call("clock_settime", 0, room_of(struct.pack("=QQ", 1, 0)))],
    "syslog": [lambda t: call("syslog", 3, room(), 16), lambda t: call("syslog", 9, NULL, 0)],
}
#: Call → its ways.
WAYS = {**_FILES, **_SOCKETS, **_PROCESSES, **_NAMES, **_CONTENTS, **_ATTRIBUTES, **_SYSTEM}


def _page() -> int:
    """A page of memory of its own."""
    found: int = _mmap(0, 4096, 3, 0x22, -1, 0)
    return found


_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]

#: (call, number of the way) → words of the note that tells of it: these come to no hook.
UNMET = {
    ("rt_sigqueueinfo", 1): "says it is the kernel's",
    ("rt_tgsigqueueinfo", 1): "says it is the kernel's",
    ("pidfd_send_signal", 1): "says it is the kernel's",
    ("process_vm_readv", 1): "of oneself come to no hook",
    ("kcmp", 1): "of oneself come to no hook",
    ("pidfd_getfd", 1): "of oneself come to no hook",
}
#: On some kernels.
UNMET_AT_TIMES = {("process_madvise", 0): "CAP_PERFMON"}
UNMET_BY_LSM = {("fstat", 4): "a descriptor that has no file"}
#: Calls of the catalogue that no way is written for, and why.
UNTRIED = {
    "open_by_handle_at": "tests of paths try it",
    "uselib": "few kernels have it",
    "memfd_secret": "few kernels let it be",
    "fsmount": "needs a file system in the making; it makes its file last",
    "vfork": "its child shares the memory of the test",
    "nice": "x86-64 has no such call",
    "kexec_file_load": "needs a kernel to load",
    "move_mount": "tests of the table try it",
    "mq_unlink": "needs a queue",
    "fanotify_mark": "needs a group, which it shares with inotify's hook",
    "fchmodat2": "of 6.6",
    "setxattrat": "of 6.13",
    "removexattrat": "of 6.13",
    "lremovexattr": "as removexattr",
    "file_getattr": "of 6.17",
    "file_setattr": "of 6.17",
}
