"""From what was asked and what the kernel is to what gets loaded. Pure: nothing here touches the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from isotrace.catalog import by_number, multiplexed
from isotrace.catalog.model import X32_BIT, Syscall
from isotrace.errors import UsageError
from isotrace.kernel.facts import Facts
from isotrace.kernel.rings import Layout
from isotrace.trace import events, rings
from isotrace.trace.captures import (
    ARRAYS,
    BYTES,
    IOVEC,
    MADE_NONE,
    MESSAGES,
    MSGHDR,
    STRING_MAX,
    Capture,
    bases_of,
    befores_of,
    captures_of,
    files_of,
    made_by,
    may_be_netlink,
    programs_of,
)
from isotrace.trace.target import Target

#: What tail-called program serves a slot at sys_exit, and at sys_enter.
EXIT_PROGRAMS = (
    *("exit_plain", "exit_memory", "exit_fork", "exit_exec"),
    *("exit_vector", "exit_vector32", "exit_messages", "exit_messages32"),
)
#: Those of multiplexed calls, which look for the call that it is; the kernel module has none.
DEMUX_EXIT, DEMUX_ENTER = "exit_demux", "enter_demux"
#: Slots of what i386's socketcall and ipc multiplex, by the first argument; the first of each is its own record.
MULTIPLEXED_SLOTS = {"socketcall": events.SLOT_I386 + 900, "ipc": events.SLOT_I386 + 930}
ENTER_PROGRAMS = ("enter_exec", "enter_plain", "enter_sigreturn", "enter_sigreturn32", "enter_rt_sigreturn32")
#: The one at sys_enter that sends nothing, but keeps what a call was given until it returns; the kernel module has none.
KEEPING = "enter_before"

MIN_RING, DEFAULT_RING, MAX_RING = 1 << 16, 1 << 26, 1 << 30
MAX_STRING = 4096
_PAGE = 4096

FORKS = frozenset({"fork", "vfork", "clone", "clone3"})
EXECS = frozenset({"execve", "execveat"})
_ENDLESS = frozenset({"exit", "exit_group"})


@dataclass(frozen=True)
class Options:
    """What the user chose: ``calls`` is a set of names, or None for every call, known to the catalogue or not.

    ``lossless``: who makes calls waits for the reader while the ring is more than half full. ``descriptors``: what a call's
    descriptors are is recorded, too; ``stacks``: and the user stack; ``full``: and what is abbreviated otherwise, all
    arguments and the environment of an execve and long arrays. ``pids``: whether they are those of isotrace's namespace.
    ``resolve``: where the paths of calls begin is recorded, with ``descriptors``. ``containers``: in which container a
    process is is recorded, and the numbers that it has there. ``places``: where files are in their file systems is
    recorded, with ``descriptors``.
    """

    target: Target
    calls: frozenset[str] | None = None
    string_limit: int = 256
    ring_bytes: int = DEFAULT_RING
    durations: bool = False
    notices: bool = True
    lossless: bool = False
    descriptors: bool = False
    stacks: bool = False
    full: bool = False
    pids: bool = False
    resolve: bool = False
    containers: bool = False
    places: bool = False


#: How a program on calls and tasks is attached → its type, as an attribute of bcc.BPF.
TYPES = {"raw_tracepoint": "RAW_TRACEPOINT", "trace_event": "TRACEPOINT", "kprobe": "KPROBE"}


@dataclass(frozen=True)
class Attachment:
    """``program`` runs at ``where``; ``how`` is a key of TYPES.

    With ``how`` "hook" it runs at the hook or function that it was loaded for, and ``where`` is "".
    """

    how: str
    where: str
    program: str


@dataclass(frozen=True)
class Slot:
    """What one call slot holds: programs for sys_exit and sys_enter, and what to copy at the one and at the other.

    ``made``: the descriptors that the call makes, and that the record says what they are. ``netlink``: the first
    argument may be a netlink socket, of which the record says so.
    """

    exit: str
    enter: str | None = None
    captures: tuple[Capture, ...] = ()
    befores: tuple[Capture, ...] = ()
    made: int = MADE_NONE
    netlink: bool = False


@dataclass(frozen=True)
class Plan:
    """All that the backend needs: constants for the compiler, the content of the maps, what to attach."""

    target: Target
    constants: tuple[str, ...]
    slots: Mapping[int, Slot]
    attach: tuple[Attachment, ...]
    ring_bytes: int
    calls: Mapping[int, Syscall] = field(default_factory=dict)
    lossless: bool = False
    operations: Mapping[int, rings.Watched] = field(default_factory=dict)

    @property
    def programs(self) -> dict[str, str]:
        """Every program to load, with its type: those to attach, and those that slots name, which are of on_exit's type."""
        found = {attachment.program: TYPES[attachment.how] for attachment in self.attach}
        named = {slot.exit for slot in self.slots.values()}
        named |= {slot.enter for slot in self.slots.values() if slot.enter}
        return found | dict.fromkeys(sorted(named), found["on_exit"])

    @property
    def maps(self) -> tuple[str, ...]:
        """The maps that user space reads or writes."""
        found = ["events", "exits", "enters", "seen", "lost", "losses", "losing", "stats", "captures", "befores"]
        found += ["flow"] if self.lossless else []
        found += ["asked", "started"] if "MEASURE_TIME" in self.constants else []
        found += ["given"] if "DESCRIPTORS" in self.constants else []
        found += ["operations"] if self.operations else []
        return (*found, *self.target.maps)


def slot_of(abi: str, number: int) -> int:
    """The slot of a call, as ``slot_of`` in bpf/calls.h computes it."""
    index = number & ~X32_BIT
    index = index if 0 <= index < events.SLOT_NUMBERS else events.SLOT_UNKNOWN
    return index + (events.SLOT_I386 if abi == "i386" else 0)


def all_calls() -> dict[int, Syscall]:
    """Every call by slot: ``own_calls``, those multiplexed by i386's socketcall and ipc, and operations of io_uring."""
    return own_calls() | {slot: call for _, slot, call in multiplexed_calls()} | rings.calls()


def multiplexed_calls() -> list[tuple[str, int, Syscall]]:
    """(multiplexer, slot, call) of each call that is one of several with one number."""
    return [
        (multiplexer, first + number, call)
        for multiplexer, first in MULTIPLEXED_SLOTS.items()
        for number, call in multiplexed.calls_of(multiplexer).items()
    ]


def own_calls() -> dict[int, Syscall]:
    """Every call of this architecture that has a number, by slot. x86-64's own row wins where x32 shares its number."""
    found: dict[int, Syscall] = {}
    for abi in ("x32", "x86_64", "i386"):
        found |= {slot_of(abi, number): call for number, call in by_number(abi).items()}
    return found


def slots(which: Callable[[Syscall], bool]) -> npt.NDArray[np.bool_]:
    """``(SLOTS,)``: which slots hold such calls."""
    found = np.zeros(events.SLOTS, dtype=bool)
    found[[slot for slot, call in all_calls().items() if which(call)]] = True
    return found


def selected(calls: frozenset[str]) -> npt.NDArray[np.bool_]:
    """``(SLOTS,)``: which slots hold calls that an expression selects, as when they are recorded."""
    found = np.zeros(events.SLOTS, dtype=bool)
    found[[*slots_for(calls, 1), *rings.selected(calls)]] = True
    return found


@cache
def forks() -> npt.NDArray[np.bool_]:
    """Which slots hold calls that may make a process."""
    return slots(lambda call: call.name in FORKS)


@cache
def execs() -> npt.NDArray[np.bool_]:
    """Which slots hold calls that run a program."""
    return slots(lambda call: call.name in EXECS)


@cache
def endless() -> npt.NDArray[np.bool_]:
    """Which slots hold calls that never return."""
    return slots(lambda call: call.name in _ENDLESS)


def _slot(call: Syscall, string_limit: int) -> Slot:
    captures = captures_of(call, string_limit)
    if call.name in EXECS:
        return Slot("exit_exec", "enter_exec")
    if call.name in FORKS:
        return Slot("exit_fork", captures=captures)
    if call.name in _ENDLESS:
        return Slot("exit_plain", "enter_plain")
    width = "32" if call.abi == "i386" else ""
    if call.name in ("sigreturn", "rt_sigreturn"):
        return Slot("exit_plain", f"enter_{call.name}32" if width else "enter_sigreturn")
    befores = befores_of(call)
    enter = KEEPING if befores else None
    for program, ops in (("exit_vector", (IOVEC, MSGHDR)), ("exit_messages", (MESSAGES,))):
        if vectors := tuple(capture for capture in captures if capture.op in ops):
            times = tuple(capture for capture in captures if capture.op == BYTES) if program == "exit_messages" else ()
            return Slot(program + width, enter, vectors + times, befores)
    return Slot("exit_memory", enter, captures, befores) if captures else Slot("exit_plain")


def with_descriptors(slot: Slot, call: Syscall, resolve: bool = False) -> Slot:
    """What the slot holds where the call's descriptors are to be known, too, and with ``resolve`` where its paths begin."""
    files, made = (*files_of(call), *(bases_of(call) if resolve else ())), made_by(call)
    if not (files or made) or slot.exit == "exit_exec":
        return slot
    program = "exit_memory" if slot.exit == "exit_plain" else slot.exit
    return replace(
        slot, exit=program, enter=slot.enter or (KEEPING if files else None), befores=(*files, *slot.befores), made=made
    )


def with_netlink(slots: Mapping[int, Slot], descriptors: bool) -> dict[int, Slot]:
    """The slots, where it is known which calls' first argument may be a netlink socket."""
    known = all_calls()
    return {
        number: replace(slot, netlink=number in known and may_be_netlink(known[number], descriptors))
        if slot.captures
        else slot
        for number, slot in slots.items()
    }


def in_full(slot: Slot, call: Syscall) -> Slot:
    """What the slot holds where arrays and filter programs are to be known as far as a capture can."""
    arrays = {i for i, arg in enumerate(call.args) if arg.kind in ARRAYS}
    whole = tuple(one._replace(limit=STRING_MAX) if one.arg in arrays else one for one in slot.captures)
    return replace(slot, captures=(*whole, *programs_of(call)))


def slots_for(calls: frozenset[str] | None, string_limit: int) -> dict[int, Slot]:
    """The slots to fill. For every call (None) also those that have no name, so that no number goes unseen."""
    known = own_calls()
    chosen = {slot: _slot(call, string_limit) for slot, call in known.items() if call.among(calls)}
    for multiplexer, slot, call in multiplexed_calls():
        if multiplexed.among(call, multiplexer, calls):
            chosen[slot] = _slot(call, string_limit)
    chosen |= _multiplexers(known, chosen, string_limit)
    if calls is None:
        chosen |= {slot: Slot("exit_plain") for slot in range(events.SLOTS) if slot not in {*known, *chosen}}
        unknown = Slot("exit_plain", "enter_plain")
        chosen |= {events.SLOT_UNKNOWN: unknown, events.SLOT_I386 + events.SLOT_UNKNOWN: unknown}
    return chosen


def _multiplexers(known: Mapping[int, Syscall], chosen: Mapping[int, Slot], string_limit: int) -> dict[int, Slot]:
    """The slots of the multiplexers of what is asked for, and of their own records: where it is no call."""
    found = {}
    for number, multiplexer in multiplexed.MULTIPLEXERS.items():
        slot, first = slot_of("i386", number), MULTIPLEXED_SLOTS[multiplexer]
        if any(first + inside in chosen for inside in multiplexed.calls_of(multiplexer)):
            own = _slot(known[slot], string_limit)
            found[slot] = Slot(DEMUX_EXIT, DEMUX_ENTER, own.captures)
            found[first] = own
    return found


def descendant_tracking(facts: Facts) -> tuple[Attachment, ...]:
    """What keeps the maps of followed pids. A birth must not be missed: a kprobe is not preempted where a tracepoint is."""
    end = on_exits(facts, "on_end")
    if facts.preemptible and facts.kprobes:
        return (Attachment("kprobe", "wake_up_new_task", "on_new_task"), end)
    return (Attachment("raw_tracepoint", "sched_process_fork", "on_fork"), end)


def on_calls(facts: Facts) -> tuple[Attachment, ...]:
    """on_enter and on_exit, where nothing preempts them."""
    how, prefix = ("trace_event", "raw_syscalls/") if facts.preemptible else ("raw_tracepoint", "")
    return tuple(Attachment(how, f"{prefix}sys_{side}", f"on_{side}") for side in ("enter", "exit"))


def on_exits(facts: Facts, program: str) -> Attachment:
    """A program that asks nothing of its context, at the end of each thread, where nothing preempts it."""
    how, prefix = ("trace_event", "sched/") if facts.preemptible else ("raw_tracepoint", "")
    return Attachment(how, f"{prefix}sched_process_exit", program)


def on_rings(layout: Layout, preemptible: bool) -> tuple[Attachment, ...]:
    """What tells of io_uring's operations, where nothing preempts it. Those that complete are looked at first."""
    how, prefix = ("trace_event", "io_uring/") if preemptible else ("raw_tracepoint", "")
    found = [Attachment(how, prefix + where, program) for where, program in layout.tracepoints.items()]
    return tuple(reversed(found))


def attachments(options: Options, facts: Facts) -> tuple[Attachment, ...]:
    """What is attached, in order: first what keeps the maps of followed pids."""
    found = [*descendant_tracking(facts)] if options.target.descends else []
    found += [
        Attachment("raw_tracepoint", "sched_process_exec", "on_task_exec"),
        on_exits(facts, "on_task_exit"),
    ]
    if options.notices:
        found.append(Attachment("raw_tracepoint", "signal_deliver", "on_signal"))
    return (*found, *on_calls(facts))


def make(options: Options, facts: Facts, filters: Sequence[str]) -> Plan:
    """The plan. ``filters`` is the target as ``-D`` constants.

    Raises ``UsageError`` for a limit that is out of range.
    """
    if not 0 <= options.string_limit <= MAX_STRING:
        raise UsageError(f"--string-limit {options.string_limit} is out of range", f"give 0 to {MAX_STRING} bytes")
    size = options.ring_bytes
    if not MIN_RING <= size <= MAX_RING or size & (size - 1):
        raise UsageError(f"--ring {size} is no power of two from 64k to 1g", "the default is 64m")
    constants = facts.constants()
    constants += [f"RING_PAGES={size // _PAGE}", f"WATERMARK={size // 8}"]
    constants += [f"STRING_LIMIT={options.string_limit}", *filters]
    if options.durations:
        constants.append("MEASURE_TIME")
    if options.lossless:
        constants.append(f"LOSSLESS={size // 2}")
    if options.stacks:
        constants.append("STACKS")
    slots = slots_for(options.calls, options.string_limit)
    if options.descriptors:
        constants += ["DESCRIPTORS", *(["RESOLVE"] if options.resolve else []), *(["PLACES"] if options.places else [])]
        known = all_calls()
        slots = {
            number: with_descriptors(slot, known[number], options.resolve) if number in known else slot
            for number, slot in slots.items()
        }
    if "OFF_SK_PROTOCOL" in facts.offsets:
        slots = with_netlink(slots, options.descriptors)
    if any(slot.netlink for slot in slots.values()):
        constants.append("NETLINK_SOCKETS")
    if options.pids:
        constants.append("PIDS")
    if options.containers:
        constants.append("CONTAINERS")
    if options.full:
        constants.append("UNABBREVIATED")
        known = all_calls()
        slots = {number: in_full(slot, known[number]) if number in known else slot for number, slot in slots.items()}
    attached = attachments(options, facts)
    watched = rings.watched(options.calls, facts.rings, options.string_limit) if facts.rings else {}
    if facts.rings and watched:
        constants += rings.constants(facts.rings, facts.preemptible)
        attached += on_rings(facts.rings, facts.preemptible)
    return Plan(options.target, tuple(constants), slots, attached, size, all_calls(), options.lossless, watched)
