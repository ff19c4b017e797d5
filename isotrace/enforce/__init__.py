"""Refusing: the interface between rules and the mechanisms that enforce them.

A ``Mechanism`` says, purely, what it can truthfully enforce on a kernel, by its findings. ``plan`` chooses one for
each rule. An ``Enforcer`` is a mechanism at work on the rules that were given to it. ``registry`` has both by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from isotrace.policy.model import Action, Rule
from isotrace.process.launch import Execute
from isotrace.trace.whereabouts import Whereabouts

#: What becomes of io_uring: its operations are judged too, it is refused whole, it passes by, or the rule is on nothing
#: that it can do.
Ring = Literal["judged", "closed", "passes", "not concerned"]


class Finding(Protocol):
    """What is known about a feature of the kernel; ``isotrace.kernel.features.Feature`` is one."""

    @property
    def verdict(self) -> Literal["yes", "no", "unknown"]:
        """Whether it is there."""

    @property
    def why(self) -> str:
        """The evidence."""

    @property
    def remedy(self) -> str:
        """What would make it a yes; "" when it is one."""


#: Features by name: lsm_bpf fmod_ret_security fmod_ret_syscall override signal seccomp seccomp_notify kprobe unlocked …;
#: and whether a mechanism's program can be attached: lsm:HOOK fmod_ret:HOOK override:CALL override:CALL@i386 …
Findings = Mapping[str, Finding]


class Note(str):
    """What a user should know of a guarantee, in full; ``brief`` says the same in a few words, and leaves no limit out."""

    brief: str

    def __new__(cls, brief: str, full: str) -> Note:
        """Brief first."""
        found = super().__new__(cls, full)
        found.brief = brief
        return found


@dataclass(frozen=True)
class Guarantees:
    """How well a mechanism enforces a rule.

    ``after_the_fact``: the call may have happened before its process dies. ``ends``: calls work again when isotrace
    ends. ``notes`` say what a user should know, such as what is refused beyond what was asked. ``short`` says where
    less is enforced than was asked: a rule with it starts only with ``--best-effort``.

    ``toctou_safe``: what was judged cannot change before the kernel acts on it. ``compat``: 32-bit calls are judged, too.
    ``errno``: what a refused call fails with, where the mechanism does not give the error that the rule asks for.
    Of a rule that asks ``waits`` says who stands still until there is an answer, and ``orphaned`` what becomes of them when
    isotrace is killed; both are "" of other rules.
    """

    toctou_safe: bool
    io_uring: Ring
    compat: bool
    after_the_fact: bool = False
    ends: bool = True
    notes: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    waits: Literal["", "thread", "process"] = ""
    orphaned: str = ""
    errno: int = 0

    @property
    def text(self) -> str:
        """``TOCTOU-safe yes · io_uring closed · 32-bit yes``, and ``the thread waits · if isotrace is killed: allowed``."""
        parts = [
            f"TOCTOU-safe {_yes(self.toctou_safe)}",
            f"io_uring {self.io_uring}",
            f"32-bit {_yes(self.compat)}",
        ]
        parts += ["after the fact"] if self.after_the_fact else []
        parts += [f"the {self.waits} waits", f"if isotrace is killed: {self.orphaned}"] if self.waits else []
        return " · ".join(parts)


@dataclass(frozen=True)
class Unsupported:
    """Why a mechanism cannot enforce a rule, and what would help."""

    reason: str
    hint: str = ""


class Mechanism(Protocol):
    """What a way to refuse can do. Pure.

    ``commands_only``: it works only on a command that isotrace starts.
    """

    @property
    def name(self) -> str:
        """As it is shown: lsm, fmod_ret, …"""

    @property
    def commands_only(self) -> bool:
        """Whether the target must be a command."""

    @property
    def cannot_ask(self) -> str:
        """Why no call can wait there for an answer; "" where one can, and its enforcer is ``Asking``."""

    def guarantees(self, rule: Rule, findings: Findings) -> Guarantees | Unsupported:
        """How well it enforces the rule on this kernel, or why not. An "unknown" verdict is no yes."""


@dataclass(frozen=True)
class Enforced:
    """A rule, its number (the index in ``Policy.rules``), and the mechanism that enforces it."""

    number: int
    rule: Rule
    mechanism: str
    guarantees: Guarantees

    @property
    def action(self) -> Action:
        """What happens to a call that the rule refuses."""
        action = self.rule.action
        return replace(action, errno=self.guarantees.errno) if self.guarantees.errno else action


#: What is said to one call that waits. ``deny`` gives the errno of its rule, ``kill`` kills the process.
Verdict = Literal["allow", "deny", "kill"]
#: What answered a question: a person at the terminal, a program, somebody by a socket; an answer that they had given
#: before; nobody in time; nobody, for too many waited; nobody, as isotrace ended.
By = Literal["person", "program", "socket", "earlier", "nobody", "limit", "end"]


@dataclass(frozen=True, slots=True)
class Answered:
    """How a question ended. ``who`` is the name of whoever answered, ``scope`` what the answer was for; "" of nobody."""

    verdict: Verdict
    by: By
    who: str = ""
    waited_ns: int = 0
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """One refused (under audit: noticed) call; with ``answer`` one that was asked about, which may have been allowed.

    ``time_ns`` is CLOCK_REALTIME, ``rule`` the rule's number, ``args`` the registers, ``what`` the path or address
    where the mechanism knows it (bytes that are no UTF-8 as surrogates). A mechanism that judges by number may show what
    the caller's memory showed, which another thread can have changed. ``where`` is where the thread was when that was
    asked, if it was.
    """

    time_ns: int
    pid: int
    tid: int
    comm: bytes
    call: str
    abi: str
    args: tuple[int, ...]
    rule: int
    what: str = ""
    answer: Answered | None = None
    where: Whereabouts | None = None


@dataclass(frozen=True)
class Counts:
    """By rule number: calls that were judged (``tries``), and those that were refused or, under audit, noticed (``hits``).

    ``lost``: refusals that happened but have no record, for want of room. ``tries`` equals ``hits`` where a mechanism
    meets only calls that it refuses. ``missed``: how often the kernel skipped a program, and ``not_followed``:
    children that no program followed; what these did was not judged. Without ``counted`` the mechanism refuses, but tells
    nobody: there are no numbers, because of ``uncounted``.
    """

    tries: Mapping[int, int] = field(default_factory=dict)
    hits: Mapping[int, int] = field(default_factory=dict)
    lost: int = 0
    missed: int = 0
    not_followed: int = 0
    counted: bool = True
    uncounted: str = "no second supervisor of seccomp can be had here"


class Enforcer(Protocol):
    """A mechanism at work. Calls come in this order: starter, open, then wait and batches over and over, lift, counts,
    close.
    """

    def starter(self) -> Execute | None:
        """How the command's process is to become the command; None: by execve alone."""

    def open(self, pid: int | None) -> None:
        """Refuse from now on. ``pid`` is the command, forked and not yet executed; None for a target that runs.

        Raises ``IsotraceError``; then nothing is refused.
        """

    def wait(self, seconds: float) -> None:
        """Return when records are waiting, or after ``seconds``."""

    def batches(self) -> Iterator[Sequence[Refused]]:
        """All records that have arrived by now."""

    def broken(self) -> str:
        """Why what should be refused is not refused any more, because of somebody else; "" while it is."""

    def alive(self) -> bool:
        """Whether a process is left that this enforcer refuses something; True where it cannot know."""

    def lift(self) -> None:
        """Refuse no more. What cannot be lifted lets every call pass from here on, as long as isotrace runs."""

    def counts(self) -> Counts:
        """The counts; final once lifted."""

    def close(self) -> None:
        """Give everything back to the kernel. Must be safe to call twice, and after a failed ``open``."""


@dataclass(frozen=True, slots=True)
class Question:
    """A call that waits for a verdict; ``id`` is its own within its enforcer. The rest as in ``Refused``.

    ``time_ns`` (CLOCK_REALTIME) is when it was first asked. ``what`` is the path or address that the rule is about,
    ``access`` the letters of what is asked of a path; "" where that is not known, or it is none. ``more`` has further
    paths and addresses that are asked about, with their access: of a rename, of sendmmsg; "" for one that is not known.
    """

    id: int
    time_ns: int
    pid: int
    tid: int
    comm: bytes
    call: str
    abi: str
    args: tuple[int, ...]
    rule: int
    what: str = ""
    access: str = ""
    more: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, call: Refused, id: int = 0, access: str = "", more: tuple[tuple[str, str], ...] = ()) -> Question:
        """Of the call as it would be reported."""
        return cls(
            id,
            call.time_ns,
            call.pid,
            call.tid,
            call.comm,
            call.call,
            call.abi,
            call.args,
            call.rule,
            call.what,
            access,
            more,
        )


class Asking(Enforcer, Protocol):
    """An enforcer of rules some of which ask. It knows verdicts for one waiting call each, and nothing of people.

    Whatever it is not told to allow does not happen. What cannot wait it gives what the rule's action says
    (``Action.otherwise``), and reports it as ``Refused``, as it does what it refuses by itself. These methods may
    be called by another thread than the rest, and wait for nothing but ``wait_for_questions``.
    """

    def wait_for_questions(self, seconds: float) -> None:
        """Return once a question has come since the last look, or after ``seconds``."""

    def questions(self) -> Sequence[Question]:
        """Those that have come since the last look, the oldest first."""

    def gone(self) -> Sequence[int]:
        """The ids of those that wait no more although nobody answered: the thread was killed, or a signal took it away."""

    def answer(self, id: int, verdict: Verdict) -> bool:
        """Let the call go on, fail or end its process. False where it waits no more."""


def _yes(value: bool) -> str:
    return "yes" if value else "no"
