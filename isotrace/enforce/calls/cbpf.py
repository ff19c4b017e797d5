"""The seccomp filter of a set of call rules: which numbers of which ABI, and the classic BPF program that finds them.

The numbers are the catalogue's, of every ABI that the kernel enters by, so that a call newer than any library is
covered in its i386 and x32 forms too. A foreign architecture is refused. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isotrace import catalog
from isotrace.catalog.model import X32_BIT
from isotrace.enforce import Enforced
from isotrace.policy import names
from isotrace.policy.decide import strictness
from isotrace.policy.model import CallRule

I386 = 0x40000003  # AUDIT_ARCH_I386
#: AUDIT_ARCH_* → the ABIs that enter with it, by machine (include/uapi/linux/audit.h).
ARCHES: dict[str, dict[int, tuple[str, ...]]] = {
    "x86_64": {0xC000003E: ("x86_64", "x32"), I386: ("i386",)},
    "aarch64": {0xC00000B7: ("arm64",)},
}

RET_KILL_PROCESS, RET_ERRNO, RET_USER_NOTIF, RET_ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
INSTRUCTION_BYTES = 8  # struct sock_filter

_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data
_LOAD, _AND, _EQUAL, _JUMP, _RETURN = 0x20, 0x54, 0x15, 0x05, 0x06
_EPERM = 1

# What i386's socketcall and ipc multiplex (include/uapi/linux/net.h, ipc.h): {name: the values of the first argument}.
_SOCKETCALL = {
    **{"socket": (1,), "bind": (2,), "connect": (3,), "listen": (4,), "accept": (5,), "getsockname": (6,)},
    **{"getpeername": (7,), "socketpair": (8,), "sendto": (9, 11), "recvfrom": (10, 12), "shutdown": (13,)},
    **{"setsockopt": (14,), "getsockopt": (15,), "sendmsg": (16,), "recvmsg": (17,), "accept4": (18,)},
    **{"recvmmsg": (19,), "sendmmsg": (20,)},
}
_IPC = {
    **{"semop": (1,), "semget": (2,), "semctl": (3,), "semtimedop": (4,), "msgsnd": (11,), "msgrcv": (12,)},
    **{"msgget": (13,), "msgctl": (14,), "shmat": (21,), "shmdt": (22,), "shmget": (23,), "shmctl": (24,)},
}
_SEND_WITHOUT_ADDRESS = 9  # SYS_SEND
_VERSION_MASK = 0xFFFF  # ipc's first argument has a version above the call


@dataclass(frozen=True)
class Test:
    """A condition on register ``index``: its low 32 bits under ``mask`` are ``value``; or, wholly, ``equals`` or not 0."""

    index: int
    mask: int = 0
    value: int = 0
    equals: int | None = None

    def __call__(self, args: Sequence[int]) -> bool:
        """Whether the registers meet it."""
        register = args[self.index]
        if self.mask:
            return register & self.mask == self.value
        return register != 0 if self.equals is None else register == self.equals


@dataclass(frozen=True)
class Entry:
    """A call that is refused: by rule ``rule``, when ``test`` holds (None: always). ``call`` is its name."""

    call: str
    abi: str
    rule: int
    test: Test | None = None


def is_multiplexed(entry: Entry) -> bool:
    """Whether the call came through i386's socketcall or ipc: then the registers are not the call's own."""
    return entry.test is not None and entry.test.mask != 0


Table = dict[tuple[int, int], list[Entry]]
"""(AUDIT_ARCH, number without the x32 bit) → what is refused there, the first that matches decides."""


def table(enforced: Iterable[Enforced], machine: str) -> Table:
    """The entries of all rules. A rule that refuses comes before one that only reports; one that asks for a call before
    one that closes io_uring with it.
    """
    found: Table = {}
    listed = list(enforced)
    turns = sorted(((strictness(one.rule), closing, at) for at, one in enumerate(listed) for closing in (False, True)))
    for _, closing, at in turns:
        number, rule = listed[at].number, listed[at].rule
        assert isinstance(rule, CallRule), "seccomp enforces call rules only"
        calls = names.closes(rule.calls) if closing else rule.calls
        for arch, abis in ARCHES[machine].items():
            for abi in abis:
                _add_calls(found, arch, abi, number, calls, rule.addressed)
                if abi == "i386" and not closing:
                    _add_multiplexed(found, arch, number, rule.calls, rule.addressed)
    return found


def add(found: Table, machine: str, rule: int, calls: frozenset[str]) -> None:
    """Have ``calls``, by whatever entry, refused by ``rule`` where no other entry comes first."""
    for arch, abis in ARCHES[machine].items():
        for abi in abis:
            _add_calls(found, arch, abi, rule, calls, frozenset())
            if abi == "i386":
                _add_multiplexed(found, arch, rule, calls, frozenset())


def _add_calls(found: Table, arch: int, abi: str, rule: int, calls: frozenset[str], addressed: frozenset[str]) -> None:
    numbers = catalog.by_name(abi)
    for name in sorted(calls):
        if name in numbers:
            test = Test(4) if name == "sendto" and name in addressed else None
            put(found, (arch, numbers[name].number & ~X32_BIT), Entry(name, abi, rule, test))


def multiplexers(calls: Iterable[str]) -> frozenset[str]:
    """The calls of i386 that some of ``calls`` can be made through."""
    wanted = set(calls)
    found = (("socketcall", _SOCKETCALL), ("ipc", _IPC))
    return frozenset(multiplexer for multiplexer, inside in found if wanted & inside.keys())


def add_multiplexed(found: Table, machine: str, rule: int, calls: frozenset[str], addressed: frozenset[str]) -> None:
    """Have ``calls`` refused by ``rule`` where they come through socketcall or ipc; ``addressed`` only with an address."""
    if I386 in ARCHES[machine]:
        _add_multiplexed(found, I386, rule, calls, addressed)


def _add_multiplexed(found: Table, arch: int, number: int, calls: frozenset[str], addressed: frozenset[str]) -> None:
    for multiplexer, inside, mask in (("socketcall", _SOCKETCALL, 0xFFFFFFFF), ("ipc", _IPC, _VERSION_MASK)):
        key = (arch, catalog.by_name("i386")[multiplexer].number)
        for name in sorted(calls & inside.keys()):
            for value in inside[name]:
                if not (value == _SEND_WITHOUT_ADDRESS and name in addressed):
                    put(found, key, Entry(name, "i386", number, Test(0, mask, value)))


def put(found: Table, key: tuple[int, int], entry: Entry) -> None:
    """Add an entry, unless one that comes first leaves nothing for it."""
    entries = found.setdefault(key, [])
    if all(known.test is not None and known.test != entry.test for known in entries):
        entries.append(entry)


def find(where: Mapping[tuple[int, int], Sequence[Entry]], arch: int, number: int, args: Sequence[int]) -> Entry | None:
    """The entry that refuses this call."""
    entries = where.get((arch, number & ~X32_BIT & 0xFFFFFFFF), ())
    return next((entry for entry in entries if entry.test is None or entry.test(args)), None)


def program(where: Table, machine: str, verdicts: Mapping[int, int]) -> bytes:
    """The filter as an array of ``struct sock_filter``. ``verdicts`` are SECCOMP_RET values by rule number.

    Raises ``OverflowError`` when it is longer than the kernel takes.
    """
    code: list[tuple[int, int, int, int]] = [(_LOAD, 0, 0, _ARCH)]
    for arch in ARCHES[machine]:
        body = _body({key[1]: entries for key, entries in where.items() if key[0] == arch}, verdicts)
        code += [(_EQUAL, 1, 0, arch), (_JUMP, 0, 0, len(body)), *body]
    code.append((_RETURN, 0, 0, RET_ERRNO | _EPERM))
    if len(code) > MAX_INSTRUCTIONS:
        raise OverflowError(f"a filter of {len(code)} instructions")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _body(calls: Mapping[int, Sequence[Entry]], verdicts: Mapping[int, int]) -> list[tuple[int, int, int, int]]:
    code = [(_LOAD, 0, 0, _NR), (_AND, 0, 0, ~X32_BIT & 0xFFFFFFFF)]
    for number, entries in sorted(calls.items()):
        block = [step for entry in entries for step in _steps(entry.test, verdicts[entry.rule])]
        if entries[-1].test is not None:
            block.append((_RETURN, 0, 0, RET_ALLOW))
        code += [(_EQUAL, 0, len(block), number), *block]
    return [*code, (_RETURN, 0, 0, RET_ALLOW)]


def _steps(test: Test | None, verdict: int) -> list[tuple[int, int, int, int]]:
    """Return ``verdict`` when the test holds, else run on to what follows."""
    refuse = (_RETURN, 0, 0, verdict)
    if test is None:
        return [refuse]
    low, high = _ARGS + 8 * test.index, _ARGS + 8 * test.index + 4
    if test.mask:
        return [(_LOAD, 0, 0, low), (_AND, 0, 0, test.mask), (_EQUAL, 0, 1, test.value), refuse]
    if test.equals is None:
        return [(_LOAD, 0, 0, low), (_EQUAL, 0, 2, 0), (_LOAD, 0, 0, high), (_EQUAL, 1, 0, 0), refuse]
    lower, upper = test.equals & 0xFFFFFFFF, test.equals >> 32
    return [(_LOAD, 0, 0, low), (_EQUAL, 0, 3, lower), (_LOAD, 0, 0, high), (_EQUAL, 0, 1, upper), refuse]
