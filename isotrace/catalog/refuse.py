"""Which means can refuse a system call, as far as that follows from the call itself.

Two kinds of means. By call number the decision falls before the call's code runs, on its number and
registers: seccomp (only for a command that isotrace starts), `bpf_override_return` and `fmod_ret` on the
call's entry point, and the kernel module. By object the decision falls where the kernel holds the file,
socket or task itself: the LSM hooks. What a given kernel offers of these is another question: `isotrace
doctor` answers it.

Where the facts come from. Every call that the kernel defines by SYSCALL_DEFINE is marked
ALLOW_ERROR_INJECTION (arch/x86/include/asm/syscall_wrapper.h, since 4.19), which is what override and
fmod_ret ask for; numbers without code go to sys_ni_syscall (the generated asm/syscalls_64.h and
syscalls_32.h). The hooks are those of include/linux/lsm_hook_defs.h that return int and that the call's
code reaches through security_HOOK(): fs/, ipc/, kernel/, mm/, net/socket.c.
"""

from __future__ import annotations

from functools import cache

#: The means that decide by number and registers.
BY_NUMBER = ("seccomp", "override", "fmod_ret", "lkm")

#: Calls that no means refuses, and why.
NEVER = {
    "exit": "its caller does not expect it to return",
    "exit_group": "its caller does not expect it to return",
    "rt_sigreturn": "a signal handler could not return",
    "sigreturn": "a signal handler could not return",
    "restart_syscall": "the kernel's own way to resume a call that a signal interrupted",
}

#: Numbers without code: the kernel itself answers ENOSYS.
_NO_CODE = (
    "_sysctl create_module get_kernel_syms query_module nfsservctl getpmsg putpmsg afs_syscall tuxcall "
    "security "
    "lookup_dcookie epoll_ctl_old epoll_wait_old vserver break stty gtty ftime prof lock mpx ulimit "
    "profil idle "
    "bdflush"
)
NO_CODE = frozenset(_NO_CODE.split())

# Hook: the calls whose own code reaches it. A name that ends in * stands for every call with that beginning.
_HOOKS = {
    "file_open": "open openat openat2 creat open_by_handle_at mq_open execve execveat uselib acct swapon",
    "inode_create": "open openat openat2 creat mq_open",
    "inode_permission": "open openat openat2 creat access faccessat faccessat2 chdir fchdir chroot "
    "inotify_add_watch fanotify_mark utime utimes utimensat utimensat_time64 futimesat truncate truncate64",
    "bprm_check_security": "execve execveat",
    "inode_unlink": "unlink unlinkat mq_unlink",
    "inode_rmdir": "rmdir unlinkat",
    "inode_mkdir": "mkdir mkdirat",
    "inode_mknod": "mknod mknodat bind",
    "inode_symlink": "symlink symlinkat",
    "inode_link": "link linkat",
    "inode_rename": "rename renameat renameat2",
    "inode_readlink": "readlink readlinkat",
    "path_chroot": "chroot",
    "path_chmod": "chmod fchmod fchmodat fchmodat2",
    "path_chown": "chown* lchown* fchown*",
    "inode_setattr": "chmod fchmod fchmodat fchmodat2 chown* lchown* fchown* truncate* ftruncate* utime* futimesat",
    "path_truncate": "truncate truncate64",
    "file_truncate": "ftruncate ftruncate64",
    "inode_getattr": "stat stat64 lstat lstat64 fstat fstat64 newfstatat fstatat64 statx oldstat oldlstat oldfstat",
    "inode_file_getattr": "file_getattr",
    "inode_file_setattr": "file_setattr",
    "inode_setxattr": "setxattr lsetxattr fsetxattr setxattrat",
    "inode_getxattr": "getxattr lgetxattr fgetxattr getxattrat",
    "inode_listxattr": "listxattr llistxattr flistxattr listxattrat",
    "inode_removexattr": "removexattr lremovexattr fremovexattr removexattrat",
    "path_notify": "inotify_add_watch fanotify_mark",
    "file_permission": "read pread64 readv preadv preadv2 write pwrite64 writev pwritev pwritev2 "
    "getdents getdents64 "
    "readdir sendfile sendfile64 copy_file_range splice fallocate",
    "file_ioctl": "ioctl",
    "file_fcntl": "fcntl fcntl64",
    "file_lock": "flock fcntl fcntl64",
    "file_receive": "recvmsg recvmmsg recvmmsg_time64 pidfd_getfd",
    "mmap_file": "mmap mmap2 shmat remap_file_pages",
    "file_mprotect": "mprotect pkey_mprotect",
    "sb_mount": "mount",
    "sb_umount": "umount umount2",
    "sb_pivotroot": "pivot_root",
    "sb_statfs": "statfs statfs64 fstatfs fstatfs64 ustat",
    "sb_kern_mount": "mount fsconfig",
    "fs_context_parse_param": "mount fsconfig",
    "move_mount": "move_mount",
    "quotactl": "quotactl quotactl_fd",
    "socket_create": "socket socketpair",
    "socket_socketpair": "socketpair",
    "socket_bind": "bind",
    "socket_connect": "connect",
    "socket_listen": "listen",
    "socket_accept": "accept accept4",
    "socket_sendmsg": "sendto sendmsg sendmmsg",
    "socket_recvmsg": "recvfrom recvmsg recvmmsg recvmmsg_time64",
    "socket_getsockname": "getsockname",
    "socket_getpeername": "getpeername",
    "socket_getsockopt": "getsockopt",
    "socket_setsockopt": "setsockopt",
    "socket_shutdown": "shutdown",
    "task_alloc": "fork vfork clone clone3",
    "userns_create": "clone clone3 unshare",
    "task_kill": "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal",
    "task_setpgid": "setpgid",
    "task_getpgid": "getpgid",
    "task_getsid": "getsid",
    "task_setnice": "setpriority nice",
    "task_setioprio": "ioprio_set",
    "task_getioprio": "ioprio_get",
    "task_prlimit": "prlimit64",
    "task_setrlimit": "setrlimit prlimit64",
    "task_setscheduler": "sched_setscheduler sched_setparam sched_setattr sched_setaffinity",
    "task_getscheduler": "sched_getscheduler sched_getparam sched_getattr sched_getaffinity sched_rr_get_interval*",
    "task_movememory": "migrate_pages move_pages",
    "task_prctl": "prctl",
    "task_fix_setuid": "setuid* setreuid* setresuid* setfsuid*",
    "task_fix_setgid": "setgid setgid32 setregid* setresgid* setfsgid*",
    "task_fix_setgroups": "setgroups*",
    "ptrace_access_check": "ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd get_robust_list",
    "ptrace_traceme": "ptrace",
    "capget": "capget",
    "capset": "capset",
    "bpf": "bpf",
    "perf_event_open": "perf_event_open",
    "uring_allowed": "io_uring_setup",
    "kernel_load_data": "init_module kexec_load",
    "kernel_read_file": "finit_module kexec_file_load",
    "locked_down": "iopl ioperm kexec_load",
    "settime": "settimeofday stime clock_settime clock_settime64",
    "syslog": "syslog",
    "key_permission": "add_key request_key keyctl",
    "setselfattr": "lsm_set_self_attr",
    "getselfattr": "lsm_get_self_attr",
    "shm_associate": "shmget ipc",
    "shm_shmat": "shmat ipc",
    "shm_shmctl": "shmctl ipc",
    "sem_associate": "semget ipc",
    "sem_semop": "semop semtimedop semtimedop_time64 ipc",
    "sem_semctl": "semctl ipc",
    "msg_queue_associate": "msgget ipc",
    "msg_queue_msgsnd": "msgsnd ipc",
    "msg_queue_msgrcv": "msgrcv ipc",
    "msg_queue_msgctl": "msgctl ipc",
}
# i386's socketcall is all the socket calls behind one number.
_SOCKETCALL = "socketcall"


def by_number(name: str) -> tuple[str, ...]:
    """The means that can refuse the call ``name`` by its number and registers."""
    return () if name in NEVER or name in NO_CODE else BY_NUMBER


def by_object(name: str) -> tuple[str, ...]:
    """The LSM hooks at which the call ``name`` can be refused."""
    return tuple(hook for hook, calls in _calls().items() if _reaches(name, hook, calls))


def _reaches(name: str, hook: str, calls: tuple[tuple[str, ...], tuple[str, ...]]) -> bool:
    exact, beginnings = calls
    if name == _SOCKETCALL:
        return hook.startswith("socket_")
    return name in exact or name.startswith(beginnings)


@cache
def _calls() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """``{hook: (exact names, beginnings of names)}``."""
    table = {}
    for hook, words in _HOOKS.items():
        exact = tuple(word for word in words.split() if not word.endswith("*"))
        beginnings = tuple(word[:-1] for word in words.split() if word.endswith("*"))
        table[hook] = (exact, beginnings)
    return table
