"""Rules on addresses as a unit's: packets by address, and which families of sockets can be made."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from isotrace.handover.model import Findings, Held, find_answer
from isotrace.handover.places import is_every_unix, refuses, unix_places
from isotrace.policy.decide import inet_specificity
from isotrace.policy.model import NetRule, Policy

_FREE = ("AF_UNIX", "AF_NETLINK", "AF_ALG")
_IP = ("AF_INET", "AF_INET6")
_PACKETS = "packets of other protocols and those that come are dropped, too"


def directives(policy: Policy, findings: Findings) -> list[str]:
    """The lines of a unit."""
    rules = [rule for rule in policy.rules if isinstance(rule, NetRule)]
    unix = [rule for rule in rules if rule.protocol == "unix"]
    inet = [rule for rule in rules if rule.protocol != "unix"]
    for rule in rules:
        if not rule.allow and not refuses(rule):
            findings.say(rule, Held.NOT, "nothing is reported")
    no_unix = _unix(policy, unix, findings)
    denied = [rule for rule in inet if refuses(rule) and rule.ports is None]
    taken = [rule for rule in inet if not refuses(rule) and _fits(rule, inet)]
    closed = not taken and any(rule.network is None and rule.protocol == "any" for rule in denied)
    _find(inet, denied, taken, closed, findings)
    return _lines(denied, taken, closed, no_unix)


def _lines(denied: list[NetRule], taken: list[NetRule], closed: bool, no_unix: bool) -> list[str]:
    lines = []
    if denied:
        lines.append("IPAddressDeny=" + " ".join(dict.fromkeys(str(rule.network or "any") for rule in denied)))
        if taken:
            lines.append("IPAddressAllow=" + " ".join(dict.fromkeys(str(rule.network) for rule in taken)))
    if denied or no_unix:
        families = [name for name in _FREE if not (no_unix and name == "AF_UNIX")]
        lines.append("RestrictAddressFamilies=" + " ".join((*families, *(() if closed else _IP))))
    return lines


def _unix(policy: Policy, rules: list[NetRule], findings: Findings) -> bool:
    """Whether no unix socket can be made; rules on one place are those of systemd_paths."""
    whole = [rule for rule in rules if refuses(rule) and is_every_unix(rule)]
    hidden = {id(rule) for rule, _ in unix_places(policy.rules)}
    for rule in rules:
        if rule in whole:
            findings.say(rule, Held.WIDER, "no unix socket can be made at all")
            find_answer(rule, findings, "EAFNOSUPPORT")
        elif refuses(rule) and id(rule) not in hidden:
            why = "no unix socket can be made" if whole else "only a socket at a path without stars is hidden"
            findings.say(rule, Held.WIDER if whole else Held.NOT, why)
        elif not refuses(rule) and (whole or hidden):
            findings.say(rule, Held.WIDER, "what it lets through is denied, too")
    return bool(whole)


def _fits(rule: NetRule, rules: list[NetRule]) -> bool:
    """Whether an exception is one of whole addresses that no narrower rule refuses again: what is allowed wins there."""
    if rule.network is None or rule.ports is not None or rule.protocol != "any":
        return False
    own = inet_specificity(rule)
    return not any(refuses(one) and inet_specificity(one) >= own and _meets(one.network, rule.network) for one in rules)


def _meets(one: IPv4Network | IPv6Network | None, other: IPv4Network | IPv6Network | None) -> bool:
    if one is None or other is None:
        return True
    return one.version == other.version and one.overlaps(other)


def _find(rules: list[NetRule], denied: list[NetRule], taken: list[NetRule], closed: bool, findings: Findings) -> None:
    for rule in rules:
        if refuses(rule):
            _find_refusing(rule, denied, taken, closed, findings)
        elif denied and rule not in taken:
            why = "an exception there has every port and protocol, and wins over all that is denied"
            findings.say(rule, Held.WIDER, f"what it lets through is denied, too: {why}")


def _find_refusing(
    rule: NetRule, denied: list[NetRule], taken: list[NetRule], closed: bool, findings: Findings
) -> None:
    if closed:
        findings.say(rule, Held.WIDER, "no socket but of AF_UNIX, AF_NETLINK and AF_ALG can be made")
        find_answer(rule, findings, "EAFNOSUPPORT")
        return
    around = rule in denied or any(_around(one, rule) for one in denied)
    if not around or any(
        _meets(rule.network, one.network) and inet_specificity(one) < inet_specificity(rule) for one in taken
    ):
        findings.say(rule, Held.NOT, "packets are judged by address alone, without ports")
        return
    findings.say(rule, Held.PART, "bind and listen are not denied; where the manager has no BPF nothing is")
    findings.say(rule, Held.WIDER, f"{_PACKETS}; sockets but of AF_UNIX, AF_NETLINK, AF_ALG and IP cannot be made")
    find_answer(rule, findings, "EPERM")


def _around(one: NetRule, other: NetRule) -> bool:
    """Whether all addresses of ``other`` are refused with ``one``."""
    if one.network is None:
        return True
    if other.network is None or one.network.version != other.network.version:
        return False
    return other.network.network_address in one.network and other.network.prefixlen >= one.network.prefixlen
