"""i386's socketcall and ipc: one number for many calls, which are decoded, asked for and counted as what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from isotrace.catalog.load import by_name
from isotrace.catalog.model import Syscall

_LOW, _IPC_CALL = 0xFFFFFFFF, 0xFFFF  # the rest of ipc's first argument is a version
#: Reads so many 32-bit numbers at an address of the caller's; None where that cannot be done.
Words = Callable[[int, int], tuple[int, ...] | None]

#: Number of a multiplexed call on i386 → its name.
MULTIPLEXERS = {102: "socketcall", 117: "ipc"}
#: Its name → the names of the calls that it is, by its first argument (linux/net.h, linux/ipc.h; of that the low 16 bits).
CALLS: dict[str, dict[int, str]] = {
    "socketcall": dict(
        enumerate(
            (
                *("socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send"),
                *(
                    "recv",
                    "sendto",
                    "recvfrom",
                    "shutdown",
                    "setsockopt",
                    "getsockopt",
                    "sendmsg",
                    "recvmsg",
                    "accept4",
                ),
                *("recvmmsg", "sendmmsg"),
            ),
            1,
        )
    ),
    "ipc": {
        **{1: "semop", 2: "semget", 3: "semctl", 4: "semtimedop", 11: "msgsnd", 12: "msgrcv", 13: "msgget"},
        **{14: "msgctl", 21: "shmat", 22: "shmdt", 23: "shmget", 24: "shmctl"},
    },
}
#: Calls that have a number nowhere, and those that they are, but for the last two arguments.
_SHORT = {"send": "sendto", "recv": "recvfrom"}


@cache
def calls_of(multiplexer: str) -> dict[int, Syscall]:
    """The calls that ``multiplexer`` is, by its first argument, as calls of i386 with its number."""
    number = next(number for number, name in MULTIPLEXERS.items() if name == multiplexer)
    return {first: replace(_meant(name), name=name, number=number) for first, name in CALLS[multiplexer].items()}


def _meant(name: str) -> Syscall:
    whole = _SHORT.get(name, name)
    call = by_name("i386").get(whole)
    if call is None:
        call = replace(by_name("x86_64")[whole], abi="i386")
        call = replace(call, widths=tuple(min(width, 32) for width in call.widths))
    return replace(call, args=call.args[:4], widths=call.widths[:4]) if name in _SHORT else call


def demultiplex(multiplexer: str, registers: Sequence[int], words: Words) -> tuple[Syscall, tuple[int, ...]] | None:
    """The call that it is, and its arguments: none where ``words`` cannot read them. None where it is no call.

    The C of it is in bpf/demux.h.
    """
    call = calls_of(multiplexer).get(registers[0] & (_IPC_CALL if multiplexer == "ipc" else _LOW))
    if call is None:
        return None
    if multiplexer == "socketcall":
        return call, words(registers[1], len(call.args)) or ()
    first, second, third, pointer, fifth = registers[1:6]
    in_memory = {"semctl": 1} | ({"msgrcv": 2} if not registers[0] >> 16 else {})
    kept = words(pointer, in_memory[call.name]) if call.name in in_memory else (0,)
    if kept is None:
        return call, ()
    found: dict[str, tuple[int, ...]] = {
        **{"semop": (first, pointer, second), "semtimedop": (first, pointer, second, fifth)},
        **dict.fromkeys(("semget", "shmget"), (first, second, third)),
        **{"semctl": (first, second, third, kept[0]), "msgsnd": (first, pointer, second, third)},
        **{"msgget": (first, second), "shmat": (first, pointer, second), "shmdt": (pointer,)},
        **dict.fromkeys(("msgctl", "shmctl"), (first, second, pointer)),
        "msgrcv": (first, kept[0], second, kept[-1], third)
        if len(kept) > 1
        else (first, pointer, second, fifth, third),
    }
    return call, found[call.name]


def known(name: str, abi: str) -> Syscall | None:
    """The call of that name, also one that i386 has multiplexed only."""
    found = by_name(abi).get(name)
    if found is None and abi == "i386":
        found = next(
            (call for multiplexer in CALLS for call in calls_of(multiplexer).values() if call.name == name), None
        )
    return found


def among(call: Syscall, multiplexer: str, calls: frozenset[str] | None) -> bool:
    """Whether a call expression selects a call of ``multiplexer``: by its name, or by the multiplexer's alone."""
    names = frozenset(CALLS[multiplexer].values())
    alone = calls is not None and multiplexer in calls and not names & calls
    return alone or replace(call, name=_SHORT.get(call.name, call.name)).among(calls)
