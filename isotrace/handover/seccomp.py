"""The seccomp profile of Docker and Podman, and what the OCI runtime specification has of it.

Both name calls; libseccomp finds their numbers, of every architecture, where the profile is loaded. A name that it does not
know is left out silently, and of i386's ipc it knows no call with a version in its number. So the profile lists what is
allowed, and refuses the rest: what is not known there is refused, not let through.
"""

from __future__ import annotations

import errno as numbers
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from isotrace.catalog import multiplexed
from isotrace.handover.calls import ADDRESS_IN_MEMORY, Judged, by_register
from isotrace.handover.model import Findings, Handed, Held
from isotrace.policy import names
from isotrace.policy.decide import strictness
from isotrace.policy.model import Action, CallRule, Policy

#: Architectures and those whose calls their processors take, too.
ARCHITECTURES = {"SCMP_ARCH_X86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"), "SCMP_ARCH_AARCH64": ()}
#: Calls of i386 that have names for libseccomp and no number: what they are without the address.
SHORT = {"send": "sendto", "recv": "recvfrom"}

_ALLOW, _LOG, _ERRNO, _KILL = "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"
_ADDRESS = 4  # the argument of sendto
_WITHOUT, _WITH = ({"index": _ADDRESS, "value": 0, "op": f"SCMP_CMP_{op}"} for op in ("EQ", "NE"))
#: What the rest fails with: a program takes that for a kernel that does not have the call.
_REST = (numbers.ENOSYS, numbers.EPERM, numbers.EACCES, *sorted(numbers.errorcode))

NOTES = (
    "calls that isotrace's catalogue or the libseccomp that loads it does not know fail with {rest}",
    "i386's ipc with a version in its call's number fails with {rest}",
    "calls of architectures that the profile does not name end the process",
)


@dataclass(frozen=True)
class Verdict:
    """What is done with a call: an action of libseccomp, with the number of an error for ``SCMP_ACT_ERRNO``."""

    action: str
    errno: int | None = None


def export(policy: Policy) -> Handed:
    """The profile that ``docker run --security-opt seccomp=FILE`` takes."""
    findings = Findings(policy)
    find_others(policy, findings)
    rest, syscalls = _syscalls(policy, findings)
    architectures = [{"architecture": one, "subArchitectures": list(sub)} for one, sub in _architectures(policy)]
    profile = {
        "defaultAction": _ERRNO, "defaultErrnoRet": rest, "archMap": architectures, "syscalls": syscalls,
    }  # fmt: skip
    return Handed(json.dumps(profile, indent=2) + "\n", findings.found(), notes(rest))


def oci(policy: Policy, findings: Findings) -> tuple[dict[str, Any], tuple[str, ...]]:
    """``linux.seccomp`` of a container's config.json, and the notes on it."""
    rest, syscalls = _syscalls(policy, findings)
    architectures = [name for one, sub in _architectures(policy) for name in (one, *sub)]
    bare = [{key: value for key, value in one.items() if key != "comment"} for one in syscalls]
    profile = {"defaultAction": _ERRNO, "defaultErrnoRet": rest, "architectures": architectures, "syscalls": bare}
    return profile, notes(rest)


def _architectures(policy: Policy) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Without x32 where a register is looked at: libseccomp sees 32 bits of it there, the kernel 64."""
    tested = any(isinstance(rule, CallRule) and "sendto" in rule.addressed for rule in policy.rules)
    for one, others in ARCHITECTURES.items():
        yield one, tuple(other for other in others if not (tested and other == "SCMP_ARCH_X32"))


def notes(rest: int) -> tuple[str, ...]:
    """What a profile does beside the rules."""
    return tuple(note.format(rest=numbers.errorcode[rest]) for note in NOTES)


def _syscalls(policy: Policy, findings: Findings) -> tuple[int, list[dict[str, Any]]]:
    """The error of what is not listed, and the entries."""
    for rule in policy.rules:
        if isinstance(rule, CallRule):
            _find(rule, findings)
    used = {rule.action.errno for rule in policy.rules}
    rest = next(number for number in _REST if number not in used)
    return rest, list(_entries(by_register(policy)))


def _find(rule: CallRule, findings: Findings) -> None:
    find_action(rule, findings)
    if found := sorted(rule.addressed & ADDRESS_IN_MEMORY):
        why = f"the address of {' and '.join(found)} is in memory: denied with and without one"
        findings.say(rule, Held.WIDER, why)
    if "sendto" in rule.addressed:
        why = "i386's socketcall has its arguments in memory: it is denied whole; a call of x32 ends the process"
        findings.say(rule, Held.WIDER, why)
    if "execve" in rule.calls and rule.action.kind != "audit":
        findings.say(rule, Held.WIDER, "no container starts: its command is executed under the filter")
    if closed := names.closes(rule.calls) - rule.calls:
        findings.say(rule, Held.EXACT, f"closes io_uring: {', '.join(sorted(closed))}")


def find_others(policy: Policy, findings: Findings) -> None:
    """Rules on paths and addresses, where nothing is known of these."""
    for rule in policy.rules:
        if isinstance(rule, CallRule):
            continue
        if rule.allow:
            findings.say(rule, Held.EXACT, "nothing denies it there")
        else:
            findings.say(rule, Held.NOT, "a filter sees the number of a call and registers, no path and no address")


def find_action(rule: CallRule, findings: Findings) -> None:
    """What becomes of the rule's action."""
    if rule.action.kind == "ask":
        findings.say(rule, Held.WIDER, "nobody is asked: it is denied")
    elif rule.action.kind == "kill":
        findings.say(rule, Held.EXACT, "the process ends by SIGSYS")
    elif rule.action.kind == "audit":
        findings.say(rule, Held.EXACT, "the kernel's log has it")


def verdict(rule: CallRule | None) -> Verdict:
    """What a rule says, as an action."""
    if rule is None:
        return Verdict(_ALLOW)
    return verdict_of(rule.action)


def verdict_of(action: Action) -> Verdict:
    """The same of an action that is against something."""
    if action.kind == "audit":
        return Verdict(_LOG)
    if action.kills:
        return Verdict(_KILL)
    return Verdict(_ERRNO, action.errno)


def _entries(judged: Mapping[str, Judged]) -> Iterator[dict[str, Any]]:
    """What is allowed first, then what is refused, each by what becomes of it and under which conditions."""
    groups: dict[tuple[Verdict, str], tuple[list[str], dict[str, None]]] = {}

    def add(name: str, rule: CallRule | None, condition: str = "") -> None:
        listed, titles = groups.setdefault((verdict(rule), condition), ([], {}))
        listed.append(name)
        if rule is not None:
            titles[rule.title] = None

    for name, one in judged.items():
        if one.conditional:
            add(name, one.plain, "without")
            add(name, one.addressed, "with")
        elif name not in multiplexed.CALLS:
            add(name, one.plain)
    for name, rule in _multiplexers(judged):
        add(name, rule)
    for short, whole in SHORT.items():
        add(short, judged[whole].plain)
    yield from (_entry(key, *groups[key]) for key in sorted(groups, key=_order))


def _order(key: tuple[Verdict, str]) -> tuple[bool, str, int, str]:
    found, condition = key
    return found.action != _ALLOW, found.action, found.errno or 0, condition


def _entry(key: tuple[Verdict, str], listed: Iterable[str], titles: Iterable[str]) -> dict[str, Any]:
    found, condition = key
    entry: dict[str, Any] = {"names": sorted(listed), "action": found.action}
    if found.errno is not None:
        entry["errnoRet"] = found.errno
    if condition:
        entry["args"] = [_WITHOUT if condition == "without" else _WITH]
    if title := ", ".join(titles):
        entry["comment"] = title
    return entry


def _multiplexers(judged: Mapping[str, Judged]) -> Iterator[tuple[str, CallRule | None]]:
    """i386's socketcall and ipc, where they are one thing; otherwise libseccomp makes tests of what is in them.

    A test of a register would be one of another register there: where one is needed it is the strictest of all.
    """
    for name, inside in multiplexed.CALLS.items():
        own = judged[name].plain
        parts = [judged[SHORT.get(call, call)] for call in inside.values()]
        rules = [rule for rule in (own, *(one.addressed for one in parts)) if rule is not None]
        if own is not None or any(one.conditional for one in parts):
            yield name, min(rules, key=strictness)
        elif not rules:
            yield name, None
