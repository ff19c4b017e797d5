"""A policy from the seccomp profile of Docker and Podman, or from ``linux.seccomp`` of a container's config.json. Pure.

What a profile says depends on the container's capabilities, the kernel and the processor; that is decided here as Docker
does it. What it says of a call's arguments a policy cannot say: the call is refused then, or allowed where ``lossy``.
"""

from __future__ import annotations

import errno as numbers
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isotrace import catalog
from isotrace.catalog import multiplexed, refuse
from isotrace.catalog.expr import show
from isotrace.decode.quote import escape_text
from isotrace.errors import UsageError
from isotrace.handover.model import Held
from isotrace.handover.seccomp import SHORT
from isotrace.policy import names
from isotrace.policy.decide import strictness
from isotrace.policy.file import string
from isotrace.policy.model import Action, CallRule
from isotrace.units import many

_HINT = "isotrace policy import takes what docker run --security-opt seccomp=FILE takes"
#: The capabilities of capabilities(7), and those that a container has if nothing else is asked for.
ALL_CAPABILITIES = frozenset(
    f"CAP_{name}"
    for name in (
        *("AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN"),
        *("DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE"),
        *("LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST"),
        *("NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT"),
        *("SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME"),
        *("SYS_TTY_CONFIG", "WAKE_ALARM"),
    )
)
CAPABILITIES = frozenset(
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
        *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    )
)
#: A profile has no more.
MAX_BYTES = 4 << 20
_WIDTH, _SHOWN = 100, 6
_ADDRESS, _MAX_ERRNO = 4, 4095
_Strict = ConfigDict(extra="forbid", strict=True)
_Register = Annotated[int, Field(ge=0, lt=1 << 64)]


class _Where(BaseModel):
    model_config = _Strict
    caps: list[str] | None = None
    arches: list[str] | None = None
    min_kernel: str | None = Field(None, alias="minKernel", pattern=r"^\d+\.\d+$")


_ANYWHERE = _Where.model_validate({})


class _Test(BaseModel):
    model_config = _Strict
    index: Annotated[int, Field(ge=0, le=5)]
    value: _Register
    value_two: _Register = Field(0, alias="valueTwo")
    op: str


_Action = Literal[
    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
]  # fmt: skip
_Errno = Annotated[int, Field(ge=0, le=_MAX_ERRNO)]


class _Entry(BaseModel):
    model_config = _Strict
    names: list[str] | None = None
    name: str | None = None
    action: _Action
    errno_ret: _Errno | None = Field(None, alias="errnoRet")
    errno: str | None = None
    args: list[_Test] | None = None
    comment: str | None = None
    includes: _Where | None = None
    excludes: _Where | None = None

    @property
    def calls(self) -> list[str]:
        """What it is about."""
        return (self.names or []) + ([self.name] if self.name else [])


class _Profile(BaseModel):
    model_config = _Strict
    default_action: _Action = Field(alias="defaultAction")
    default_errno: _Errno | None = Field(None, alias="defaultErrnoRet")
    default_errno_name: str | None = Field(None, alias="defaultErrno")
    architectures: list[str] | None = None
    arch_map: list[dict[str, Any]] | None = Field(None, alias="archMap")
    flags: list[str] | None = None
    listener_path: str | None = Field(None, alias="listenerPath")
    listener_metadata: str | None = Field(None, alias="listenerMetadata")
    syscalls: list[_Entry] | None = None


@dataclass(frozen=True)
class Container:
    """What a profile's conditions are about: ``kernel`` is (major, minor), ``arch`` as Go calls it."""

    capabilities: frozenset[str]
    kernel: tuple[int, int]
    arch: str

    def meets(self, entry: _Entry) -> str:
        """Why an entry does not count; empty where it does."""
        include, exclude = entry.includes or _ANYWHERE, entry.excludes or _ANYWHERE
        if include.arches and self.arch not in include.arches:
            return f"on {', '.join(include.arches)} alone"
        if exclude.arches and self.arch in exclude.arches:
            return f"not on {self.arch}"
        if include.caps and not self.capabilities.issuperset(include.caps):
            return f"with {', '.join(include.caps)} alone"
        if exclude.caps and self.capabilities & set(exclude.caps):
            return f"without {', '.join(exclude.caps)} alone"
        if include.min_kernel and self.kernel < _version(include.min_kernel):
            return f"from Linux {include.min_kernel} on"
        return ""


def capabilities(added: Iterable[str], dropped: Iterable[str]) -> frozenset[str]:
    """Those of a container, by the words of docker run, as ``SYS_PTRACE`` or ``ALL``. Raises ``UsageError``."""
    more, less = ({_capability(word) for word in words} for words in (added, dropped))
    had = ALL_CAPABILITIES if "ALL" in more else CAPABILITIES
    if "ALL" in less:
        return frozenset(more - {"ALL"})
    return frozenset((had | more) - less - {"ALL"})


def _capability(word: str) -> str:
    name = word.upper()
    full = name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"
    if full != "ALL" and full not in ALL_CAPABILITIES:
        raise UsageError(f"no capability {show(word)}", "write it like SYS_PTRACE or ALL")
    return full


@dataclass(frozen=True)
class Imported:
    """``text`` is a policy file. ``said`` are (how far it is taken over, what is said of it)."""

    text: str
    said: tuple[tuple[Held, str], ...]


def take(data: bytes, name: str, container: Container, lossy: bool = False) -> Imported:
    """The policy of a profile; ``name`` is what it is called in errors. Raises ``UsageError``."""
    profile = _read(data, name)
    book = _Book(profile, container, lossy)
    judged = {call: book.judge(call) for call in sorted(catalog.names() - refuse.NO_CODE)}
    closed = names.closes(call for call, one in judged.items() if one.plain is not None)
    if opened := sorted(call for call in closed if judged[call].plain is None):
        book.said.append((Held.WIDER, f"{', '.join(opened)}: denied with calls whose work io_uring could do instead"))
    text = _text(judged, book.default, name)
    return Imported(text, tuple(book.said))


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _read(data: bytes, name: str) -> _Profile:
    if len(data) > MAX_BYTES:
        raise UsageError(f"{name} is longer than {MAX_BYTES} bytes", _HINT)
    try:
        raw = json.loads(data.decode())
        if isinstance(raw, dict) and isinstance(raw.get("linux"), dict):
            raw = raw["linux"].get("seccomp")
        return _Profile.model_validate(raw)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is no seccomp profile: {_what(error)}", _HINT) from None


def _what(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        more = f" ({many(len(error.errors()), 'mistake')})" if len(error.errors()) > 1 else ""
        return f"{show(where)}: {first['msg'].lower()}{more}" if where else f"{first['msg'].lower()}{more}"
    return escape_text(str(error))


@dataclass(frozen=True)
class _Judged:
    """What becomes of a call, None where it is allowed: ``addressed`` with a destination address."""

    plain: Action | None
    addressed: Action | None


@dataclass
class _Book:
    profile: _Profile
    container: Container
    lossy: bool
    said: list[tuple[Held, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.default = self._action(self.profile.default_action, self.profile.default_errno)
        self._counting: dict[str, list[_Entry]] = {}
        self._order(self.profile.syscalls or ())
        self._say_default()

    def _order(self, entries: Sequence[_Entry]) -> None:
        unknown, left = set(), dict[str, set[str]]()
        for entry in entries:
            why = self.container.meets(entry)
            for call in entry.calls:
                if call not in catalog.names() and call not in SHORT:
                    unknown |= {call} if not why else set()
                elif why:
                    left.setdefault(f"{_VERBS.get(entry.action, 'denied')} {why}", set()).add(call)
                else:
                    self._counting.setdefault(call, []).append(entry)
        for how, calls in left.items():
            self.said.append((Held.EXACT, f"{_some(calls)}: {how}, which does not hold here"))
        if unknown:
            self.said.append((Held.NOT, f"{_some(unknown)}: no call of a processor that isotrace knows"))

    def _say_default(self) -> None:
        kind = self.profile.default_action
        if kind in _NEARLY:
            self.said.append((Held.WIDER, f"what is not listed: {_NEARLY[kind]}"))
        if self.profile.flags or self.profile.listener_path:
            self.said.append((Held.NOT, "flags and a listener are the runtime's, and no part of a policy"))

    def _action(self, kind: str, number: int | None) -> Action | None:
        if kind == "SCMP_ACT_ALLOW":
            return None
        if kind == "SCMP_ACT_LOG":
            return Action("audit")
        if "KILL" in kind or kind == "SCMP_ACT_TRAP":
            return Action("kill")
        if kind == "SCMP_ACT_TRACE":
            return Action(errno=numbers.ENOSYS)
        if number is not None and number not in numbers.errorcode:
            what = "0, which does nothing and reports success" if number == 0 else f"{number}, which has no name"
            said = (Held.WIDER, f"the error {what}: EPERM")
            self.said += [said] if said not in self.said else []
            return Action(errno=numbers.EPERM)
        return Action(errno=number or numbers.EPERM)

    def judge(self, call: str) -> _Judged:
        """What the profile does with a call."""
        entries = self._counting.get(call, [])
        if not entries:
            free = call in multiplexed.CALLS
            return _Judged(None, None) if free else _Judged(self.default, self.default)
        whole = [entry for entry in entries if not entry.args]
        if whole:
            return self._whole(call, whole)
        if both := self._by_address(call, entries):
            return both
        return self._conditional(call, entries)

    def _of(self, entry: _Entry) -> Action | None:
        return self._action(entry.action, entry.errno_ret)

    def _whole(self, call: str, entries: Sequence[_Entry]) -> _Judged:
        actions = sorted((self._of(entry) for entry in entries), key=_strictness)
        if any(action != actions[0] for action in actions):
            self.said.append((Held.WIDER, f"{call}: listed in several ways, of which the strictest counts"))
        for kind in {entry.action for entry in entries} & _NEARLY.keys():
            self.said.append((Held.WIDER, f"{call}: {_NEARLY[kind]}"))
        return _Judged(actions[0], actions[0])

    def _by_address(self, call: str, entries: Sequence[_Entry]) -> _Judged | None:
        if call != "sendto" or len(entries) != 2 or any(len(entry.args or ()) != 1 for entry in entries):
            return None
        found = {test.op: self._of(entry) for entry in entries for test in entry.args or () if _on_address(test)}
        if found.keys() != {"SCMP_CMP_EQ", "SCMP_CMP_NE"}:
            return None
        plain, addressed = found["SCMP_CMP_EQ"], found["SCMP_CMP_NE"]
        return _Judged(plain, addressed) if plain is None and addressed is not None else None

    def _conditional(self, call: str, entries: Sequence[_Entry]) -> _Judged:
        actions = sorted([*map(self._of, entries), self.default], key=_strictness)
        worst, best = actions[0], actions[-1]
        if worst == best:
            return _Judged(worst, worst)
        if self.lossy and best is None:
            self.said.append((Held.PART, f"{call}: allowed whatever its arguments are"))
            return _Judged(None, None)
        why = "denied" if worst is not None and worst.kind != "audit" else "reported"
        self.said.append((Held.WIDER, f"{call}: a matter of its arguments there; {why} whatever they are"))
        return _Judged(worst, worst)


#: What is not refused.
_VERBS = {"SCMP_ACT_ALLOW": "allowed", "SCMP_ACT_LOG": "reported"}
#: Actions that a policy does not have.
_NEARLY = {
    "SCMP_ACT_KILL_THREAD": "a thread was ended, here it is the process",
    "SCMP_ACT_TRAP": "a signal handler was called, here the process is ended",
    "SCMP_ACT_TRACE": "a tracer was asked, here it is denied",
    "SCMP_ACT_NOTIFY": "a listener was asked, here it is denied",
}


def _strictness(action: Action | None) -> tuple[bool, int]:
    return (True, 0) if action is None else strictness(CallRule("", frozenset(), action=action))


def _on_address(test: _Test) -> bool:
    return test.index == _ADDRESS and test.value == 0


def _some(calls: set[str]) -> str:
    shown = [escape_text(call) for call in sorted(calls)]
    return ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")


def _text(judged: Mapping[str, _Judged], default: Action | None, name: str) -> str:
    """The policy file. Raises ``UsageError`` where there is nothing to refuse."""
    groups: dict[Action, list[str]] = {}
    refused: dict[Action | None, set[str]] = {}
    for call, one in judged.items():
        if call not in refuse.NEVER:
            refused.setdefault(one.plain, set()).add(call)
    if default is not None and default in refused:
        others = set().union(*(calls for action, calls in refused.items() if action != default))
        groups[default] = [f"!{term}" for term in _terms(others)] or ["all"]
    for action, calls in refused.items():
        if action not in (None, default):
            groups[action] = _terms(calls)
    about = escape_text(name)
    lines = [f"# Taken over by isotrace policy import from {about}", "version = 1"]
    for action, terms in groups.items():
        lines += ["", f"[groups.{_name(action)}]", *_group(action, terms)]
    for addressed in {one.addressed for one in judged.values() if one.addressed != one.plain}:
        if addressed is not None:
            lines += ["", f"[groups.{_name(addressed)}-addressed]", *_group(addressed, _SENDTO)]
    if len(lines) == 2:
        raise UsageError(f"{name} denies nothing", "a policy needs at least one rule that denies")
    return "\n".join(lines) + "\n"


def _terms(calls: set[str]) -> list[str]:
    """Words for calls that are all of a word's, the others by their own names."""
    found: dict[str, frozenset[str]] = {}
    left = set(calls)
    for name, word in names.words().items():
        if not word.addressed and word.calls <= calls and word.calls & left:
            found[name] = word.calls
            left -= word.calls
    return [*found, *(f"={call}" for call in sorted(left))]


#: sendto where it has an address.
_SENDTO = ["connect", "!=connect", "!=sendmsg", "!=sendmmsg"]


def _name(action: Action) -> str:
    return re.sub("[^a-z0-9]", "", action.name.lower())


def _group(action: Action, terms: Sequence[str]) -> Iterator[str]:
    yield f"action = {string(action.name)}"
    yield 'deny = """\\'
    row = ""
    for at, term in enumerate(terms):
        word = term + ("," if at + 1 < len(terms) else "")
        if row and len(row) + len(word) > _WIDTH:
            yield f"    {row}\\"
            row = ""
        row += word
    yield f'    {row}"""'
