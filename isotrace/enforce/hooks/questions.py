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
from isotrace.enforce.tables import BY_CALL, READS_HELD, SLOT_BY_RING, RuleTable, pack_asking
from isotrace.kernel import bpf, btf
from isotrace.kernel.facts import Facts
from isotrace.policy.model import HELD, Action, PathRule
from isotrace.trace import plan
from isotrace.trace.events import ANSWERED, ASKED, SLOTS, Batch
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
    "OFF_PENDING": ("task_struct", "pending"),
    "OFF_BLOCKED": ("task_struct", "blocked"),
    "OFF_PENDING_SIGNAL": ("sigpending", "signal"),
}
#: Calls about two names, of which a record has one.
_OF_TWO = frozenset(("rename", "renameat", "renameat2", "link", "linkat"))
_MAPS = ("waits", "questions", "verdicts", "may_wait", "by_call", "ending")
# bpf/block_held.h: first that which forgets a file that is gone.
_FILES = (
    "kfunc__security_file_free",
    "kfunc__security_file_open",
    "kretfunc__security_file_permission",
    "kretfunc__security_mmap_file",
)
_QUESTION, _WAIT = struct.Struct("=QQQIHH"), struct.Struct("=QQQIHBB")
_BY_STOP = 2  # of bpf/block_ask.h
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
        self._kept = any(one.rule.action.kept for one in enforced)
        self.stops = any(one.rule.action.stops for one in enforced)
        held = {one.number for one in enforced if isinstance(one.rule, PathRule) and HELD in one.rule.access}
        self._flags = {waiting.STANDS_FOR_CALLS: BY_CALL, **dict.fromkeys(held, READS_HELD)}
        super().__init__(enforced, target, lsm)

    def _plan(self, rule_table: RuleTable, constants: list[str], judges: Mapping[str, str]) -> Programs:
        constants += [
            "ASKS",
            f"WAITS={ROOM}",
            *(["FAIL_CLOSED"] if self._kept else []),
            *(["HELD"] if self._held else []),
            *(["STOPS"] if self.stops else []),
        ]
        constants += [f"{name}={value}" for name, value in btf.required(_OFFSETS, "see: isotrace doctor").items()]
        return super()._plan(rule_table, constants, judges)

    def _programs(self, wanted: Programs, known: Facts) -> Programs:
        how, where = ("trace_event", "raw_syscalls/") if known.preemptible else ("raw_tracepoint", "")
        self._return = Attachment(how, f"{where}sys_exit", "on_return")
        loaded, attach, maps = {**wanted.programs, "on_return": TYPES[how]}, [*wanted.attach], [*wanted.maps, *_MAPS]
        if self._held:
            loaded |= dict.fromkeys(_FILES, "TRACING")
            attach[:0] = [Attachment("hook", "", symbol) for symbol in _FILES]
            maps.append("read_before")
        if self._kept:
            loaded["on_own_end"] = TYPES[how]
            attach.insert(0, Attachment(how, f"{'sched/' if where else ''}sched_process_exit", "on_own_end"))
        return replace(wanted, programs=loaded, attach=attach, maps=maps)

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
            if action is not None and (flags := self._flags.get(self._rule_table.numbers[index])):
                bpf.map_update(self._loaded.maps["rules"], u32(index), pack_asking(action, flags))
        rules = {slot: self._by_call.get(call.name, 0) for slot, call in plan.own_calls().items()}
        rules[SLOT_BY_RING] = min(self._by_call.values(), default=0)
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
        """What has come since the last look: questions with their numbers in the kernel, and what was refused unasked."""
        asked, refused = [], []
        for batch in self._ring.batches() if self._ring else ():
            for index in range(len(batch)):
                record = self._refused(batch, index)
                if batch.events[index]["kind"] == ASKED:
                    asked.append((int(batch.events[index]["result"]) & (1 << 64) - 1, _question(record, batch, index)))
                elif batch.events[index]["kind"] != ANSWERED:  # that is reported by whoever answered
                    refused.append(record)
        return asked, refused

    # ---- in the kernel ------------------------------------------------------------------------------------------------

    def _entry(self, number: int) -> tuple[int, ...] | None:
        """``struct question``; None where it is over."""
        raw = bpf.map_lookup(self._loaded.maps["questions"], struct.pack("=Q", number), _QUESTION.size)
        return _QUESTION.unpack(raw) if raw else None

    def posed(self, number: int) -> Posed | None:
        """The question with that number; None where it is over."""
        found = self._entry(number)
        return Posed(number, *found[:2]) if found else None

    def turns(self, posed: Posed) -> int:
        """How often the thread has come for the verdict."""
        found = self._entry(posed.number)
        return found[3] if found else 0

    def has_stopped(self, posed: Posed) -> bool:
        """Whether the thread waits with its process stopped, or being so; False where the question is over."""
        found = self._entry(posed.number)
        return found is not None and found[4] == _BY_STOP

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
    access = "".join(letter for letter, bit in LETTERS.items() if accesses & bit)
    return Question.of(record, access=access, more=(("", "w"),) if record.call in _OF_TWO else ())
