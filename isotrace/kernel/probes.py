"""The table of probes: a feature is a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from isotrace.kernel import attachable, fanotify, landlock, perf, probe_bpf, probe_system
from isotrace.kernel.answer import Answer

Use = Literal["log", "refuse", "module"]


@dataclass(frozen=True)
class Probe:
    """How to find out about one feature.

    ``needed_for``: what uses it, the main use first. ``required``: ``log`` cannot run without it.
    ``remedy``: what would change a "no". Tests skip with ``needs NAME: why``.
    """

    name: str
    what: str
    needed_for: tuple[Use, ...]
    probe: Callable[[], Answer]
    remedy: str
    required: bool = False


_ROOT = "run as root: sudo isotrace …"
_KCONFIG = "a kernel built with {} (the stock kernels of Debian, Ubuntu, Fedora and RHEL are)"
_BPF_EVENTS = _KCONFIG.format("CONFIG_BPF_EVENTS=y")
_BY_OBJECT = "enforces by the kernel's own objects: no race, covers io_uring and 32-bit calls"
_BY_NUMBER = "enforces by call and registers: arguments in memory race, io_uring passes by, 32-bit entries are extra"

PROBES = (
    Probe(
        "privileges",
        "loading BPF programs",
        ("log", "refuse"),
        probe_system.privileges,
        f"{_ROOT}; in a container, --privileged; in a rootless one, run it on the host",
        required=True,
    ),
    Probe(
        "bpf_syscall",
        "the bpf(2) system call",
        ("log", "refuse"),
        probe_bpf.bpf_syscall,
        "a kernel with CONFIG_BPF_SYSCALL=y; in a container, a seccomp profile that allows bpf(2)",
        required=True,
    ),
    Probe(
        "btf",
        "where the kernel's structures keep what is read",
        ("log", "refuse"),
        probe_bpf.readable_btf,
        "CONFIG_DEBUG_INFO_BTF=y: every stock kernel of Debian 11+, Ubuntu 20.10+, Fedora 31+ has it",
        required=True,
    ),
    Probe(
        "raw_tracepoint",
        "seeing every system call",
        ("log",),
        probe_bpf.raw_tracepoint,
        _BPF_EVENTS,
        required=True,
    ),
    Probe(
        "perf_events",
        "attaching where raw tracepoints are preempted",
        ("log", "refuse"),
        probe_system.perf_events,
        perf.REMEDY,
        required=True,
    ),
    Probe(
        "ringbuf",
        "records from kernel to user",
        ("log",),
        probe_bpf.ringbuf,
        "Linux 5.8 or later",
        required=True,
    ),
    Probe(
        "tail_call",
        "a program for each family of calls",
        ("log",),
        probe_bpf.tail_call,
        _BPF_EVENTS,
        required=True,
    ),
    Probe(
        "probe_read_user",
        "reading file names and buffers",
        ("log",),
        probe_bpf.probe_read_user,
        "Linux 5.5 or later",
        required=True,
    ),
    Probe(
        "probe_read_kernel",
        "reading the caller's parent and name",
        ("log", "refuse"),
        probe_bpf.probe_read_kernel,
        "boot without lockdown=confidentiality",
        required=True,
    ),
    Probe(
        "bcc",
        "compiling the programs",
        ("log", "refuse"),
        probe_system.bcc,
        "install python3-bpfcc (Debian, Ubuntu), python3-bcc (Fedora, RHEL) or python-bcc (Arch)",
        required=True,
    ),
    Probe(
        "jit",
        "programs as machine code, several times as fast",
        ("log", "refuse"),
        probe_bpf.jit,
        "sysctl net.core.bpf_jit_enable=1",
    ),
    Probe(
        "pid_namespace",
        "process numbers that mean the same to kernel and user",
        ("log",),
        probe_system.pid_namespace,
        "run it on the host, or the container with --pid=host",
    ),
    Probe(
        "cgroup2",
        "--cgroup, --container, --pod",
        ("log",),
        probe_system.cgroup2,
        "mount -t cgroup2 none /sys/fs/cgroup",
    ),
    Probe(
        "ia32",
        "32-bit calls to log and to deny",
        ("log", "refuse"),
        probe_system.ia32,
        "none is needed: programs here have no 32-bit calls to make (CONFIG_IA32_EMULATION)",
    ),
    Probe(
        "x32",
        "x32 calls to log and to deny",
        ("log", "refuse"),
        probe_system.x32,
        "none is needed: programs here have no x32 calls to make (CONFIG_X86_X32_ABI)",
    ),
    Probe(
        "ftrace_syscalls",
        "an event for each call; log uses raw tracepoints instead",
        ("log",),
        probe_system.ftrace_syscalls,
        "CONFIG_FTRACE_SYSCALLS=y; mount -t tracefs none /sys/kernel/tracing",
    ),
    Probe(
        "lsm_bpf",
        _BY_OBJECT,
        ("refuse",),
        probe_bpf.lsm_bpf,
        "CONFIG_BPF_LSM=y, and bpf added to the list that the boot argument lsm= gives",
    ),
    Probe(
        "fmod_ret_security",
        f"{_BY_OBJECT}, without bpf among the LSMs",
        ("refuse",),
        probe_bpf.fmod_ret_security,
        "CONFIG_FUNCTION_TRACER=y and CONFIG_BPF_JIT=y on x86-64, Linux 5.7 or later",
    ),
    Probe(
        "fmod_ret_syscall",
        _BY_NUMBER,
        ("refuse",),
        probe_bpf.fmod_ret_syscall,
        "CONFIG_FUNCTION_ERROR_INJECTION=y",
    ),
    Probe(
        "override",
        f"{_BY_NUMBER}; by kprobe",
        ("refuse",),
        probe_bpf.override,
        "CONFIG_BPF_KPROBE_OVERRIDE=y: Ubuntu, Amazon Linux, Arch and Oracle UEK have it",
    ),
    Probe(
        "signal",
        "kills the caller, also 32-bit; the call that was seen may still take effect, io_uring passes by",
        ("refuse",),
        probe_bpf.signal,
        "Linux 5.3 or later",
    ),
    Probe(
        "seccomp",
        "enforces by number and registers, also 32-bit, in commands that isotrace starts; io_uring passes by",
        ("refuse",),
        probe_system.seccomp,
        "CONFIG_SECCOMP_FILTER=y",
    ),
    Probe(
        "landlock",
        "denies files and TCP ports, in commands that isotrace starts, for any user: no race, covers 32-bit",
        ("refuse",),
        landlock.refuses,
        "CONFIG_SECURITY_LANDLOCK=y, and landlock in the list that the boot argument lsm= gives",
    ),
    Probe(
        "fanotify",
        "asks before files named literally are opened or executed, by processes that run already",
        ("refuse",),
        fanotify.permissions,
        "CONFIG_FANOTIFY_ACCESS_PERMISSIONS=y",
    ),
    Probe(
        "io_uring",
        "a way round whatever enforces by number: a rule has to cover it",
        ("refuse",),
        probe_system.io_uring,
        "sysctl kernel.io_uring_disabled=0",
    ),
    Probe(
        "unlocked",
        "a kernel that is not locked down",
        ("module", "refuse"),
        probe_bpf.unlocked,
        "boot without lockdown=, or with Secure Boot off",
    ),
    Probe(
        "unpreempted",
        "BPF programs are not preempted (the kernel skips a program that is already running on that CPU)",
        ("refuse",),
        attachable.unpreempted,
        "boot with preempt=voluntary, where the kernel has it",
    ),
    Probe(
        "lsm_unskipped",
        "LSM programs that run whoever comes between",
        ("refuse",),
        attachable.lsm_unskipped,
        "Linux 6.2 or later",
    ),
    Probe(
        "io_threads",
        "io_uring's work done in the name of who asked for it",
        ("refuse",),
        attachable.io_threads,
        "Linux 5.12 or later",
    ),
    Probe(
        "kprobe",
        "probes on kernel functions",
        ("refuse", "module"),
        probe_system.kprobe,
        "CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y",
    ),
    Probe(
        "error_injection",
        "calls that may be made to fail: for override and fmod_ret_syscall",
        ("refuse",),
        probe_system.error_injection,
        "CONFIG_FUNCTION_ERROR_INJECTION=y; mount -t debugfs none /sys/kernel/debug",
    ),
    Probe("modules", "loading a module", ("module",), probe_system.modules, "CONFIG_MODULES=y"),
    Probe(
        "unsigned_modules",
        "loading a module that was built here",
        ("module",),
        probe_system.unsigned_modules,
        "sign it with a key that the kernel knows, or turn Secure Boot off",
    ),
    Probe(
        "module_headers",
        "building a module",
        ("module",),
        probe_system.module_headers,
        "install linux-headers-$(uname -r) (Debian, Ubuntu) or kernel-devel (Fedora, RHEL)",
    ),
    Probe(
        "ftrace",
        "the module's way to deny",
        ("module",),
        probe_system.ftrace,
        "CONFIG_FUNCTION_TRACER=y; sysctl kernel.ftrace_enabled=1",
    ),
    Probe(
        "lkm",
        "isotrace's kernel module: used where log or block by BPF cannot, and by --backend lkm",
        ("module", "refuse"),
        probe_system.isotrace_module,
        "isotrace module build && isotrace module load",
    ),
    Probe(
        "syscall_table",
        "a patched sys_call_table entry is called: the classic way to deny",
        ("module",),
        probe_system.syscall_table,
        "nothing: newer x86 kernels do not call through the table, the module uses ftrace",
    ),
)
