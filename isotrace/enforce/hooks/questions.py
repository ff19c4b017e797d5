"""The programs that ask at the security hooks: what waits is in maps, by the numbers of questions (bpf/block_ask.h)."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from isotrace.backends.attached import u32
from isotrace.enforce import Enforced, Question, Refused, Verdict
from isotrace.enforce.hooks import waiting
from isotrace.enforce.hooks.lsm import Hooks
from isotrace.enforce.hooks.objects import LETTERS
from isotrace.enforce.programs import Programs
from isotrace.enforce.tables import SLOT_RING, RuleTable, pack_asking
from isotrace.kernel import bpf, btf
from isotrace.kernel.facts import Facts
from isotrace.policy.model import Action
from isotrace.trace import plan
from isotrace.trace.events import ASKED, SLOTS, Batch
from isotrace.trace.plan import TYPES, Attachment
from isotrace.trace.target import Target

#: Threads that can wait at once; what comes beyond is given the default.
ROOM = 16384
_OFFSETS = {
    "OFF_PTRACE": ("task_struct", "ptrace"),
    "OFF_SIGHAND": ("task_struct", "sighand"),
    "OFF_ACTION": ("sighand_struct", "action"),
    "OFF_JOBCTL": ("task_struct", "jobctl"),
    "OFF_POLICY": ("task_struct", "policy"),
    "OFF_START_TIME": ("task_struct", "start_time"),
    "OFF_SHARED_PENDING": ("signal_struct", "shared_pending"),
    "OFF_PENDING_SIGNAL": ("sigpending", "signal"),
}
_MAPS = ("waits", "questions", "verdicts", "may_wait", "by_call", "ending")
_QUESTION, _WAIT = struct.Struct("=QQQQ"), struct.Struct("=QQQIHBB")
_VERDICTS: Mapping[Verdict, int] = {"allow": 1, "deny": 2, "kill": 3}  # ANSWER_… of bpf/block_ask.h


@dataclass(frozen=True)
class Posed:
    """A question as the kernel has it, by its number there: of which task, and of which of its calls."""

    number: int
    task: int
    generation: int


class Questions(Hooks):
    """The part of an enforcer that has the rules that ask, and nothing else; ``calls`` as ``waiting.by_path`` has them."""

    def __init__(self, enforced: Sequence[Enforced], calls: Mapping[str, Enforced], target: Target, lsm: bool) -> None:
        self._calls, self._link = calls, -1
        super().__init__(enforced, target, lsm)

    def _plan(self, rule_table: RuleTable, constants: list[str], judges: Mapping[str, str]) -> Programs:
        constants += ["ASKS", f"WAITS={ROOM}"]
        constants += [f"{name}={value}" for name, value in btf.required(_OFFSETS, "see: isotrace doctor").items()]
        return super()._plan(rule_table, constants, judges)

    def _programs(self, wanted: Programs, known: Facts) -> Programs:
        how, where = ("trace_event", "raw_syscalls/") if known.preemptible else ("raw_tracepoint", "")
        self._return = Attachment(how, f"{where}sys_exit", "on_return")
        return replace(wanted, programs={**wanted.programs, "on_return": TYPES[how]}, maps=[*wanted.maps, *_MAPS])

    def _close_rings(self, enforced: Sequence[Enforced], rule_table: RuleTable) -> None:
        """In the name of the rules themselves, of which one on every path has none."""
        indexes = {one.number: rule_table.add(one) for one in self._calls.values()}
        self._by_call = {call: indexes[one.number] for call, one in self._calls.items()}
        own = [one for one in enforced if one.number != waiting.STANDS_FOR_CALLS]
        super()._close_rings([*own, *self._calls.values()], rule_table)

    def _packed_rule(self, action: Action) -> bytes:
        return pack_asking(action)

    def _fill(self) -> None:
        super()._fill()
        entries = {
            u32(index * SLOTS + slot): b"\1"
            for index, hook in enumerate(self._hooks)
            for slot, call in plan.own_calls().items()
            if call.name in waiting.can_wait(hook)
        }
        bpf.map_update_all(self._loaded.maps["may_wait"], entries)
        for index, action in enumerate(self._rule_table.actions):
            if action is not None and self._rule_table.numbers[index] == waiting.STANDS_FOR_CALLS:
                bpf.map_update(self._loaded.maps["rules"], u32(index), pack_asking(action, by_call=True))
        rules = {slot: self._by_call.get(call.name, 0) for slot, call in plan.own_calls().items()}
        rules[SLOT_RING] = min(self._by_call.values(), default=0)
        bpf.map_update_all(
            self._loaded.maps["by_call"], {u32(slot): struct.pack("=H", one) for slot, one in rules.items()}
        )

    def _self_test(self) -> None:
        super()._self_test()
        self.watch_returns(True)
        self.watch_returns(False)

    def watch_returns(self, on: bool) -> None:
        """Whether the ends of calls are looked at, of all processes: only while somebody waits. Raises ``KernelError``."""
        if on == (self._link >= 0):
            return
        if not on:
            os.close(self._link)
            self._link = -1
            return
        self._attach_one(self._return)
        self._link = self._links.pop()

    def detach(self) -> None:
        """Take the programs off the hooks, and the one off sys_exit."""
        super().detach()
        self.watch_returns(False)

    # ---- reading ------------------------------------------------------------------------------------------------------

    def arrived(self) -> tuple[list[tuple[int, Question]], list[Refused]]:
        """What has come since the last look: questions with their numbers in the kernel, and what was refused."""
        asked, refused = [], []
        for batch in self._ring.batches() if self._ring else ():
            for index in range(len(batch)):
                record = self._refused(batch, index)
                if batch.events[index]["kind"] == ASKED:
                    asked.append((int(batch.events[index]["result"]) & (1 << 64) - 1, _question(record, batch, index)))
                else:
                    refused.append(record)
        return asked, refused

    # ---- in the kernel ------------------------------------------------------------------------------------------------

    def posed(self, number: int) -> Posed | None:
        """The question with that number; None where it is over."""
        raw = bpf.map_lookup(self._loaded.maps["questions"], struct.pack("=Q", number), _QUESTION.size)
        return Posed(number, *_QUESTION.unpack(raw)[:2]) if raw else None

    def turns(self, posed: Posed) -> int:
        """How often the thread has come for the verdict."""
        raw = bpf.map_lookup(self._loaded.maps["questions"], struct.pack("=Q", posed.number), _QUESTION.size)
        return int(_QUESTION.unpack(raw)[3]) if raw else 0

    def under_way(self, posed: Posed) -> bool:
        """Whether the call is not over, as far as the kernel knows: its thread may be."""
        raw = bpf.map_lookup(self._loaded.maps["waits"], struct.pack("=Q", posed.task), _WAIT.size)
        return raw is not None and _WAIT.unpack(raw)[1] == posed.generation

    def give(self, posed: Posed, verdict: Verdict) -> None:
        """What the thread finds the next time that it comes."""
        key = struct.pack("=Q", posed.number)
        bpf.map_update(self._loaded.maps["verdicts"], key, u32(_VERDICTS[verdict]))

    def end(self) -> None:
        """Have nobody wait any more: what is not answered the rule answers."""
        bpf.map_update(self._loaded.maps["ending"], u32(0), u32(1))

    def forget(self, posed: Posed, ended: bool) -> None:
        """Remove what is over; ``ended``: the call with it, whose thread will not do so."""
        if ended and self.under_way(posed):
            bpf.map_delete(self._loaded.maps["waits"], struct.pack("=Q", posed.task))
        for name in ("verdicts", "questions"):
            bpf.map_delete(self._loaded.maps[name], struct.pack("=Q", posed.number))


def _question(record: Refused, batch: Batch, index: int) -> Question:
    accesses = int(batch.events[index]["pad"])
    return Question.of(record, access="".join(letter for letter, bit in LETTERS.items() if accesses & bit))
