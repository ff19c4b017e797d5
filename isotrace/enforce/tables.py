"""From rules to the tables of the BPF programs. Pure.

A rule gets an index in the map `rules`, from 1 on. Where several rules are on one call, the strictest decides, then the
first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from isotrace.catalog.model import Syscall
from isotrace.enforce import Enforced
from isotrace.enforce.hooks import coverage
from isotrace.policy.decide import strictness
from isotrace.policy.model import Action, CallRule
from isotrace.trace import plan
from isotrace.trace.events import SLOTS

KILL, AUDIT, KILL_UNANSWERED, BY_CALL, READS_HELD = 1, 2, 4, 8, 16  # bpf/block.h
SLOT_BY_RING = 1022
NOT_REFUSED = 0xFFFF
_EPERM = 1
_SHOWN = {"path", "filename", "pathname", "name"}
_PATH_ARGUMENT = {"open": 1, "creat": 1, "openat": 2, "openat2": 2, "execve": 1, "execveat": 2}


def pack_rule(action: Action) -> bytes:
    """``struct rule`` of bpf/block.h."""
    number, flags = {"errno": (action.errno, 0), "kill": (_EPERM, KILL), "audit": (0, AUDIT)}[action.kind]
    return struct.pack("=II", number, flags)


def pack_asking(action: Action, flags: int = 0) -> bytes:
    """The same of a rule that asks, for programs that know how to (bpf/block_ask.h).

    ``flags``: BY_CALL of one that stands for rules on calls, READS_HELD of one about what is open already as well.
    """
    kills = KILL_UNANSWERED if action.otherwise == "kill" else 0
    return struct.pack("=II", action.errno, kills | flags)


@dataclass
class RuleTable:
    """The rules of the map `rules`: ``numbers[index]`` is the rule's number in the policy; an exception has no action."""

    numbers: list[int] = field(default_factory=lambda: [-1])
    actions: list[Action | None] = field(default_factory=lambda: [None])

    def add(self, enforced: Enforced) -> int:
        """The next index, for ``enforced``."""
        self.numbers.append(enforced.number)
        self.actions.append(None if enforced.rule.allow else enforced.action)
        return len(self.numbers) - 1

    def strictest(self, indexes: Sequence[int]) -> int:
        """The first of ``indexes`` whose rule refuses, else the first that reports; 0 where there is none."""
        return min(indexes, key=self.reports, default=0)

    def reports(self, index: int) -> bool:
        """Whether the rule only reports."""
        action = self.actions[index]
        return action is not None and action.kind == "audit"


def calls_by_strictness(enforced: Sequence[Enforced]) -> list[tuple[Enforced, CallRule]]:
    """The rules on calls, the one that decides first."""
    found = [(one, one.rule) for one in enforced if isinstance(one.rule, CallRule)]
    return sorted(found, key=lambda pair: strictness(pair[1]))


def shown() -> dict[int, int]:
    """Call slot → which argument is a path, from 1 on."""
    return {slot: _PATH_ARGUMENT[call.name] for slot, call in plan.own_calls().items() if call.name in _PATH_ARGUMENT}


def call_table(enforced: Sequence[tuple[int, CallRule]], calls: Mapping[int, Syscall]) -> dict[int, tuple[int, int]]:
    """Call slot → (rule index, rule index where there is an address); for programs at the calls' own symbols."""
    found: dict[int, tuple[int, int]] = {}
    for slot, call in calls.items():
        if entry := _entry(enforced, frozenset({call.name})):
            found[slot] = entry
    return found


def _entry(enforced: Sequence[tuple[int, CallRule]], names: frozenset[str]) -> tuple[int, int] | None:
    always = next((index for index, rule in enforced if names & (rule.calls - rule.addressed)), 0)
    addressed = next((index for index, rule in enforced if names & rule.calls), 0)
    return (always, addressed) if addressed else None


def hook_table(
    hook: str, enforced: Sequence[tuple[int, CallRule]], calls: Mapping[int, Syscall]
) -> dict[int, tuple[int, int]]:
    """Call slot → (rule index, rule index where there is an address) at a hook, NOT_REFUSED for what may come by."""
    own, free = coverage.enforced_at(hook), coverage.comes_by(hook)
    again = [(index, rule) for index, rule in enforced if rule.action.kind != "audit"]
    found: dict[int, tuple[int, int]] = {}
    for slot, call in calls.items():
        names = own if call.name == coverage.SOCKETCALL and hook.startswith("socket_") else {call.name} & own
        if entry := _entry(again if hook in coverage.SECOND else enforced, frozenset(names)):
            found[slot] = (entry[0] or NOT_REFUSED, entry[1])
        elif call.name in free:
            found[slot] = (NOT_REFUSED, 0)
    if hook in coverage.BROAD:
        found |= {slot: (NOT_REFUSED, 0) for slot in range(SLOTS) if slot not in found}
    ringed = [(index, rule) for index, rule in enforced if coverage.by_ring(hook, rule.calls)]
    entry = _entry(ringed, own)
    found[SLOT_BY_RING] = (entry[0] or NOT_REFUSED, entry[1]) if entry else (NOT_REFUSED, 0)
    return found


def hooks_for(rules: Sequence[CallRule], exists: Callable[[str], bool]) -> tuple[str, ...]:
    """The hooks that the rules need."""
    wanted: dict[str, None] = {}
    for rule in rules:
        for call in sorted(rule.calls):
            wanted |= dict.fromkeys(sorted(coverage.enforcing(call, exists) or ()))
    return tuple(wanted)
