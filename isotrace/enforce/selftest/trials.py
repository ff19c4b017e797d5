"""What a self-test tries: every refused number of every ABI, with several upper halves of the register, or an action that
comes to a security hook.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from isotrace.catalog.model import X32_BIT
from isotrace.enforce.selftest.child import REFUSED, Trial, errno_of
from isotrace.kernel import bpf, perf, probe_system, sandbox
from isotrace.process import libc

#: Calls that would not come back, or come back twice, if they were not refused.
UNTRIED = frozenset({"fork", "vfork", "pause", "sigsuspend"})
#: A number has 32 bits: what may stand above them in the register. 5.10 looks at it where nothing traces, and says ENOSYS;
#: later kernels never do.
UPPER_HALVES = (0, 1, 1 << 31, (1 << 32) - 1)

_FIGETBSZ = 2  # of linux/fs.h


# A function of (number in 64 bits, first argument): a call by int 0x80, all other arguments all ones; the result is in eax.
_INT80 = bytes.fromhex(
    "53 55 57 56"  # push rbx, rbp, rdi, rsi
    "4889f8 89f3"  # mov rax, rdi; mov ebx, esi
    "83c9ff 83caff 83ceff 83cfff 83cdff"  # or ecx, edx, esi, edi, ebp, -1
    "cd80"
    "5e 5f 5d 5b c3"
)


@dataclass(frozen=True)
class Number:
    """A call by number; ``first`` is its first argument, the others are all ones; ``upper`` stands above the number."""

    call: str
    abi: str
    number: int
    first: int = -1
    upper: int = 0

    @property
    def register(self) -> int:
        """What rax has; x32's numbers carry their bit."""
        return self.upper << 32 | self.number | (X32_BIT if self.abi == "x32" else 0)

    def native(self) -> int:
        """Make the call."""
        ones = [ctypes.c_long(-1)] * 5
        return max(0, -libc.try_syscall(ctypes.c_long(self.register), ctypes.c_long(self.first), *ones))


def abis() -> frozenset[str]:
    """The ABIs whose calls this kernel takes."""
    found = {"x86_64"}
    found |= {"i386"} if probe_system.ia32().verdict == "yes" else set()
    return frozenset(found | ({"x32"} if probe_system.x32().verdict == "yes" else set()))


def by_number(numbers: Sequence[Number]) -> list[Trial]:
    """A trial for each number."""
    enter = sandbox.function(_INT80, ctypes.c_int, ctypes.c_ulong, ctypes.c_uint)

    def compat(one: Number) -> int:
        result = int(enter(one.register, one.first & 0xFFFFFFFF))
        return -result if -4096 < result < 0 else 0

    return [partial(compat, one) if one.abi == "i386" else one.native for one in numbers]


class Things:
    """What actions at hooks need, made in the child before it is refused anything; ``directory`` is for it alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.fd = -1

    def prepare(self) -> None:
        """Make them."""
        for name in ("file", "other"):
            (self.directory / name).write_bytes(b"")
        (self.directory / "empty").mkdir()
        (self.directory / "link").symlink_to("file")
        self.fd = os.open(self.path("file"), os.O_RDWR)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind("")  # the kernel chooses an abstract name
        self.listener.listen()

    def path(self, name: str) -> str:
        """A file of the directory."""
        return str(self.directory / name)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


_PTRACE_TRACEME, _PTRACE_SEIZE = 0, 0x4206
_ARRAY = 2  # BPF_MAP_TYPE_ARRAY


def _ptrace(request: int, pid: int = 0) -> None:
    libc.call("ptrace", ctypes.c_long(request), ctypes.c_long(pid), None, None)


_SOCKETS: dict[str, Callable[[Things], object]] = {
    "socket_create": lambda _things: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "socket_bind": lambda things: things.udp.bind(("127.0.0.1", 0)),
    "socket_connect": lambda things: things.udp.connect(("127.0.0.1", 9)),
    "socket_sendmsg": lambda things: things.udp.sendto(b"", ("127.0.0.1", 9)),
    "socket_recvmsg": lambda things: things.udp.recv(1),
    "socket_listen": lambda things: things.tcp.listen(),
    "socket_accept": lambda things: things.tcp.accept(),
    "socket_getsockname": lambda things: things.udp.getsockname(),
    "socket_getpeername": lambda things: things.udp.getpeername(),
    "socket_getsockopt": lambda things: things.udp.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
    "socket_setsockopt": lambda things: things.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096),
    "socket_shutdown": lambda things: things.udp.shutdown(socket.SHUT_RD),
    "unix_stream_connect": lambda things: things.unix.connect(things.listener.getsockname()),
    "unix_may_send": lambda things: things.pair[0].send(b"x"),
}
_NAMES: dict[str, Callable[[Things], object]] = {
    "mkdir": lambda things: os.mkdir(things.path("made")),
    "rmdir": lambda things: os.rmdir(things.path("empty")),
    "unlink": lambda things: os.unlink(things.path("other")),
    "rename": lambda things: os.rename(things.path("other"), things.path("renamed")),
    "link": lambda things: os.link(things.path("file"), things.path("linked")),
    "symlink": lambda things: os.symlink("file", things.path("another")),
    "mknod": lambda things: os.mkfifo(things.path("fifo")),
}
_OTHERS: dict[str, Callable[[Things], object]] = {
    "file_alloc_security": lambda _things: os.pipe(),
    "file_open": lambda things: os.open(things.path("file"), os.O_RDONLY),
    "file_permission": lambda things: os.read(things.fd, 1),
    "file_ioctl": lambda things: fcntl.ioctl(things.fd, _FIGETBSZ, bytes(4)),
    "file_fcntl": lambda things: fcntl.fcntl(things.fd, fcntl.F_GETFD),
    "file_lock": lambda things: fcntl.flock(things.fd, fcntl.LOCK_EX),
    "inode_create": lambda things: os.open(things.path("new"), os.O_CREAT | os.O_WRONLY),
    "inode_readlink": lambda things: os.readlink(things.path("link")),
    "inode_getattr": lambda things: os.stat(things.path("file")),
    "inode_permission": lambda things: os.chdir(things.directory),
    "inode_setattr": lambda things: os.chmod(things.path("file"), 0o600),
    "task_alloc": lambda _things: _fork(),
    "task_kill": lambda _things: os.kill(os.getpid(), 0),
    "ptrace_traceme": lambda _things: _ptrace(_PTRACE_TRACEME),
    "ptrace_access_check": lambda _things: _ptrace(_PTRACE_SEIZE, os.getppid()),
    "task_setrlimit": lambda _things: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "bpf": lambda _things: bpf.map_create(_ARRAY, 4, 4, 1),
    "perf_event_open": lambda _things: perf.count_nothing(),
    "bprm_creds_for_exec": lambda _things: os.execv("/proc/self/exe", ["isotrace-self-test", "-c", ""]),
}
#: Hook → an action that comes to it. What it would do if it were not refused does no harm in the child.
ACTIONS: dict[str, Callable[[Things], object]] = {
    **_SOCKETS,
    **{f"{kind}_{name}": action for name, action in _NAMES.items() for kind in ("inode", "path")},
    **_OTHERS,
}


#: Hooks where another security module may refuse first: Yama's ptrace_scope, SELinux, AppArmor.
_OTHERS_TOO = frozenset({"ptrace_traceme", "ptrace_access_check", "bpf", "perf_event_open"})


def is_refused(hook: str, result: int) -> bool:
    """Whether ``result``, of the action at ``hook``, is a refusal: the self-test's own, or another's before it."""
    return result == REFUSED or (hook in _OTHERS_TOO and result in (errno.EPERM, errno.EACCES))


def at_hooks(hooks: Sequence[str], things: Things) -> list[Trial]:
    """A trial for each hook."""
    return [partial(errno_of, partial(ACTIONS[hook], things)) for hook in hooks]


def directory() -> tempfile.TemporaryDirectory[str]:
    """A place for ``Things``, removed with what is in it when its context ends."""
    return tempfile.TemporaryDirectory(prefix="isotrace-self-test-")
