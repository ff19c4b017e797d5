"""Which mechanisms there are, in order of preference, and which of them this version has an implementation of."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from isotrace.enforce import Enforced, Enforcer, Mechanism
from isotrace.enforce.landlock.mechanism import Landlock
from isotrace.enforce.mechanisms import FmodRetCall, FmodRetHook, Lkm, Lsm, Override, Seccomp, Signal
from isotrace.enforce.opens.mechanism import Fanotify
from isotrace.trace.target import Target

#: Most preferred first: what judges the kernel's own objects, then what judges registers, then what comes too late.
MECHANISMS: tuple[Mechanism, ...] = (
    Lsm(),
    FmodRetHook(),
    FmodRetCall(),
    Override(),
    Landlock(),
    Seccomp(),
    Signal(),
    Lkm(),
    Fanotify(),
)

#: Mechanism → the module that implements it, None where this version has none. Such a module has
#: ``make(enforced: Sequence[Enforced], target: Target) -> Enforcer``.
BUILT: dict[str, str | None] = {
    "lsm": "isotrace.enforce.hooks.asking",
    "fmod_ret": "isotrace.enforce.hooks.asking",
    "fmod_ret_call": "isotrace.enforce.calls.override",
    "override": "isotrace.enforce.calls.override",
    "landlock": "isotrace.enforce.landlock.enforcer",
    "seccomp": "isotrace.enforce.calls.seccomp",
    "signal": "isotrace.enforce.calls.override",
    "lkm": "isotrace.enforce.calls.lkm",
    "fanotify": "isotrace.enforce.opens.asking",
}

#: What --backend admits. ``auto`` takes the kernel module late, and only where somebody has loaded it; fanotify,
#: which only asks, where nothing else can.
BACKENDS: dict[str, tuple[str, ...]] = {
    "auto": ("lsm", "fmod_ret", "fmod_ret_call", "override", "landlock", "seccomp", "signal", "lkm", "fanotify"),
    "lsm": ("lsm", "fmod_ret"),
    "override": ("fmod_ret_call", "override"),
    "landlock": ("landlock", "seccomp"),
    "seccomp": ("seccomp",),
    "signal": ("signal",),
    "lkm": ("lkm",),
    "fanotify": ("fanotify",),
}


def make(mechanism: str, enforced: Sequence[Enforced], target: Target) -> Enforcer:
    """The enforcer of one mechanism for the rules that it enforces."""
    module = BUILT[mechanism]
    assert module is not None, "the plan names only mechanisms that are built"
    enforcer: Enforcer = import_module(module).make(enforced, target)
    return enforcer
