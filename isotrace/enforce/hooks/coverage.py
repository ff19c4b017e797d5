"""Which security hooks enforce which call: every call of a row comes to the row's hook before it takes effect.

At a hook the program asks for the number of the call that is under way, so a hook that many calls come to still refuses
just those that were asked for. Work that io_uring does comes to the same hooks from another call: what reaches a hook
from a call that cannot lead there by itself is judged as work of io_uring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from isotrace import catalog
from isotrace.catalog import refuse
from isotrace.policy.names import VIA_IO_URING

# hook: calls. `?` before a hook: it exists on some kernels only, and where it does not, its calls need it no more.
_HOLDS = """
file_alloc_security: open openat openat2 creat open_by_handle_at uselib epoll_create epoll_create1 eventfd eventfd2
    memfd_create memfd_secret timerfd_create inotify_init inotify_init1 fanotify_init userfaultfd io_uring_setup pipe pipe2
    mq_open fsopen fsmount fspick open_tree
file_open: open openat openat2 creat open_by_handle_at
bprm_creds_for_exec: execve execveat
socket_create: socket socketpair
socket_bind: bind
socket_connect: connect
socket_listen: listen
socket_accept: accept accept4
socket_sendmsg: sendto sendmsg sendmmsg
socket_recvmsg: recvfrom recvmsg recvmmsg recvmmsg_time64
socket_getsockname: getsockname
socket_getpeername: getpeername
socket_getsockopt: getsockopt
socket_setsockopt: setsockopt
socket_shutdown: shutdown
task_alloc: fork vfork clone clone3
task_kill: kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal
ptrace_access_check: ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd
ptrace_traceme: ptrace
inode_unlink: unlink unlinkat mq_unlink
inode_rmdir: rmdir unlinkat
inode_rename: rename renameat renameat2
inode_link: link linkat
inode_symlink: symlink symlinkat
inode_mkdir: mkdir mkdirat
inode_mknod: mknod mknodat
inode_create: mknod mknodat
inode_readlink: readlink readlinkat
inode_getattr: stat lstat fstat stat64 lstat64 fstat64 newfstatat fstatat64 statx oldstat oldlstat oldfstat
?inode_file_getattr: file_getattr
?inode_file_setattr: file_setattr
inode_setattr: chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat chown32 lchown32 fchown32 utime utimes futimesat
    utimensat utimensat_time64 truncate truncate64 ftruncate ftruncate64
inode_setxattr: setxattr lsetxattr fsetxattr setxattrat
inode_removexattr: removexattr lremovexattr fremovexattr removexattrat
?inode_set_acl: setxattr lsetxattr fsetxattr setxattrat
?inode_remove_acl: removexattr lremovexattr fremovexattr removexattrat
inode_permission: access faccessat faccessat2 chdir fchdir
file_permission: read pread64 readv preadv preadv2 write pwrite64 writev pwritev pwritev2
    getdents getdents64 readdir fallocate
file_ioctl: ioctl
?file_ioctl_compat: ioctl
file_fcntl: fcntl fcntl64
file_lock: flock
mmap_file: mmap mmap2
file_mprotect: mprotect pkey_mprotect
path_chroot: chroot
path_notify: inotify_add_watch fanotify_mark
sb_mount: mount
sb_umount: umount umount2
sb_pivotroot: pivot_root
move_mount: move_mount
task_fix_setuid: setuid setuid32 setreuid setreuid32 setresuid setresuid32
task_fix_setgid: setgid setgid32 setregid setregid32 setresgid setresgid32
task_fix_setgroups: setgroups setgroups32
task_setnice: nice setpriority
task_setscheduler: sched_setscheduler sched_setparam sched_setattr sched_setaffinity
task_setioprio: ioprio_set
task_prctl: prctl
bpf: bpf
perf_event_open: perf_event_open
kernel_load_data: init_module
kernel_read_file: finit_module kexec_file_load
settime: settimeofday stime clock_settime clock_settime64
syslog: syslog
"""

#: Hooks that see paths: what judges there (bpf/block_paths.h, block_execution.h, block_ioctls.h), and the accesses it is
#: needed for, h for the first read of what was open before, u for unix sockets, k for what a rule's path leads through,
#: which stays where it is.
PATHS = {
    "file_open": ("judge_open", "rwx"),
    "file_receive": ("judge_received", "rwx"),
    "file_permission": ("judge_read", "h"),
    "path_unlink": ("judge_removal", "wk"),
    "path_rmdir": ("judge_removal", "wk"),
    "path_mkdir": ("judge_entry", "w"),
    "path_symlink": ("judge_symlink", "w"),
    "path_mknod": ("judge_mknod", "wu"),
    "path_link": ("judge_link", "rwxu"),
    "path_rename": ("judge_rename", "rwxuk"),
    "inode_unlink": ("judge_removal_beneath", "wk"),
    "inode_rmdir": ("judge_removal_beneath", "wk"),
    "inode_mkdir": ("judge_entry_beneath", "w"),
    "inode_symlink": ("judge_symlink_beneath", "w"),
    "inode_create": ("judge_node_beneath", "wu"),
    "inode_mknod": ("judge_node_beneath", "wu"),
    "inode_link": ("judge_link_beneath", "rwxu"),
    "inode_rename": ("judge_rename_beneath", "rwxuk"),
    "sb_mount": ("judge_mount", "wk"),
    "move_mount": ("judge_attached", "wk"),
    "inode_setattr": ("judge_dentry", "w"),
    "inode_setxattr": ("judge_dentry", "w"),
    "inode_removexattr": ("judge_dentry", "w"),
    "inode_set_acl": ("judge_dentry", "w"),
    "inode_remove_acl": ("judge_dentry", "w"),
    "mmap_file": ("judge_mmap", "xh"),
    "file_mprotect": ("judge_mprotect", "x"),
    "mmap_addr": ("judge_remap", "x"),
    "file_ioctl": ("judge_ioctl", "w"),
    "file_ioctl_compat": ("judge_ioctl", "w"),
    "inode_file_setattr": ("judge_dentry", "w"),
}
#: Of these, hooks that the calls themselves come to after another one, and a layered file system by itself.
BENEATH = frozenset(hook for hook, (judge, _) in PATHS.items() if judge.endswith("_beneath"))
#: And hooks that exist on some kernels only, where the calls come to another as well.
OPTIONAL = frozenset({"inode_set_acl", "inode_remove_acl", "file_ioctl_compat", "inode_file_setattr"})
#: Hooks that see addresses of IP sockets, and what judges there (bpf/block_nets.h).
NETS = {
    "socket_create": "judge_create",
    "socket_connect": "judge_connect",
    "socket_bind": "judge_bind",
    "socket_sendmsg": "judge_sendmsg",
    "socket_listen": "judge_listen",
    "socket_accept": "judge_listen",
    "sctp_bind_connect": "judge_sctp",
}
#: Hooks where a unix socket gets a peer, and what judges there (bpf/block_unix.h); the call came to another hook before.
PEERS = {"unix_stream_connect": "judge_stream", "unix_may_send": "judge_datagram"}

#: Calls of the words that need no hook, and why.
NEEDLESS = {
    "process_mrelease": "only hurries the end of a process that is being killed",
    "remap_file_pages": "only rearranges what is mapped already",
    "setfsuid": "changes only what other rules look at, and cannot return an error",
    "setfsgid": "changes only what other rules look at, and cannot return an error",
    "setfsuid32": "changes only what other rules look at, and cannot return an error",
    "setfsgid32": "changes only what other rules look at, and cannot return an error",
}

#: Hooks that nearly every call can come to: there only io_uring's own calls are io_uring's work.
BROAD = frozenset(
    (
        *("file_alloc_security", "inode_permission", "inode_getattr", "file_permission", "mmap_file"),
        *("inode_setattr", "task_alloc"),
    )
)

#: Hooks that the calls themselves met another hook before: here for io_uring's work, and for calls that got past that one.
SECOND = frozenset({"file_open"})

#: Calls that come to a hook by themselves beside those of ``catalog.refuse``.
_ALSO = {
    "file_open": "ioctl read readv mount fsconfig fsmount finit_module init_module quotactl bpf",
    "inode_create": "mount fsconfig bpf",
    "socket_create": "mount fsconfig accept accept4 ioctl setsockopt sendto sendmsg write",
    "socket_connect": "mount fsconfig ioctl",
    "socket_bind": "mount fsconfig ioctl",
    "socket_sendmsg": "write writev pwritev2 sendfile sendfile64 splice mount fsconfig ioctl",
    "socket_recvmsg": "read readv preadv2 splice mount fsconfig ioctl",
    "inode_unlink": "bind",
    "inode_mknod": "mkdir",
}

# Forms of calls that come to no hook of theirs, and what a user is told of them: (the calls, the words).
_UNMET = (
    (
        frozenset(("rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")),
        "a signal to oneself that says it is the kernel's (a positive si_code) comes to no hook, and is sent",
    ),
    (
        frozenset(("process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd")),
        "kcmp, pidfd_getfd, process_madvise and process_vm_* of oneself come to no hook, and are done",
    ),
    (frozenset(("ptrace",)), "who traces a process already when the rule begins goes on tracing it"),
    (
        frozenset(("process_madvise",)),
        "process_madvise of another process is done, whatever its hook says, with CAP_PERFMON (6.15 and later)",
    ),
    (frozenset(("clock_settime",)), "a clock that is a device (/dev/ptp0) is set without a hook by who has it open"),
)
# security_inode_getattr() asks no LSM about a private inode; fmod_ret programs run before it looks.
_UNMET_BY_LSM = (
    (
        frozenset(("fchmod", "fchown", "futimesat", "utimensat", "faccessat2", "fchmodat2", "fchownat", "fsetxattr")),
        "a descriptor that has no file, as an eventfd's, has its mode, owner and times changed and is asked for access "
        "without a hook",
    ),
    (
        frozenset(("fstat", "fstat64", "oldfstat", "newfstatat", "fstatat64", "statx")),
        "stat of a descriptor that has no file, as an eventfd's, comes to no hook, and is answered",
    ),
)

# The kernel's function of a hook, where it is not security_HOOK.
_FUNCTIONS = {
    "file_alloc_security": "security_file_alloc",
    "settime": "security_settime64",
    "bprm_check_security": "security_bprm_check",
}

SOCKETCALL = "socketcall"


def function(hook: str) -> str:
    """The kernel's function that runs a hook: what fmod_ret is attached to."""
    return _FUNCTIONS.get(hook, f"security_{hook}")


def symbol(hook: str, lsm: bool) -> str:
    """The program's name, by which BCC knows what to attach it to."""
    return f"lsm__{hook}" if lsm else f"kmod_ret__{function(hook)}"


@cache
def _table() -> dict[str, tuple[frozenset[str], bool]]:
    """``{hook: (calls, optional)}``."""
    found = {}
    for line in _HOLDS.replace("\n    ", " ").strip().splitlines():
        hook, calls = line.split(":")
        found[hook.lstrip("?")] = frozenset(calls.split()), hook.startswith("?")
    return found


def enforcing(call: str, exists: Callable[[str], bool] = lambda _hook: True) -> frozenset[str] | None:
    """The hooks that together enforce ``call`` on a kernel where ``exists``, or None where nothing does.

    None are needed where all that it needs came to the kernel together with the call.
    """
    wanted = {hook: optional for hook, (calls, optional) in _table().items() if call in calls}
    present = frozenset(hook for hook in wanted if exists(hook))
    lacking = not wanted or any(not optional and hook not in present for hook, optional in wanted.items())
    return None if lacking else present


def unmet(calls: frozenset[str], mechanism: str) -> list[str]:
    """What a user is told of forms of ``calls`` that come to no hook of theirs by ``mechanism``, "lsm" or "fmod_ret"."""
    return [words for some, words in (*_UNMET, *(_UNMET_BY_LSM if mechanism == "lsm" else ())) if some & calls]


def unenforceable(calls: Iterable[str], exists: Callable[[str], bool] = lambda _hook: True) -> frozenset[str]:
    """Those of ``calls`` that no set of hooks enforces."""
    return frozenset(call for call in calls if call not in NEEDLESS and enforcing(call, exists) is None)


def lacking(accesses: Iterable[str], exists: Callable[[str], bool]) -> list[str]:
    """The hooks that a rule on paths needs for ``accesses`` and that are not there."""
    wanted = {*accesses, "k"}
    return [hook for hook, (_, on) in PATHS.items() if wanted & set(on) and hook not in OPTIONAL and not exists(hook)]


def lacking_nets(exists: Callable[[str], bool]) -> list[str]:
    """The hooks that a rule on IP addresses needs and that are not there."""
    return [hook for hook in NETS if not exists(hook)]


def lacking_sockets(files: bool, names: bool, exists: Callable[[str], bool]) -> list[str]:
    """The hooks that a rule on unix sockets with ``files`` or with abstract ``names`` needs and that are not there."""
    absent = lacking("u", exists) if files else []
    return absent + [hook for hook in (*PEERS, *(["socket_bind"] if names else [])) if not exists(hook)]


def on_calls() -> frozenset[str]:
    """The hooks that enforce calls."""
    return frozenset(_table())


def enforced_at(hook: str) -> frozenset[str]:
    """The calls that ``hook`` helps to enforce."""
    return _table()[hook][0]


@cache
def comes_by(hook: str) -> frozenset[str]:
    """The calls that come to ``hook`` by themselves."""
    if hook in BROAD:
        return frozenset(catalog.names()) - {"io_uring_enter"}
    reached = {call for call in catalog.names() if hook in refuse.by_object(call)}
    enforced = _table()[hook][0] if hook in _table() else frozenset()
    return frozenset(reached | enforced | set(_ALSO.get(hook, "").split()))


def by_ring(hook: str, calls: frozenset[str]) -> bool:
    """Whether io_uring can be asked for one of ``calls`` and comes to ``hook`` with it."""
    return bool(enforced_at(hook) & calls & VIA_IO_URING) if hook in _table() else False
