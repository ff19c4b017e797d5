"""Which functions of this kernel a program may decide the result of, and whether the kernel may pass such a program over.

Nothing is attached: a program that returns 0 is loaded for the function, and dropped.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from isotrace.kernel import btf, mounts, probe_bpf, probe_system
from isotrace.kernel.answer import Answer, conclusive, keep_if, no, unknown, yes

_LOG = logging.getLogger(__package__)
_DEBUGFS = (Path("/sys/kernel/debug"),)


@conclusive
def lsm(hook: str) -> Answer:
    """An LSM program at a security hook. Since 6.13 (commit 3d42ea4ed3ab) some hooks take none."""
    return _said("LSM", hook, probe_bpf.loads_lsm(f"bpf_lsm_{hook}"))


@conclusive
def fmod_ret(function: str) -> Answer:
    """A fmod_ret program: at security_* functions, and where error injection or the architecture's list allows it."""
    return _said("fmod_ret", function, probe_bpf.loads_fmod_ret(function))


def _said(kind: str, place: str, answer: Answer) -> Answer:
    _LOG.debug("%s program at %s: %s (%s)", kind, place, answer.verdict, answer.why)
    return answer


@keep_if(lambda found: found is not None)
def _injectable() -> frozenset[str] | None:
    try:
        text = mounts.read("debugfs", _DEBUGFS, "error_injection", "error_injection/list")
    except OSError:
        return None
    return frozenset(re.findall(r"^(\S+)", text, re.MULTILINE))


def override(function: str) -> Answer:
    """bpf_override_return in a function: it must be in the list of functions that may be made to fail."""
    known = _injectable()
    if known is None:
        return yes("the list of functions that may be made to fail is not readable: attaching tells")
    return yes("listed") if function in known else no(f"{function} is not among the functions that may be made to fail")


def unpreempted() -> Answer:
    """Whether this kernel lets a program run to its end before another task runs on that CPU."""
    if not btf.vmlinux().has_function("preempt_schedule"):
        return yes("this kernel never preempts itself")
    try:
        modes = mounts.read("debugfs", _DEBUGFS, "sched", "sched/preempt")
    except OSError:
        return _from_banner()
    mode = re.search(r"\((\w+)\)", modes)
    if mode is None:
        return unknown(f"/sys/kernel/debug/sched/preempt says {modes.strip()!r}")
    said = f"preempt={mode[1]}"
    return yes(said) if mode[1] in ("none", "voluntary") else no(said)


def _from_banner() -> Answer:
    """From the kernel's own banner, where the mode was chosen when it was built."""
    banner = os.uname().version
    if "PREEMPT_DYNAMIC" in banner:
        return unknown("the kernel chooses at boot, and debugfs does not tell")
    return (
        no(f"the kernel is built with preemption: {banner}")
        if "PREEMPT" in banner
        else yes("no preemption in uname -v")
    )


def lsm_unskipped() -> Answer:
    """Whether LSM programs run also for a task that preempts another one inside the same program.

    From 5.12 (commit ca06f55b9002) the kernel skips such programs; for LSM programs that ended with 6.2 (commit
    271de525e1d7), which brought the function that is looked for. It skips fmod_ret programs to this day.
    """
    found = probe_system.has_symbol("__bpf_prog_enter_recur")
    if found is None:
        return unknown("/proc/kallsyms does not tell")
    return yes("LSM programs have no recursion check") if found else no("LSM programs may have a recursion check")


def io_threads() -> Answer:
    """Whether io_uring's work is done by threads of the process that asked (5.12), not by the kernel's own."""
    found = probe_system.has_symbol("create_io_thread")
    if found is None:
        return unknown("/proc/kallsyms does not tell")
    return yes("create_io_thread") if found else no("io_uring's workers are kernel threads, which belong to no process")
