"""The mechanism of the kernel module: refusing by number and registers, before the call's code runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from isotrace.backends import lkm
from isotrace.backends.lkm import conditions
from isotrace.catalog import by_number
from isotrace.catalog.model import X32_BIT, Syscall
from isotrace.enforce import Counts, Enforced, Refused
from isotrace.enforce.calls import cbpf, entries
from isotrace.enforce.calls.cbpf import Entry, Table, Test
from isotrace.enforce.records import Records
from isotrace.enforce.selftest import child, numbers
from isotrace.enforce.strays import must_follow
from isotrace.enforce.switches import Switches
from isotrace.errors import KernelError
from isotrace.kernel import mounts, probe_system
from isotrace.policy.model import Action
from isotrace.process.launch import Execute
from isotrace.trace import plan
from isotrace.trace.captures import Capture, captures_of, pack_rows
from isotrace.trace.events import FAULT, Batch, Blob
from isotrace.trace.target import Target

RING_BYTES = 1 << 20
_ERRNO, _KILL, _AUDIT = range(3)
_ALWAYS, _EQUAL, _DIFFERS = range(3)
_EPERM = 1
_ALL_BITS = (1 << 64) - 1
_STRING, _PATH_LIMIT = 1, 4095


def make(enforced: Sequence[Enforced], target: Target) -> Module:
    """The enforcer for the rules."""
    return Module(enforced, target)


def pack_test(test: Test | None) -> tuple[int, int, int, int]:
    """(kind, argument, mask, value) of ``struct isotrace_rule``."""
    if test is None:
        return _ALWAYS, 0, 0, 0
    if test.mask:
        return _EQUAL, test.index, test.mask, test.value
    if test.equals is not None:
        return _EQUAL, test.index, _ALL_BITS, test.equals
    return _DIFFERS, test.index, _ALL_BITS, 0


def pack_rules(table: Table, actions: dict[int, Action]) -> list[bytes]:
    """``struct isotrace_rule`` of every entry, in the order of slots; of one slot the first that matches decides."""
    by_slot: dict[int, list[bytes]] = {}
    for (arch, number), found in table.items():
        slot = plan.slot_of("i386" if arch == cbpf.I386 else "x86_64", number)
        by_slot.setdefault(slot, []).extend(_pack_rule(slot, entry, actions[entry.rule]) for entry in found)
    return [rule for slot in sorted(by_slot) for rule in by_slot[slot]]


def _pack_rule(slot: int, entry: Entry, action: Action) -> bytes:
    kind, argument, mask, value = pack_test(entry.test)
    what = {"errno": _ERRNO, "kill": _KILL, "audit": _AUDIT}[action.kind]
    error = action.errno if action.kind == "errno" else _EPERM
    return lkm.RULE.pack(slot, entry.rule, what, kind, argument, error, mask, value)


def _calls_of(table: Table) -> dict[int, Syscall]:
    """Slot → the call, for every number that has a rule, in each ABI that enters by it."""
    known = plan.own_calls()
    slots = (plan.slot_of("i386" if arch == cbpf.I386 else "x86_64", number) for arch, number in table)
    return {slot: known[slot] for slot in slots if slot in known}


def functions_of(table: Table) -> tuple[str, ...]:
    """The kernel's functions of every call that has a rule; socketcall and ipc are among them."""
    names: set[str] = set()
    for arch, number in table:
        abis = ("i386",) if arch == cbpf.I386 else ("x86_64", "x32")
        for abi in abis:
            call = by_number(abi).get(number) or by_number(abi).get(number | X32_BIT)
            names |= {call.name} if call else set()
    return entries.all_functions(names)


def addresses_of(functions: Sequence[str]) -> dict[str, int]:
    """Those that the kernel has, and where they are. Raises ``KernelError`` when it does not show its addresses."""
    wanted = set(functions)
    lines = re.findall(r"^([0-9a-f]+) [tT] (\w+)$", probe_system.symbols(), re.MULTILINE)
    found = {name: int(address, 16) for address, name in lines if name in wanted}
    if not found or 0 in found.values():
        raise KernelError(
            "/proc/kallsyms does not show where the calls' functions are", "sysctl kernel.kptr_restrict=1"
        )
    return found


def _out_of_reach(functions: Iterable[str]) -> list[str]:
    """Those that the kernel's build keeps from ftrace; none where tracefs cannot be had."""
    try:
        within = {line.split()[0] for line in mounts.tracefs("available_filter_functions").splitlines()}
    except OSError:
        return []
    return sorted(set(functions) - within)


def _shown(call: Syscall) -> tuple[Capture, ...]:
    """What of a call's memory its refusal is shown with: its first path, as it was then."""
    return tuple(one for one in captures_of(call, _PATH_LIMIT) if one.op == _STRING)[:1]


class Module(lkm.Controller):
    """An ``Enforcer`` by the kernel module."""

    def __init__(self, enforced: Sequence[Enforced], target: Target) -> None:
        super().__init__(target, RING_BYTES)
        self._table = cbpf.table(enforced, os.uname().machine)
        self._actions = {one.number: one.action for one in enforced}
        self._records = Records()
        self._switches = Switches(())
        self._by_ftrace = False

    def starter(self) -> Execute | None:
        """The command starts by execve alone."""
        return None

    def open(self, pid: int | None) -> None:
        """Refuse from now on, after a self-test of that in a child. Raises ``IsotraceError``; then nothing is refused."""
        try:
            self._self_test()
            self._refuse(conditions(self._target, pid), self._actions)
            must_follow(self.counts())
            self._switches = Switches(("hook",) if self._by_ftrace else ())
        except BaseException:
            self.close()
            raise

    def _self_test(self) -> None:
        """That every number is refused: functions may be where isotrace does not look for them."""
        numbers.refused(self._table, self._arm_self_test)

    def _arm_self_test(self, pid: int) -> None:
        if pid:
            self._refuse([("pid", pid)], dict.fromkeys(self._actions, Action("errno", child.REFUSED)))
        else:
            self.close()

    def _refuse(self, target: Sequence[tuple[str, object]], actions: dict[int, Action]) -> None:
        channel = self.claim(target)
        channel.send_array("add_slots", "slots", self._slots)
        channel.send_array("add_rules", "rules", pack_rules(self._table, actions))
        self._by_ftrace = channel.info().mode == "ftrace"
        functions = self._functions if self._by_ftrace else {}
        if functions:
            addresses = sorted(set(functions.values()))
            channel.send_array("add_hooks", "hooks", [address.to_bytes(8, "little") for address in addresses])
        try:
            self.start(0, 1)
        except KernelError:
            if unreached := _out_of_reach(functions):
                raise KernelError(
                    f"ftrace cannot reach {', '.join(unreached)} on this kernel",
                    "leave those calls out, or isotrace module load --mode table where the kernel calls through it",
                ) from None
            raise

    @cached_property
    def _slots(self) -> list[bytes]:
        shown = {slot: _shown(call) for slot, call in _calls_of(self._table).items()}
        return [lkm.SLOT.pack(slot, 0, 0) + pack_rows(row) for slot, row in shown.items() if row]

    @cached_property
    def _functions(self) -> dict[str, int]:
        return addresses_of(functions_of(self._table))

    def batches(self) -> Iterator[Sequence[Refused]]:  # type: ignore[override]
        """All records that have arrived by now."""
        for batch in super().batches():
            yield [self._refused(batch, index) for index in range(len(batch))]

    def _refused(self, batch: Batch, index: int) -> Refused:
        event = batch.events[index]
        what = next((_text(blob) for blob in batch.blobs(index)), "")
        return self._records.refused(event, int(event["duration"]), what)

    def broken(self) -> str:
        """The switch that took the module's hooks away, or ""."""
        return self._switches.off()

    def alive(self) -> bool:
        """Whether a process is left in the map of followed pids; True for a target that has none."""
        return super().alive() if self._target.mapped else True

    def lift(self) -> None:
        """Refuse no more."""
        self.detach()

    def close(self) -> None:
        """Withdraw everything, close every descriptor."""
        self._switches.close()
        super().close()

    def counts(self) -> Counts:
        """Refusals by rule; the module meets only calls that it refuses."""
        found = self.ask_counters()
        raw = bytes(found.get("hits") or b"")
        hits = {at // 8: int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)}
        return Counts(hits, hits, lost=found.get("records_lost", 0), not_followed=found.get("not_followed", 0))


def _text(blob: Blob) -> str:
    return "" if blob.state == FAULT else os.fsdecode(blob.data.partition(b"\0")[0])
