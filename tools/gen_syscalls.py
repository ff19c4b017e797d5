#!/usr/bin/env python3
"""Write isotrace/catalog/numbers.tsv from a directory of unpacked kernel packages.

    mkdir headers && cd headers
    apt-get download linux-libc-dev linux-headers-VERSION-common linux-headers-VERSION-amd64
    for deb in *.deb; do dpkg-deb -x "$deb" .; done
    tools/gen_syscalls.py headers > isotrace/catalog/numbers.tsv

Numbers come from the UAPI headers (``asm/unistd_64.h``, ``unistd_x32.h``, ``unistd_32.h`` of x86 and
``asm/unistd_64.h`` of arm64). The kernel's own entry point of each number comes from ``asm/syscalls_64.h``
and ``asm/syscalls_32.h``, and that entry point's prototype from ``linux/syscalls.h`` and
``asm-generic/syscalls.h``; the few that these headers do not declare are in the tables below, as their
SYSCALL_DEFINE in the kernel's source has them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

X32_BIT = 0x40000000
COLUMNS = ("name", "x86_64", "x32", "i386", "arm64", "prototype", "prototype_i386")
UNISTD = {
    "x86_64": "x86_64-linux-gnu/asm/unistd_64.h",
    "x32": "x86_64-linux-gnu/asm/unistd_x32.h",
    "i386": "x86_64-linux-gnu/asm/unistd_32.h",
    "arm64": "aarch64-linux-gnu/asm/unistd_64.h",
}

# Entry points whose declaration is missing from the headers, or has no argument names, or is not the one
# that x86 uses.
DEFINED = {
    "sys_arch_prctl": "int option, unsigned long arg2",
    "sys_iopl": "unsigned int level",
    "sys_modify_ldt": "int func, void * ptr, unsigned long bytecount",
    "sys_get_thread_area": "struct user_desc * u_info",
    "sys_set_thread_area": "struct user_desc * u_info",
    "sys_vm86": "unsigned long cmd, unsigned long arg",
    "sys_vm86old": "struct vm86_struct * user_vm86",
    "sys_rt_sigreturn": "void",
    "sys_sigreturn": "void",
    "sys_clone": "unsigned long clone_flags, unsigned long newsp, int * parent_tidptr, int * child_tidptr, "
    "unsigned long tls",
    "sys_clone@i386": "unsigned long clone_flags, unsigned long newsp, int * parent_tidptr, unsigned "
    "long tls, "
    "int * child_tidptr",
    "sys_rt_sigaction": "int sig, const struct sigaction * act, struct sigaction * oact, size_t sigsetsize",
    "sys_sigaction": "int sig, const struct old_sigaction * act, struct old_sigaction * oact",
    "sys_sigsuspend": "int unused1, int unused2, old_sigset_t mask",
    "sys_io_submit": "aio_context_t ctx_id, long nr, struct iocb ** iocbpp",
    "sys_socket": "int family, int type, int protocol",
    "sys_socketpair": "int family, int type, int protocol, int * usockvec",
    "sys_bind": "int fd, struct sockaddr * umyaddr, int addrlen",
    "sys_connect": "int fd, struct sockaddr * uservaddr, int addrlen",
    "sys_accept": "int fd, struct sockaddr * upeer_sockaddr, int * upeer_addrlen",
    "sys_accept4": "int fd, struct sockaddr * upeer_sockaddr, int * upeer_addrlen, int flags",
    "sys_getsockname": "int fd, struct sockaddr * usockaddr, int * usockaddr_len",
    "sys_getpeername": "int fd, struct sockaddr * usockaddr, int * usockaddr_len",
    "sys_sendto": "int fd, void * buff, size_t len, unsigned int flags, struct sockaddr * addr, int addr_len",
    "sys_recvfrom": "int fd, void * ubuf, size_t size, unsigned int flags, struct sockaddr * addr, int * addr_len",
    "sys_send": "int fd, void * buff, size_t len, unsigned int flags",
    "sys_recv": "int fd, void * ubuf, size_t size, unsigned int flags",
    "sys_listen": "int fd, int backlog",
    "sys_shutdown": "int fd, int how",
    "sys_pselect6": "int n, fd_set * inp, fd_set * outp, fd_set * exp, struct __kernel_timespec * tsp, void * sig",
    "sys_pselect6_time32": "int n, fd_set * inp, fd_set * outp, fd_set * exp, struct old_timespec32 * tsp, void * sig",
    "sys_ppoll": "struct pollfd * ufds, unsigned int nfds, struct __kernel_timespec * tsp, const "
    "sigset_t * sigmask, "
    "size_t sigsetsize",
    "sys_ppoll_time32": "struct pollfd * ufds, unsigned int nfds, struct old_timespec32 * tsp, "
    "const sigset_t * sigmask, size_t sigsetsize",
    "sys_old_readdir": "unsigned int fd, struct old_linux_dirent * dirent, unsigned int count",
    "sys_uname": "struct old_utsname * name",
    "sys_olduname": "struct oldold_utsname * name",
    "sys_newuname": "struct new_utsname * name",
    "sys_ia32_pread64": "unsigned int fd, char * ubuf, u32 count, u32 poslo, u32 poshi",
    "sys_ia32_pwrite64": "unsigned int fd, const char * ubuf, u32 count, u32 poslo, u32 poshi",
    "sys_ia32_truncate64": "const char * filename, unsigned long offset_low, unsigned long offset_high",
    "sys_ia32_ftruncate64": "unsigned int fd, unsigned long offset_low, unsigned long offset_high",
    "sys_ia32_readahead": "int fd, unsigned int off_lo, unsigned int off_hi, size_t count",
    "sys_ia32_fadvise64": "int fd, unsigned int offset_lo, unsigned int offset_hi, size_t len, int advice",
    "sys_ia32_fadvise64_64": "int fd, u32 offset_low, u32 offset_high, u32 len_low, u32 len_high, int advice",
    "sys_ia32_sync_file_range": "int fd, unsigned int off_low, unsigned int off_hi, unsigned int n_low, "
    "unsigned int n_hi, int flags",
    "sys_ia32_fallocate": "int fd, int mode, unsigned int offset_lo, unsigned int offset_hi, unsigned "
    "int len_lo, "
    "unsigned int len_hi",
    "sys_fanotify_mark@i386": "int fanotify_fd, unsigned int flags, u32 mask_lo, u32 mask_hi, int dfd, "
    "const char * pathname",
    "sys_fanotify_mark": "int fanotify_fd, unsigned int flags, u64 mask, int dfd, const char * pathname",
    "sys_lookup_dcookie@i386": "u32 cookie_lo, u32 cookie_hi, char * buf, size_t len",
}
# Calls that have a number but no code any more (sys_ni_syscall): the arguments that strace prints, as they
# were.
RETIRED = {
    "_sysctl": "struct __sysctl_args * args",
    "create_module": "const char * name, size_t size",
    "get_kernel_syms": "struct kernel_sym * table",
    "query_module": "const char * name, int which, void * buf, size_t bufsize, size_t * ret",
    "nfsservctl": "int cmd, struct nfsctl_arg * argp, void * resp",
    "getpmsg": "int fd, struct strbuf * ctlptr, struct strbuf * dataptr, int * bandp, int * flagsp",
    "putpmsg": "int fd, struct strbuf * ctlptr, struct strbuf * dataptr, int band, int flags",
    "afs_syscall": "long a1, long a2, long a3, long a4, long a5",
    "tuxcall": "long a1, long a2, long a3",
    "security": "long a1, long a2, long a3",
    "lookup_dcookie": "u64 cookie, char * buf, size_t len",
    "epoll_ctl_old": "long a1, long a2, long a3, long a4",
    "epoll_wait_old": "long a1, long a2, long a3, long a4",
    "vserver": "long a1, long a2, long a3, long a4, long a5",
    "bdflush": "int func, long data",
    "stty": "long a1, long a2",
    "gtty": "long a1, long a2",
    "ulimit": "long a1, long a2",
    "profil": "long a1, long a2, long a3, long a4",
    "uselib": "const char * library",
    "set_thread_area": "struct user_desc * u_info",
    "get_thread_area": "struct user_desc * u_info",
    "memfd_secret": "unsigned int flags",
    "userfaultfd": "int flags",
    **dict.fromkeys(("break", "ftime", "prof", "lock", "mpx", "idle"), "void"),
}


def find(root: Path, tail: str) -> Path:
    """The one header below ``root`` whose path ends in ``tail``."""
    hits = sorted(path for path in root.glob(f"**/{tail}") if path.is_file())
    if not hits:
        sys.exit(f"gen_syscalls: no {tail} below {root}")
    return hits[0]


def numbers(header: Path) -> dict[str, int]:
    """``{name: number}`` of a unistd header; x32 numbers come without the x32 bit."""
    rows = re.findall(r"#define __NR_(\w+) \(?(?:__X32_SYSCALL_BIT \+ )?(\d+)\)?$", header.read_text(), re.MULTILINE)
    return {name: int(number) for name, number in rows if name != "syscalls"}


def entry_points(header: Path) -> dict[int, str]:
    """``{number: sys_NAME}`` of a generated syscall table; for i386 the native entry point, not the compat
    one."""
    rows = re.findall(r"__SYSCALL(?:_\w+)?\((\d+), (\w+)", header.read_text())
    return {int(number): symbol for number, symbol in rows}


def prototypes(text: str) -> dict[str, str]:
    """``{sys_NAME: "int dfd, const char * filename"}`` of every declaration in a header; the first one
    wins."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    found: dict[str, str] = {}
    for symbol, arguments in re.findall(r"asmlinkage long (sys_\w+)\(([^;]*)\);", text):
        arguments = re.sub(r"\b__user\b|\s+", " ", arguments)
        arguments = re.sub(r"\s*\*\s*", " * ", arguments)
        while "* *" in arguments:
            arguments = arguments.replace("* *", "**")
        found.setdefault(symbol, re.sub(r"\s+", " ", arguments).strip())
    return found


def prototype(name: str, symbol: str, abi: str, declared: dict[str, str]) -> str:
    """The argument list of one call of one ABI."""
    for key in (f"{symbol}@{abi}", f"sys_{name}@{abi}", symbol):
        if key in DEFINED:
            return DEFINED[key]
    if symbol == "sys_ni_syscall":
        return RETIRED.get(name, declared.get(f"sys_{name}", ""))
    return declared.get(symbol, "")


def rows(root: Path) -> list[tuple[str, ...]]:
    """Every call of every ABI as a row of COLUMNS, sorted by name."""
    table = {abi: numbers(find(root, tail)) for abi, tail in UNISTD.items()}
    entries = {
        "x86_64": entry_points(find(root, "asm/syscalls_64.h")),
        "i386": entry_points(find(root, "asm/syscalls_32.h")),
    }
    declared = prototypes(
        "".join(find(root, h).read_text() for h in ("include/linux/syscalls.h", "include/asm-generic/syscalls.h"))
    )
    result = []
    for name in sorted(set().union(*table.values())):
        by_abi = {abi: table[abi].get(name) for abi in UNISTD}
        text = {
            abi: prototype(name, entries[abi].get(number, "sys_ni_syscall"), abi, declared)
            for abi in entries
            if (number := by_abi[abi]) is not None
        }
        if not all(text.values()):
            print(f"gen_syscalls: no prototype for {name}: {text}", file=sys.stderr)
        result.append(row(name, by_abi, text))
    return result


def row(name: str, by_abi: dict[str, int | None], text: dict[str, str]) -> tuple[str, ...]:
    """One line: x32 is written only where its number differs, the i386 prototype only where it differs."""
    shown = {abi: "-" if number is None else str(number) for abi, number in by_abi.items()}
    if by_abi["x32"] == by_abi["x86_64"]:
        shown["x32"] = "="
    main = text.get("x86_64") or text.get("i386", "")
    other = text.get("i386", main)
    return (name, *shown.values(), main, "=" if other == main else other)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: gen_syscalls.py DIRECTORY_OF_UNPACKED_PACKAGES > numbers.tsv")
    root = Path(sys.argv[1])
    version = next(iter(sorted(path.name for path in root.glob("**/linux-headers-*-common"))), "unknown")
    print("# Written by tools/gen_syscalls.py from", version)
    print("#", "\t".join(COLUMNS), sep="")
    for line in rows(root):
        print("\t".join(line))


if __name__ == "__main__":
    main()
