"""Refusing at the kernel's security hooks, as an LSM or by fmod_ret on the functions that run the hooks."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from isotrace import plan
from isotrace.enforce import Held, hooks
from isotrace.enforce.attached import Attached, Programs, common_constants, u32
from isotrace.enforce.tables import Slots, calls_by_strictness, hook_table, hooks_for
from isotrace.events import SLOTS
from isotrace.kernel import bpf, btf
from isotrace.policy.model import CallRule
from isotrace.target import Target

# At these hooks a program looks at more than the call: (what judges, what says whether the call has an address).
_JUDGES = {"socket_sendmsg": ("judge_nothing", "message_address")}
_OFFSETS = {
    "OFF_MSG_NAME": ("msghdr", "msg_name"),
}


def exists(hook: str, lsm: bool) -> bool:
    """Whether this kernel has the hook, as an LSM program or as a function for fmod_ret."""
    return btf.vmlinux().has_function(f"bpf_lsm_{hook}" if lsm else hooks.function(hook))


def make(held: Sequence[Held], target: Target) -> Hooks:
    """The enforcer for the rules, all of which the mechanism "lsm", or all "fmod_ret", holds."""
    return Hooks(held, target, lsm=held[0].mechanism == "lsm")


class Hooks(Attached):
    """An ``Enforcer`` at the security hooks."""

    def __init__(self, held: Sequence[Held], target: Target, lsm: bool) -> None:
        slots = Slots()
        self._rules: list[tuple[int, CallRule]] = [(slots.add(one), rule) for one, rule in calls_by_strictness(held)]
        self._hooks = hooks_for([rule for _, rule in self._rules], lambda hook: exists(hook, lsm))
        super().__init__(target, self._plan(slots, lsm, target))

    def _plan(self, slots: Slots, lsm: bool, target: Target) -> Programs:
        constants = common_constants(target, slots)
        constants += [f"{name}={btf.vmlinux().offset(*path)}" for name, path in _OFFSETS.items()]
        constants.append(f"HOOKS={len(self._hooks)}")
        lines = ["\n"]
        for index, hook in enumerate(self._hooks):
            judge, address = _JUDGES.get(hook, ("judge_nothing", "no_address"))
            lines.append(f"HOOK({index}, {hooks.symbol(hook, lsm)}, {judge}, {address})\n")
        kinds = dict.fromkeys((hooks.symbol(hook, lsm) for hook in self._hooks), "LSM" if lsm else "TRACING")
        return Programs("block_lsm.c", constants, kinds, ("call_rules",), "".join(lines), slots)

    def _fill(self) -> None:
        super()._fill()
        calls = plan.all_calls()
        for index, hook in enumerate(self._hooks):
            for slot, entry in hook_table(hook, self._rules, calls).items():
                bpf.map_update(self._loaded.maps["call_rules"], u32(index * SLOTS + slot), struct.pack("=HH", *entry))
