"""What a policy is: rules, each with the words that asked for it, and what happens to a call that one is against."""

from __future__ import annotations

import errno as numbers
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from isotrace.policy.patterns import Pattern

#: What can be done to a file, one letter each: read, write (also create, remove, rename, change), execute.
ACCESSES = "rwx"
#: The letter of a rule that asks about the first read of what was open before it began, beside r.
HELD = "h"
#: The protocols of a net rule; ``any`` is every protocol over IPv4 or IPv6, not unix.
PROTOCOLS = ("tcp", "udp", "unix", "any")
#: The group of a policy file that answers are written into; denials with another action than EPERM are in NAME-ACTION.
ANSWERS = "answers"
_LONG = 80  # letters of a rule on calls that are shown
#: Refused with every rule on something that io_uring can do as well, unless the mechanism sees through it.
IO_URING = frozenset({"io_uring_setup", "io_uring_enter", "io_uring_register"})


@dataclass(frozen=True)
class Action:
    """What a refusal is. ``errno`` is the positive number that the call fails with, for ``kind`` "errno".

    ``kill``: the call does not happen and its process gets SIGKILL. ``audit``: the call happens and is reported.
    ``ask``: the call waits until somebody has said whether it happens; a denial gives ``errno``, and ``otherwise`` is
    what becomes of one that nobody answers, or that cannot wait. Nothing is allowed for want of an answer, and with
    ``kept`` not even when isotrace is killed. With ``stops`` a process may be stopped that cannot wait unseen.
    """

    kind: Literal["errno", "kill", "audit", "ask"] = "errno"
    errno: int = numbers.EPERM
    otherwise: Literal["deny", "kill"] = "deny"
    kept: bool = False
    stops: bool = False

    @property
    def name(self) -> str:
        """``EPERM``, ``kill``, ``audit`` or ``ask``."""
        return numbers.errorcode[self.errno] if self.kind == "errno" else self.kind

    @property
    def kills(self) -> bool:
        """Whether the process is ended; of what asks, where nobody answers."""
        return self.kind == "kill" or (self.kind == "ask" and self.otherwise == "kill")

    @property
    def verb(self) -> str:
        """What a rule with it does, as its option is called: ``deny`` or ``ask``."""
        return "ask" if self.kind == "ask" else "deny"


@dataclass(frozen=True)
class CallRule:
    """Refuse system calls, by the names of the catalogue, of whatever ABI.

    ``addressed`` is the part of ``calls`` that is refused only where the call carries a destination address (sendto
    under the word connect).
    """

    asked: str
    calls: frozenset[str]
    addressed: frozenset[str] = frozenset()
    action: Action = field(default_factory=Action)
    group: str = ""
    allow: Literal[False] = False

    @property
    def title(self) -> str:
        """The rule as the user would write it; of one with many terms the first."""
        if len(self.asked) <= _LONG:
            return f"{self.action.verb} {self.asked}"
        shown = self.asked[:_LONG].rpartition(",")[0] or self.asked[:_LONG]
        return f"{self.action.verb} {shown},... ({self.asked.count(',') + 1} terms)"


@dataclass(frozen=True)
class PathRule:
    """Refuse, or except from refusal, ``access`` (letters of ``ACCESSES``) to the files that ``pattern`` matches.

    One that asks may have ``HELD`` beside r.
    """

    asked: str
    allow: bool
    access: frozenset[str]
    pattern: Pattern
    action: Action = field(default_factory=Action)
    group: str = ""

    @property
    def title(self) -> str:
        """The rule as the user would write it."""
        kind = "read" if HELD in self.access else "path"
        return f"{'allow' if self.allow else self.action.verb}-{kind} {self.asked}"


@dataclass(frozen=True)
class NetRule:
    """Refuse, or except from refusal, an address that a socket is connected, sent or bound to.

    ``network`` None is every IPv4 and IPv6 address. ``ports`` is an inclusive range, None every port. With
    ``protocol`` "unix", ``path`` is a file's pattern or ``abstract`` an abstract name (``*`` is a wildcard, no ``@``);
    both None is every unix socket.
    """

    asked: str
    allow: bool
    protocol: Literal["tcp", "udp", "unix", "any"]
    network: IPv4Network | IPv6Network | None = None
    ports: tuple[int, int] | None = None
    path: Pattern | None = None
    abstract: str | None = None
    action: Action = field(default_factory=Action)
    group: str = ""

    @property
    def title(self) -> str:
        """The rule as the user would write it."""
        return f"{'allow' if self.allow else self.action.verb}-net {self.asked}"


@dataclass(frozen=True)
class StandingRule:
    """Part of every policy, beside the user's rules.

    ``asked`` says what it does, ``name`` is its row in ``enforce.standing``.
    """

    asked: str
    name: str
    action: Action = field(default_factory=Action)
    group: str = ""
    allow: Literal[False] = False

    @property
    def title(self) -> str:
        """What it does, in words: "protects isotrace"."""
        return self.asked


Rule = CallRule | PathRule | NetRule | StandingRule


def is_answer(rule: Rule) -> bool:
    """Whether it was written as an answer to a question, by isotrace ask: it is as good as the question was."""
    return rule.group == ANSWERS or rule.group.startswith(f"{ANSWERS}-")


def asks(rule: Rule) -> bool:
    """Whether it asks before a call goes on; an exception in a group that asks does not."""
    return not rule.allow and rule.action.kind == "ask"


@dataclass(frozen=True)
class Group:
    """Rules under one name with one action; ``unasked`` are calls that no rule of the policy asks about (``settle``)."""

    name: str
    rules: tuple[Rule, ...]
    description: str = ""
    unasked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Policy:
    """All the rules. Groups say what belongs together and what happens; rules compete across all of them.

    A rule's number, by which counters know it, is its index in ``rules``.
    """

    groups: tuple[Group, ...]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule, in the order of the groups."""
        return tuple(self._each())

    @property
    def asks(self) -> bool:
        """Whether any rule asks."""
        return any(map(asks, self._each()))

    def _each(self) -> Iterator[Rule]:
        for group in self.groups:
            yield from group.rules
