"""BPF programs at work: loaded, their maps filled, attached, read. The mechanisms differ in what they load and attach to.

Everything in the kernel hangs on descriptors of this process: it is gone when this process is, whatever ends it.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from isotrace import plan
from isotrace.backends.descent import Descent
from isotrace.backends.loader import Loaded, Loader
from isotrace.enforce import Counts, Execute, Refused
from isotrace.enforce.tables import Slots, pack_rule, shown
from isotrace.errors import KernelError
from isotrace.events import ABI_NAMES, CUT, PART_NAME, PART_PATH, Batch, Blob
from isotrace.kernel import bpf, btf
from isotrace.ring import Ring
from isotrace.target import Target

RING_BYTES = 1 << 20
_PAGE = 4096
_RECORDS_LOST, _NOT_FOLLOWED = 1, 0  # enum tally, bpf/event.h
_DESCENT = {
    "sched_process_fork": "on_fork",
    "sched_process_free": "on_free",
    "sched_process_exec": "on_start",
}


@dataclass(frozen=True)
class Programs:
    """What is loaded. ``attach``: program → what for (nothing for a program that knows it by its name)."""

    source: str
    constants: Sequence[str]
    kinds: Mapping[str, str]
    maps: Sequence[str]
    ending: str = ""
    slots: Slots = field(default_factory=Slots)


def u32(value: int) -> bytes:
    """A key of four bytes."""
    return struct.pack("=I", value)


def common_constants(target: Target, slots: Slots) -> list[str]:
    """What bpf/block.h needs."""
    types = btf.vmlinux()
    found = {
        "OFF_STACK": types.offset("task_struct", "stack"),
        "OFF_FLAGS": types.offset("task_struct", "flags"),
        "THREAD_BYTES": 16384,
        "PT_REGS_BYTES": types.size("pt_regs"),
        # Since 6.9 the top of the stack has room for what FRED pushes, where the kernel knows FRED.
        "STACK_PADDING": 16 if types.has_struct("fred_frame") else 0,
        "RULES": max(2, len(slots.numbers)),
        "RING_PAGES": RING_BYTES // _PAGE,
    }
    found |= btf.constants()
    return [*(f"{name}={value}" for name, value in found.items()), *target.defines()]


def _path(blob: Blob) -> str:
    """Names from the object up, each ended by NUL, as a path; an ellipsis stands for what is above those recorded."""
    names = blob.data.split(b"\0")[:-1]
    head = "…/" if blob.state == CUT else "/"
    return head + b"/".join(reversed(names)).decode(errors="surrogateescape")


def _address(data: bytes) -> str:
    """A sockaddr of IPv4 or IPv6 as ``ADDRESS:PORT``."""
    family, port = struct.unpack_from("=H", data)[0], struct.unpack_from(">H", data, 2)[0]
    if family == socket.AF_INET6:
        return f"[{socket.inet_ntop(socket.AF_INET6, data[8:24])}]:{port}"
    return f"{socket.inet_ntoa(data[4:8])}:{port}"


class Attached:
    """An ``Enforcer``, but for ``programs`` and ``_attach``, which are the mechanisms' own."""

    def __init__(self, target: Target, programs: Programs) -> None:
        self._target = target
        self._programs = programs
        self._slots = programs.slots
        self._loaded = Loaded({}, {})
        self._descent = Descent(target, {})
        self._links: list[int] = []
        self._ring: Ring | None = None
        self._poll = select.poll()
        self._calls = plan.all_calls()
        self._clock = time.time_ns() - time.monotonic_ns()

    def starter(self) -> Execute | None:
        """The command starts by execve alone."""
        return None

    def open(self, pid: int | None) -> None:
        """Refuse from now on. Raises ``IsotraceError``; then nothing is refused."""
        try:
            self._load()
            self._fill()
            if pid is not None:
                self._descent.arm(pid)
            self._follow()
            self._attach()
            if self._target.descends and pid is None:
                self._descent.seed()
        except BaseException:
            self.close()
            raise

    def _load(self) -> None:
        kinds = dict(self._programs.kinds)
        if self._target.descends:
            kinds |= dict.fromkeys(_DESCENT.values(), "RAW_TRACEPOINT")
        maps = ["events", "rules", "hits", "tally", "shown", *self._programs.maps, *self._target.maps]
        loader = Loader()
        loader.start(
            self._programs.source, self._programs.constants, [*kinds], maps, kinds=kinds, ending=self._programs.ending
        )
        self._loaded = loader.result()
        self._descent = Descent(self._target, self._loaded.maps)
        self._ring = Ring(os.dup(self._loaded.maps["events"]), RING_BYTES)
        self._poll.register(self._ring.fd, select.POLLIN)

    def _fill(self) -> None:
        for slot, action in enumerate(self._slots.actions):
            if action is not None:
                bpf.map_update(self._loaded.maps["rules"], u32(slot), pack_rule(action))
        for call, argument in shown().items():
            bpf.map_update(self._loaded.maps["shown"], u32(call), bytes([argument]))

    def _follow(self) -> None:
        self._descent.expect()
        if self._target.descends:
            for tracepoint, program in _DESCENT.items():
                self._link(tracepoint, program)

    def _attach(self) -> None:
        for program in self._programs.kinds:
            self._link("", program)

    def _link(self, tracepoint: str, program: str) -> None:
        try:
            self._links.append(bpf.raw_tracepoint_open(tracepoint, self._loaded.programs[program]))
        except OSError as error:
            raise KernelError(f"cannot attach {program}: {error.strerror}", "see: isotrace doctor") from None

    # ---- reading ------------------------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Return when records are waiting, or after ``seconds``."""
        self._poll.poll(seconds * 1000)

    def batches(self) -> Iterator[Sequence[Refused]]:
        """All records that have arrived by now."""
        for batch in self._ring.batches() if self._ring else ():
            yield [self._refused(batch, index) for index in range(len(batch))]

    def _refused(self, batch: Batch, index: int) -> Refused:
        event = batch.events[index]
        call = self._calls.get(int(event["slot"]))
        return Refused(
            time_ns=int(event["time"]) + self._clock,
            pid=int(event["pid"]),
            tid=int(event["tid"]),
            comm=bytes(event["comm"]),
            call=call.name if call else f"syscall_{int(event['number'])}",
            abi=ABI_NAMES[int(event["abi"])],
            args=tuple(map(int, event["args"])),
            rule=self._slots.numbers[int(event["duration"]) & 0xFFFF],
            what=self._what(batch, index),
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
        """Whether a process is left in the map of descent; True for a target that has none."""
        return self._descent.alive() if self._target.descends else True

    def lift(self) -> None:
        """Refuse no more."""
        while self._links:
            os.close(self._links.pop())

    def counts(self) -> Counts:
        """Refusals by rule."""
        if not self._loaded.maps:
            return Counts()
        hits: dict[int, int] = {}
        for slot, number in enumerate(self._slots.numbers):
            if number >= 0:
                hits[number] = hits.get(number, 0) + self._sum("hits", slot)
        return Counts(hits, hits, self._sum("tally", _RECORDS_LOST))

    def _sum(self, name: str, index: int) -> int:
        raw = bpf.map_lookup(self._loaded.maps[name], u32(index), 8 * bpf.possible_cpus())
        return sum(struct.unpack(f"={bpf.possible_cpus()}Q", raw)) if raw else 0

    def close(self) -> None:
        """Detach, unmap, close every descriptor."""
        self.lift()
        if self._ring:
            self._ring.close()
            self._ring = None
        self._loaded.close()
        self._loaded = Loaded({}, {})
