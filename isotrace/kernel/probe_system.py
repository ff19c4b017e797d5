"""Probes that read /proc and /sys or make a harmless system call, some in a sandboxed child."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from pathlib import Path

from isotrace.errors import KernelError
from isotrace.kernel import namespaces, perf, procfs, programs, sandbox
from isotrace.kernel.answer import Answer, keep_if, no, refusal, unknown, yes
from isotrace.kernel.bcc import load_bcc
from isotrace.process.libc import try_syscall

PROC = Path("/proc")
SYS = Path("/sys")

_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 21, 38, 39

# Numbers from 424 on are the same on every architecture.
_IO_URING_SETUP, _LSM_LIST_MODULES = 425, 461
_OF_MACHINE = {
    "x86_64": {"seccomp": 317, "finit_module": 313, "ioperm": 173},
    "aarch64": {"seccomp": 277, "finit_module": 273},
}
_ENTRY = {"x86_64": "__x64_sys_", "aarch64": "__arm64_sys_"}

# include/uapi/linux/lsm.h
_LSM_NAMES = {
    **{100: "capability", 101: "selinux", 102: "smack", 103: "tomoyo", 104: "apparmor", 105: "yama"},
    **{106: "loadpin", 107: "safesetid", 108: "lockdown", 109: "bpf", 110: "landlock", 111: "ima"},
    **{112: "evm", 113: "ipe"},
}


def _numbers() -> dict[str, int]:
    return _OF_MACHINE.get(os.uname().machine, {})


def entry_prefix() -> str:
    """How the kernel's entry points of system calls begin here."""
    return _ENTRY.get(os.uname().machine, "__x64_sys_")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


@keep_if(bool)
def symbols() -> str:
    """The text of /proc/kallsyms, "" when it cannot be read."""
    return _text(PROC / "kallsyms") or ""


def has_symbol(name: str) -> bool | None:
    """Whether the kernel has a function of that name; None when /proc/kallsyms does not tell."""
    return f" {name}\n" in symbols() if symbols() else None


# ---- who asks ----------------------------------------------------------------------------------------------


def _capabilities() -> int:
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", _text(PROC / "self/status") or "", re.MULTILINE)
    return int(match[1], 16) if match else 0


def privileges() -> Answer:
    """CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON (since 5.8), in the initial user namespace."""
    held = _capabilities()
    names = {_CAP_SYS_ADMIN: "CAP_SYS_ADMIN", _CAP_BPF: "CAP_BPF", _CAP_PERFMON: "CAP_PERFMON"}
    missing = [name for bit, name in names.items() if not held >> bit & 1]
    who = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"
    if not namespaces.is_initial("user"):
        return no(f"{who} of a user namespace: BPF asks for privileges in the initial one")
    if "CAP_SYS_ADMIN" not in missing:
        return yes(f"{who} with CAP_SYS_ADMIN")
    if missing == ["CAP_SYS_ADMIN"]:
        return yes(f"{who} with CAP_BPF and CAP_PERFMON")
    return no(f"{who} without {', '.join(missing)}")


def privileged() -> bool:
    """Whether an EPERM is not for lack of privileges."""
    return privileges().verdict == "yes"


def pid_namespace() -> Answer:
    """Whether BPF programs can speak the process numbers of isotrace's own pid namespace."""
    try:
        found = namespaces.pid_namespace()
    except KernelError as error:
        return no(f"inside a container's pid namespace: {error}")
    if found is None:
        return yes("process numbers here are the kernel's own")
    return yes(f"inside a container: process numbers are those of its pid namespace, {found.level} below the host's")


# ---- BCC ---------------------------------------------------------------------------------------------------


def _import_bcc() -> bytes:
    try:
        return f"yes version {getattr(load_bcc(), '__version__', 'unknown')}".encode()
    except (KernelError, OSError) as error:
        return f"no {error}".encode()
    except Exception as error:
        return f"unknown {type(error).__name__}: {error}".encode()


def bcc() -> Answer:
    """Import it, in a child: LLVM stays out of this process."""
    child = sandbox.run(_import_bcc)
    verdict, _, why = child.said.decode(errors="replace").partition(" ")
    if child.status == 0:
        return {"yes": yes, "no": no, "unknown": unknown}[verdict](" ".join(why.split()))
    return unknown(f"the child that imports it ended with {child.describe()}")


# ---- lockdown and security modules -------------------------------------------------------------------------


def lockdown() -> Answer:
    """Yes when the kernel is *not* locked down."""
    text = _text(SYS / "kernel/security/lockdown")
    if text is not None:
        mode = re.search(r"\[(\w+)\]", text)
        level = mode[1] if mode else text
        return yes("lockdown is none") if level == "none" else no(f"lockdown is {level}")
    if procfs.mounted("securityfs") is not None and os.geteuid() == 0:
        return yes("the kernel has no lockdown")
    active = active_lsms()
    if active is not None and "lockdown" not in active:
        return yes("the kernel has no lockdown")
    return _lockdown_by_ioperm()


def _lockdown_by_ioperm() -> Answer:
    """Lockdown forbids even root to be given an I/O port; the child that is given one does not use it."""
    unreadable = "securityfs is not mounted, and nothing else tells"
    number = _numbers().get("ioperm")
    if number is None or not privileged():
        return unknown(unreadable)
    result = sandbox.run(lambda: str(try_syscall(number, 0x80, 1, 1)).encode()).said
    if result == b"0":
        return yes("an I/O port is given, which lockdown forbids")
    return no("locked down: I/O ports are refused") if result == str(-errno.EPERM).encode() else unknown(unreadable)


def active_lsms() -> list[str] | None:
    """Names of the active security modules; None when neither securityfs nor lsm_list_modules (6.8) tells."""
    text = _text(SYS / "kernel/security/lsm")
    if text is not None:
        return text.split(",")
    ids = (ctypes.c_uint64 * 64)()
    count = try_syscall(_LSM_LIST_MODULES, ids, ctypes.byref(ctypes.c_uint32(ctypes.sizeof(ids))), 0)
    return [_LSM_NAMES.get(number, str(number)) for number in ids[:count]] if count >= 0 else None


# ---- ways to refuse ----------------------------------------------------------------------------------------


def kprobe() -> Answer:
    """The kprobe event source, or the file of kprobe events."""
    devices = SYS / "bus/event_source/devices"
    if (devices / "kprobe").is_dir():
        return yes("perf has the event source kprobe")
    tracing = procfs.mounted("tracefs")
    if tracing and Path(tracing, "kprobe_events").exists():
        return yes("tracefs has kprobe_events")
    if devices.is_dir() and (devices / "tracepoint").is_dir():
        return no("perf has event sources, kprobe is none of them")
    return unknown("/sys/bus/event_source/devices does not tell")


def perf_events() -> Answer:
    """Events of perf that concern all processes, as programs are attached by where raw tracepoints are preempted.

    Debian's kernels ask for CAP_SYS_ADMIN where kernel.perf_event_paranoid is 3 (seen on 7.3), not for CAP_PERFMON.
    """
    if not programs.tracepoints_preemptible():
        return yes("not needed: programs on raw tracepoints run with preemption disabled")
    try:
        perf.count_nothing(everybody=True)
    except OSError as error:
        level = _text(PROC / "sys/kernel/perf_event_paranoid")
        return no(f"perf_event_open: {errno.errorcode.get(error.errno or 0)}; kernel.perf_event_paranoid is {level}")
    return yes("an event of all processes is opened")


def error_injection() -> Answer:
    """The list of functions that may be made to fail, in debugfs; or the kernel code behind it."""
    debug = procfs.mounted("debugfs")
    path = Path(debug or SYS / "kernel/debug", "error_injection/list")
    wanted = f"{entry_prefix()}openat"
    try:
        if re.search(rf"^{wanted}\s", path.read_text(), re.MULTILINE):
            return yes(f"{path} lists {wanted}")
        return no(f"{path} does not list {wanted}")
    except PermissionError:
        return unknown(f"{path} is not readable")
    except FileNotFoundError:
        pass
    if has_symbol("within_error_injection_list") is False:
        return no("the kernel has no within_error_injection_list()")
    return unknown("debugfs is not mounted") if debug is None else no(f"{path} does not exist")


def seccomp() -> Answer:
    """Whether filters may return an errno (SECCOMP_GET_ACTION_AVAIL, since 4.14)."""
    number = _numbers().get("seccomp")
    if number is None:
        return unknown(f"the number of seccomp(2) on {os.uname().machine} is not known here")
    action = ctypes.c_uint32(0x00050000)  # SECCOMP_RET_ERRNO
    result = try_syscall(number, 2, 0, ctypes.byref(action))
    return yes("the action ERRNO is available") if result == 0 else refusal("seccomp", -result, True)


def io_uring() -> Answer:
    """io_uring_setup without parameters: EFAULT where it would work."""
    result = -try_syscall(_IO_URING_SETUP, 1, None)
    setting = _text(PROC / "sys/kernel/io_uring_disabled")
    said = f"kernel.io_uring_disabled = {setting}" if setting is not None else "no sysctl turns it off"
    if result in (errno.EFAULT, errno.EINVAL):
        return yes(f"{said}; hooks: {_uring_hooks() or 'none'}")
    if result == errno.EPERM:
        return no(f"io_uring_setup: EPERM; {said}") if privileged() else unknown(f"EPERM to this user; {said}")
    return refusal("io_uring_setup", result, True)


def _uring_hooks() -> str:
    names = ("uring_allowed", "uring_override_creds", "uring_sqpoll", "uring_cmd")
    return " ".join(name for name in names if has_symbol(f"security_{name}"))


# ---- the shape of the kernel -------------------------------------------------------------------------------


def ftrace_syscalls() -> Answer:
    """Events for each system call in tracefs."""
    tracing = procfs.mounted("tracefs")
    if tracing is not None:
        path = Path(tracing, "events/syscalls/sys_enter_openat/format")
        try:
            path.stat()
        except PermissionError:
            return unknown(f"{tracing} is closed to this user")
        except FileNotFoundError:
            return no(f"{path} does not exist")
        return yes(str(path))
    built_in = has_symbol("ftrace_syscall_enter")
    return yes("built in (tracefs is not mounted)") if built_in else unknown("tracefs is not mounted")


# getpid by another ABI's entry, as a function in machine code.
_GETPID = {
    "ia32": b"\xb8\x14\x00\x00\x00\xcd\x80\xc3",  # mov eax, 20; int 0x80; ret
    "x32": b"\xb8\x27\x00\x00\x40\x0f\x05\xc3",  # mov eax, 0x40000027; syscall; ret
}


def _answers_getpid(abi: str) -> Answer:
    if os.uname().machine != "x86_64":
        return no(f"not an ABI of {os.uname().machine}")
    child = sandbox.run(lambda: struct.pack("=qq", sandbox.execute(_GETPID[abi]), os.getpid()))
    if len(child.said) != 16:
        ended = f"the child that tried it ended with {child.describe()}"
        return no(ended) if child.status < 0 else unknown(ended)
    result, pid = struct.unpack("=qq", child.said)
    return yes("getpid works") if result == pid else no(f"getpid returned {result}")


def ia32() -> Answer:
    """32-bit calls by int 0x80."""
    return _answers_getpid("ia32")


def x32() -> Answer:
    """x32 calls."""
    return _answers_getpid("x32")


def cgroup2() -> Answer:
    """Where cgroup v2 is mounted."""
    where = procfs.mounted("cgroup2")
    return yes(f"mounted on {where}") if where else no("no cgroup2 filesystem is mounted")


def modules() -> Answer:
    """finit_module on no file at all: EBADF where a module could be loaded."""
    number = _numbers().get("finit_module")
    if not (PROC / "modules").exists():
        return no("the kernel has no loadable modules: /proc/modules does not exist")
    if _text(PROC / "sys/kernel/modules_disabled") == "1":
        return no("kernel.modules_disabled = 1")
    result = -try_syscall(number, -1, b"", 0) if number else errno.EBADF
    return yes("/proc/modules exists") if result == errno.EBADF else refusal("finit_module", result, privileged())


def unsigned_modules() -> Answer:
    """Whether a module built here would be taken without a signature."""
    able = modules()
    if able.verdict != "yes":
        return able
    if _text(SYS / "module/module/parameters/sig_enforce") == "Y":
        return no("module.sig_enforce is on")
    lock = lockdown()
    return yes("signatures are not enforced") if lock.verdict == "yes" else lock


def module_headers() -> Answer:
    """What building a module takes."""
    path = Path("/lib/modules", os.uname().release, "build")
    return yes(str(path)) if (path / "Makefile").exists() else no(f"{path} does not exist")


def ftrace() -> Answer:
    """The function tracer, by which the module refuses."""
    setting = _text(PROC / "sys/kernel/ftrace_enabled")
    if setting is None:
        return no("kernel.ftrace_enabled does not exist")
    return yes("kernel.ftrace_enabled = 1") if setting == "1" else no("kernel.ftrace_enabled = 0")


def syscall_table() -> Answer:
    """Whether the kernel calls through sys_call_table: since 6.9 x86 does not."""
    if has_symbol("x64_sys_call"):
        return no("x64_sys_call() dispatches by a switch")
    if has_symbol(f"{entry_prefix()}openat"):
        return yes("there is no x64_sys_call()")
    return unknown("/proc/kallsyms does not tell")


def isotrace_module() -> Answer:
    """Whether isotrace's own module is loaded."""
    return yes("loaded") if Path("/dev/isotrace").exists() else no("not loaded: /dev/isotrace does not exist")
