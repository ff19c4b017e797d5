"""Refusing by number and registers, before the call's code runs.

``override``: a kprobe on the call's own functions and bpf_override_return. ``fmod_ret_call``: fmod_ret programs on
the same functions. ``signal``: a raw tracepoint, which can only kill.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence

from isotrace.backends.attached import u32
from isotrace.catalog.model import X32_BIT
from isotrace.enforce import Enforced, programs
from isotrace.enforce.calls import cbpf, entries
from isotrace.enforce.programs import Programs, Refusing
from isotrace.enforce.selftest import numbers
from isotrace.enforce.tables import RuleTable
from isotrace.kernel import attachable, bpf
from isotrace.kernel.facts import Facts, facts
from isotrace.policy import names
from isotrace.policy.model import CallRule
from isotrace.trace.events import SLOT_I386
from isotrace.trace.plan import TYPES, Attachment, on_calls
from isotrace.trace.target import Target

_MAPS = ("call_rules", "multiplexed")
_MULTIPLEXERS = {102: 0, 117: 32}  # i386's socketcall and ipc → where their calls begin in the map `multiplexed`


def make(enforced: Sequence[Enforced], target: Target) -> Refusing:
    """The enforcer for the rules, all of which one of the three mechanisms enforces."""
    return {"override": Override, "fmod_ret_call": FmodRet, "signal": Signal}[enforced[0].mechanism](enforced, target)


class _ByNumber(Refusing):
    """What the three have in common: the table of calls."""

    def __init__(self, enforced: Sequence[Enforced], target: Target) -> None:
        rule_table = RuleTable()
        by_number = {one.number: rule_table.add(one) for one in enforced}
        rules = [one.rule for one in enforced if isinstance(one.rule, CallRule)]
        calls = frozenset().union(*(rule.calls | names.closes(rule.calls) for rule in rules))
        self._table = cbpf.table(enforced, os.uname().machine)
        self._functions = self._attachable(entries.all_functions(calls | cbpf.multiplexers(calls)))
        self._compat = all(one.guarantees.compat for one in enforced)
        self._by_number = by_number
        known = facts()
        super().__init__(target, self._plan(programs.constants(target, rule_table, known), rule_table, known), known)

    def _attachable(self, functions: Sequence[str]) -> tuple[str, ...]:
        """Those that take a program; what the others leave open is in the rules' guarantees."""
        return tuple(functions)

    def _plan(self, constants: list[str], rule_table: RuleTable, known: Facts) -> Programs:
        raise NotImplementedError

    def _fill(self) -> None:
        super()._fill()
        for (arch, number), found in self._table.items():
            base = SLOT_I386 if arch == cbpf.I386 else 0
            self._fill_call(base + (number & ~X32_BIT), found, _MULTIPLEXERS.get(number) if base else None)

    def _fill_call(self, slot: int, found: Sequence[cbpf.Entry], multiplexer: int | None) -> None:
        maps: Mapping[str, int] = self._loaded.maps
        always, addressed = 0, 0
        for entry in reversed(found):
            rule = self._by_number[entry.rule]
            if entry.test is None:
                always = addressed = rule
            elif entry.test.mask and multiplexer is not None:
                bpf.map_update(maps["multiplexed"], u32(multiplexer + entry.test.value), struct.pack("=HH", rule, rule))
            else:
                addressed = rule
        if addressed:
            bpf.map_update(maps["call_rules"], u32(slot), struct.pack("=HH", always, addressed))

    def _self_test(self) -> None:
        numbers.refused(self._table, self._arm_self_test, compat=self._compat)


class Override(_ByNumber):
    """An ``Enforcer`` by kprobes and bpf_override_return."""

    def _plan(self, constants: list[str], rule_table: RuleTable, known: Facts) -> Programs:
        attach = [Attachment("kprobe", function, "on_kprobe") for function in self._functions]
        return Programs(
            "block_override.c", [*constants, "KPROBE"], {"on_kprobe": "KPROBE"}, attach, _MAPS, rule_table=rule_table
        )


class FmodRet(_ByNumber):
    """An ``Enforcer`` by fmod_ret on the calls' own functions."""

    def _attachable(self, functions: Sequence[str]) -> tuple[str, ...]:
        return tuple(function for function in functions if attachable.fmod_ret(function).verdict == "yes")

    def _plan(self, constants: list[str], rule_table: RuleTable, known: Facts) -> Programs:
        kinds = {f"kmod_ret__{function}": "TRACING" for function in self._functions}
        attach = [Attachment("hook", "", name) for name in kinds]
        ending = "\n" + "".join(f"CALL({name})\n" for name in kinds)
        return Programs("block_override.c", constants, kinds, attach, _MAPS, ending, rule_table)


class Signal(_ByNumber):
    """An ``Enforcer`` that kills when it sees a call, which may take effect before."""

    def _self_test(self) -> None:
        """Nothing to test: what is killed has been seen, and may have taken effect."""

    def _plan(self, constants: list[str], rule_table: RuleTable, known: Facts) -> Programs:
        enter, _exit = on_calls(known)
        attach = Attachment(enter.how, enter.where, "on_signal")
        return Programs(
            "block_override.c",
            [*constants, "SIGNAL"],
            {"on_signal": TYPES[enter.how]},
            [attach],
            _MAPS,
            rule_table=rule_table,
        )
