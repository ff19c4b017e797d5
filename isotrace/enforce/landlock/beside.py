"""What Landlock does not judge, by the command's seccomp filter beside it: attributes of files, message queues, and kinds
of sockets.

Of an attribute isotrace makes sure on the very object, and changes it itself (``performed``); of sockets the registers
say all, and a socket that is to listen is asked for its port and made to listen by isotrace. Nothing is judged by memory
that another thread can change.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from isotrace import catalog
from isotrace.catalog.model import X32_BIT
from isotrace.enforce import Enforced, Guarantees, Refused
from isotrace.enforce.calls import cbpf, lookup, notify
from isotrace.enforce.calls.cbpf import Entry, Table, Test
from isotrace.enforce.calls.lookup import Caller
from isotrace.enforce.calls.notify import Notification
from isotrace.enforce.landlock import performed, ports, tree
from isotrace.policy import names
from isotrace.policy.decide import NetRequest, PathRequest, decide
from isotrace.policy.model import Group, NetRule, PathRule, Policy, Rule, StandingRule

ATTRIBUTES, QUEUES, SOCKETS = "attributes", "queues", "sockets"

_MSG_FASTOPEN, _TCP_ULP = 0x20000000, 31
_ALL = 0xFFFFFFFF
_TYPE = 0xF  # SOCK_TYPE_MASK
_FLAGS = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3}
#: Calls of i386 whose arguments are in memory: with these they are refused whole.
_BY_SOCKETCALL = frozenset(("socket", "socketpair", "listen", "sendto", "sendmsg", "sendmmsg", "setsockopt"))
#: Types of ioctl that no file system has: terminals, sockets, block devices, rendering, sound, input, USB, video, counters,
#: KVM, vhost, random numbers, clocks, userfaultfd.
_NOT_OF_FILES = (0x54, 0x89, 0x12, *map(ord, "dAEUHV$Rp"), 0xAE, 0xAF, 0xAA)
#: Commands that change nothing of a file, or only what is open for writing: those of bpf/block_ioctls.h.
_HARMLESS = (
    *(1, 2, 0x80086601, 0x80046601, 0x80087601, 0x80047601, 0x80086603, 0x80046603, 0x801C581F, 0xC020660B),
    *(0x40049409, 0x4020940D, 0xC0189436, 0x81009431, 0x80111500, 0x81811501, 0x400C6615, 0xC0096616, 0xC080661A),
    *(0x8010661B, 0xC0046686, 0xC0286687, 0xC0606610, 0xC0686611, 0x82307201, 0x82307202, 0x80047210),
)
_PASSES = -3
#: What the filter does with what goes on unseen, by its rule number.
VERDICTS = {_PASSES: cbpf.RET_ALLOW}


@dataclass(frozen=True)
class Beside(StandingRule):
    """``of`` are the rules that Landlock holds."""

    of: tuple[Rule, ...] = ()


def enforced(user: Sequence[Enforced], first: int) -> tuple[Enforced, ...]:
    """The rules beside those of the user's that Landlock holds; their numbers begin with ``first``."""
    held = [one.rule for one in user if one.mechanism == "landlock"]
    paths = tuple(rule for rule in held if isinstance(rule, PathRule))
    nets = tuple(rule for rule in held if isinstance(rule, NetRule))
    found = [Beside("no attributes of what may not be written", ATTRIBUTES, of=paths)] if denies_writing(paths) else []
    found += [Beside("no message queues made or removed", QUEUES, of=paths)] if denies_writing(paths) else []
    found += [Beside("no sockets that are not judged by port", SOCKETS, of=nets)] if closes_sockets(nets) else []
    how = Guarantees(True, "closed", True, ends=False)
    return tuple(Enforced(first + index, rule, "seccomp", how) for index, rule in enumerate(found))


def denies_writing(rules: Iterable[Rule]) -> bool:
    """Whether a rule denies to write some file."""
    return any(isinstance(rule, PathRule) and not rule.allow and "w" in rule.access for rule in rules)


def closes_sockets(rules: Sequence[NetRule]) -> bool:
    """Whether a rule denies some socket that Landlock does not know."""
    return ports.closes_unix(rules) or any(not rule.allow and rule.protocol != "unix" for rule in rules)


def of(enforced: Sequence[Enforced]) -> dict[int, Beside]:
    """Those among the rules, by their numbers; rules on paths by what these lead to now."""
    found = {one.number: one.rule for one in enforced if isinstance(one.rule, Beside)}
    return {number: replace(rule, of=tuple(_led(rule.of))) for number, rule in found.items()}


def _led(rules: Sequence[Rule]) -> list[Rule]:
    paths = tree.led([rule for rule in rules if isinstance(rule, PathRule)])
    return [*paths, *(rule for rule in rules if not isinstance(rule, PathRule))]


def table(rules: Mapping[int, Beside], machine: str) -> Table:
    """What the filter has to tell of."""
    found: Table = {}
    for number, rule in rules.items():
        _add(found, machine, number, rule)
    return found


def _add(found: Table, machine: str, number: int, rule: Beside) -> None:
    if rule.name == ATTRIBUTES:
        cbpf.add(found, machine, number, performed.CALLS)
        closing = names.closes(performed.CALLS)
        for key, abi in _entries(machine, "ioctl"):
            for test in _passing():
                cbpf.put(found, key, Entry("ioctl", abi, _PASSES, test))
            cbpf.put(found, key, Entry("ioctl", abi, number))
    elif rule.name == QUEUES:  # files of their own file system, whose names Landlock is not asked about
        for key, abi in _entries(machine, "mq_open"):
            cbpf.put(found, key, Entry("mq_open", abi, number, Test(1, os.O_CREAT, os.O_CREAT)))
        closing = frozenset(("mq_unlink",))
    else:
        cbpf.add(found, machine, number, frozenset(("socket", "socketpair", "listen")))
        for call, at in _FLAGS.items():
            for key, abi in _entries(machine, call):
                cbpf.put(found, key, Entry(call, abi, number, Test(at, _MSG_FASTOPEN, _MSG_FASTOPEN)))
        for key, abi in _entries(machine, "setsockopt"):
            cbpf.put(found, key, Entry("setsockopt", abi, number, Test(2, _ALL, _TCP_ULP)))
        cbpf.add_multiplexed(found, machine, number, _BY_SOCKETCALL, frozenset(("sendto",)))
        closing = names.closes(frozenset(("socket", "listen", "sendto")))
    cbpf.add(found, machine, number, closing)


def _entries(machine: str, call: str) -> Iterator[tuple[tuple[int, int], str]]:
    for arch, abis in cbpf.ARCHES[machine].items():
        for abi in abis:
            if call in catalog.by_name(abi):
                yield (arch, catalog.by_name(abi)[call].number & ~X32_BIT), abi


def _passing() -> Iterator[Test]:
    yield from (Test(1, 0xFF00, kind << 8) for kind in _NOT_OF_FILES)
    yield from (Test(1, _ALL, command) for command in _HARMLESS)


@dataclass(frozen=True)
class Outcome:
    """What is said to a call: it fails with ``error``, a positive errno, or returns 0; or it ``goes_on``.

    ``refused``: by the rule.
    """

    error: int = 0
    goes_on: bool = False
    refused: bool = False


_GOES_ON, _REFUSED = Outcome(goes_on=True), Outcome(errno.EPERM, refused=True)


def judge(rule: Beside, call: Notification, entry: Entry, record: Refused, waits: Callable[[], bool]) -> Outcome:
    """What becomes of a call that ``waits``. Whatever goes wrong it is refused."""
    try:
        if cbpf.is_multiplexed(entry) or rule.name == QUEUES:
            return _REFUSED
        found = _attribute if rule.name == ATTRIBUTES else _socket
        return found(rule, call, entry, Caller(call.pid, record.pid), waits)
    except Exception:
        return _REFUSED


def _attribute(rule: Beside, call: Notification, entry: Entry, caller: Caller, waits: Callable[[], bool]) -> Outcome:
    policy = Policy((Group("", rule.of),))

    def allowed(path: str) -> bool:
        return not decide(policy, PathRequest(path, frozenset("w"))).denied

    if entry.call not in performed.CALLS:
        return _REFUSED
    error = performed.perform(caller, entry.call, entry.abi, call.args, allowed, waits)
    return _REFUSED if error is None else Outcome(error)


def _socket(rule: Beside, call: Notification, entry: Entry, caller: Caller, waits: Callable[[], bool]) -> Outcome:
    rules = [one for one in rule.of if isinstance(one, NetRule)]
    if entry.call in ("socket", "socketpair"):
        family, kind, protocol = (value & _ALL for value in call.args[:3])
        refused = ports.refused(rules, family, kind & _TYPE, protocol, entry.call == "socketpair")
        return _REFUSED if refused else _GOES_ON
    return _listen(rules, call, caller, waits) if entry.call == "listen" else _REFUSED


def _listen(rules: Sequence[NetRule], call: Notification, caller: Caller, waits: Callable[[], bool]) -> Outcome:
    """On the very socket: who listens without having been bound has a port of the kernel's choosing, 0 for the rules.

    Not for who is held by other security modules than isotrace: these would judge isotrace.
    """
    if not performed.has_label_of_isotrace(caller):
        return _REFUSED
    copied = None
    try:
        copied = lookup.copy(caller, call.args[0])
        copy = socket.socket(fileno=copied)
    except OSError as error:
        if copied is not None:
            os.close(copied)
        if error.errno not in (errno.EBADF, errno.ENOTSOCK):
            raise
        return Outcome(error.errno)
    with copy:
        if copy.family in (socket.AF_INET, socket.AF_INET6) and copy.type != socket.SOCK_DGRAM:
            request = NetRequest("tcp", ports.ANYWHERE, copy.getsockname()[1], outward=False)
            if decide(Policy((Group("", tuple(rules)),)), request).denied:
                return _REFUSED
        if not waits():
            return Outcome(errno.ESRCH)
        try:
            notify.call("listen", copy.fileno(), ctypes.c_ulong(call.args[1]))
        except OSError as error:
            return Outcome(error.errno or errno.EINVAL)
    return Outcome()
