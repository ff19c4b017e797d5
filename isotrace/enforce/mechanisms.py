"""What each mechanism can truthfully hold. Pure: a rule and a kernel report in, a grade or a refusal out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from isotrace.enforce import Grade, Refusal, Report, Ring
from isotrace.policy import names
from isotrace.policy.model import IO_URING, CallRule, PathRule, Rule

#: Words whose operation a set of LSM hooks denotes exactly: no more and no less happens at them than the word means.
#: All of a rule's calls must be covered by such words, each word whole.
HOOKS = {
    "open": ("file_open",),
    "exec": ("bprm_check_security",),
    "connect": ("socket_connect", "socket_sendmsg"),
    "socket": ("socket_create",),
    "bind": ("socket_bind",),
    "listen": ("socket_listen",),
    "accept": ("socket_accept",),
    "fork": ("task_alloc",),
    "kill": ("task_kill",),
    "link": ("inode_link",),
    "symlink": ("inode_symlink",),
    "rename": ("inode_rename",),
    "mkdir": ("inode_mkdir",),
    "rmdir": ("inode_rmdir",),
    "readlink": ("inode_readlink",),
    "bpf": ("bpf", "perf_event_open"),
}

#: Every feature that a mechanism asks about.
FEATURES = (
    *("lsm_bpf", "fmod_ret_security", "fmod_ret_syscall", "kprobe", "override"),
    *("seccomp", "seccomp_notify", "raw_tracepoint", "signal", "lkm", "unlocked"),
)

_O_PATH = "an open with O_PATH, which gives no access to what is in a file, passes: it reaches no hook"
_FOLLOWS_OBJECTS = "judges what the kernel acts on, whatever call, spelling or thread led to it"


def hooks(rule: CallRule) -> tuple[str, ...]:
    """The LSM hooks that together denote exactly the rule's calls; none when there is no such set."""
    whole = [word for word in HOOKS if names.words()[word].calls <= rule.calls and _addressed_fits(word, rule)]
    covered = {call for word in whole for call in names.words()[word].calls}
    return tuple(dict.fromkeys(hook for word in whole for hook in HOOKS[word])) if covered == rule.calls else ()


def _addressed_fits(word: str, rule: CallRule) -> bool:
    return names.words()[word].addressed == rule.addressed & names.words()[word].calls


def _lacks(report: Report, *features: str) -> Refusal | None:
    """A refusal for the first feature that is not a certain yes."""
    for name in features:
        if name not in report:
            return Refusal(f"nothing is known about {name} here")
        finding = report[name]
        if finding.verdict != "yes":
            doubt = "cannot tell about " if finding.verdict == "unknown" else "no "
            return _also_locked(report, Refusal(f"{doubt}{name}: {finding.why}", finding.remedy))
    return None


def _also_locked(report: Report, refusal: Refusal) -> Refusal:
    """A root user's EPERM has a likely cause where the kernel is locked down."""
    lock = report.get("unlocked")
    if "EPERM although" not in refusal.reason or lock is None or lock.verdict != "no":
        return refusal
    return Refusal(f"{refusal.reason}; {lock.why}", lock.remedy)


@dataclass(frozen=True)
class _ByObject:
    """BPF programs at the kernel's security hooks."""

    name: str
    feature: str
    commands_only: bool = False

    def holds(self, rule: Rule, report: Report) -> Grade | Refusal:
        """Paths and addresses, and those calls that hooks denote exactly."""
        if isinstance(rule, CallRule) and not hooks(rule):
            return Refusal("no security hook stands for exactly these calls", _split_hint(rule))
        if refusal := _lacks(report, self.feature):
            return refusal
        passes = (_O_PATH,) if isinstance(rule, CallRule) and "openat" in rule.calls else ()
        return Grade(True, "judged", True, notes=(_FOLLOWS_OBJECTS, *passes))


def _split_hint(rule: CallRule) -> str:
    near = [word for word in HOOKS if names.words()[word].calls & rule.calls]
    return f"hooks stand for the words {', '.join(near)}" if near else ""


@dataclass(frozen=True)
class Lsm(_ByObject):
    """BPF LSM programs, where bpf is among the active security modules."""

    name: str = "lsm"
    feature: str = "lsm_bpf"


@dataclass(frozen=True)
class FmodRetHook(_ByObject):
    """The same programs on the security_* functions, where it is not."""

    name: str = "fmod_ret"
    feature: str = "fmod_ret_security"


def _needs_memory(rule: CallRule, judges: Iterable[str] = ()) -> list[str]:
    """Calls whose address condition lies in memory: refused with and without an address."""
    return sorted(rule.addressed - set(judges))


def _register_notes(rule: CallRule) -> tuple[str, ...]:
    found = ["judges calls and register values, never what pointers point to"]
    if beyond := _needs_memory(rule, ("sendto",)):
        found.append(f"refuses {', '.join(beyond)} also without an address, and sendto of socketcall")
    return tuple(found)


def ring(rule: CallRule) -> Ring:
    """What a mechanism that judges calls by number does about io_uring: it closes it where the rule asks for that."""
    return "closed" if names.closes(rule.calls) or rule.calls & IO_URING else "not concerned"


@dataclass(frozen=True)
class _ByNumber:
    """Judging a call before its code runs, by number and registers."""

    name: str
    features: tuple[str, ...]
    commands_only: bool = False

    def holds(self, rule: Rule, report: Report) -> Grade | Refusal:
        """Calls only."""
        if not isinstance(rule, CallRule):
            return _no_objects(rule)
        if refusal := _lacks(report, *self.features):
            return refusal
        return self._grade(rule, report)

    def _grade(self, rule: CallRule, report: Report) -> Grade | Refusal:
        return Grade(True, ring(rule), True, notes=_register_notes(rule))


def _no_objects(rule: Rule) -> Refusal:
    what = "paths" if isinstance(rule, PathRule) else "addresses"
    return Refusal(f"cannot judge {what}: it would read them from memory that another thread can change")


@dataclass(frozen=True)
class FmodRetCall(_ByNumber):
    """fmod_ret programs on the calls' own symbols."""

    name: str = "fmod_ret_call"
    features: tuple[str, ...] = ("fmod_ret_syscall",)


@dataclass(frozen=True)
class Override(_ByNumber):
    """bpf_override_return from kprobes on the calls' own symbols."""

    name: str = "override"
    features: tuple[str, ...] = ("kprobe", "override")


@dataclass(frozen=True)
class Seccomp(_ByNumber):
    """A seccomp filter in a command that isotrace starts."""

    name: str = "seccomp"
    features: tuple[str, ...] = ("seccomp",)
    commands_only: bool = True

    def _grade(self, rule: CallRule, report: Report) -> Grade | Refusal:
        silent = _lacks(report, "seccomp_notify")
        if silent and rule.action.kind == "audit":
            return Refusal(f"cannot report without refusing: {silent.reason}", silent.hint)
        if silent and "execve" in rule.calls:
            return Refusal(f"cannot let the command's own execve pass: {silent.reason}", silent.hint)
        notes = [*_register_notes(rule), "sets no_new_privs: set-user-ID programs such as sudo gain nothing"]
        notes.append(
            f"refusals are neither shown nor counted: {silent.reason}"
            if silent
            else "if isotrace is killed, the same calls fail with ENOSYS for as long as the processes live"
        )
        return Grade(True, ring(rule), True, ends=False, notes=tuple(notes))


@dataclass(frozen=True)
class Signal(_ByNumber):
    """bpf_send_signal: SIGKILL when the call is seen."""

    name: str = "signal"
    features: tuple[str, ...] = ("raw_tracepoint", "signal")

    def _grade(self, rule: CallRule, report: Report) -> Grade | Refusal:
        if rule.action.kind != "kill":
            return Refusal("can only kill", "ask for --kill")
        notes = (*_register_notes(rule), "kills after the fact: the call that was seen may still take effect")
        short = ("the first forbidden call may take effect before its process dies",)
        return Grade(False, ring(rule), True, after_the_fact=True, notes=notes, short=short)


@dataclass(frozen=True)
class Lkm(_ByNumber):
    """isotrace's kernel module."""

    name: str = "lkm"
    features: tuple[str, ...] = ("lkm",)
