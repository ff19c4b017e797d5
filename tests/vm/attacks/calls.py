"""Calls that take effect without coming to the hook that holds them."""

from tests.vm.attacks import REFUSED, Open, Row, by

_NO_HOOK = Open("the call does not come to its hook")
_SIGNALS, _PTRACE = ("--deny", "kill"), ("--deny", "ptrace")


def _row(name: str, rules: tuple[str, ...], attack: str, numbers: bool = True, **more: object) -> Row:
    expect = by(_NO_HOOK, REFUSED, seccomp=REFUSED) if numbers else by(_NO_HOOK, _NO_HOOK, seccomp=_NO_HOOK)
    return Row(name, rules, tuple(attack.split()), expect, **more)  # type: ignore[arg-type]


ROWS = (
    _row("a signal to oneself that says it is the kernel's", _SIGNALS, "calls sigqueue_self", live=True),
    _row("F_SETOWN and F_SETSIG instead of kill", _SIGNALS, "calls owned_pipe", numbers=False),
    _row("process_vm_readv of oneself", _PTRACE, "calls readv_self", live=True),
    _row("pidfd_getfd of oneself", _PTRACE, "calls getfd_self", live=True),
    _row("kcmp of oneself", _PTRACE, "calls kcmp_self", live=True),
    _row("process_madvise of oneself", _PTRACE, "calls madvise_self", live=True),
    _row("fstat of what has no file", ("--deny", "stat"), "calls fstat_anonymous", live=True),
    _row("/proc/PID/mem instead of ptrace", _PTRACE, "processes memory_of_a_child", numbers=False),
    Row(
        "ptrace of a tracee from before",
        _PTRACE,
        ("processes", "tracee_from_before"),
        by(_NO_HOOK, REFUSED),
        ready=True,
    ),
)
