"""Policies of KubeArmor, by its specification for containers: files and programs by paths, sockets by protocols.

What is refused is a policy that blocks. Where everything is refused but exceptions, these are one that allows, and whether
the rest is blocked is the posture of the namespace, which no policy says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from isotrace.handover import yaml
from isotrace.handover.model import Findings, Handed, Held, Setting, find_answer
from isotrace.handover.places import Place, excepted_from, place, refused_by_default, refuses, writable
from isotrace.policy.model import CallRule, NetRule, PathRule, Policy
from isotrace.policy.patterns import EVERYTHING

#: Names that mean themselves in the profiles that KubeArmor makes.
_PLAIN = re.compile(r"[A-Za-z0-9._/@:+=~%-]+")
_POSTURE = "only where the namespace's posture blocks: kubectl annotate namespace NAME kubearmor-file-posture=block"
_NOTES = (
    "KubeArmor itself has not read this: it is by its documentation",
    "it is about pods with the label app={name} in the namespace default",
)


@dataclass
class _Lists:
    """Of one policy: for files and programs, paths and directories with what else is said of them."""

    entries: dict[str, dict[Place, bool]] = field(default_factory=lambda: {"process": {}, "file": {}})
    protocols: dict[str, None] = field(default_factory=dict)

    def add(self, section: str, where: Place, readonly: bool = False) -> None:
        known = self.entries[section]
        known[where] = known.get(where, True) and readonly

    def spec(self, action: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for section, places in self.entries.items():
            for key, below in (("matchPaths", False), ("matchDirectories", True)):
                listed = [_entry(where, readonly) for where, readonly in places.items() if where.below is below]
                if listed:
                    found.setdefault(section, {})[key] = listed
        if self.protocols:
            found["network"] = {"matchProtocols": [{"protocol": name} for name in self.protocols]}
        return {**found, "action": action} if found else {}


def _entry(where: Place, readonly: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"path": where.path}
    if where.below:
        found = {"dir": where.path.rstrip("/") + "/", "recursive": True}
    return {**found, "readOnly": True} if readonly else found


def export(policy: Policy, setting: Setting) -> Handed:
    """YAML with a document for what is blocked, what is allowed, and what is reported."""
    findings = Findings(policy)
    made = _Policies(policy, findings)
    for rule in policy.rules:
        made.take(rule)
    made.close()
    named = (("block", "Block", made.blocked), ("allow", "Allow", made.allowed), ("audit", "Audit", made.reported))
    found = [
        _document(f"{setting.name}-{end}", setting.name, spec)
        for end, action, lists in named
        if (spec := lists.spec(action))
    ]
    notes = tuple(note.format(name=setting.name) for note in _NOTES)
    return Handed(yaml.documents(*found), findings.found(), notes)


def _document(name: str, label: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "security.kubearmor.com/v1",
        "kind": "KubeArmorPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"severity": 5, "selector": {"matchLabels": {"app": label}}, **spec},
    }


@dataclass
class _Policies:
    policy: Policy
    findings: Findings
    blocked: _Lists = field(default_factory=_Lists)
    allowed: _Lists = field(default_factory=_Lists)
    reported: _Lists = field(default_factory=_Lists)

    def take(self, rule: object) -> None:
        if isinstance(rule, CallRule):
            self.findings.say(rule, Held.NOT, "KubeArmor denies no calls")
        elif isinstance(rule, NetRule):
            self.net(rule)
        elif isinstance(rule, PathRule):
            (self.refuse if refuses(rule) else self.let)(rule)

    def close(self) -> None:
        """Block everything of what is refused everywhere without an exception."""
        for section, letters in (("process", "x"), ("file", "rw")):
            if self.whole(letters) and not self.allowed.entries[section]:
                self.blocked.add(section, Place("/", True), readonly=letters == "rw" and not self.whole("r"))

    def whole(self, letters: str) -> bool:
        """Whether one of these accesses is refused everywhere, but for exceptions."""
        return any(refused_by_default(self.policy, letter) for letter in letters)

    def refuse(self, rule: PathRule) -> None:
        where = _place(rule)
        find_answer(rule, self.findings, "EACCES or EPERM")
        if rule.pattern == EVERYTHING:
            self.findings.say(rule, Held.PART, _POSTURE)
            if "w" not in rule.access and "r" in rule.access:
                self.findings.say(rule, Held.WIDER, "nothing is written there either")
            if "r" not in rule.access and "w" in rule.access and not self.whole("r"):
                self.allowed.add("file", Place("/", True), readonly=True)
        elif where is None:
            self.findings.say(
                rule, Held.NOT, "its patterns depend on what enforces them, and some names mean more there"
            )
            return
        else:
            self.block(rule, where)
        if "x" in rule.access and "r" not in rule.access:
            self.findings.say(rule, Held.PART, "files that are mapped as code are not judged")
        if "w" in rule.access:
            self.findings.say(rule, Held.PART, "times and extended attributes are not judged")

    def block(self, rule: PathRule, where: Place) -> None:
        if "x" in rule.access:
            self.blocked.add("process", where)
        if {"r", "w"} & rule.access:
            self.blocked.add("file", where, readonly="r" not in rule.access)
        if "r" in rule.access and "w" not in rule.access:
            self.findings.say(rule, Held.WIDER, "nothing is written there either")
        for letter in sorted(rule.access):
            for one in excepted_from(rule, letter, self.policy):
                self.findings.say(one, Held.WIDER, f"{rule.title} wins there over what is inside of it")

    def let(self, rule: PathRule) -> None:
        where = _place(rule)
        if not rule.allow:
            self.report(rule, where)
        asked = [letter for letter in "rwx" if letter in rule.access and self.whole(letter)]
        if not asked:
            return
        if rule.pattern == EVERYTHING:
            self.findings.say(rule, _worse(rule), "is denied: a rule that denies everything wins")
            return
        if where is None:
            self.findings.say(rule, _worse(rule), "is denied: its patterns depend on what enforces them")
            return
        if "x" in asked:
            self.allowed.add("process", where)
        if "r" in asked:
            self.allowed.add("file", where, readonly=not writable(self.policy, where))
        elif "w" in asked and not self.whole("r"):
            self.allowed.add("file", where)
        elif "w" in asked:
            self.findings.say(rule, _worse(rule), "w is denied: there is no writing without reading")

    def report(self, rule: PathRule, where: Place | None) -> None:
        if where is None:
            self.findings.say(rule, Held.NOT, "nothing is reported: its patterns depend on what enforces them")
            return
        if "x" in rule.access:
            self.reported.add("process", where)
        if {"r", "w"} & rule.access:
            self.reported.add("file", where, readonly="r" not in rule.access)

    def net(self, rule: NetRule) -> None:
        nets = [
            one for one in self.policy.rules if isinstance(one, NetRule) and one.protocol != "unix" and refuses(one)
        ]
        if not rule.allow and rule.protocol != "unix" and rule.network is None and rule.ports is None:
            lists = self.blocked if refuses(rule) else self.reported
            lists.protocols |= dict.fromkeys(("tcp", "udp", "icmp") if rule.protocol == "any" else (rule.protocol,))
            if refuses(rule):
                self.findings.say(rule, Held.PART, "other protocols, raw sockets and packets are not judged")
                find_answer(rule, self.findings, "EACCES or EPERM")
        elif not rule.allow:
            what = "unix sockets" if rule.protocol == "unix" else "addresses and ports"
            self.findings.say(rule, Held.NOT, f"KubeArmor's policies for containers have no {what}")
        elif rule.protocol != "unix" and any(one.network is None and one.ports is None for one in nets):
            self.findings.say(rule, Held.WIDER, "is denied: a protocol is blocked for every address")


def _worse(rule: PathRule) -> Held:
    """An exception that is refused, or something to be reported that is."""
    return Held.WIDER if rule.allow else Held.NOT


def _place(rule: PathRule) -> Place | None:
    where = place(rule.pattern)
    return where if where is not None and _PLAIN.fullmatch(where.path) else None
