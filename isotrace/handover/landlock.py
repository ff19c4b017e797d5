"""A configuration for Landlock, as JSON in the form of Landlock Config (github.com/landlock-lsm/landlockconfig).

Landlock refuses an access everywhere but below what a rule allows, and takes nothing away inside of that. So it holds a
policy that refuses everything but exceptions; an exception in which something is refused again is left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from isotrace.handover.model import Findings, Handed, Held, Setting, find_answer
from isotrace.handover.places import (
    LETTERS,
    Place,
    about,
    beats,
    is_every_unix,
    overlap,
    place,
    refused_by_default,
    refuses,
)
from isotrace.policy.decide import inet_specificity
from isotrace.policy.model import CallRule, NetRule, PathRule, Policy

#: The rights of an access to a file, and those to what is in a directory.
FILE = {"r": ("read_file",), "w": ("write_file", "truncate"), "x": ("execute",)}
DIRECTORY = {
    "r": ("read_dir",),
    "w": (
        *("make_block", "make_char", "make_dir", "make_fifo", "make_reg", "make_sock", "make_sym"),
        *("refer", "remove_dir", "remove_file"),
    ),
    "x": (),
}
_NET = ("bind_tcp", "connect_tcp")
_SHORT = {
    "w": "modes, owners, times and extended attributes are not judged",
    "x": "files that are mapped as code are not judged",
}
_MOST_PORTS = 1024
#: The first ABI that has files with all rights that are used here, ports, scopes.
_FILES_ABI, _NET_ABI, _SCOPE_ABI = 3, 4, 6
_NOTES = (
    "needs Landlock's ABI {abi}: a loader that makes the best of an older kernel holds less",
    "paths are those of this machine now: what was not there, or was of another kind, is denied",
)


def export(policy: Policy, setting: Setting) -> Handed:
    """The JSON, with access rights by name and no variables."""
    findings = Findings(policy)
    rules = _Rules(policy, setting, findings)
    files, beneath = rules.files()
    net, ports = rules.ports()
    scoped = rules.scopes()
    ruleset: dict[str, Any] = {}
    abi = _SCOPE_ABI if scoped else _NET_ABI if net else _FILES_ABI
    if files:
        ruleset["handledAccessFs"] = files
    if net:
        ruleset["handledAccessNet"] = list(_NET)
    if scoped:
        ruleset["scoped"] = ["abstract_unix_socket"]
    found: dict[str, Any] = {"abi": abi, "ruleset": [ruleset]}
    if beneath:
        found["pathBeneath"] = beneath
    if ports:
        found["netPort"] = [{"allowedAccess": list(_NET), "port": ports}]
    for rule in policy.rules:
        if isinstance(rule, CallRule):
            findings.say(rule, Held.NOT, "Landlock has no rules on calls")
    return Handed(json.dumps(found, indent=2) + "\n", findings.found(), tuple(note.format(abi=abi) for note in _NOTES))


@dataclass
class _Rules:
    policy: Policy
    setting: Setting
    findings: Findings
    allowed: dict[str, set[str]] = field(default_factory=dict)

    def files(self) -> tuple[list[str], list[dict[str, Any]]]:
        """The rights that are handled, and what is allowed beneath which path."""
        handled = [letter for letter in LETTERS if refused_by_default(self.policy, letter)]
        for letter in LETTERS:
            for rule in about(self.policy, letter):
                if not refuses(rule):
                    self.let(rule, letter, letter in handled)
                elif letter in handled:
                    self.refused(rule, letter)
                else:
                    why = f"{letter}: Landlock takes nothing away inside of what it allows"
                    self.findings.say(rule, Held.PART if set(handled) & rule.access else Held.NOT, why)
        for one in self.policy.rules:
            if isinstance(one, PathRule) and not one.allow and not refuses(one):
                self.findings.say(one, Held.NOT, "nothing is reported")
        for one in about(self.policy, "x") if {"r", "x"} <= set(handled) else ():
            if not refuses(one) and not self.is_read(one):
                self.findings.say(one, Held.WIDER, "x is denied: what is executed is read there")
        rights = sorted({right for letter in handled for right in (*FILE[letter], *DIRECTORY[letter])})
        groups: dict[tuple[str, ...], list[str]] = {}
        for path in sorted(self.allowed):
            groups.setdefault(tuple(sorted(self.allowed[path])), []).append(path)
        return rights, [{"allowedAccess": list(access), "parent": paths} for access, paths in groups.items()]

    def refused(self, rule: PathRule, letter: str) -> None:
        if letter in _SHORT:
            self.findings.say(rule, Held.PART, _SHORT[letter])
        find_answer(rule, self.findings, "EACCES or EXDEV")

    def let(self, rule: PathRule, letter: str, handled: bool) -> None:
        """Allow what a rule lets through, if Landlock can allow just that."""
        if not handled:
            return
        if why := self.unfit(rule, letter):
            self.findings.say(rule, Held.WIDER, f"{letter} is denied: {why}")
            return
        where = place(rule.pattern)
        assert where is not None
        rights = set(FILE[letter])
        if self.setting.kind(where.path) == "directory":
            rights |= set(DIRECTORY[letter])
        self.allowed.setdefault(where.path, set()).update(rights)
        if letter == "w":
            self.findings.say(rule, Held.WIDER, f"{where.path} itself is not made, moved or removed")

    def is_read(self, rule: PathRule) -> bool:
        """Whether what it is about may be read as well."""
        where = place(rule.pattern)
        readable = (Place(path, True) for path, rights in self.allowed.items() if "read_file" in rights)
        return where is not None and any(one.has(where) for one in readable)

    def unfit(self, rule: PathRule, letter: str) -> str:
        where = place(rule.pattern)
        if where is None:
            return "Landlock's paths have no stars"
        if "$" in where.path:
            return "${…} is a variable there"
        others = (one for one in about(self.policy, letter) if refuses(one) and not beats(rule, one))
        if any(overlap(one.pattern, rule.pattern) for one in others):
            return "something inside of it is denied"
        return self.unknown(where)

    def unknown(self, where: Place) -> str:
        kind = self.setting.kind(where.path)
        if kind is None:
            return "nothing is there now"
        return "" if where.below or kind == "file" else "a directory is allowed with all that is below it"

    def ports(self) -> tuple[bool, list[int]]:
        """Whether TCP is refused, and the ports that are not."""
        nets = [rule for rule in self.policy.rules if isinstance(rule, NetRule) and rule.protocol != "unix"]
        every = [one for one in nets if one.protocol != "udp" and one.network is None and one.ports is None]
        whole = any(map(refuses, every))
        found: set[int] = set()
        for rule in nets:
            if refuses(rule):
                self.refused_net(rule, whole)
            elif not rule.allow:
                self.findings.say(rule, Held.NOT, "nothing is reported")
            elif whole and rule.protocol != "udp":
                found |= self.let_ports(rule, nets)
        return whole, sorted(found)

    def refused_net(self, rule: NetRule, whole: bool) -> None:
        if not whole or rule.protocol == "udp":
            self.findings.say(
                rule, Held.NOT, "Landlock judges ports of TCP, and takes none away from those that it allows"
            )
            return
        why = "TCP alone, where it is bound and connected: not other protocols, MPTCP, or a listener that was not bound"
        self.findings.say(rule, Held.PART, why)
        find_answer(rule, self.findings, "EACCES")

    def let_ports(self, rule: NetRule, nets: list[NetRule]) -> set[int]:
        if rule.network is not None or rule.ports is None or rule.ports[1] - rule.ports[0] >= _MOST_PORTS:
            self.findings.say(rule, Held.WIDER, "is denied: a port is allowed of every address, and one by one")
            return set()
        own = inet_specificity(rule)
        others = (one for one in nets if refuses(one) and one.protocol != "udp" and inet_specificity(one) >= own)
        if any(_meet(one, rule) for one in others):
            self.findings.say(rule, Held.WIDER, "is denied: something of it is denied")
            return set()
        return set(range(rule.ports[0], rule.ports[1] + 1))

    def scopes(self) -> bool:
        """Whether abstract unix sockets of others are refused."""
        unix = [rule for rule in self.policy.rules if isinstance(rule, NetRule) and rule.protocol == "unix"]
        whole = any(refuses(rule) and is_every_unix(rule) and rule.path is None for rule in unix)
        for rule in unix:
            self.findings.say(rule, *_unix(rule, whole))
        return whole


def _unix(rule: NetRule, whole: bool) -> tuple[Held, str]:
    if not rule.allow and not refuses(rule):
        return Held.NOT, "nothing is reported"
    if not refuses(rule):
        if whole and rule.path is None:
            return Held.WIDER, "is denied: abstract sockets are, all together"
        return Held.EXACT, "nothing denies it there"
    if rule.path is not None or not whole:
        return Held.NOT, "Landlock judges abstract sockets alone, all together"
    return Held.PART, "abstract sockets of who is outside: not those of the processes themselves, and no files"


def _meet(one: NetRule, other: NetRule) -> bool:
    low, high = one.ports or (0, 65535)
    assert other.ports is not None
    return low <= other.ports[1] and other.ports[0] <= high
