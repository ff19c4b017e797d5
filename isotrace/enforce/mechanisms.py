"""What each mechanism can truthfully enforce. Pure: rule and findings in, guarantees out, or why it is unsupported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from isotrace.enforce import Findings, Guarantees, Note, Ring, Unsupported
from isotrace.enforce.calls import cbpf
from isotrace.enforce.hooks import coverage, waiting
from isotrace.policy import families, names
from isotrace.policy.families import Kind
from isotrace.policy.model import HELD, IO_URING, CallRule, NetRule, PathRule, Rule, asks, is_answer
from isotrace.policy.patterns import EVERYTHING

#: Every feature that a mechanism asks about.
FEATURES = (
    *("lsm_bpf", "fmod_ret_security", "fmod_ret_syscall", "kprobe", "override"),
    *("seccomp", "seccomp_notify", "raw_tracepoint", "signal", "lkm", "unlocked"),
    *("unpreempted", "lsm_unskipped", "io_threads", "ia32", "fanotify", "landlock", "perf_events"),
)

_MOVES = Note(
    "paths deeper than 64 levels are denied; so is to move or link what is denied",
    "denied as well: a path deeper than 64 levels, a file whose place is not known, and moving or linking what"
    " is denied",
)
_ANEW = Note(
    "a directory that somebody else removes and makes anew is met by names and patterns above it alone",
    "a directory that somebody else removes and makes anew, or a later target of a symbolic link, is covered "
    "by names and patterns above it, not by rules on its old contents",
)
_NAMES = Note(
    "names of more than 62 bytes that a pattern might match are denied",
    "a pattern compares names of up to 62 bytes: it denies longer ones that it might match, and every name in "
    "a directory that ignores case",
)
_LINKS = Note(
    "a hard link made before, from inside a denied directory to outside, keeps working",
    "a hard link made before, from inside a denied directory to a place outside of it, keeps working",
)
_LAYERS = Note(
    "layers of an overlay are judged where it is; a file system that is mounted later is judged by the mount at hand "
    "alone",
    "operations of an overlay on its layers are judged there; a file system that is mounted later is judged by"
    " the mount at hand alone, or by its own tree if a call sees no mount (truncate, chmod, utimensat, "
    "setxattr)",
)
_NETS = (
    Note(
        "a socket that listens or accepts is judged by its own address, not by that of who comes; connections that "
        "exist already go on",
        "judges an IP socket by the address that it connects, sends or binds to; one that listens or accepts by "
        "its own address, not by that of who comes; connections that exist already, or are received from another "
        "process, go on",
    ),
    Note(
        "sockets whose destination no hook sees are denied whole",
        "sockets whose destination no hook sees (raw, packet, XDP, RDS, RxRPC, unknown protocols) are denied whole",
    ),
    Note(
        "0.0.0.0 and :: as a destination are this host",
        "0.0.0.0 and :: as a destination mean this host, by an address that the kernel chooses: denied if the rule"
        " denies one of these addresses; allow-net 0.0.0.0/32 and ::/128 except them",
    ),
    Note(
        "judges the address, not who has it: this host has others than 127.0.0.1, a broadcast or multicast address "
        "reaches many",
        "judges the address, not who has it: this host has others than 127.0.0.1, a socket that is bound to 0.0.0.0 or "
        ":: has all of them, a broadcast or multicast address reaches many, and a gateway may translate one",
    ),
    Note(
        "not judged: ports that the kernel chooses, source routes, MPTCP's further subflows, what root has the kernel "
        "do",
        "not judged: ports that the kernel chooses (they are port 0 here), source routes (IP_OPTIONS, IPV6_RTHDR), "
        "MPTCP's further subflows, and what root has the kernel do (DNAT, tunnels, BPF on packets, mounts over the "
        "network)",
    ),
)
_SCTP = Note(
    "SCTP is denied whole",
    "SCTP is denied whole: both sides add addresses to a connection, and no hook sees these",
)
_BEYOND = Note(
    "families of sockets beside IP, unix, netlink and AF_ALG are denied whole, netlink is not judged",
    "every family of sockets but IP, unix, netlink and AF_ALG is denied whole; netlink, which can also reach "
    "processes, is not judged",
)
_STAYS = Note(
    "directories and links on the way to what is denied are not moved, removed or covered",
    "the target cannot move, remove or cover the directories and links that a rule's path leads through; a "
    "directory can move only where patterns have the same left to match below both its places",
)
TOLD = Note(
    "what stat, access, getxattr, readlink, statfs and inotify tell is told",
    "r covers the contents of a file or directory: what stat, access, getxattr, readlink, statfs and inotify "
    "tell is told",
)
_RUN = Note(
    "a program that may be executed is read by who executes and traces it: deny x, too",
    "a program that may be executed is read by who executes and traces it: deny x, too",
)
CONNECT = Note(
    "connecting to a socket at a path is not judged: unix: rules are",
    "a rule on a path does not cover connecting to a socket there: rules on unix: do",
)
_CODE = Note(
    "memory that no file is behind is not met when it is executed",
    "a file is judged when it is executed and when memory of it becomes executable, whatever asks for that; "
    "memory that no file is behind is not met",
)
_NO_PATH = Note(
    "what no path has, such as a memfd, is not executed",
    "what has no path, such as a memfd or a file system that is mounted nowhere, cannot be executed",
)
_PEER = Note(
    "a unix socket is judged by what its peer was bound to; stream sockets that are connected already, and pairs, are "
    "not",
    "judges a unix socket by the file or name that its peer is bound to, wherever that file is now; stream "
    "sockets that are already connected, and pairs of these, are not judged",
)
_SOCKET_MOVES = Note(
    "socket files are not made, moved or linked to where they are denied, nor directories moved there",
    "a socket file cannot be made, moved or linked where it is denied; a directory cannot be moved there or "
    "away from there, but it can where only something deeper in it is denied",
)
_AUTOBIND = Note(
    "names that the kernel gives a socket by itself are judged as a peer's alone",
    "a name that the kernel itself gives a socket, for SO_PASSCRED (five hexadecimal digits), is not judged "
    "when it is given, only when it is a peer's",
)
_SKIPPED = (
    "a call on a CPU where another one was preempted inside the same program is let through, and counted: of "
    "four processes that open in a loop one call in five was (7.3)"
)
OLD_RINGS = Note(
    "no io_uring can be set up; a ring that somebody else hands over later goes on being served",
    "no io_uring can be set up, and a target that already has one is rejected; a ring that another process "
    "made and hands over later goes on being served",
)
_HELD_OPEN = Note(
    "a file that is open already goes on being read and written",
    "a file that is open already when the rule begins goes on being read and written",
)
_READ_ONCE = Note(
    "the first read of a file that is open already is asked about; what is mapped already is read without asking",
    "asks about the first read of each file that is open already, and an answer is for all who share it; files"
    " that are already mapped are read, and files open for writing are written, without a question",
)
NOT_OPEN_YET = (
    "asks when a file is opened: a file that is already open, such as an inherited one, is read without a question"
)
_OPEN_ALREADY = Note(
    "what is open already, or is received from somebody else, goes on being read and written",
    "what is open already, or is received from somebody else, goes on being read and written",
)
_CANNOT_WAIT = "cannot wait, and gets the default: what io_uring and a received descriptor do, sendmmsg, recvmmsg, and"
_CATCHERS = (
    f"{_CANNOT_WAIT} a thread that catches SIGCONT (see --stop-catchers), is traced, or has a real-time policy",
    f"{_CANNOT_WAIT} a thread that is traced, or has a real-time policy",
)
_STOPPED = Note(
    "a process that catches SIGCONT is stopped while one of its threads waits",
    "a process that catches SIGCONT is stopped while one of its threads waits: its parent sees that (a shell "
    "writes Stopped), its handler runs when it goes on, and somebody else's stop ends then, too",
)
_WAITING = Note(
    "a thread that waits has another scheduling policy meanwhile",
    "a thread that waits has a deadline policy meanwhile, or, if its processors are chosen, the idle policy; "
    "it is then busy",
)
_UNLOOKED = Note(
    "an open with O_PATH is not asked about",
    "an open with O_PATH, which neither reads nor writes, is not asked about",
)
_POINTERS = Note(
    "what pointers of other calls point to can be another thing once that is answered",
    "asks about calls without a path as they are made: what their pointers point to can be something else "
    "after the answer",
)
_FOLLOWS_OBJECTS = Note(
    "judges what the kernel acts on",
    "judges what the kernel acts on, whatever call, spelling or thread led to it",
)


NO_PRIVILEGES = Note(
    "sets no_new_privs: sudo gains nothing",
    "sets no_new_privs: set-user-ID programs such as sudo gain nothing",
)
_NAMED = Note(
    "another thread of the command can change paths and addresses after the answer, and so do something else than what "
    "was allowed",
    "paths and addresses are those in the caller's memory and directories when the call begins: another thread"
    " of the command can change them before the kernel looks, and so do something that was not allowed "
    "(Landlock, which cannot be deceived in this way, cannot ask)",
)
_ALL_MET = Note(
    "every call that can name one waits about 0.1 ms for isotrace",
    "every call that can name a path or address waits for isotrace to look at it, about 0.1 ms",
)
_BY_KERNEL = Note(
    "not met: files that the kernel opens by itself, what is open already, and what was moved to where no rule is",
    "not covered: files that the kernel opens by itself (the interpreter of a script, the loader of a "
    "program), what is already open or received, and what is in a directory that was moved to where no rule is",
)
_ACCEPTED = Note(
    "a listening socket is judged when it listens, not when it accepts",
    "who listens is judged when it listens, not when it accepts",
)


#: Calls that a program mostly has done without entering the kernel, or by touching a page that the kernel answers for.
_WITHOUT_A_CALL = frozenset(
    (
        "gettimeofday",
        "time",
        "getcpu",
        "clock_gettime",
        "clock_gettime64",
        "clock_getres",
        "clock_getres_time64",
        "getrandom",
    )
)
#: Call → what else has its effect.
_BESIDE = {
    "kill": (
        "signals that the kernel sends are sent: of a descriptor's owner (F_SETOWN), a timer, a terminal (TIOCSIG), "
        "the end of a parent, a cgroup (cgroup.kill)"
    ),
    "openat": "an fanotify group hands root descriptors of files that others open: deny fanotify_init, too",
    "chmod": "a file's mode changes with its access control list, which setxattr and setfacl set: deny setxattr, too",
    "ptrace": "the memory of a process that one may trace is read and written through /proc/PID/mem: deny-path that",
}


def lacks(findings: Findings, *features: str) -> Unsupported | None:
    """What is said of the first feature that is not a certain yes."""
    for name in features:
        if name not in findings:
            return Unsupported(f"nothing is known about {name} here")
        finding = findings[name]
        if finding.verdict != "yes":
            doubt = "cannot tell about " if finding.verdict == "unknown" else "no "
            return _also_locked(findings, Unsupported(f"{doubt}{name}: {finding.why}", finding.remedy))
    return None


def _cannot_follow(findings: Findings) -> Unsupported | None:
    """What is said where programs that follow the target's descendants cannot be attached."""
    found = findings.get("perf_events")
    return lacks(findings, "perf_events") if found and found.verdict == "no" else None


def _also_locked(findings: Findings, lack: Unsupported) -> Unsupported:
    """A root user's EPERM has a likely cause where the kernel is locked down."""
    lock = findings.get("unlocked")
    if "EPERM although" not in lack.reason or lock is None or lock.verdict != "no":
        return lack
    return Unsupported(f"{lack.reason}; {lock.why}", lock.remedy)


@dataclass(frozen=True)
class _ByObject:
    """BPF programs at the kernel's security hooks."""

    name: str
    feature: str
    commands_only: bool = False
    cannot_ask: str = ""

    def guarantees(self, rule: Rule, findings: Findings) -> Guarantees | Unsupported:
        """Paths, addresses, and those calls that all come to a hook before they take effect."""
        if isinstance(rule, CallRule) and (missing := coverage.unenforceable(rule.calls)):
            return Unsupported(
                f"no security hook is met by every {', '.join(sorted(missing))}", _split_hint(rule, missing)
            )
        lack = lacks(findings, self.feature) or _cannot_follow(findings) or self._lacks_hooks(rule, findings)
        return lack or self._guarantees(rule, findings)

    def _lacks_hooks(self, rule: Rule, findings: Findings) -> Unsupported | None:
        """What is said where this kernel takes no program at a hook that the rule needs."""

        def exists(hook: str) -> bool:
            return _there(findings, f"{self.name}:{hook}")

        if isinstance(rule, CallRule) and (missing := coverage.unenforceable(rule.calls, exists)):
            return Unsupported(f"this kernel has no hook for {', '.join(sorted(missing))}", _split_hint(rule, missing))
        if isinstance(rule, PathRule) and (absent := coverage.lacking(rule.access, exists)):
            return Unsupported(f"this kernel has no hook {', '.join(absent)}", "CONFIG_SECURITY_PATH=y")
        if isinstance(rule, NetRule) and (absent := _lacks_sockets(rule, exists)):
            return Unsupported(
                f"this kernel has no hook {', '.join(absent)}", "CONFIG_SECURITY_NETWORK=y, CONFIG_SECURITY_PATH=y"
            )
        return None

    def _guarantees(self, rule: Rule, findings: Findings) -> Guarantees:
        whole, ring = self._unskipped(findings), self._ring(rule, findings)
        notes = (_FOLLOWS_OBJECTS, *_hook_notes(rule, self.name), *((OLD_RINGS,) if ring == "closed" else ()))
        found = Guarantees(whole, ring, True, notes=notes, short=() if whole else (_SKIPPED,))
        return (
            replace(found, notes=(*notes, *_asking_notes(rule)), waits="thread", orphaned=_orphaned(rule))
            if asks(rule)
            else found
        )

    def _unskipped(self, findings: Findings) -> bool:
        return lacks(findings, "unpreempted") is None

    @staticmethod
    def _ring(rule: Rule, findings: Findings) -> Ring:
        """Objects are judged whoever asks, but where kernel threads work, which belong to no process. Calls are not: what
        is linked to something that comes due runs at the end of any other call.
        """
        if isinstance(rule, CallRule):
            return ring(rule)
        return "judged" if _there(findings, "io_threads") else "closed"


def _lacks_sockets(rule: NetRule, exists: Callable[[str], bool]) -> list[str]:
    """The hooks that a rule on addresses needs and that are not there."""
    if rule.protocol != "unix":
        return coverage.lacking_nets(exists)
    return coverage.lacking_sockets(rule.abstract is None, rule.path is None, exists)


def _there(findings: Findings, name: str) -> bool:
    """Whether a detail that the findings may have is there; nothing said of it is no no."""
    finding = findings.get(name)
    return finding is None or finding.verdict == "yes"


def _hook_notes(rule: Rule, mechanism: str) -> tuple[str, ...]:
    if isinstance(rule, PathRule):
        names_too = [_NAMES] if rule.pattern.compares_names else []
        held = _READ_ONCE if HELD in rule.access else _HELD_OPEN
        return (_MOVES, _LINKS, _LAYERS, held, _ANEW, *names_too, *_access_notes(rule))
    if isinstance(rule, NetRule):
        return _socket_notes(rule) if rule.protocol == "unix" else _net_notes(rule)
    if not isinstance(rule, CallRule):
        return ()
    needless = sorted(rule.calls & coverage.NEEDLESS.keys())
    found = [f"{call} is not denied: {coverage.NEEDLESS[call]}" for call in needless]
    found += coverage.unmet(rule.calls, mechanism)
    found += _ways_beside(rule)
    if "openat" in rule.calls:
        found += [_OPEN_ALREADY, "through io_uring, sockets and accepted connections are denied together with opens"]
    return tuple(found)


def _orphaned(rule: Rule) -> str:
    return {"deny": "denied", "kill": "killed"}[rule.action.otherwise] if rule.action.kept else "allowed"


def _asking_notes(rule: Rule) -> tuple[str, ...]:
    found = [_CATCHERS[rule.action.stops], *([_STOPPED] if rule.action.stops else []), _WAITING]
    if isinstance(rule, CallRule):
        found += [_UNLOOKED] if rule.calls & {"openat", "openat2"} else []
        found += [_POINTERS] if rule.calls - waiting.BY_PATH.keys() else []
    return tuple(found)


def _net_notes(rule: NetRule) -> tuple[str, ...]:
    sctp = (_SCTP,) if families.refuses(rule, Kind.UNSEEN_DATAGRAMS) else ()
    return (*_NETS, *sctp, *((_BEYOND,) if families.refuses(rule, Kind.BEYOND) else ()))


def _access_notes(rule: PathRule) -> tuple[str, ...]:
    """What a denial covers beside the accesses that its letters name, and what it does not."""
    if rule.allow:
        return ()
    everywhere = "x" in rule.access and rule.pattern == EVERYTHING
    reads, executes = "r" in rule.access, "x" in rule.access
    found = {
        _STAYS: True,
        CONNECT: reads,
        TOLD: reads,
        _RUN: reads and not executes,
        _CODE: executes,
        _NO_PATH: everywhere,
    }
    return tuple(words for words, applies in found.items() if applies)


def _socket_notes(rule: NetRule) -> tuple[str, ...]:
    moves, names = (_MOVES, _SOCKET_MOVES) if rule.path else (), () if rule.path else (_AUTOBIND,)
    return (_PEER, *moves, *names)


def _split_hint(rule: CallRule, missing: frozenset[str]) -> str:
    enforced = sorted(rule.calls - missing)
    return f"hooks enforce {', '.join(enforced[:8])}{' …' if len(enforced) > 8 else ''}" if enforced else ""


@dataclass(frozen=True)
class Lsm(_ByObject):
    """BPF LSM programs, where bpf is among the active security modules."""

    name: str = "lsm"
    feature: str = "lsm_bpf"

    def _unskipped(self, findings: Findings) -> bool:
        return super()._unskipped(findings) or lacks(findings, "lsm_unskipped") is None


@dataclass(frozen=True)
class FmodRetHook(_ByObject):
    """The same programs on the security_* functions, where it is not."""

    name: str = "fmod_ret"
    feature: str = "fmod_ret_security"


def _needs_memory(rule: CallRule, judges: Iterable[str] = ()) -> list[str]:
    """Calls whose address condition lies in memory: refused with and without an address."""
    return sorted(rule.addressed - set(judges))


def _number_notes(rule: CallRule) -> tuple[str, ...]:
    return (*_register_notes(rule), *((OLD_RINGS,) if ring(rule) == "closed" else ()))


def _register_notes(rule: CallRule) -> tuple[str, ...]:
    found = ["judges calls and register values, never what pointers point to"]
    if beyond := _needs_memory(rule, ("sendto",)):
        found.append(f"denies {', '.join(beyond)} also without an address, and sendto of socketcall")
    if "openat" in rule.calls:
        found.append(_OPEN_ALREADY)
    if unasked := sorted(rule.calls & _WITHOUT_A_CALL):
        found.append(f"{', '.join(unasked)}: what the vDSO or the vsyscall page answers is no call, and is answered")
    return (*found, *_ways_beside(rule))


def _ways_beside(rule: CallRule) -> list[str]:
    """What has the effect of a call that the rule refuses, and is none."""
    return [words for call, words in _BESIDE.items() if call in rule.calls]


def ring(rule: CallRule) -> Ring:
    """What a mechanism that judges calls by number does about io_uring: it closes it where the rule asks for that."""
    return "closed" if (names.closes(rule.calls) | rule.calls) & IO_URING else "not concerned"


@dataclass(frozen=True)
class _ByNumber:
    """Judging a call before its code runs, by number and registers."""

    name: str
    features: tuple[str, ...]
    commands_only: bool = False
    cannot_ask: str = "what judges a call here cannot let it wait"

    def guarantees(self, rule: Rule, findings: Findings) -> Guarantees | Unsupported:
        """Calls only."""
        if not isinstance(rule, CallRule):
            return _no_objects(rule)
        if lack := lacks(findings, *self.features):
            return lack
        return self._guarantees(rule, findings)

    def _guarantees(self, rule: CallRule, findings: Findings) -> Guarantees | Unsupported:
        return Guarantees(True, ring(rule), True, notes=_number_notes(rule))


def _no_objects(rule: Rule) -> Unsupported:
    what = "paths" if isinstance(rule, PathRule) else "addresses"
    return Unsupported(f"cannot judge {what}: it would read them from memory that another thread can change")


@dataclass(frozen=True)
class _AtFunctions(_ByNumber):
    """Programs on the functions that calls are entered by."""

    def _guarantees(self, rule: CallRule, findings: Findings) -> Guarantees | Unsupported:
        if lack := _cannot_follow(findings):
            return lack
        calls = sorted(rule.calls | names.closes(rule.calls))
        for call in calls:
            if not _there(findings, f"{self.name}:{call}"):
                return Unsupported(f"{call}: {findings[f'{self.name}:{call}'].why}")
        whole = lacks(findings, "unpreempted") is None
        compat = [*calls, *sorted(cbpf.multiplexers(calls))] if _compat(findings) else []
        open_ = [call for call in compat if not _there(findings, f"{self.name}:{call}@i386")]
        short = [*([] if whole else [_SKIPPED]), *([f"not their 32-bit entry: {', '.join(open_)}"] if open_ else [])]
        return Guarantees(whole, ring(rule), not open_, notes=_number_notes(rule), short=tuple(short))


def _compat(findings: Findings) -> bool:
    """Whether 32-bit calls may work here."""
    finding = findings.get("ia32")
    return finding is None or finding.verdict != "no"


@dataclass(frozen=True)
class FmodRetCall(_AtFunctions):
    """fmod_ret programs on the calls' own symbols."""

    name: str = "fmod_ret_call"
    features: tuple[str, ...] = ("fmod_ret_syscall",)


@dataclass(frozen=True)
class Override(_AtFunctions):
    """bpf_override_return from kprobes on the calls' own symbols."""

    name: str = "override"
    features: tuple[str, ...] = ("kprobe", "override")


@dataclass(frozen=True)
class Seccomp(_ByNumber):
    """A seccomp filter in a command that isotrace starts."""

    name: str = "seccomp"
    features: tuple[str, ...] = ("seccomp",)
    commands_only: bool = True
    cannot_ask: str = ""
    asking: bool = False

    def guarantees(self, rule: Rule, findings: Findings) -> Guarantees | Unsupported:
        """Calls, and where a rule asks (``asking``) what those who are asked can be shown: paths and addresses as well."""
        if not self.asking or not isinstance(rule, CallRule | PathRule | NetRule):
            return super().guarantees(rule, findings)
        if lack := lacks(findings, *self.features, "seccomp_notify"):
            return replace(lack, reason=f"cannot ask: {lack.reason}")
        found = self._guarantees(rule, findings) if isinstance(rule, CallRule) else self._named(rule)
        if isinstance(found, Unsupported) or not asks(rule):
            return found
        return replace(
            found, toctou_safe=False, waits="thread", orphaned="ENOSYS", notes=(*found.notes, _NAMED, _ALL_MET)
        )

    @staticmethod
    def _named(rule: PathRule | NetRule) -> Guarantees:
        """A rule on what callers name: one that refuses is less than elsewhere, an answer as good as asking."""
        held = isinstance(rule, PathRule) and HELD in rule.access
        short: list[str] = [] if rule.allow or asks(rule) or is_answer(rule) else [_NAMED]
        short += [NOT_OPEN_YET] if held else []
        notes = (_NAMED, _ALL_MET, _BY_KERNEL if isinstance(rule, PathRule) else _ACCEPTED, NO_PRIVILEGES, OLD_RINGS)
        return Guarantees(False, "closed", True, ends=False, notes=notes, short=tuple(short))

    def _guarantees(self, rule: CallRule, findings: Findings) -> Guarantees | Unsupported:
        silent = lacks(findings, "seccomp_notify")
        if silent and rule.action.kind == "audit":
            return Unsupported(f"cannot report without denying: {silent.reason}", silent.hint)
        if silent and "execve" in rule.calls:
            return Unsupported(f"cannot let the command's own execve pass: {silent.reason}", silent.hint)
        notes: list[str] = [*_number_notes(rule), NO_PRIVILEGES]
        notes.append(
            f"denials are neither shown nor counted: {silent.reason}"
            if silent
            else "a command of the same user may stop or kill isotrace: the same calls then wait, or fail with ENOSYS"
        )
        return Guarantees(True, ring(rule), True, ends=False, notes=tuple(notes))


@dataclass(frozen=True)
class Signal(_ByNumber):
    """bpf_send_signal: SIGKILL when the call is seen."""

    name: str = "signal"
    features: tuple[str, ...] = ("raw_tracepoint", "signal")

    def _guarantees(self, rule: CallRule, findings: Findings) -> Guarantees | Unsupported:
        if rule.action.kind != "kill":
            return Unsupported("can only kill", "ask for --kill")
        if lack := _cannot_follow(findings):
            return lack
        notes = (*_number_notes(rule), "kills after the fact: the call that was seen may still take effect")
        short = ("the first forbidden call may take effect before its process dies",)
        return Guarantees(False, ring(rule), True, after_the_fact=True, notes=notes, short=short)


@dataclass(frozen=True)
class Lkm(_ByNumber):
    """isotrace's kernel module."""

    name: str = "lkm"
    features: tuple[str, ...] = ("lkm",)
