"""Logging through BPF programs on raw tracepoints."""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Iterator

from isotrace import captures
from isotrace.backends import Counters
from isotrace.backends.descent import Descent
from isotrace.backends.loader import Loaded, Loader
from isotrace.errors import KernelError
from isotrace.events import Batch
from isotrace.kernel import bpf
from isotrace.plan import Plan
from isotrace.ring import Ring

_TALLY_NOT_FOLLOWED, _TALLY_EXTRAS_LOST = 0, 1  # bpf/event.h


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


class Tracepoints:
    """The programs of bpf/trace.c, attached. Everything in the kernel goes when this process does."""

    def __init__(self, plan: Plan, loader: Loader) -> None:
        """Start compiling for ``plan``; ``open`` waits for the result."""
        self._plan = plan
        self._loader = loader
        loader.start("trace.c", plan.constants, plan.programs, plan.maps)
        self._loaded = Loaded({}, {})
        self._descent = Descent(plan.target, {})
        self._links: list[int] = []
        self._ring: Ring | None = None
        self._poll = select.poll()

    def open(self, command_pid: int | None = None) -> None:
        """Fill the maps, attach, and find the descendants that there are. Raises ``IsotraceError``.

        ``command_pid`` is a child that has yet to call execve: it is watched from then on.
        """
        self._loaded = self._loader.result()
        self._descent = Descent(self._plan.target, self._loaded.maps)
        self._fill_slots()
        self._ring = Ring(os.dup(self._loaded.maps["events"]), self._plan.ring_bytes)
        self._poll.register(self._ring.fd, select.POLLIN)
        if command_pid is not None:
            self._descent.arm(command_pid)
        self._attach()
        if self._plan.target.descends and command_pid is None:
            self._descent.seed()

    def _fill_slots(self) -> None:
        programs, maps = self._loaded.programs, self._loaded.maps
        for slot, content in self._plan.slots.items():
            key = _u32(slot)
            bpf.map_update(maps["exits"], key, _u32(programs[content.exit]))
            if content.enter:
                bpf.map_update(maps["enters"], key, _u32(programs[content.enter]))
            if content.captures:
                bpf.map_update(maps["captures"], key, captures.pack(content.captures))

    def _attach(self) -> None:
        self._descent.expect()
        for tracepoint, program in self._plan.attach.items():
            try:
                self._links.append(bpf.raw_tracepoint_open(tracepoint, self._loaded.programs[program]))
            except OSError as error:
                raise KernelError(
                    f"cannot attach to the tracepoint {tracepoint}: {error.strerror}", "see: isotrace doctor"
                ) from None

    def pids(self) -> set[int]:
        """The processes in the kernel's map of descent; empty where the target has none."""
        return self._descent.pids()

    def alive(self) -> bool:
        """Whether a process in that map is more than a zombie."""
        return self._descent.alive()

    # ---- reading ------------------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[Batch]:
        """All that has arrived by now."""
        return self._ring.batches() if self._ring else iter(())

    def wait(self, seconds: float) -> None:
        """Return when a CPU has sent an eighth of the ring since the last time, or after ``seconds``."""
        self._poll.poll(seconds * 1000)

    def detach(self) -> None:
        """Take the programs off the tracepoints."""
        while self._links:
            os.close(self._links.pop())

    def _sum(self, name: str, index: int) -> int:
        raw = bpf.map_lookup(self._loaded.maps[name], _u32(index), 8 * bpf.possible_cpus())
        return sum(struct.unpack(f"={bpf.possible_cpus()}Q", raw)) if raw else 0

    def counters(self) -> Counters:
        """The counts over all CPUs."""
        if not self._loaded.maps:
            return Counters()
        attached = [self._loaded.programs[name] for name in ("on_exit", "on_enter")]
        return Counters(
            seen={slot: total for slot in self._plan.slots if (total := self._sum("seen", slot))},
            lost={slot: total for slot in self._plan.slots if (total := self._sum("lost", slot))},
            extras_lost=self._sum("tally", _TALLY_EXTRAS_LOST),
            not_followed=self._sum("tally", _TALLY_NOT_FOLLOWED),
            missed=sum(bpf.recursion_misses(fd) for fd in attached),
        )

    def close(self) -> None:
        """Detach, unmap, close every descriptor."""
        self.detach()
        if self._ring:
            self._ring.close()
            self._ring = None
        self._loaded.close()
        self._loaded = Loaded({}, {})
