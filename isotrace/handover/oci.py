"""What a container's config.json has of a policy: ``linux.seccomp``, ``maskedPaths`` and ``readonlyPaths``."""

from __future__ import annotations

import json
from typing import Any

from isotrace.handover import seccomp
from isotrace.handover.model import Findings, Handed, Held, find_answer
from isotrace.handover.places import Place, overlap, pattern_of, place, refuses, unix_places
from isotrace.policy.model import CallRule, NetRule, PathRule, Policy

_LATER = "only what is there when the container starts; one that may mount can take it away"


def export(policy: Policy) -> Handed:
    """A fragment to be merged into config.json."""
    findings = Findings(policy)
    linux: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    if any(isinstance(rule, CallRule) for rule in policy.rules):
        linux["seccomp"], notes = seccomp.oci(policy, findings)
    masked, readonly = _paths(policy, findings)
    for key, found in (("maskedPaths", masked), ("readonlyPaths", readonly)):
        if found:
            linux[key] = sorted(found)
    if masked or readonly:
        notes += ("maskedPaths and readonlyPaths belong beside those that the container has, not in their place",)
    return Handed(json.dumps({"linux": linux}, indent=2) + "\n", findings.found(), notes)


def _paths(policy: Policy, findings: Findings) -> tuple[set[str], set[str]]:
    """The paths to be masked, and those to be read-only."""
    masked: dict[Place, str] = {}
    readonly: dict[Place, str] = {}
    for rule in policy.rules:
        if isinstance(rule, PathRule) and refuses(rule):
            where = place(rule.pattern)
            if why := _unfit(rule, where):
                findings.say(rule, Held.NOT, why)
            elif where:
                (masked if "r" in rule.access else readonly)[where] = where.path
                _find(rule, where, findings)
    for net, where in unix_places(policy.rules):
        masked[where] = where.path
        findings.say(net, Held.PART, _LATER)
    _find_others(policy, findings, [*masked, *readonly])
    return set(masked.values()), set(readonly.values())


def _unfit(rule: PathRule, where: Place | None) -> str:
    if where is None:
        return "a path there has no stars"
    if where.path == "/":
        return "all of a container's files is root.readonly, or another root"
    return "" if {"r", "w"} & rule.access else "there is no path that cannot be executed alone"


def _find(rule: PathRule, where: Place, findings: Findings) -> None:
    findings.say(rule, Held.PART, _LATER)
    if "r" in rule.access:
        findings.say(rule, Held.WIDER, "it is hidden: what is read there is empty, and nothing is written or executed")
    elif "x" in rule.access:
        findings.say(rule, Held.PART, "it may be executed")
    else:
        findings.say(rule, Held.PART, "devices and pipes may be written")
    if not where.below:
        findings.say(rule, Held.WIDER, "where it is a directory, so is all that is below it")
    find_answer(rule, findings, "EROFS or another error")


def _find_others(policy: Policy, findings: Findings, held: list[Place]) -> None:
    """Rules that let something through, and those on addresses."""
    done = {id(net) for net, _ in unix_places(policy.rules)}
    for rule in policy.rules:
        if isinstance(rule, NetRule) and refuses(rule) and id(rule) not in done:
            findings.say(rule, Held.NOT, "a runtime judges no address")
        elif not rule.allow and not refuses(rule) and not isinstance(rule, CallRule):
            findings.say(rule, Held.NOT, "nothing is reported")
        if isinstance(rule, PathRule) and not refuses(rule) and _hidden(rule, held):
            findings.say(rule, Held.WIDER, "what it lets through is below what is denied there, and is denied, too")


def _hidden(rule: PathRule, held: list[Place]) -> bool:
    return any(overlap(rule.pattern, pattern_of(one)) for one in held)
