"""The kernel module as a backend: its generic-netlink family and its ring. The one file that imports pyroute2.

``kernel_fallback/isotrace_uapi.h`` is the contract; tests/test_lkm_contract.py compares the two. Everything that is set
hangs on the socket: the module withdraws it when this process ends, whatever ends it.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isotrace.backends import Counters, Loss
from isotrace.backends.losses import Losses
from isotrace.errors import KernelError
from isotrace.kernel import namespaces
from isotrace.process import patience, verbose
from isotrace.trace import target as targets
from isotrace.trace.captures import PROGRAM, pack_rows
from isotrace.trace.events import Batch
from isotrace.trace.plan import (
    DEMUX_EXIT,
    ENTER_PROGRAMS,
    EXIT_PROGRAMS,
    KEEPING,
    MULTIPLEXED_SLOTS,
    Options,
    Plan,
    Slot,
    multiplexed_calls,
    own_calls,
)
from isotrace.trace.ring import Chunk, Ring
from isotrace.trace.target import Target

_LOG = logging.getLogger(__package__)
DEVICE = Path("/dev/isotrace")
VERSION = 3
MODES = ("none", "ftrace", "table")

COMMANDS = (
    *("unspec", "get_info", "claim", "set_target", "add_slots", "add_rules", "add_hooks", "start", "stop"),
    *("get_counters", "get_members"),
)
TARGET = (
    *(("unspec", "none"), ("ppid", "uint32"), ("pid", "uint32"), ("uid", "uint32"), ("comm", "cdata")),
    *(("cgroup", "uint64"), ("cgroup_level", "uint32"), ("tree", "uint32"), ("command", "uint32"), ("follow", "flag")),
)
ATTRIBUTES = (
    *(("unspec", "none"), ("version", "uint32"), ("mode", "uint32"), ("table", "asciiz"), ("busy", "uint32")),
    *(("ring_bytes", "uint32"), ("target", "conditions"), ("slots", "cdata"), ("rules", "cdata"), ("hooks", "cdata")),
    *(("flags", "uint32"), ("string_limit", "uint32"), ("seen", "cdata"), ("hits", "cdata"), ("extras_lost", "uint64")),
    *(("records_lost", "uint64"), ("not_followed", "uint64"), ("members", "cdata"), ("joined", "uint64")),
    ("pad", "none"),
)
SLOT = struct.Struct("=HBB")  # then five struct capture of bpf/event.h
RULE = struct.Struct("=HHBBBxI4xQQ")
COUNT = struct.Struct("=IxxxxQQ")
F_DURATIONS, F_NOTICES = 1, 2
KIND_REFUSED = 16

_MULTIPLEXED = frozenset(slot for _, slot, _ in multiplexed_calls()) | frozenset(MULTIPLEXED_SLOTS.values())
_AT_ONCE = 32768  # bytes of an array in one message; an attribute's length is 16 bits
_LOOK = 0.25  # seconds between two looks at what was lost
_HINT = "isotrace module status tells more; the kernel's log may, too"


def is_loaded() -> bool:
    """Whether the module is there."""
    return DEVICE.exists()


@dataclass(frozen=True)
class Info:
    """What the module says of itself. ``busy`` is the process id of its controller, 0 when there is none."""

    version: int
    mode: str
    table: str
    busy: int


class Channel:
    """A socket to the module; the controller once it has claimed. Raises ``KernelError`` for what the module refuses."""

    def __init__(self) -> None:
        if not is_loaded():
            raise KernelError("isotrace's kernel module is not loaded", "isotrace module build && isotrace module load")
        if not namespaces.is_initial("pid"):
            raise KernelError(
                "the kernel module speaks the host's process numbers, and isotrace runs in another pid namespace",
                namespaces.ON_THE_HOST,
            )
        from pyroute2.netlink import NLA_F_NESTED, genlmsg, nla
        from pyroute2.netlink.exceptions import NetlinkError
        from pyroute2.netlink.generic import GenericNetlinkSocket

        class conditions(nla):  # type: ignore[misc]
            nla_flags = NLA_F_NESTED
            nla_map = TARGET

        class message(genlmsg):  # type: ignore[misc]
            nla_map = ATTRIBUTES

        setattr(message, "conditions", conditions)  # noqa: B010 - where pyroute2 looks for a nested type
        self._message: Any = message
        self._errors = (NetlinkError, OSError)
        try:
            self._socket: Any = GenericNetlinkSocket(ext_ack=True)
            self._socket.bind("isotrace", message)
        except self._errors as error:
            raise self._explain("reach", error) from None

    def _explain(self, command: str, error: Exception) -> KernelError:
        code, said = (*error.args, None, None)[:2]
        if code in (errno.EPERM, errno.EACCES) and os.geteuid():
            return KernelError("only root can use the kernel module", "sudo isotrace …")
        if code == errno.EBUSY and "controller" in str(said):
            return KernelError(
                f"the kernel module is in use: {said}", "one isotrace at a time; see: isotrace module status"
            )
        if code == errno.EPROTO:
            return KernelError(
                "the loaded kernel module is of another version of isotrace",
                "isotrace module unload, then build and load",
            )
        return KernelError(f"the kernel module refuses to {command.replace('_', ' ')}: {said or error}", _HINT)

    def _request(self, command: str, flags: int, attrs: Iterable[tuple[str, object]] = ()) -> list[Any]:
        found = self._message()
        found["cmd"], found["version"] = COMMANDS.index(command), VERSION
        found["attrs"] = [[name, value] for name, value in attrs]
        try:
            return list(self._socket.nlm_request(found, msg_type=self._socket.prid, msg_flags=flags))
        except self._errors as error:
            raise self._explain(command, error) from None

    def send(self, command: str, *attrs: tuple[str, object]) -> None:
        """A command that is answered by an acknowledgement."""
        from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST

        self._request(command, NLM_F_REQUEST | NLM_F_ACK, attrs)

    def send_array(self, command: str, name: str, elements: Sequence[bytes]) -> None:
        """An array, in as many messages as it takes."""
        most = _AT_ONCE // len(elements[0]) if elements else 1
        for start in range(0, len(elements), most):
            self.send(command, (name, b"".join(elements[start : start + most])))

    def ask(self, command: str) -> Mapping[str, Any]:
        """The attributes of the answer."""
        from pyroute2.netlink import NLM_F_REQUEST

        return dict(self._request(command, NLM_F_REQUEST)[0]["attrs"])

    def info(self) -> Info:
        """What the module is."""
        found = self.ask("get_info")
        return Info(found["version"], MODES[found["mode"]], found["table"], found["busy"])

    def members(self) -> set[int]:
        """The process ids in the map of followed pids."""
        from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST

        answers = self._request("get_members", NLM_F_REQUEST | NLM_F_DUMP)
        raw = b"".join(_bytes(answer.get_attr("members")) for answer in answers)
        return {pid for (pid,) in struct.iter_unpack("=I", raw)}

    def close(self) -> None:
        """Withdraw everything."""
        self._socket.close()


def _bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else b""


#: Why --wait needs BPF.
NO_WAIT = "the kernel module's target is set when a run begins: it cannot wait for a container"


def conditions(target: Target, command_pid: int | None) -> list[tuple[str, object]]:
    """The target as attributes. Raises ``IsotraceError`` for what cannot be read, and for what the module cannot do."""
    if target.waited:
        raise KernelError(NO_WAIT, "use BPF (--backend bpf), or leave --wait out")
    many = [name for name in ("ppid", "pid", "tree", "comm") if len(getattr(target, name)) > 1]
    if many or target.table:
        raise KernelError(
            f"the kernel module takes one --{many[0]}" if many else "the kernel module takes no pattern for --comm",
            "use BPF (--backend bpf), or run one isotrace for each, one after the other",
        )
    numbers: dict[str, int | None] = {name: next(iter(getattr(target, name)), None) for name in ("ppid", "pid", "tree")}
    numbers |= {"uid": target.uid, "command": command_pid}
    found: list[tuple[str, object]] = [(name, value) for name, value in numbers.items() if value is not None]
    found += [("comm", os.fsencode(name).ljust(16, b"\0")) for name in target.comm]
    if target.cgroup is not None:
        path = target.place()
        found += [("cgroup", path.stat().st_ino), ("cgroup_level", targets.cgroup_level(path))]
    if target.follow:
        found.append(("follow", True))
    return found


def module_slots(slots: Mapping[int, Slot], calls: frozenset[str] | None) -> dict[int, Slot]:
    """What the module records: socketcall and ipc are themselves to it, where they are asked for by these names."""
    known = own_calls()
    return {
        number: replace(slot, exit="exit_memory" if slot.captures else "exit_plain", enter=None)
        if slot.exit == DEMUX_EXIT
        else slot
        for number, slot in slots.items()
        if number not in _MULTIPLEXED and (number not in known or known[number].among(calls))
    }


def pack_slot(number: int, slot: Slot) -> bytes:
    """``struct isotrace_slot``. The module keeps nothing of how a call began until it returns, and copies no programs."""
    leave = EXIT_PROGRAMS.index(slot.exit) + 1
    enter = ENTER_PROGRAMS.index(slot.enter) + 1 if slot.enter and slot.enter != KEEPING else 0
    return SLOT.pack(number, leave, enter) + pack_rows(tuple(row for row in slot.captures if row.op != PROGRAM))


class Controller:
    """The module at work for this process: who is watched, the ring, the counters."""

    def __init__(self, target: Target, ring_bytes: int) -> None:
        self._target, self._ring_bytes = target, ring_bytes
        self._channel: Channel | None = None
        self._ring: Ring | None = None
        self._running = False
        self._last: Mapping[str, Any] = {}

    def claim(self, target: Sequence[tuple[str, object]]) -> Channel:
        """Become the controller, map the ring, name the target by its ``conditions``. Raises ``KernelError``."""
        self._channel = Channel()
        self._channel.send("claim", ("version", VERSION), ("ring_bytes", self._ring_bytes))
        _LOG.debug("module: %s; ring: %s bytes per CPU", self._channel.info(), f"{self._ring_bytes:,}")
        _LOG.debug("target: %s", self._target)
        self._ring = Ring(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC), self._ring_bytes)
        self._channel.send("set_target", ("target", {"attrs": list(target)}))
        return self._channel

    def start(self, flags: int, string_limit: int) -> None:
        """From now on calls are recorded and refused. Raises ``KernelError``; then none is."""
        assert self._channel
        verbose.hold()
        with patience.waiting("hooking in the module"):
            self._channel.send("start", ("flags", flags), ("string_limit", string_limit))
        self._running = True
        _LOG.debug("the module is at work: flags %d, strings up to %d bytes", flags, string_limit)

    def chunks(self) -> Iterator[Chunk]:
        """All that has arrived by now."""
        return self._ring.chunks() if self._ring else iter(())

    def batches(self) -> Iterator[Batch]:
        """The same as batches."""
        return self._ring.batches() if self._ring else iter(())

    def wait(self, seconds: float) -> None:
        """Return when a CPU has sent an eighth of the ring since the last time, or after ``seconds``."""
        if self._ring:
            self._ring.wait(seconds)

    def pids(self) -> set[int]:
        """The processes in the module's map of followed pids that have not ended; empty where the target has none."""
        return self._channel.members() if self._channel and self._target.mapped else set()

    def alive(self) -> bool:
        """Whether one of these is more than a zombie, or may be: False is certain, as ``attached.Attached.alive`` says."""
        before = self._joined()
        return any(map(targets.lives, self.pids())) or self._joined() != before

    def _joined(self) -> int:
        return int(self.ask_counters().get("joined", 0))

    def detach(self) -> None:
        """Stop; what was recorded can still be read."""
        if self._channel and self._running:
            with patience.waiting("unhooking the module"):
                self._channel.send("stop")
            self._running = False

    def ask_counters(self) -> Mapping[str, Any]:
        """The answer to GET_COUNTERS; the last one once closed."""
        if self._channel:
            self._last = self._channel.ask("get_counters")
        return self._last

    def close(self) -> None:
        """Withdraw everything, unmap, close every descriptor."""
        if self._ring:
            self._ring.close()
            self._ring = None
        if self._channel:
            with patience.waiting("unhooking the module"):
                self._channel.close()
            self._channel = None
        self._running = False


class Module(Controller):
    """Logging by the module: a ``Backend``."""

    def __init__(self, plan: Plan, options: Options) -> None:
        super().__init__(plan.target, plan.ring_bytes)
        self._slots, self._options = plan.slots, options
        self._losses, self._next_look = Losses(), 0.0

    def open(self, command_pid: int | None = None) -> None:
        """Record from now on. Raises ``IsotraceError``.

        ``command_pid`` is a child that has yet to call execve: it is watched from then on.
        """
        try:
            channel = self.claim(conditions(self._target, command_pid))
            slots = module_slots(self._slots, self._options.calls)
            channel.send_array("add_slots", "slots", [pack_slot(number, slot) for number, slot in slots.items()])
            flags = F_DURATIONS * self._options.durations | F_NOTICES * self._options.notices
            self.start(flags, self._options.string_limit)
        except BaseException:
            self.close()
            raise

    def losses(self) -> list[Loss]:
        """What has been lost since the last time, by call; it is asked for some times a second at most."""
        now = time.monotonic()
        if now < self._next_look or not self._channel:
            return []
        self._next_look = now + _LOOK
        return self._losses.since({}, self.counters().lost)

    def counters(self) -> Counters:
        """The counts over all CPUs."""
        found = self.ask_counters()
        rows = list(COUNT.iter_unpack(_bytes(found.get("seen"))))
        return Counters(
            seen={slot: seen for slot, seen, _lost in rows},
            lost={slot: lost for slot, _seen, lost in rows if lost},
            extras_lost=found.get("extras_lost", 0),
            not_followed=found.get("not_followed", 0),
        )
