"""What the tests of mechanisms share: something to refuse to, rules, and the mechanism at work, by name."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import kernel_module
import pytest
from asked import Asked

from isotrace.enforce import Enforced, Enforcer, Guarantees, registry
from isotrace.enforce.findings import KernelFindings
from isotrace.enforce.hooks import standing
from isotrace.policy import names
from isotrace.policy.model import Action, CallRule, Rule
from isotrace.trace.target import Target

FEATURES = os.environ.get("ISOTRACE_VM_FEATURES", "").split(",")
PROGS = Path(__file__).parents[1] / "progs"
DENIED = Action("errno", errno.EXDEV)  # an error that none of these calls gives by itself
KILL, AUDIT = Action("kill"), Action("audit")

#: What a mechanism needs of a kernel. The module has two ways to refuse; "lkm" is the one that it chooses by itself.
NEEDS = {
    **{"lsm": "lsm_bpf", "fmod_ret": "fmod_ret_security", "fmod_ret_call": "fmod_ret_syscall"},
    **{"override": "override", "signal": "raw_tracepoint", "lkm": "lkm", "lkm table": "syscall_table"},
}
#: Those that refuse a call by itself, at once.
REFUSING = ("lsm", "fmod_ret", "fmod_ret_call", "override", "lkm", "lkm table")

#: A process that answers each line, a Python expression, with "ok" or the name of an errno.
WORKER = """
import errno, fcntl, os, socket, sys
for line in sys.stdin:
    try:
        eval(line)
        print("ok", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"""

#: word → an expression that makes such a call.
CALLS = {
    "open": "os.close(os.open('/etc/passwd', os.O_RDONLY))",
    "socket": "socket.socket().close()",
    "pipe": "[os.close(end) for end in os.pipe()]",
    "kill": "os.kill(os.getpid(), 0)",
    "mkdir": "os.mkdir('/tmp/isotrace-made')",
    "chmod": "os.chmod('/tmp', 0o1777)",
}


class Worker(Asked):
    """A process to be refused something; it answers "" when it ended of it."""

    def __init__(self) -> None:
        super().__init__([sys.executable, "-S", "-c", WORKER])
        assert self.ask("None") == "ok"

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self.process.pid)


def need(feature: str) -> None:
    """Skip where the guest's kernel does not have it."""
    if feature not in FEATURES:
        pytest.skip(f"needs {feature}: of this kernel")


def need_for(mechanism: str) -> None:
    """Skip where the guest's kernel does not have what the mechanism takes."""
    if not mechanism.startswith("lkm"):
        need("btf")
    need(NEEDS[mechanism])


def deny(word: str, action: Action = DENIED) -> CallRule:
    """A rule on the calls that a word means."""
    return names.parse(word, action=action)


def guarantees_of(mechanism: str, rule: Rule) -> Guarantees:
    """How well the mechanism enforces the rule on this kernel."""
    chosen = next(one for one in registry.MECHANISMS if one.name == mechanism)
    found = chosen.guarantees(rule, KernelFindings())
    assert isinstance(found, Guarantees), found
    return found


@contextmanager
def available(mechanism: str) -> Iterator[str]:
    """The mechanism's name in the registry; the kernel module is loaded for it."""
    name, _, mode = mechanism.partition(" ")
    with kernel_module.loaded(mode or "auto") if name == "lkm" else nullcontext():
        yield name


@contextmanager
def enforced(mechanism: str, rules: Sequence[Rule], target: Target, whole: bool = False) -> Iterator[Enforcer]:
    """The rules enforced by the mechanism, one of NEEDS; ``whole``: with what every policy has beside its rules."""
    with available(mechanism) as name:
        enforced = [Enforced(number, rule, name, guarantees_of(name, rule)) for number, rule in enumerate(rules)]
        enforced += standing.enforced(enforced, KernelFindings(), len(enforced), best_effort=False)[0] if whole else ()
        enforcer = registry.make(name, enforced, target)
        try:
            enforcer.open(None)
            yield enforcer
        finally:
            enforcer.close()


def module_for(rules: Sequence[CallRule], target: Target, tested: bool = True) -> Enforcer:
    """The enforcer; not ``tested`` first where a child that is refused all of that could not even try."""
    enforced = [
        Enforced(number, rule, "lkm", Guarantees(True, "not concerned", True)) for number, rule in enumerate(rules)
    ]
    enforcer = registry.make("lkm", enforced, target)
    if not tested:
        enforcer._self_test = lambda: None  # type: ignore[attr-defined]
    return enforcer


@contextmanager
def refusing(rules: Sequence[CallRule], target: Target) -> Iterator[Enforcer]:
    """The rules enforced by the module, which is loaded."""
    enforcer = module_for(rules, target)
    enforcer.open(None)
    try:
        yield enforcer
    finally:
        enforcer.close()


def compiled(directory: Path, name: str, *flags: str) -> Path:
    """The program tests/progs/NAME.c."""
    path = directory / name
    subprocess.run(["gcc", "-O1", "-Wall", "-pthread", *flags, "-o", path, PROGS / f"{name}.c"], check=True)
    return path
