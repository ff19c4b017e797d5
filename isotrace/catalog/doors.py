"""i386's socketcall and ipc: one number for many calls, which are decoded, asked for and counted as what they are."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from isotrace.catalog.load import by_name
from isotrace.catalog.model import Syscall

#: Number of a door on i386 → its name.
DOORS = {102: "socketcall", 117: "ipc"}
#: Door → the names of what is behind it, by its first argument (linux/net.h, linux/ipc.h; of that the low 16 bits).
BEHIND: dict[str, dict[int, str]] = {
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
def inner(door: str) -> dict[int, Syscall]:
    """The calls behind a door by its first argument, as calls of i386 with the door's number."""
    number = next(number for number, name in DOORS.items() if name == door)
    return {first: replace(_meant(name), name=name, number=number) for first, name in BEHIND[door].items()}


def _meant(name: str) -> Syscall:
    whole = _SHORT.get(name, name)
    call = by_name("i386").get(whole)
    if call is None:
        call = replace(by_name("x86_64")[whole], abi="i386")
        call = replace(call, widths=tuple(min(width, 32) for width in call.widths))
    return replace(call, args=call.args[:4], widths=call.widths[:4]) if name in _SHORT else call


def among(call: Syscall, door: str, calls: frozenset[str] | None) -> bool:
    """Whether a call expression selects a call behind ``door``: by its name, or by the door's alone for all behind it."""
    names = frozenset(BEHIND[door].values())
    alone = calls is not None and door in calls and not names & calls
    return alone or replace(call, name=_SHORT.get(call.name, call.name)).among(calls)
