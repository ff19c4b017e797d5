"""isotrace as it is on a kernel of a test's choice, or a screen of it with contents of the test's: a program for terminals.

Usage: staged.py KERNEL [ARG]...    isotrace with these arguments, on a kernel of KERNELS, in /home/alice/work
       staged.py top KERNEL         the live table of processes that there are not
       staged.py asks               the dialogue of isotrace ask, with two questions
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

from isotrace.kernel.answer import Answer, no, yes

HOME = "/home/alice"
_SHUT = partial(Answer, "no", remedy="boot without lockdown=, or with Secure Boot off")
_ROOTS = (
    "lsm_bpf",
    "fmod_ret_security",
    "fmod_ret_syscall",
    "override",
    "signal",
    "fanotify",
    "raw_tracepoint",
    "ringbuf",
)
#: What each does not have, or has not loaded; it has everything else.
KERNELS: dict[str, Mapping[str, Answer]] = {
    "able": {"lkm": no("not loaded: /dev/isotrace does not exist"), "x32": no("getpid returned -38")},
    "locked": {
        "lsm_bpf": _SHUT("an LSM program for bpf_lsm_file_open: EPERM although privileged"),
        "fmod_ret_security": _SHUT("a fmod_ret program for security_file_open: EPERM although privileged"),
        "fmod_ret_syscall": _SHUT("a fmod_ret program for __x64_sys_openat: EPERM although privileged"),
        "override": no("bpf_override_return: EINVAL (program of this type cannot use helper bpf_override_return#58)"),
        "signal": _SHUT("bpf_send_signal: EPERM although privileged"),
        "unlocked": _SHUT("locked down: bpf_probe_write_user is refused, as by lockdown=integrity"),
        "unsigned_modules": no("the kernel takes only modules that are signed"),
        "lkm": no("not loaded: /dev/isotrace does not exist"),
        "x32": no("getpid returned -38"),
    },
    "user": {
        "privileges": no("uid 1000 without CAP_BPF and CAP_PERFMON"),
        "bpf_syscall": no("EPERM"),
        **{name: Answer("unknown", "EPERM", "run as root: sudo isotrace doctor") for name in _ROOTS},
        "lkm": no("not loaded: /dev/isotrace does not exist"),
    },
}


_FEATURE_OF = {"lsm": "lsm_bpf", "fmod_ret": "fmod_ret_security", "fmod_ret_call": "fmod_ret_syscall"}


def _answers(kernel: Mapping[str, Answer]) -> Callable[[str], Answer]:
    return lambda name: kernel.get(name, yes("it is there"))


def on(kernel: Mapping[str, Answer]) -> None:
    """Have every probe of this process answer as that kernel would; nothing that was planned begins."""
    from isotrace.commands import enforcing
    from isotrace.enforce import findings
    from isotrace.kernel import features
    from isotrace.process import directories
    from isotrace.run import lifecycle

    answer = _answers(kernel)
    rows = [replace(probe, probe=partial(answer, probe.name)) for probe in features.PROBES]
    glance = [replace(one, probe=partial(answer, one.name)) for one in features._AT_A_GLANCE]

    if "privileges" in kernel:
        there = {"sudo": "/usr/bin/sudo", "strace": "/usr/bin/strace"}
        mock.patch.object(features, "os", SimpleNamespace(geteuid=lambda: 1000)).start()
        mock.patch.object(features, "shutil", SimpleNamespace(which=there.get)).start()

    def detail(name: str) -> object:
        """Of every hook and call what is said of the mechanism."""
        found = features.check(_FEATURE_OF.get(name, name))
        return findings.Found(found.verdict, found.why, found.remedy)

    details = {name: partial(lambda name, _detail: detail(name), name) for name in findings._DETAILS}
    uname = os.uname_result(("Linux", "host", "6.12.48-amd64", "#1 SMP", "x86_64"))
    notify = mock.Mock(return_value=answer("seccomp_notify"))
    for whose, name, value in (
        (features, "PROBES", tuple(rows)),
        (features, "_AT_A_GLANCE", tuple(glance)),
        (findings, "_DETAILS", details),
        (os, "uname", lambda: uname),
        (os, "getcwd", lambda: f"{HOME}/work"),
        (directories, "_passwd", lambda: HOME),
        (lifecycle.Run, "go", lambda _run: 0),
        (enforcing, "guard_from", lambda _target: None),
    ):
        mock.patch.object(whose, name, value).start()
    mock.patch("isotrace.enforce.calls.notify.listens", notify).start()


def isotrace(kernel: str, *arguments: str) -> None:
    """The command line there."""
    sys.argv = ["isotrace", *arguments]
    from isotrace import __main__ as program

    if "--help" not in arguments:
        on(KERNELS[kernel])
    program.main()


def top(kernel: str) -> None:
    """The live table: its d is answered by a plan for that kernel."""
    from test_top_app import Tape
    from top_tables import Recorded, errors, rows

    from isotrace.enforce.findings import KernelFindings
    from isotrace.top import family, source
    from isotrace.top.app import TopApp
    from isotrace.top.refuser import Refuser
    from isotrace.trace.target import Target

    tables = Recorded()
    tables.comms = {100: (b"make", 1), 101: (b"cc1", 100), 102: (b"ld", 100), 103: (b"c\x1b[31m", 101)}
    tables.table = rows(
        (100, "wait4", 12, {"buckets": {20: 11, 24: 1}, "time": 9_000_000_000, "longest": 4_200_000_000}),
        (101, "read", 41_234, {"bytes": 734_003_200, "errors": 12, "buckets": {3: 40_000, 9: 1_234}}),
        (101, "openat", 9_120, {"errors": 7_310, "buckets": {5: 9_000, 12: 120}}),
        (101, "mmap", 1_402), (101, "newfstatat", 2_345_678, {"errors": 1_000_000}), (101, "close", 1_811),
        (102, "write", 3_112, {"bytes": 81_234_567, "buckets": {4: 3_000, 16: 112}}), (102, "lseek", 812),
        (103, "connect", 3, {"errors": 3, "buckets": {22: 3}, "time": 31_000_000}), (103, "process_vm_readv", 1),
    )  # fmt: skip
    tables.failures = errors(
        (101, "openat", 2, 7_310, b"/usr/lib/gcc/x86_64-linux-gnu/14/include/stdio.h", 0xFFFFFF9C),
        (101, "newfstatat", 2, 1_000_000, b"/usr/local/include/linux", 0xFFFFFF9C),
        (101, "read", 11, 12, b"", 3, 0x2000, 512), (103, "connect", 111, 3, b"", 5, 0x2000, 16),
    )  # fmt: skip
    names = (b"/usr/include/stdio.h", b"/usr/lib/gcc/x86_64-linux-gnu/14/include/stddef.h", b"/tmp/\x1b[2Jx.o")
    tables.used = [(1, name, 900 // (at + 1)) for at, name in enumerate(names)]
    source.living_now = lambda: set(tables.comms)
    family.check = lambda _target, _never: len(tables.comms)
    on(KERNELS[kernel])
    refuser = Refuser(Target(tree=(100,)), lambda: tables.comms, ask=lambda _rule: KernelFindings())
    TopApp(Tape(tables), "--tree 100", "call", refuser).run()


def asks() -> None:
    """Two questions, whose times stand still."""
    from askers import Fake, question

    from isotrace.asking import dialogue, replies, shown
    from isotrace.asking.who import Details

    names = [f"{HOME}/.ssh/id_ed25519", f"{HOME}/.config/gh/hosts.yml"]
    replies.time = SimpleNamespace(monotonic=lambda: 1_000_000_013.0)
    shown.details = lambda _pid, _target: Details(
        (b"cat", *map(str.encode, names)), "alice", ((99, b"sh"), (98, b"make"))
    )
    shown.call = lambda asked: f'openat(AT_FDCWD, "{asked.what}", O_RDONLY)'
    fake = Fake(Path.cwd(), *(question(at, name, pid=100 + at) for at, name in enumerate(names, 1)))
    dialogue.run(fake, "--tree 98", lambda: None)


if __name__ == "__main__":
    {"top": top, "asks": asks}.get(sys.argv[1], isotrace)(
        *sys.argv[2:] if sys.argv[1] in ("top", "asks") else sys.argv[1:]
    )
