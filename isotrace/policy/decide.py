"""The reference: what a policy says about one request. Mechanisms are tested against this small model.

The most specific rule that matches wins, and a tie denies; of denials, one that refuses wins over one that only
reports. Nothing matched is allowed. For paths the more specific
pattern wins, whatever its letters; for addresses the longer prefix, then the narrower range of ports, then a named
protocol. A request for several accesses is denied when one of them is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from isotrace.policy.model import CallRule, NetRule, PathRule, Policy, Rule


@dataclass(frozen=True)
class CallRequest:
    """A system call; ``address`` says whether it carries a destination address."""

    call: str
    address: bool = True


@dataclass(frozen=True)
class PathRequest:
    """``access`` (letters r, w, x) to a file by its resolved absolute path."""

    path: str
    access: frozenset[str]


@dataclass(frozen=True)
class NetRequest:
    """A socket meets an address: ``outward`` when it is connected or sent to, else bound.

    ``protocol`` is tcp, udp, unix or other. A unix address is a ``path``, or an ``abstract`` name; both None is an
    unnamed socket, which only a rule on every unix socket matches.
    """

    protocol: str
    address: IPv4Address | IPv6Address | None = None
    port: int = 0
    path: str | None = None
    abstract: str | None = None
    outward: bool = True


Request = CallRequest | PathRequest | NetRequest


@dataclass(frozen=True)
class Decision:
    """The rule that decided, None where none matched."""

    rule: Rule | None

    @property
    def denied(self) -> bool:
        """Whether the request is refused."""
        return self.rule is not None and not self.rule.allow


def decide(policy: Policy, request: Request) -> Decision:
    """What the policy says about the request."""
    if isinstance(request, CallRequest):
        rules = [rule for rule in policy.rules if isinstance(rule, CallRule) and _calls(rule, request)]
        return _first(sorted(rules, key=strictness))
    if isinstance(request, NetRequest):
        return _net(policy, _canonical(request))
    decisions = [_path(policy, request.path, letter) for letter in sorted(request.access)]
    decided = [decision for decision in decisions if decision.rule]
    return next((decision for decision in decided if decision.denied), decided[0] if decided else Decision(None))


def strictness(rule: Rule) -> tuple[bool, bool]:
    """Sorts rules that are equally specific, the one that decides first."""
    return rule.allow, rule.action.kind == "audit"


def _first(rules: Iterable[Rule]) -> Decision:
    return Decision(next(iter(rules), None))


def _calls(rule: CallRule, request: CallRequest) -> bool:
    return request.call in rule.calls and (request.address or request.call not in rule.addressed)


def _winner(found: list[tuple[Any, Rule]]) -> Decision:
    """Of (specificity, rule): the greatest, then by strictness, then the earlier."""
    best = max((key for key, _ in found), default=None)
    rules = [rule for key, rule in found if key == best]
    return _first(sorted(rules, key=strictness))


def _path(policy: Policy, path: str, letter: str) -> Decision:
    rules = [rule for rule in policy.rules if isinstance(rule, PathRule) and letter in rule.access]
    return _winner([(rule.pattern.specificity, rule) for rule in rules if rule.pattern.matches(path)])


def _net(policy: Policy, request: NetRequest) -> Decision:
    rules = [rule for rule in policy.rules if isinstance(rule, NetRule)]
    if request.protocol == "unix":
        return _winner(
            [(unix_specificity(rule), rule) for rule in rules if rule.protocol == "unix" and _is_unix(rule, request)]
        )
    return _winner([(_inet_key(rule), rule) for rule in rules if rule.protocol != "unix" and _is_inet(rule, request)])


def _canonical(request: NetRequest) -> NetRequest:
    """IPv4 inside IPv6 is IPv4. To connect to the unspecified address is to connect to this host (ip(7))."""
    address = request.address
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if request.outward and address is not None and address.is_unspecified:
        address = IPv4Address("127.0.0.1") if address.version == 4 else IPv6Address("::1")
    return NetRequest(request.protocol, address, request.port, request.path, request.abstract, request.outward)


def _is_inet(rule: NetRule, request: NetRequest) -> bool:
    if rule.protocol not in ("any", request.protocol) or request.address is None:
        return False
    if rule.ports and not rule.ports[0] <= request.port <= rule.ports[1]:
        return False
    return rule.network is None or _within(request.address, rule.network)


def _within(address: IPv4Address | IPv6Address, network: IPv4Network | IPv6Network) -> bool:
    return address.version == network.version and address in network


def _is_unix(rule: NetRule, request: NetRequest) -> bool:
    if rule.path is not None:
        return request.path is not None and rule.path.matches(request.path)
    if rule.abstract is not None:
        parts = map(re.escape, rule.abstract.split("*"))
        return request.abstract is not None and re.fullmatch(".*".join(parts), request.abstract, re.DOTALL) is not None
    return True


def _inet_key(rule: NetRule) -> tuple[int, int, bool]:
    low, high = rule.ports or (0, 65535)
    return (rule.network.prefixlen if rule.network else -1), low - high, rule.protocol != "any"


def unix_specificity(rule: NetRule) -> Any:
    """Sorts rules on unix sockets that match one address: the greater one is the more specific."""
    if rule.path is not None:
        return (1, rule.path.specificity)
    if rule.abstract is not None:
        return (1, (("*" not in rule.abstract), len(rule.abstract) - rule.abstract.count("*")))
    return (0,)
