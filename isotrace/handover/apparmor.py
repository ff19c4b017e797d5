"""A profile of AppArmor 3: files by names, sockets by families. Its refusals win over all that it allows.

Where a policy refuses everything but exceptions, the profile has the exceptions alone. What is moved or mounted has another
name: directories above what is refused are not moved, and nothing is mounted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from isotrace.handover.model import Findings, Handed, Held, Setting, find_answer
from isotrace.handover.places import (
    LETTERS,
    about,
    beats,
    excepted_from,
    is_every_unix,
    overlap,
    refused_by_default,
    refuses,
)
from isotrace.policy.model import CallRule, NetRule, PathRule, Policy
from isotrace.policy.patterns import EVERYTHING, Component, Pattern

#: What is allowed and refused for an access: m is mapping as code, l a link by that name.
_ALLOWED = {"r": "r", "w": "wl", "x": "mix"}
_REFUSED = {"r": "r", "w": "wl", "x": "mx"}
_ALWAYS = ("capability", "dbus", "signal")
_FREE = ("unix", "netlink", "alg")
_UNSEEN = ("inet raw", "inet6 raw", "packet", "xdp", "rds", "rxrpc", "pppox")
_KERNEL = "only where the kernel has AppArmor judge unix sockets (Ubuntu's, and Linux 6.17 on)"
_NOTES = (
    "the profile holds what is started under it: aa-exec -p NAME, or AppArmorProfile=NAME in a unit",
    "every capability, signal and D-Bus message is allowed, as no rule is about them: AppArmor takes none away here",
)
_WITH_PATHS = "nothing is mounted, other processes are not traced, and directories above what is denied do not move"
_WITHOUT_PATHS = "mounts, pivot_root and tracing are allowed, as no rule is on paths"


def export(policy: Policy, setting: Setting) -> Handed:
    """The text that apparmor_parser loads."""
    findings = Findings(policy)
    profile = _Profile(policy, findings)
    lines = [*(f"{word}," for word in _ALWAYS), *profile.files(), *profile.sockets()]
    on_paths = any(isinstance(rule, PathRule) for rule in policy.rules)
    if not on_paths:
        lines += ["mount,", "umount,", "pivot_root,", "ptrace,"]
    else:
        lines.append(f"ptrace peer={_quoted(_escaped(setting.name))},")
    for rule in policy.rules:
        if isinstance(rule, CallRule):
            findings.say(rule, Held.NOT, "AppArmor has no rules on calls")
    head = f"profile {_quoted(_escaped(setting.name))} {{"
    text = "\n".join(["abi <abi/3.0>,", "", head, *(f"  {line}" for line in lines), "}"]) + "\n"
    return Handed(text, findings.found(), (*_NOTES, _WITH_PATHS if on_paths else _WITHOUT_PATHS))


@dataclass
class _Profile:
    policy: Policy
    findings: Findings
    above: dict[str, None] = field(default_factory=dict)

    def files(self) -> Iterator[str]:
        """Rules on files: what is allowed, then what is refused."""
        yield '"/{,**}" k,'
        allowed: dict[str, str] = {}
        refused: dict[str, str] = {}
        for letter in LETTERS:
            if not refused_by_default(self.policy, letter):
                allowed[name(EVERYTHING)] = allowed.get(name(EVERYTHING), "") + _ALLOWED[letter]
            for rule in about(self.policy, letter):
                if not refuses(rule):
                    key = ("" if rule.allow else "audit ") + name(rule.pattern)
                    allowed[key] = allowed.get(key, "") + _ALLOWED[letter]
                elif self.is_needed(rule, letter):
                    refused[name(rule.pattern)] = refused.get(name(rule.pattern), "") + _REFUSED[letter]
                    self.refuse(rule, letter)
        for one in self.policy.rules:
            if isinstance(one, PathRule) and refuses(one):
                find_answer(one, self.findings, "EACCES")
                if "w" in one.access:
                    self.findings.say(one, Held.PART, "times and extended attributes are not judged")
        yield from (f"{key} {_merged(letters)}," for key, letters in allowed.items())
        yield from (f"deny {key} {_merged(letters)}," for key, letters in refused.items())
        yield from (f"deny {key} w," for key in self.above)

    def is_needed(self, rule: PathRule, letter: str) -> bool:
        """Whether something else allows what the rule refuses."""
        if not refused_by_default(self.policy, letter):
            return True
        return any(
            not refuses(one) and not beats(one, rule) and overlap(one.pattern, rule.pattern)
            for one in about(self.policy, letter)
        )

    def refuse(self, rule: PathRule, letter: str) -> None:
        """A refusal wins there over what is excepted from it."""
        for one in excepted_from(rule, letter, self.policy):
            self.findings.say(one, Held.WIDER, f"{rule.title} wins there over what is inside of it")
        components = rule.pattern.components
        for end in range(1, len(components)):
            above = _path(components[:end])
            self.above[_quoted(above if above.endswith("/}") else above + "/")] = None

    def sockets(self) -> Iterator[str]:
        """Rules on sockets, by families and types."""
        nets = [rule for rule in self.policy.rules if isinstance(rule, NetRule)]
        inet = [rule for rule in nets if rule.protocol != "unix" and refuses(rule)]
        whole = [rule for rule in inet if rule.network is None and rule.ports is None]
        closed = any(rule.protocol == "any" for rule in whole)
        yield from (f"network {family}," for family in _FREE) if closed else ("network,",)
        yield "unix,"
        for rule in whole if not closed else ():
            yield from (f"deny network {family}," for family in _families(rule))
        for rule in nets:
            yield from self.unix(rule) if rule.protocol == "unix" else self.inet(rule, whole, closed)

    def inet(self, rule: NetRule, whole: list[NetRule], closed: bool) -> Iterator[str]:
        if not refuses(rule):
            if not rule.allow:
                self.findings.say(rule, Held.NOT, "nothing is reported")
            elif whole:
                self.findings.say(
                    rule, Held.WIDER, "it is denied, too: sockets are denied by family and type, not by address"
                )
        elif closed:
            self.findings.say(rule, Held.WIDER, "no socket but of AF_UNIX, AF_NETLINK and AF_ALG can be made")
            find_answer(rule, self.findings, "EACCES")
        elif rule in whole:
            self.findings.say(rule, Held.WIDER, "no such socket can be made or used")
            if rule.protocol == "udp":
                self.findings.say(rule, Held.PART, "SCTP in streams is not denied")
            find_answer(rule, self.findings, "EACCES")
        else:
            self.findings.say(rule, Held.NOT, "AppArmor 3 judges no addresses")
        yield from ()

    def unix(self, rule: NetRule) -> Iterator[str]:
        if not refuses(rule):
            held = Held.NOT if not rule.allow else Held.WIDER if self.excepts(rule) else Held.EXACT
            self.findings.say(rule, held, "" if held is Held.EXACT else "a denial wins there over what is inside of it")
        elif is_every_unix(rule):
            self.findings.say(rule, Held.WIDER, "no unix socket can be made or used, no pair either")
            find_answer(rule, self.findings, "EACCES")
            yield "deny network unix,"
        elif rule.path is not None:
            self.findings.say(rule, Held.PART, f"{_KERNEL}; there nothing at that path is read or written")
            find_answer(rule, self.findings, "EACCES")
            yield f"deny {name(rule.path)} rw,"
        else:
            self.findings.say(rule, Held.PART, _KERNEL)
            find_answer(rule, self.findings, "EACCES")
            address = _quoted("@" + "**".join(map(_escaped, (rule.abstract or "").split("*"))))
            yield f"deny unix peer=(addr={address}),"
            yield f"deny unix addr={address},"

    def excepts(self, rule: NetRule) -> bool:
        """Whether a rule on unix sockets refuses a part of what this one lets through."""
        others = [
            one for one in self.policy.rules if isinstance(one, NetRule) and one.protocol == "unix" and refuses(one)
        ]
        return any(one.path is None or rule.path is None or overlap(one.path, rule.path) for one in others)


def _families(rule: NetRule) -> Iterator[str]:
    """What of AppArmor's words is refused whole with every address of a protocol."""
    kind = "stream" if rule.protocol == "tcp" else "dgram"
    yield from (f"inet {kind}", f"inet6 {kind}")
    yield from ("smc",) if rule.protocol == "tcp" else ("inet seqpacket", "inet6 seqpacket")
    yield from _UNSEEN


def name(pattern: Pattern) -> str:
    """The pattern in AppArmor's words, also for a directory, whose name ends in a slash there."""
    components = pattern.components
    if components and components[-1].anything:
        head = _path(components[:-1])
        return _quoted(f"{head}{{,/,/**}}" if head else "/{,**}")
    return _quoted(_path(components) + "{,/}" if components else "/")


def _path(components: Iterable[Component]) -> str:
    """``/a/{,**/}b``; where any number of directories is the last component, a slash is the end."""
    found, between = "", "/"
    for one in components:
        if one.anything:
            between = "/{,**/}"
        else:
            found, between = found + between + _component(one), "/"
    return found if between == "/" else found + between


def _component(component: Component) -> str:
    """A star alone is at least one letter."""
    return "?*" if component.pieces == ("", "") else "*".join(map(_escaped, component.pieces))


def _escaped(text: str) -> str:
    return re.sub(r'([\\*?\[\]{}^,@"])', r"\\\1", text)


def _quoted(word: str) -> str:
    return f'"{word}"'


def _merged(letters: str) -> str:
    """Each letter once; an execution goes on under the profile (ix)."""
    found = "".join(letter for letter in "rwlmk" if letter in letters)
    return found + ("ix" if "ix" in letters else "x" if "x" in letters else "")
