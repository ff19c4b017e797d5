"""Rules on paths as mounts of a unit's own: hidden, read-only, not executable; and what is let through inside of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from isotrace.handover.model import Findings, Held, Setting, find_answer
from isotrace.handover.places import Place, excepted_from, overlap, place, refuses, unix_places, writable
from isotrace.policy.model import PathRule, Policy

_ORDER = (
    *("TemporaryFileSystem", "BindReadOnlyPaths", "BindPaths", "InaccessiblePaths", "ReadOnlyPaths"),
    *("ReadWritePaths", "NoExecPaths", "ExecPaths"),
)
_SETTINGS = {"w": ("ReadOnlyPaths", "ReadWritePaths"), "x": ("NoExecPaths", "ExecPaths")}


@dataclass
class _Mounts:
    policy: Policy
    setting: Setting
    findings: Findings
    lines: dict[str, dict[str, None]] = field(default_factory=dict)
    #: (rule, letter) that is taken over, of those that let something through
    taken: set[tuple[int, str]] = field(default_factory=set)
    emptied: list[Place] = field(default_factory=list)
    bound: list[Place] = field(default_factory=list)

    def add(self, key: str, word: str) -> None:
        self.lines.setdefault(key, {})[word] = None

    def refuse(self, rule: PathRule) -> None:
        where = place(rule.pattern)
        if where is None:
            self.findings.say(rule, Held.NOT, "a mount is at a path without stars")
            return
        if "r" in rule.access and not self.hide(rule, where):
            return
        for letter in sorted(rule.access & _SETTINGS.keys()):
            if letter == "x" or "r" not in rule.access:
                self.cover(rule, where, letter)
        if not where.below:
            self.findings.say(rule, Held.WIDER, "where it is a directory, so is all that is below it")
        find_answer(rule, self.findings, "EACCES, EROFS or ENOENT")

    def hide(self, rule: PathRule, where: Place) -> bool:
        exceptions = excepted_from(rule, "r", self.policy)
        if not exceptions and where.path != "/":
            self.add("InaccessiblePaths", quoted(f"-{where.path}" if self.is_hidden(where) else where.path))
            if rule.access < frozenset("rwx"):
                self.findings.say(rule, Held.WIDER, "it is hidden: nothing is written or executed there either")
            return True
        if ":" in where.path:
            self.findings.say(rule, Held.NOT, "systemd's mounts have no colon in their paths")
            return False
        self.add("TemporaryFileSystem", quoted(f"{where.path}:ro"))
        self.emptied.append(where)
        self.findings.say(rule, Held.WIDER, "what is not let through is not there at all")
        for one in exceptions:
            self.bind(one)
        return True

    def bind(self, rule: PathRule) -> None:
        where = self.fit(rule)
        if where is None or ":" in where.path or where.path == "/":
            return
        both = writable(self.policy, where)
        self.bound.append(where)
        self.add("BindPaths" if both else "BindReadOnlyPaths", quoted(f"-{where.path}"))
        self.taken |= {(id(rule), "r")} | ({(id(rule), "w")} if both else set())

    def cover(self, rule: PathRule, where: Place, letter: str) -> None:
        deny, allow = _SETTINGS[letter]
        self.add(deny, quoted(f"-{where.path}" if self.is_hidden(where) else where.path))
        if letter == "w":
            self.findings.say(rule, Held.PART, "devices, pipes and sockets may be written")
        for one in excepted_from(rule, letter, self.policy):
            if (fit := self.fit(one)) is not None and not self.is_hidden(fit):
                self.add(allow, quoted(f"-{fit.path}"))
                self.taken.add((id(one), letter))

    def is_hidden(self, where: Place) -> bool:
        """Whether it is in a place that is made empty, and is not bound there."""
        emptied = any(one.has(where) and one != where for one in self.emptied)
        return emptied and not any(one.has(where) for one in self.bound)

    def fit(self, rule: PathRule) -> Place | None:
        """The place of a rule that lets something through, if a mount lets no more through than it."""
        where = place(rule.pattern)
        if where is None or where.below:
            return where
        return where if self.setting.kind(where.path) == "file" else None

    def find_exceptions(self) -> None:
        refusing = [rule for rule in self.policy.rules if isinstance(rule, PathRule) and refuses(rule)]
        for rule in self.policy.rules:
            if isinstance(rule, PathRule) and not refuses(rule):
                if not rule.allow:
                    self.findings.say(rule, Held.NOT, "nothing is reported")
                if lost := [letter for letter in sorted(rule.access) if self.loses(rule, letter, refusing)]:
                    self.findings.say(rule, Held.WIDER, f"{', '.join(lost)} is denied: {self.why(rule)}")

    def loses(self, rule: PathRule, letter: str, refusing: Sequence[PathRule]) -> bool:
        """Whether something refuses what it lets through."""
        met = [one for one in refusing if {letter, "r"} & one.access and overlap(one.pattern, rule.pattern)]
        return bool(met) and (id(rule), letter) not in self.taken

    def why(self, rule: PathRule) -> str:
        where = place(rule.pattern)
        if where is None:
            return "a mount is at a path without stars"
        if not where.below and self.setting.kind(where.path) != "file":
            return "it is no file here, and a mount of a directory has all that is below it"
        return "what is around it is hidden, or it can only be had with more"


def directives(policy: Policy, setting: Setting, findings: Findings) -> list[str]:
    """The lines of a unit."""
    mounts = _Mounts(policy, setting, findings)
    rules = [rule for rule in policy.rules if isinstance(rule, PathRule) and refuses(rule)]
    for rule in sorted(rules, key=lambda rule: ("r" not in rule.access, rule.pattern.specificity)):
        mounts.refuse(rule)
    for net, where in unix_places(policy.rules):
        mounts.add("InaccessiblePaths", quoted(where.path))
        findings.say(net, Held.WIDER, "the socket is hidden")
        find_answer(net, findings, "EACCES or ECONNREFUSED")
    mounts.find_exceptions()
    return list(_lines(mounts))


def _lines(mounts: _Mounts) -> Iterator[str]:
    for key in _ORDER:
        yield from (f"{key}={word}" for word in mounts.lines.get(key, ()))


def quoted(word: str) -> str:
    """As systemd.syntax(7) reads it back: no specifiers, no end of a string."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
