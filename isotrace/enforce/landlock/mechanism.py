"""What Landlock can truthfully enforce. Pure."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field

from isotrace.enforce import Findings, Guarantees, Note, Ring, Unsupported
from isotrace.enforce.landlock import beside, ports, rights
from isotrace.enforce.mechanisms import CONNECT, NO_PRIVILEGES, OLD_RINGS, TOLD, lacks
from isotrace.policy.model import NetRule, PathRule, Policy, Rule, asks

_PLACES = Note(
    "what is made later beside something denied is denied, too",
    "Landlock allows files, and directories with everything below them: what lies beside something denied is "
    "allowed one by one when the command starts; what is made beside it later is denied; directories on the "
    "way there cannot be listed, and nothing can be made, removed or renamed in them",
)
_EXCEPTIONS = Note(
    "an exception is for what is there when the command starts",
    "an exception covers what exists when the command starts; it does not cover what does not exist yet, a "
    "directory without what is in it, and a file with several hard links",
)
_RENAMES = Note(
    "nothing is renamed or linked to where more is allowed",
    "a file that may be written but not read cannot be made, removed or renamed, because a rename reads what "
    "it moves; nothing can be renamed or linked to where more is allowed (EXDEV, EACCES)",
)
_NO_MOUNTS = Note(
    "the command mounts nothing and traces nobody outside",
    "the command cannot mount anything, make device nodes, or trace processes outside of it; what others mount"
    " or move later is judged by the place that it was given, or came to",
)
_OPEN = Note(
    "what is open when the command starts, or is received, goes on being used",
    "what is open when the command starts, or is received, goes on being used",
)
_READ_TO_RUN = Note(
    "what may not be read is not executed, but a memfd is",
    "a file that may not be read cannot be executed either; what has no path, such as a memfd, can",
)
_ATTRIBUTES = Note(
    "mode, owner and times are changed through isotrace, or not at all",
    "isotrace changes mode, owner, times and extended attributes in the command's place, if w is allowed by "
    "every path: not of a file with several hard links, not for 32-bit programs, and not for processes with "
    "other rights or mounts than isotrace; ioctl is denied on files unless it is known to change nothing, and "
    "on devices that are opened where w is denied; message queues of POSIX can be neither made nor removed",
)
_ROOT = Note(
    "root in the command has other ways",
    "root in the command has other ways: devices, modules, files that name programs which the kernel starts",
)
_KEPT = Note(
    "cannot be lifted",
    "cannot be lifted: denied as long as the command's processes live, whatever happens to isotrace",
)
_UNSEEN = Note(
    "what it denies is neither shown nor counted",
    "denials by Landlock are neither shown nor counted; they fail with EACCES",
)
_PORTS = Note(
    "of TCP the port is judged, not the address; other sockets that a rule denies some of are not made; connections "
    "from before go on",
    "judges TCP by its port when it connects or binds, whatever the address; every other kind of socket of "
    "which a rule denies some cannot be made (UDP, MPTCP, SMC, raw); connections and sockets from before go on",
)
_LISTENS = Note(
    "sockets listen through isotrace",
    "isotrace makes sockets listen in the command's place; without a bind their port is 0; MSG_FASTOPEN is denied",
)
_UNIX = Note(
    "unix sockets are not made, but pairs; those from before go on",
    "unix sockets cannot be made, except pairs of streams; those from before, or that are received, go on",
)

_ONLY_EXECVE = (
    "of executing only execve is denied: not code that is mapped, such as a library or a program that is given"
    " to ld.so, and not renaming what may not be executed"
)
#: With it what is excepted for executing is excepted for reading, too.
READABLE = "a program that may be executed may also be read: the kernel reads what it executes in its caller's name"
_ABSTRACT = (
    "of abstract names only those of other processes: what the command's own processes bind and connect is not denied"
)


@dataclass(frozen=True)
class Landlock:
    """Landlock in a command that isotrace starts. ``rules`` are the whole policy's: some are held only beside others."""

    name: str = "landlock"
    commands_only: bool = True
    cannot_ask: str = "Landlock lets nothing wait"
    rules: tuple[Rule, ...] = field(default=(), repr=False)

    def for_policy(self, policy: Policy) -> Landlock:
        """The same, for the rules of a policy."""
        return Landlock(rules=policy.rules)

    def guarantees(self, rule: Rule, findings: Findings) -> Guarantees | Unsupported:
        """Paths where what is denied can be told from the directories that there are; TCP by ports."""
        if not isinstance(rule, PathRule | NetRule):
            return Unsupported("judges files and ports, no calls")
        if lack := lacks(findings, "landlock") or _of_action(rule):
            return lack
        if isinstance(rule, PathRule):
            return self._path(rule, findings)
        return self._unix(rule, findings) if rule.protocol == "unix" else self._net(rule, findings)

    def _path(self, rule: PathRule, findings: Findings) -> Guarantees | Unsupported:
        needs = max(rights.NEEDS[letter] for letter in rule.access & rights.NEEDS.keys())
        if lack := _lacks_abi(findings, needs) or _any_depth(rule):
            return lack
        writes = "w" in rule.access and not rule.allow
        if writes and (silent := lacks(findings, "seccomp", "seccomp_notify")):
            return Unsupported(f"attributes of files take a filter with a supervisor: {silent.reason}", silent.hint)
        notes: list[str] = [_PLACES, _EXCEPTIONS, _NO_MOUNTS, _OPEN, CONNECT, _ROOT, NO_PRIVILEGES, _KEPT, _UNSEEN]
        notes += [_ATTRIBUTES] if writes else []
        notes += [TOLD, _READ_TO_RUN, _RENAMES] if "r" in rule.access and not rule.allow else []
        short = () if rule.allow or "x" not in rule.access else self._short_of_execution()
        return _guarantees(rule, "closed" if beside.denies_writing(self.rules) else "judged", notes, short)

    def _short_of_execution(self) -> tuple[str, ...]:
        """Nothing where what may not be executed may not be read either, and so not be mapped."""
        paths = [rule for rule in self.rules if isinstance(rule, PathRule)]
        if all(("x" if rule.allow else "r") in rule.access for rule in paths if rule.access & _needs_other(rule)):
            return ()
        unread = any(rule.allow and "x" in rule.access and "r" not in rule.access for rule in paths)
        return (_ONLY_EXECVE, *((READABLE,) if unread and denies_reading(paths) else ()))

    def _net(self, rule: NetRule, findings: Findings) -> Guarantees | Unsupported:
        if lack := _lacks_abi(findings, 4):
            return lack
        if rule.network is not None:
            return Unsupported("knows ports, no addresses", "tcp:*:443 is a port of every address")
        if rule.protocol == "udp" and rule.allow and rule.ports is not None:
            return Unsupported("knows ports of TCP alone", "udp: leaves all of UDP")
        if rule.protocol != "tcp" and not rule.allow and rule.ports is not None:
            return Unsupported("knows ports of TCP alone", "tcp:*:PORT, or udp: for all of UDP")
        if silent := lacks(findings, "seccomp", "seccomp_notify"):
            return Unsupported(
                f"other sockets than TCP's take a filter with a supervisor: {silent.reason}", silent.hint
            )
        return _guarantees(rule, "closed", [_PORTS, _LISTENS, NO_PRIVILEGES, _KEPT, _UNSEEN], ())

    def _unix(self, rule: NetRule, findings: Findings) -> Guarantees | Unsupported:
        if not ports.closes_unix(self.rules):
            if rule.abstract != "*" or rule.allow:
                return Unsupported("does not know unix sockets by their names", "unix: is every unix socket")
            lack = _lacks_abi(findings, 6)
            return lack or _guarantees(rule, "judged", [NO_PRIVILEGES, _KEPT, _UNSEEN], (_ABSTRACT,))
        if silent := lacks(findings, "seccomp", "seccomp_notify"):
            return Unsupported(f"unix sockets take a filter with a supervisor: {silent.reason}", silent.hint)
        return _guarantees(rule, "closed", [_UNIX, NO_PRIVILEGES, _KEPT, _UNSEEN], ())


def denies_reading(rules: Sequence[PathRule]) -> bool:
    """Whether a rule denies to read some file."""
    return any(not rule.allow and "r" in rule.access for rule in rules)


def _needs_other(rule: PathRule) -> frozenset[str]:
    """The letter of a rule that asks for another one beside: x where it denies, r where it excepts."""
    return frozenset("r" if rule.allow else "x")


def _guarantees(rule: Rule, ring: Ring, notes: Sequence[str], short: tuple[str, ...]) -> Guarantees:
    return Guarantees(
        True,
        ring,
        True,
        ends=False,
        notes=(*notes, *((OLD_RINGS,) if ring == "closed" else ())),
        short=() if rule.allow else short,
        errno=0 if rule.allow else errno.EACCES,
    )


def _of_action(rule: Rule) -> Unsupported | None:
    """Landlock has one answer. EPERM is what is asked for where nothing is said."""
    if rule.allow or asks(rule):
        return None
    if rule.action.kind != "errno":
        return Unsupported(f"cannot {rule.action.kind}: it denies, and tells nobody")
    if rule.action.errno not in (errno.EPERM, errno.EACCES):
        return Unsupported(f"denies with EACCES, not {rule.action.name}", "--errno EACCES")
    return None


def _lacks_abi(findings: Findings, wanted: int) -> Unsupported | None:
    finding = findings.get(f"landlock:{wanted}")
    if finding is None or finding.verdict == "yes":
        return None
    return Unsupported(finding.why, finding.remedy)


def _any_depth(rule: PathRule) -> Unsupported | None:
    """A denial that any directory may come to be met by leaves nothing to allow."""
    if not rule.allow and any(part.anything for part in rule.pattern.components[:-1]):
        return Unsupported(
            "a ** that is not the end stands for directories that do not exist yet", "name the directories, or use *"
        )
    return None
