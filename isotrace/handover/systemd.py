"""A drop-in for a unit of systemd: what systemd.exec(5) and systemd.resource-control(5) have of a policy.

What systemd's libseccomp does not know it leaves out with a warning: the filter lists what is allowed, as the profile for
containers does. Paths are mounts of the unit's own; who may mount, or open files by handles, could go round them.
"""

from __future__ import annotations

import errno as numbers
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from isotrace import catalog
from isotrace.handover import systemd_nets, systemd_paths
from isotrace.handover.calls import Judged, judged
from isotrace.handover.model import Findings, Handed, Held, Setting
from isotrace.handover.places import refuses
from isotrace.policy import names
from isotrace.policy.model import CallRule, Policy

#: Calls that go round what is mounted, refused with every path.
_ROUND = names.words()["mount"].calls | {"open_by_handle_at", "setns"}
_CAPABILITIES = (
    "CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_SYS_CHROOT CAP_SYS_MODULE CAP_SYS_RAWIO CAP_MKNOD CAP_BPF"
)
_WIDTH = 110
_PATH_NOTES = (
    "mounts, namespaces of others and files by handles are denied, and capabilities that go round mounts are taken",
    "whoever runs as the same user outside of the unit has the files below /proc/PID/root",
)
_CALL_NOTES = (
    "calls that isotrace's catalogue or systemd does not know are denied like those that a rule is on",
    "calls of 32-bit programs and of x32 end the process",
)


def export(policy: Policy, setting: Setting) -> Handed:
    """``/etc/systemd/system/NAME.service.d/isotrace.conf``."""
    findings = Findings(policy)
    paths = systemd_paths.directives(policy, setting, findings)
    nets = systemd_nets.directives(policy, findings)
    closed = (_ROUND if paths else frozenset()) | (frozenset({"io_uring_setup"}) if nets else frozenset())
    calls = list(_calls(policy, closed, findings))
    lines = [*calls, *paths, *nets]
    if paths:
        lines.append(f"CapabilityBoundingSet=~{_CAPABILITIES}")
    notes = (_CALL_NOTES if calls else ()) + (_PATH_NOTES if paths else ())
    return Handed("\n".join(["[Service]", *lines]) + "\n", findings.found(), notes)


def _calls(policy: Policy, closed: frozenset[str], findings: Findings) -> Iterator[str]:
    rules = [rule for rule in policy.rules if isinstance(rule, CallRule)]
    if not rules and not closed:
        return
    known = frozenset(catalog.by_name("x86_64")) | frozenset(catalog.by_name("arm64"))
    found = {call: one for call, one in judged(policy).items() if call in known}
    refused = {call for call, one in found.items() if _refused(one)} | closed & known
    error = _error(rules)
    for rule in rules:
        _find(rule, error, findings)
    yield "SystemCallArchitectures=native"
    if error is not None:
        yield f"SystemCallErrorNumber={error}"
    yield from _folded("SystemCallFilter=", sorted(found.keys() - refused))
    yield from _folded("SystemCallFilter=~", sorted(refused))
    yield from _folded("SystemCallLog=", sorted(_logged(found)))


def _refused(one: Judged) -> bool:
    return any(rule is not None and refuses(rule) for rule in (one.plain, one.addressed))


def _logged(found: Mapping[str, Judged]) -> Iterator[str]:
    return (call for call, one in found.items() if one.addressed is not None and not _refused(one))


def _error(rules: Iterable[CallRule]) -> str | None:
    """The error of every refusal: the one that most rules have; None where all of them kill."""
    refusing = [rule for rule in rules if refuses(rule)]
    found = Counter(numbers.errorcode[rule.action.errno] for rule in refusing if not rule.action.kills)
    return found.most_common(1)[0][0] if found else None if refusing else "EPERM"


def _find(rule: CallRule, error: str | None, findings: Findings) -> None:
    if not refuses(rule):
        findings.say(rule, Held.EXACT, "the kernel's log has it")
        return
    if rule.addressed:
        calls = ", ".join(sorted(rule.addressed))
        findings.say(
            rule, Held.WIDER, f"{calls}: denied with and without an address, so a send on a connection is, too"
        )
    if names.closes(rule.calls) - rule.calls:
        findings.say(rule, Held.EXACT, "closes io_uring")
    if "execve" in rule.calls:
        findings.say(rule, Held.WIDER, "the unit does not start: systemd executes it under the filter")
    if rule.action.kind == "ask":
        findings.say(rule, Held.WIDER, f"nobody is asked: {error or 'the process ends'}")
    elif rule.action.kills and error is not None:
        findings.say(rule, Held.PART, f"the process is not ended: {error}")
    elif not rule.action.kills and rule.action.name != error:
        findings.say(rule, Held.EXACT, f"the error is {error}, not {rule.action.name}")


def _folded(key: str, words: Iterable[str]) -> Iterator[str]:
    """Several lines of one setting, each with as many words as a line has room for."""
    row: list[str] = []
    for word in words:
        if row and len(key) + len(" ".join((*row, word))) > _WIDTH:
            yield key + " ".join(row)
            row = []
        row.append(word)
    if row:
        yield key + " ".join(row)
