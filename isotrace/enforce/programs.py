"""BPF programs that refuse, at work: loaded, their maps filled, attached, read. The mechanisms differ in what they load.

Everything in the kernel hangs on descriptors of this process: it is gone when this process is, whatever ends it.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from isotrace.backends.attached import Ringed, u32
from isotrace.backends.loader import Loader
from isotrace.enforce import Counts, Refused
from isotrace.enforce.records import Records
from isotrace.enforce.strays import must_follow
from isotrace.enforce.switches import Switches
from isotrace.enforce.tables import RuleTable, pack_rule, shown
from isotrace.errors import KernelError
from isotrace.kernel import bpf, btf
from isotrace.kernel.facts import Facts
from isotrace.policy.model import Action
from isotrace.process.launch import Execute
from isotrace.trace import plan
from isotrace.trace.events import CUT, PART_NAME, PART_PATH, Batch, Blob
from isotrace.trace.plan import TYPES, Attachment
from isotrace.trace.target import Target

_LOG = logging.getLogger(__package__)
RING_BYTES = 1 << 20
#: Maps that stay as they are once they are filled: the rules and their tables, and what isotrace protects of its own.
FIXED = frozenset(
    (
        *("rules", "shown", "call_rules", "multiplexed", "nets", "abstract_names", "guarded_objects"),
        *(
            "anchors",
            "children",
            "fixtures",
            "anchor_bloom",
            "path_nfa",
            "words",
            "glob_entries",
            "move_rules",
            "name_nfa",
        ),
    )
)
_PAGE = 4096
_TRIES = 4
_NOT_FOLLOWED, _RECORDS_LOST = 0, 1  # enum stats, bpf/event.h


@dataclass(frozen=True)
class Programs:
    """What is loaded: ``programs`` with their types, and those that refuse as they are attached, in order."""

    source: str
    constants: Sequence[str]
    programs: Mapping[str, str]
    attach: Sequence[Attachment]
    maps: Sequence[str]
    ending: str = ""
    rule_table: RuleTable = field(default_factory=RuleTable)


def constants(target: Target, rule_table: RuleTable, known: Facts) -> list[str]:
    """What bpf/block.h needs."""
    types = btf.vmlinux()
    found = {
        "OFF_STACK": types.offset("task_struct", "stack"),
        "OFF_FLAGS": types.offset("task_struct", "flags"),
        "THREAD_BYTES": 16384,
        # Since 6.9 the top of the stack has room for what FRED pushes, where the kernel knows FRED.
        "STACK_PADDING": 16 if types.has_struct("fred_frame") else 0,
        "RULES": max(2, len(rule_table.numbers)),
        "RING_PAGES": RING_BYTES // _PAGE,
    }
    return [*known.constants(), *(f"{name}={value}" for name, value in found.items()), *target.defines()]


def following(target: Target, known: Facts) -> tuple[Attachment, ...]:
    """What keeps the maps of followed pids. What an execve changes of them must not be missed either: see on_start."""
    if not target.mapped:
        return ()
    how, where = ("trace_event", "sched/") if known.preemptible else ("raw_tracepoint", "")
    start = Attachment(how, f"{where}sched_process_exec", "on_start")
    return (*plan.descendant_tracking(known), *([start] if target.command or (target.keeps and target.comm) else []))


def _path(blob: Blob) -> str:
    """Names from the object up, each ended by NUL, as a path; what is above those recorded is ``...``: then it is none."""
    names = blob.data.split(b"\0")[:-1]
    head = ".../" if blob.state == CUT else "/"
    return head + b"/".join(reversed(names)).decode(errors="surrogateescape")


def _address(data: bytes) -> str:
    """A sockaddr of IPv4 or IPv6 as ``ADDRESS:PORT``, one with an abstract name as ``@NAME``."""
    family = struct.unpack_from("=H", data)[0]
    if family == socket.AF_UNIX:
        return "@" + data[3:].decode(errors="surrogateescape")
    port = struct.unpack_from(">H", data, 2)[0]
    if family == socket.AF_INET6:
        return f"[{socket.inet_ntop(socket.AF_INET6, data[8:24])}]:{port}"
    return f"{socket.inet_ntoa(data[4:8])}:{port}"


class Refusing(Ringed):
    """An ``Enforcer`` by BPF programs; ``wanted`` is what the mechanism makes of its rules."""

    def __init__(self, target: Target, wanted: Programs, known: Facts) -> None:
        follow = following(target, known)
        super().__init__(target, (*follow, *wanted.attach))
        self._wanted = wanted
        self._kinds = {**{one.program: TYPES[one.how] for one in follow}, **wanted.programs}
        self._rule_table = wanted.rule_table
        self._records = Records()
        self._switches = Switches(())

    def starter(self) -> Execute | None:
        """The command starts by execve alone."""
        return None

    def open(self, pid: int | None) -> None:
        """Refuse from now on. Raises ``IsotraceError``; then nothing is refused."""
        try:
            self._switches = Switches([one.how for one in self._attachments])
            self._load()
            self._fill()
            self._watch(pid)
            must_follow(self.counts())
            self._prove()
            self._freeze()
        except BaseException:
            self.close()
            raise

    def _load(self) -> None:
        wanted = self._wanted
        _LOG.debug("%d rules, %d enforcing programs", len(self._rule_table.numbers), len(wanted.programs))
        maps = ["events", "rules", "hits", "stats", "shown", "self_test", *wanted.maps, *self._target.maps]
        loader = Loader()
        loader.start(wanted.source, wanted.constants, self._kinds, maps, wanted.ending)
        self._loaded = loader.result()
        self._open_ring(RING_BYTES)

    def _fill(self) -> None:
        for index, action in enumerate(self._rule_table.actions):
            if action is not None:
                bpf.map_update(self._loaded.maps["rules"], u32(index), self._packed_rule(action))
        for call, argument in shown().items():
            bpf.map_update(self._loaded.maps["shown"], u32(call), bytes([argument]))

    def _packed_rule(self, action: Action) -> bytes:
        """``struct rule``."""
        return pack_rule(action)

    def _freeze(self) -> None:
        """Nobody changes the rules any more, not even through a descriptor of their maps. Before 5.2 this cannot be."""
        for name in FIXED & self._loaded.maps.keys():
            with suppress(OSError):
                bpf.map_freeze(self._loaded.maps[name])

    def _prove(self) -> None:
        """Run the self-test, again where the kernel skipped programs meanwhile: that others were in them says nothing."""
        for tries_left in reversed(range(_TRIES)):
            before = self._missed(*self._wanted.programs)
            try:
                self._self_test()
            except KernelError as error:
                if not tries_left or self._missed(*self._wanted.programs) == before:
                    raise
                _LOG.debug("the kernel skipped programs during the self-test, which is tried again: %s", error)
            else:
                return

    def _self_test(self) -> None:
        """Have a child try what is refused. Raises ``KernelError`` where that is not refused."""

    def _arm_self_test(self, pid: int, hook: int = 0) -> None:
        """``hook``: the number of the one program that is to refuse it, from 1 on; 0: all of them."""
        bpf.map_update(self._loaded.maps["self_test"], u32(1), u32(hook))
        bpf.map_update(self._loaded.maps["self_test"], u32(0), u32(pid))

    # ---- reading ------------------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[Sequence[Refused]]:
        """All records that have arrived by now."""
        for batch in self._ring.batches() if self._ring else ():
            yield [self._refused(batch, index) for index in range(len(batch))]

    def _refused(self, batch: Batch, index: int) -> Refused:
        event = batch.events[index]
        return self._records.refused(
            event, self._rule_table.numbers[int(event["duration"]) & 0xFFFF], self._what(batch, index)
        )

    def _what(self, batch: Batch, index: int) -> str:
        for blob in batch.blobs(index):
            if blob.part == PART_PATH:
                return _path(blob)
            if blob.part == PART_NAME:
                return _address(blob.data)
            return blob.data.decode(errors="surrogateescape")
        return ""

    def alive(self) -> bool:
        """Whether a process is left in the map of followed pids; True for a target that has none."""
        return super().alive() if self._target.mapped else True

    def broken(self) -> str:
        """The switch that took the programs away, or ""."""
        return self._switches.off()

    def lift(self) -> None:
        """Refuse no more."""
        self.detach()

    def close(self) -> None:
        """Detach and close every descriptor."""
        self._switches.close()
        super().close()

    def counts(self) -> Counts:
        """Refusals by rule, and what was not refused for want of room or because the kernel skipped a program."""
        if not self._loaded.maps:
            return Counts()
        hits: dict[int, int] = {}
        for index, number in enumerate(self._rule_table.numbers):
            if number >= 0:
                hits[number] = hits.get(number, 0) + self._sum("hits", index)
        births = self._missed("on_fork", "on_new_task", "on_start")
        return Counts(
            hits,
            hits,
            lost=self._sum("stats", _RECORDS_LOST),
            not_followed=self._sum("stats", _NOT_FOLLOWED) + births,
            missed=self._missed(*self._wanted.programs),
        )
