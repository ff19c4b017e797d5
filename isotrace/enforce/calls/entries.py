"""The kernel's own functions of a system call, by name: __x64_sys_openat, __ia32_compat_sys_openat, …

Every function that any ABI of the calls may enter by is listed; the programs there ask for the number of the call, so
one function too many refuses nothing too much.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from isotrace.kernel import probe_system
from isotrace.kernel.answer import keep_if

_PREFIXES = ("__x64_sys_", "__ia32_sys_", "__ia32_compat_sys_", "__x32_compat_sys_", "__x64_compat_sys_")

# Calls whose function has another name (arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl).
_OTHER = {
    "stat": "newstat stat",
    "lstat": "newlstat lstat",
    "fstat": "newfstat fstat",
    "oldstat": "stat",
    "oldlstat": "lstat",
    "oldfstat": "fstat",
    "stat64": "ia32_stat64 stat64",
    "lstat64": "ia32_lstat64 lstat64",
    "fstat64": "ia32_fstat64 fstat64",
    "fstatat64": "ia32_fstatat64 fstatat64",
    "uname": "newuname uname",
    "oldolduname": "olduname",
    "umount2": "umount",
    "umount": "oldumount umount",
    "sendfile": "sendfile64 sendfile",
    "mmap": "mmap ia32_mmap old_mmap",
    "mmap2": "mmap_pgoff",
    "select": "select old_select",
    "_newselect": "select",
    "readdir": "old_readdir",
    "clone": "clone ia32_clone",
    "waitpid": "waitpid ia32_waitpid",
    "nice": "nice",
    "getrlimit": "getrlimit old_getrlimit",
    "ugetrlimit": "getrlimit",
    "pread64": "pread64 ia32_pread64",
    "pwrite64": "pwrite64 ia32_pwrite64",
    "truncate64": "truncate64 ia32_truncate64",
    "ftruncate64": "ftruncate64 ia32_ftruncate64",
    **{call: f"{call} {call[:-1]}64v2" for call in ("preadv2", "pwritev2")},
    **{call: f"{call} {call}64" for call in ("preadv", "pwritev")},
    "fadvise64": "fadvise64 ia32_fadvise64",
    "fadvise64_64": "fadvise64_64 ia32_fadvise64_64",
    "readahead": "readahead ia32_readahead",
    "fallocate": "fallocate ia32_fallocate",
    "sync_file_range": "sync_file_range ia32_sync_file_range",
    "prctl": "prctl",
    "_llseek": "llseek",
    "signal": "signal",
    "rt_sigreturn": "rt_sigreturn x32_rt_sigreturn",
    **{
        f"{call}_time64": f"{call} {call}_time64"
        for call in ("utimensat", "recvmmsg", "ppoll", "pselect6", "semtimedop")
    },
    **{f"{call}_time64": f"{call} {call}_time64" for call in ("clock_nanosleep", "io_pgetevents", "futex")},
    **{f"{call}_time64": f"{call} {call}_time64" for call in ("mq_timedsend", "mq_timedreceive", "rt_sigtimedwait")},
    **{f"{call}64": call for call in ("clock_settime", "clock_gettime", "clock_adjtime", "clock_getres_time")},
    **{f"{call}64": call for call in ("timer_settime", "timer_gettime", "timerfd_settime", "timerfd_gettime")},
    "clock_getres_time64": "clock_getres",
    "sched_rr_get_interval_time64": "sched_rr_get_interval",
    "utime": "utime utime32",
    "utimes": "utimes utimes_time32",
    "futimesat": "futimesat futimesat_time32",
    "utimensat": "utimensat utimensat_time32",
    "nanosleep": "nanosleep nanosleep_time32",
    "stime": "stime stime32",
    "time": "time time32",
    "mq_timedsend": "mq_timedsend mq_timedsend_time32",
    "mq_timedreceive": "mq_timedreceive mq_timedreceive_time32",
    "semtimedop": "semtimedop semtimedop_time32",
    "recvmmsg": "recvmmsg recvmmsg_time32",
    **{call: f"{call} {call}_time32" for call in ("ppoll", "pselect6", "rt_sigtimedwait", "clock_getres")},
    **{call: f"{call} {call}32" for call in ("clock_settime", "clock_gettime", "clock_adjtime")},
    **{call: f"{call} {call}32" for call in ("timer_settime", "timer_gettime", "timerfd_settime", "timerfd_gettime")},
    "adjtimex": "adjtimex adjtimex_time32",
    "clock_nanosleep": "clock_nanosleep clock_nanosleep_time32",
    "io_getevents": "io_getevents io_getevents_time32",
    "futex": "futex futex_time32",
    "sched_rr_get_interval": "sched_rr_get_interval sched_rr_get_interval_time32",
}
# i386's first calls on users and groups took 16 bits; the name without 32 is theirs.
_SHORT = (
    *("chown", "lchown", "fchown", "setuid", "setgid", "setreuid", "setregid"),
    *("setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups"),
    *("getuid", "getgid", "geteuid", "getegid", "getresuid", "getresgid", "getgroups"),
)


def names(call: str) -> tuple[str, ...]:
    """The names of a call's functions, without the prefix that tells the ABI."""
    if call in _SHORT:
        return call, f"{call}16"
    if call.endswith("32") and call[:-2] in _SHORT:
        return (call[:-2],)
    return tuple(_OTHER.get(call, call).split())


def is_i386(function: str) -> bool:
    """Whether a function is the entry of a 32-bit call."""
    return function.startswith("__ia32_")


@keep_if(bool)
def _symbols() -> frozenset[str]:
    return frozenset(re.findall(r" [tT] (__(?:x64|ia32|x32)_(?:compat_)?sys_\w+)", probe_system.symbols()))


def by_name(name: str, beginning: str = "") -> tuple[str, ...]:
    """The functions of this kernel that are called ``name`` after one of the prefixes, of those that begin so."""
    prefixes = [prefix for prefix in _PREFIXES if prefix.startswith(beginning)]
    return tuple(prefix + name for prefix in prefixes if prefix + name in _symbols())


def functions(call: str) -> tuple[str, ...]:
    """The functions of this kernel by which the call may be entered; none on a kernel that does not have the call."""
    return tuple(function for name in names(call) for function in by_name(name))


def all_functions(calls: Iterable[str]) -> tuple[str, ...]:
    """The functions of all calls, each once."""
    return tuple(dict.fromkeys(function for call in sorted(calls) for function in functions(call)))
