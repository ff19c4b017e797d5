#!/usr/bin/env python3
"""Record what strace prints for chosen registers and bytes: writes tests/golden/decode/strace.txt.

Usage: record_decode_golden.py        (needs strace 6.1 and gcc's usual x86-64; no root)

Each case is one system call, made by a child of strace between two marker calls. Its line of the golden
file is
``TABLE <tab> NAME <tab> hex of the bytes, or the register <tab> what strace printed for that argument``.
"""

# ruff: noqa: C408
from __future__ import annotations

import ctypes
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "decode" / "strace.txt"
MARK = -1000
BUF, SIZE = "BUF", "SIZE"
Case = tuple[str, str, "bytes | int", int, tuple["int | str", ...], int]
NR = dict(
    open=2,
    stat=4,
    fstat=5,
    poll=7,
    lseek=8,
    mmap=9,
    mprotect=10,
    rt_sigaction=13,
    rt_sigprocmask=14,
    ioctl=16,
    access=21,
    madvise=28,
    shmget=29,
    shmctl=31,
    nanosleep=35,
    getitimer=36,
    setitimer=38,
    socket=41,
    connect=42,
    clone=56,
    wait4=61,
    kill=62,
    uname=63,
    semop=65,
    msgctl=71,
    fcntl=72,
    flock=73,
    mknod=133,
    chmod=90,
    gettimeofday=96,
    getrlimit=97,
    getrusage=98,
    sysinfo=99,
    times=100,
    capget=125,
    capset=126,
    rt_sigqueueinfo=129,
    sigaltstack=131,
    utime=132,
    statfs=137,
    sched_setparam=142,
    sched_setscheduler=144,
    adjtimex=159,
    arch_prctl=158,
    mount=165,
    umount2=166,
    settimeofday=164,
    futex=202,
    time=201,
    clock_gettime=228,
    epoll_ctl=233,
    waitid=247,
    openat=257,
    mknodat=259,
    unlinkat=263,
    utimensat=280,
    accept4=288,
    timer_create=222,
    eventfd2=290,
    pipe2=293,
    prlimit64=302,
    sched_setattr=314,
    memfd_create=319,
    statx=332,
    clone3=435,
    openat2=437,
    close_range=436,
    faccessat2=439,
    mq_getsetattr=245,
    mq_open=240,
    quotactl=179,
    io_setup=206,
    semctl=66,
    unshare=272,
    msync=26,
    shutdown=48,
    setsockopt=54,
    prctl=157,
    personality=135,
    ptrace=101,
    reboot=169,
    renameat2=316,
    getrandom=318,
    msgget=68,
    io_uring_setup=425,
    mount_setattr=442,
    set_thread_area=205,
    set_mempolicy=238,
    sendto=44,
    inotify_add_watch=254,
    keyctl=250,
    fallocate=285,
    splice=275,
    setns=308,
    kcmp=312,
    bpf=321,
)


def flag_cases() -> Iterator[Case]:
    """Registers that are flags or enumerations: (call, arguments with the value as VALUE, index, set, kind,
    values).
    """
    value = "VALUE"
    rows = [
        (
            "openat",
            (-1, 0, value, 0o644),
            2,
            "flags",
            "open_mode_flags",
            (0, 1, 2, 3, 0o2000000, 0o101, 0o1102, 0x800001, 0o20200000, 0o4010000, 0x12345678),
        ),
        ("mmap", (0, 0, value, 0, -1, 0), 2, "flags", "mmap_prot", (0, 1, 5, 7, 0x1000001, 0x40, 0xF0000000)),
        (
            "mmap",
            (0, 0, 0, value, -1, 0),
            3,
            "flags",
            "mmap_flags",
            (0, 1, 2, 3, 0x22, 0x32, 0x4022, 0x100011, 0x800000, 0x40, 0x7FFFFFFF),
        ),
        ("access", (0, value), 1, "flags", "access_modes", (0, 1, 4, 7, 8, 12)),
        (
            "socket",
            (99, value, 0),
            1,
            "enum",
            "sock_type_flags",
            (1, 2, 5, 0x80001, 0x80801, 11, 0, 0x1001, 0x80000),
        ),
        ("socket", (value, 1, 0), 0, "enum", "addrfams", (0, 1, 2, 10, 16, 45, 99, 0xFFFF)),
        (
            "clone",
            (value, 1),
            1,
            "flags",
            "clone_flags",
            (0x4811, 0x800, 0x80000800, 0x01000811, 0x10000800 | 33),
        ),
        (
            "futex",
            (0, value, 0),
            1,
            "enum",
            "futexops",
            (0, 1, 128, 129, 137, 0x189, 0x181, 13, 0x8D, 99, 2 | 128, 0x109),
        ),
        ("madvise", (1, 0, value), 2, "enum", "madvise_cmds", (0, 4, 8, 14, 21, 100, 999)),
        ("wait4", (-2, 0, value, 0), 2, "flags", "wait4_options", (0, 1, 3, 0x40000000, 0x80000001, 0x100)),
        ("waitid", (value, -1, 0, 4, 0), 0, "enum", "waitid_types", (0, 1, 3, 9)),
        ("waitid", (9, -1, 0, value, 0), 3, "flags", "wait4_options", (4, 0x1000004, 8)),
        ("lseek", (-1, 0, value), 2, "enum", "whence_codes", (0, 1, 4, 7)),
        (
            "ioctl",
            (-1, value, 0),
            1,
            "enum",
            "ioctl_cmds",
            (
                0x5401,
                0x5413,
                0x541B,
                0x5451,
                0x5421,
                0x8912,
                0x40049409,
                0x80081272,
                0x12345678,
                0x5403,
                0x2201,
            ),
        ),
        (
            "ioctl",
            (-1, value, 0),
            1,
            "enum",
            "ioctl_cmds",
            (
                0x1234,
                0xFFFFFFFF,
                0x80086601,
                0x402C542B,
                0x4C00,
                0x80045430,
                0xC0189436,
                0x5331,
                0x4B3A,
                0x301,
            ),
        ),
        ("flock", (-1, value), 1, "flags", "flockcmds", (1, 2, 6, 8, 0, 256)),
        ("fcntl", (-1, value, 0), 1, "enum", "fcntlcmds", (1, 2, 3, 5, 7, 1030, 1034, 38, 999)),
        ("umount2", (0, value), 1, "flags", "umount_flags", (0, 2, 10, 32)),
        (
            "mount",
            (0, 0, 0, value, 0),
            3,
            "flags",
            "mount_flags",
            (0, 1, 4096, 0xC0ED0000, 0xC0ED0001, 0x1000021, 0x8000000000),
        ),
        ("unlinkat", (-1, 0, value), 2, "flags", "at_flags", (0, 0x200, 0x100, 1)),
        ("statx", (-1, 0, value, 0, 0), 2, "flags", "at_statx_flags", (0, 0x100, 0x2000, 0x2100, 0x1000)),
        ("statx", (-1, 0, 0, value, 0), 3, "flags", "statx_masks", (0xFFF, 0x7FF, 3, 0, 0x1FFF, 0x80000000)),
        ("faccessat2", (-1, 0, 0, value), 3, "flags", "faccessat_flags", (0, 0x200, 0x1100, 1)),
        ("rt_sigprocmask", (value, 0, 0, 8), 0, "enum", "sigprocmaskcmds", (0, 1, 2, 3)),
        ("clock_gettime", (value, 0), 0, "enum", "clocknames", (0, 1, 7, 11, 12, 99, 0xFFFFFFFE, 0xFFFFFFF2)),
        ("eventfd2", (0, value), 1, "flags", "efd_flags", (1, 0x80800, 2)),
        (
            "memfd_create",
            (0, value),
            1,
            "flags",
            "memfd_create_flags",
            (0, 1, 3, 4, 0x80000004 | 21 << 26, 0x100),
        ),
        ("close_range", (9000, 9000, value), 2, "flags", "close_range_flags", (0, 2, 4, 6, 8)),
        ("getrlimit", (value, 0), 0, "enum", "resources", (0, 7, 15, 16)),
        ("getrusage", (value, 0), 0, "enum", "usagewho", (0, 1, 0xFFFFFFFF, 5)),
        (
            "sendto",
            (-1, 0, 0, value, 0, 0),
            3,
            "flags",
            "msg_flags",
            (0, 0x4000, 0x4040, 0x80000000, 0x1000000),
        ),
        ("shutdown", (-1, value), 1, "enum", "shutdown_modes", (0, 1, 2, 3)),
        ("setsockopt", (-1, value, 1, 0, 0), 1, "enum", "socketlayers", (0, 1, 6, 17, 41, 255, 282, 4)),
        ("setsockopt", (-1, 1, value, 0, 0), 2, "enum", "sock_options", (2, 9, 15, 20, 21, 66, 60, 999)),
        ("setsockopt", (-1, 6, value, 0, 0), 2, "enum", "sock_tcp_options", (1, 4, 23, 37, 999)),
        ("setsockopt", (-1, 0, value, 0, 0), 2, "enum", "sock_ip_options", (1, 8, 35, 50, 999)),
        ("setsockopt", (-1, 41, value, 0, 0), 2, "enum", "sock_ipv6_options", (1, 26, 67, 78, 999)),
        ("prctl", (value, 0, 0, 0, 0), 0, "enum", "prctl_options", (3, 15, 16, 22, 38, 0x53564D41, 9999)),
        ("arch_prctl", (value, 0), 0, "enum", "archvals", (0x1003, 0x1011, 0x3001, 0x9999)),
        ("msync", (1, 0, value), 2, "flags", "mctl_sync", (0, 1, 4, 6, 8)),
        ("renameat2", (-1, 0, -1, 0, value), 4, "flags", "rename_flags", (0, 1, 3, 8)),
        ("getrandom", (0, 0, value), 2, "flags", "getrandom_flags", (0, 1, 2, 8)),
        ("fallocate", (-1, value, 0, 0), 1, "flags", "falloc_flags", (0, 1, 3, 0x20, 0x100)),
        ("splice", (-1, 0, -1, 0, 0, value), 5, "flags", "splice_flags", (0, 1, 3, 16)),
        ("setns", (-1, value), 1, "flags", "setns_types", (0, 0x40000000, 0x20000, 1)),
        ("kcmp", (-1, -1, value, 0, 0), 2, "enum", "kcmp_types", (0, 1, 6, 99)),
        ("bpf", (value, 0, 0), 0, "enum", "bpf_commands", (0, 5, 17, 99)),
        (
            "inotify_add_watch",
            (-1, 0, value),
            2,
            "flags",
            "inotify_flags",
            (0, 2, 0x100, 0x40000FFF, 0x1000000 | 2),
        ),
        ("keyctl", (value, 0, 0, 0, 0), 0, "enum", "keyctl_commands", (0, 5, 31, 99)),
        ("epoll_ctl", (-1, value, 0, 0), 1, "enum", "epollctls", (1, 2, 3, 4)),
        ("kill", (99999999, value), 1, "scalar", "signal", (0, 1, 9, 17, 31, 32, 33, 34, 64, 65, 0xFFFFFFFF)),
        ("chmod", (0, value), 1, "scalar", "mode", (0, 1, 0o10, 0o644, 0o4755, 0o7777, 0xFFFF)),
        (
            "mknod",
            (0, value, 0),
            1,
            "scalar",
            "modetype",
            (0o100644, 0o20666, 0o40755, 0o104711, 0o130000, 0o644, 0, 0o101000),
        ),
        ("mknod", (0, 0o20666, value), 2, "scalar", "dev", (0, 0x801, 0x8800, 0x12345678, 0xFFFFFFFF)),
        ("openat", (value, 0, 0), 0, "scalar", "dirfd", (3, 0xFFFFFF9C, 0xFFFFFFFF, 0xFFFFFFFFFFFFFF9C)),
    ]
    for call, arguments, index, kind, name, values in rows:
        for number in values:
            yield (
                kind,
                name,
                number,
                NR[call],
                tuple(number if word == value else word for word in arguments),
                index,
            )  # type: ignore[misc]


def words(code: str, *numbers: int | bytes) -> bytes:
    return struct.pack(f"<{code}", *numbers)


def address_cases() -> Iterator[Case]:
    """Socket addresses, given to connect."""
    import socket as s

    ten = s.inet_pton(s.AF_INET6, "fe80::1:2"), s.inet_pton(s.AF_INET6, "2001:db8::1")
    addresses = [
        words("H", 2) + bytes([0, 80, 127, 0, 0, 1]) + bytes(8),
        words("H", 2) + bytes([0, 80, 127]),
        words("H", 10) + bytes([1, 187]) + bytes(4) + ten[1] + words("I", 7),
        words("H", 10) + bytes([1, 187]) + bytes(4) + ten[0] + words("I", 4242),
        words("H", 10) + bytes([1, 187, 0, 0, 0, 9]) + ten[1],
        words("H", 1) + b"/nonexistent/so ck\0trailing",
        words("H", 1) + b"/no/nul",
        words("H", 1) + b"\0abs\x01tract\xff",
        words("H", 1),
        words("H", 1) + b"\0",
        words("HHiI", 16, 0, 77, 1),
        words("HHiI", 16, 5, -77, 0x80000000),
        words("HHiHBB8s", 17, 0x0300, 4242, 1, 4, 6, b"\x01\x02\x03\x04\x05\x06\0\0"),
        words("HHiHBB8s", 17, 0x9999, 4242, 0x9999, 99, 0, b""),
        words("HHIIB3s", 40, 0, 1234, 2, 0, b""),
        words("HHIIB3s", 40, 0, 0xFFFFFFFF, 0xFFFFFFFF, 1, b""),
        words("H", 38) + b"hash".ljust(14, b"\0") + words("II", 1, 0x1000) + b"sha256".ljust(65, b"\0"),
        words("H", 99) + b"ab\ncd",
        words("H", 0) + bytes(14),
    ]
    for data in addresses:
        yield "sockaddr", "", data, NR["connect"], (-1, BUF, len(data)), 1


def struct_cases() -> Iterator[Case]:
    """Structs that a call reads, with bytes of our choice; the calls fail, and strace prints what they were
    given.
    """
    cap = words("Ii", 0x20080522, 0)
    rows: list[tuple[str, bytes, str, tuple[int | str, ...], int]] = [
        ("timespec", words("qq", -1, 5), "nanosleep", (BUF, 0), 0),
        ("timespec", words("qq", 1, -1), "nanosleep", (BUF, 0), 0),
        ("timeval", words("qq", 1, 1000001), "settimeofday", (BUF, 0), 0),
        ("timezone", words("ii", -60, 1), "settimeofday", (1, BUF), 1),
        ("itimerval", words("4q", 1, 2, 3, -1), "setitimer", (9, BUF, 0), 1),
        ("rlimit", words("QQ", 8 << 20, 2**64 - 1), "prlimit64", (-1, 3, BUF, 0), 2),
        ("rlimit", words("QQ", 1024, 2047), "prlimit64", (-1, 3, BUF, 0), 2),
        ("sigaction", words("4Q", 0x1234, 0x14000004, 0x5678, 0x11), "rt_sigaction", (99, BUF, 0, 8), 1),
        ("sigaction", words("4Q", 0, 0x80000000, 0, 2**64 - 1 - 0x40100), "rt_sigaction", (99, BUF, 0, 8), 1),
        ("sigaction", words("4Q", 1, 0, 0, 0), "rt_sigaction", (99, BUF, 0, 8), 1),
        ("sigset", words("Q", 0x4002), "rt_sigprocmask", (9, BUF, 0, 8), 1),
        ("sigset", words("Q", 2**64 - 1), "rt_sigprocmask", (9, BUF, 0, 8), 1),
        ("sigset", words("Q", 0x8000000180000000), "rt_sigprocmask", (9, BUF, 0, 8), 1),
        ("sigaltstack", words("QiiQ", 0x1000, 0x80000001 - 2**32, 0, 0), "sigaltstack", (BUF, 0), 0),
        (
            "siginfo",
            words("iiiiiIQ96s", 10, 0, -1, 0, 5, 1000, 0x123456789, b""),
            "rt_sigqueueinfo",
            (-1, 10, BUF),
            2,
        ),
        (
            "siginfo",
            words("iiiiiIii2q", 17, 0, 1, 0, 5, 1000, 7, 0, 1, 250).ljust(128, b"\0"),
            "rt_sigqueueinfo",
            (-1, 17, BUF),
            2,
        ),
        (
            "siginfo",
            words("iiiiiIii2q", 17, 2, 2, 0, 5, 1000, 9, 0, 0, 0).ljust(128, b"\0"),
            "rt_sigqueueinfo",
            (-1, 17, BUF),
            2,
        ),
        (
            "siginfo",
            words("iiiiQ", 11, 0, 1, 0, 0xDEAD).ljust(128, b"\0"),
            "rt_sigqueueinfo",
            (-1, 11, BUF),
            2,
        ),
        (
            "siginfo",
            words("iiiiQhhiQQ", 11, 0, 3, 0, 1, 0, 0, 0, 2, 3).ljust(128, b"\0"),
            "rt_sigqueueinfo",
            (-1, 11, BUF),
            2,
        ),
        ("siginfo", words("iiiiQh", 7, 0, 4, 0, 1, 12).ljust(128, b"\0"), "rt_sigqueueinfo", (-1, 7, BUF), 2),
        (
            "siginfo",
            words("iiiiiiQ", 14, 0, -2, 0, 3, 4, 5).ljust(128, b"\0"),
            "rt_sigqueueinfo",
            (-1, 14, BUF),
            2,
        ),
        (
            "siginfo",
            words("iiiiqi", 29, 0, 1, 0, -3, 4).ljust(128, b"\0"),
            "rt_sigqueueinfo",
            (-1, 29, BUF),
            2,
        ),
        (
            "siginfo",
            words("iiiiiI", 15, 0, 0, 0, 3, 2**32 - 1).ljust(128, b"\0"),
            "rt_sigqueueinfo",
            (-1, 15, BUF),
            2,
        ),
        (
            "siginfo",
            words("iiiiiIQ", 40, 0, 77, 0, 3, 4, 9).ljust(128, b"\0"),
            "rt_sigqueueinfo",
            (-1, 40, BUF),
            2,
        ),
        ("siginfo", bytes(128), "rt_sigqueueinfo", (-1, 0, BUF), 2),
        ("sigevent", words("QiiQ", 0x123456789, 10, 0, 0).ljust(64, b"\0"), "timer_create", (99, BUF, 0), 1),
        ("sigevent", words("Qiii", 0, 10, 4, 77).ljust(64, b"\0"), "timer_create", (99, BUF, 0), 1),
        ("sigevent", words("QiiQQ", 0, 10, 2, 0x77, 0x88).ljust(64, b"\0"), "timer_create", (99, BUF, 0), 1),
        ("sigevent", words("Qii", 1, 70, 1).ljust(64, b"\0"), "timer_create", (99, BUF, 0), 1),
        ("sembuf", words("HhH", 1, -1, 0x1800), "semop", (-1, BUF, 1), 1),
        ("flock", words("hhiqqq", 1, 0, 0, 10, -1, 0), "fcntl", (-1, 6, BUF), 2),
        ("flock", words("hhiqqq", 9, 9, 0, 10, -1, 0), "fcntl", (-1, 6, BUF), 2),
        ("f_owner_ex", words("ii", 1, 77), "fcntl", (-1, 15, BUF), 2),
        ("cap_header", cap, "capget", (BUF, 0), 0),
        ("sched_param", words("i", 7), "sched_setparam", (-1, BUF), 1),
        ("sched_attr", words("IIQiIQQQII", 56, 0, 1, -5, 0, 1, 2, 3, 4, 5), "sched_setattr", (-1, BUF, 0), 1),
        ("sched_attr", words("IIQiIQQQII", 48, 6, 4, -5, 0, 1, 2, 3, 0, 0), "sched_setattr", (-1, BUF, 0), 1),
        ("epoll_event", words("IQ", 0x80002011, 0x500000003), "epoll_ctl", (-1, 1, 0, BUF), 3),
        ("epoll_event", words("IQ", 0x04000000, 0), "epoll_ctl", (-1, 1, 0, BUF), 3),
        ("clone_args", words("11Q", 0x3D0E00, 1, 2, 3, 0, 4, 5, 6, 0, 0, 0), "clone3", (BUF, 88), 0),
        (
            "clone_args",
            words("11Q", 0x100001111 | 2**40, 1, 2, 3, 17, 4, 5, 6, 0, 9, 1),
            "clone3",
            (BUF, 88),
            0,
        ),
        ("open_how", words("QQQ", 0o2000101, 0o644, 0x18), "openat2", (-1, 0, BUF, 24), 2),
        ("open_how", words("QQQ", 0, 0, 0x100), "openat2", (-1, 0, BUF, 24), 2),
        ("mq_attr", words("8q", 0o4000, 10, 100, 1, 0, 0, 0, 0), "mq_getsetattr", (-1, BUF, 0), 1),
        ("utimens", words("qqqq", 0, 0x3FFFFFFF, 5, 0x3FFFFFFE), "utimensat", (-1, 0, BUF, 0), 2),
        ("utimens", words("qqqq", 1700000000, 1, 0, 0), "utimensat", (-1, 0, BUF, 0), 2),
        ("utimbuf", words("qq", 0, 1700000000), "utime", (0, BUF), 1),
        ("termios", words("4I20s", 0o2400, 0o5, 0o277, 0o105073, b""), "ioctl", (-1, 0x5402, BUF), 2),
        ("termios", words("4I20s", 0, 0, 0, 0, b""), "ioctl", (-1, 0x5402, BUF), 2),
        ("winsize", words("4H", 24, 80, 0, 0), "ioctl", (-1, 0x5414, BUF), 2),
        ("user_desc", words("4I", 2**32 - 1, 0xF7F00000, 0xFFFFF, 0x51), "set_thread_area", (BUF,), 0),
        ("mount_attr", words("4Q", 0x21, 0x10, 1 << 18, 3), "mount_setattr", (-1, 0, 0, BUF, 32), 3),
        (
            "timex",
            words(
                "Iiqqqqiiqqqqqqqqiiqqqqqi44s",
                0xA001,
                0,
                1,
                2,
                3,
                4,
                0x2001,
                0,
                5,
                6,
                7,
                8,
                9,
                10,
                11,
                12,
                13,
                0,
                14,
                15,
                16,
                17,
                18,
                19,
                b"",
            ),
            "adjtimex",
            (BUF,),
            0,
        ),
        ("pollfd", words("iHH", 9999, 5, 0), "poll", (BUF, 1, 0), 0),
        ("pollfd", words("iHH", -1, 5, 0), "poll", (BUF, 1, 0), 0),
        ("linger", words("ii", 1, 5), "setsockopt", (-1, 1, 13, BUF, 8), 3),
        ("ip_mreq", bytes([224, 0, 0, 1, 127, 0, 0, 1]), "setsockopt", (-1, 0, 35, BUF, 8), 3),
    ]
    for name, data, call, arguments, index in rows:
        yield "struct", name, data, NR[call], arguments, index


def out_cases() -> Iterator[Case]:
    """Structs that a call fills: recorded as the child saw them after the call."""
    rows: list[tuple[str, int, str, tuple[int | str, ...], int]] = [
        ("stat", 144, "stat", ("/etc/passwd", BUF), 1),
        ("stat", 144, "stat", ("/dev/null", BUF), 1),
        ("stat", 144, "stat", ("/tmp", BUF), 1),
        ("statx", 256, "statx", (-100, "/tmp", 0, 0xFFF, BUF), 4),
        ("statx", 256, "statx", (-100, "/dev/null", 0, 1, BUF), 4),
        ("statfs", 120, "statfs", ("/proc", BUF), 1),
        ("statfs", 120, "statfs", ("/", BUF), 1),
        ("utsname", 390, "uname", (BUF,), 0),
        ("sysinfo", 112, "sysinfo", (BUF,), 0),
        ("rusage", 144, "getrusage", (0, BUF), 1),
        ("tms", 32, "times", (BUF,), 0),
        ("time", 8, "time", (BUF,), 0),
        ("timespec", 16, "clock_gettime", (0, BUF), 1),
        ("rlimit", 16, "getrlimit", (7, BUF), 1),
        ("fdpair", 8, "pipe2", (BUF, 0), 0),
        ("sigaction", 32, "rt_sigaction", (2, 0, BUF, 8), 2),
    ]
    for name, size, call, arguments, index in rows:
        yield "out", name, bytes(size), NR[call], arguments, index


def quote_cases() -> Iterator[Case]:
    """Strings: path names of calls that fail."""
    texts = [
        b"plain",
        b'q"uo\\te',
        b"\t\n\v\f\r\b\a\x1b",
        b"\x011\x019\x018",
        b"\xff\xfe7",
        "żółw".encode(),
        b"",
        b"sp ace\x7f",
        b"\x017",
        b"\x01\x02",
    ]
    for text in texts:
        yield "quote", "", text, NR["open"], (BUF, 0x0), 0


def cases() -> list[Case]:
    return [*flag_cases(), *address_cases(), *struct_cases(), *out_cases(), *quote_cases()]


def child(record: str) -> None:
    """Make every case's call between two markers; write what each buffer held afterwards."""
    libc = ctypes.CDLL(None)
    libc.syscall.restype = ctypes.c_long
    lines = []
    for number, (table, _, data, call, arguments, _) in enumerate(cases()):
        buffer = ctypes.create_string_buffer(
            data if isinstance(data, bytes) else b"",
            max(len(data) if isinstance(data, bytes) else 0, 1) + (table == "quote"),
        )
        final = [ctypes.addressof(buffer) if a == BUF else a.encode() if isinstance(a, str) else a for a in arguments]
        converted = [
            ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a - 2**64 if a >= 2**63 else a) for a in final
        ]
        libc.syscall(ctypes.c_long(3), ctypes.c_long(MARK - number))
        libc.syscall(ctypes.c_long(call), *converted)
        libc.syscall(ctypes.c_long(3), ctypes.c_long(MARK - number))
        lines.append(buffer.raw[: len(data)].hex() if isinstance(data, bytes) else str(data))
    Path(record).write_text("\n".join(lines))


def split_arguments(line: str) -> list[str]:
    """The arguments of a line of strace output: split at the commas outside brackets, strings and comments."""
    text = line[line.index("(") + 1 :]
    found, depth, at, start = [], 0, 0, 0
    while at < len(text):
        if text[at] == '"':
            at = re.compile(r'"(?:[^"\\]|\\.)*"').match(text, at).end()  # type: ignore[union-attr]
            continue
        if text.startswith("/*", at):
            at = text.index("*/", at) + 2
            continue
        depth += (text[at] in "([{") - (text[at] in ")]}")
        if depth < 0 or (text[at] == "," and not depth):
            found.append(text[start:at].strip())
            start = at + 1
        if depth < 0:
            break
        at += 1
    return found


def main() -> None:
    if len(sys.argv) > 1:
        child(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        trace, record = f"{folder}/trace", f"{folder}/record"
        subprocess.run(
            ["strace", "-o", trace, sys.executable, __file__, record],
            check=True,
            env={**os.environ, "TZ": "UTC"},
        )
        lines = Path(trace).read_text().splitlines()
        values = Path(record).read_text().split("\n")
    marks: dict[int, list[int]] = {}
    for at, line in enumerate(lines):
        if found := re.match(r"close\((-\d+)\)", line):
            marks.setdefault(MARK - int(found[1]), []).append(at)
    rows = []
    for number, (table, name, _, _, _, index) in enumerate(cases()):
        line = " ".join(lines[marks[number][0] + 1 : marks[number][1]])
        shown = split_arguments(line)
        if index < len(shown):
            text = re.sub(r"^[a-z]\w*=", "", shown[index])
            rows.append(f"{table}\t{name}\t{values[number]}\t{text}")
        else:
            print(f"no argument {index}: {line}", file=sys.stderr)
    GOLDEN.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
