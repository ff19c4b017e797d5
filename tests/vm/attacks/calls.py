"""Calls that take effect without coming to the hook that enforces rules on them."""

from tests.vm.attacks import REFUSED, Announced, Expected, Row, by

#: u::rw-,g::rw-,o::rw-, as the kernel has it.
_ACL = """python3 -c 'import os, struct
entries = b"".join(struct.pack("<HHI", tag, 6, 2**32 - 1) for tag in (1, 4, 32))
os.setxattr("file", "system.posix_acl_access", struct.pack("<I", 2) + entries)'"""
_SIGNALS, _PTRACE = ("--deny", "kill"), ("--deny", "ptrace")


def _row(name: str, rules: tuple[str, ...], attack: str, words: str, numbers: bool = True, **more: object) -> Row:
    """``numbers``: who judges by number refuses it, and hooks are not met; else it is no call at all."""
    hooks: Expected = Announced(words)
    others = REFUSED if numbers else hooks
    return Row(name, rules, tuple(attack.split()), by(hooks, others, seccomp=others), **more)  # type: ignore[arg-type]


_SELF = "process_vm_* of oneself come to no hook"
ROWS = (
    _row(
        "a signal to oneself that says it is the kernel's", _SIGNALS, "calls sigqueue_self",
        "says it is the kernel's", live=True,
    ),
    _row(
        "F_SETOWN and F_SETSIG instead of kill", _SIGNALS, "calls owned_pipe",
        "signals that the kernel sends are sent: of a descriptor's owner (F_SETOWN)", numbers=False,
    ),
    _row("process_vm_readv of oneself", _PTRACE, "calls readv_self", _SELF, live=True),
    _row("pidfd_getfd of oneself", _PTRACE, "calls getfd_self", _SELF, live=True),
    _row("kcmp of oneself", _PTRACE, "calls kcmp_self", _SELF, live=True),
    _row("process_madvise of oneself", _PTRACE, "calls madvise_self", _SELF, live=True, user="root"),
    Row(
        "fstat of what has no file",
        ("--deny", "stat"),
        ("calls", "fstat_anonymous"),
        by(REFUSED, REFUSED, lsm=Announced("stat of a descriptor that has no file"), seccomp=REFUSED),
        live=True,
    ),
    Row(
        "fchmod of what has no file",
        ("--deny", "chmod"),
        ("calls", "fchmod_anonymous"),
        by(REFUSED, REFUSED, lsm=Announced("a descriptor that has no file"), seccomp=REFUSED),
        user="root", untried=("7.x",),  # the kernel itself refuses it there
    ),
    Row(
        "an access control list instead of chmod",
        ("--deny", "chmod"),
        f"{_ACL}; [ $(stat -c %a file) != 600 ]",
        by(Announced("its access control list"), Announced("its access control list")),
        setup="touch file; chmod 600 file; chown 65534 file",
    ),
    Row(
        "what fanotify hands out",
        ("--deny", "open"),
        ("calls", "fanotified", "HERE"),
        by(Announced("an fanotify group"), Announced("an fanotify group")),
        ready=True, setup="echo secret >secret", meanwhile="(sleep 1; cat secret) >/dev/null 2>&1 &", user="root",
    ),
    _row(
        "/proc/PID/mem instead of ptrace", _PTRACE, "processes memory_of_a_child",
        "read and written through /proc/PID/mem", numbers=False,
    ),
    Row(
        "ptrace of a tracee from before",
        _PTRACE,
        ("processes", "tracee_from_before"),
        by(Announced("traces a process already when the rule begins"), REFUSED),
        ready=True,
    ),
)  # fmt: skip
