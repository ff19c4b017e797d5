"""The reference: what a policy says about one request. Mechanisms are tested against this small model.

The most specific rule that matches wins, and a tie denies: one that refuses wins over one that asks, and that over one
that only reports. Nothing matched is allowed. For paths the more specific
pattern wins, whatever its letters; for addresses the longer prefix, then the narrower range of ports, then a named
protocol. A request for several accesses is denied when one of them is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from isotrace.policy import families
from isotrace.policy.model import HELD, CallRule, NetRule, PathRule, Policy, Rule, asks

_EVERY_PORT = (0, 65535)


@dataclass(frozen=True)
class CallRequest:
    """A system call; ``address`` says whether it carries a destination address."""

    call: str
    address: bool = True


@dataclass(frozen=True)
class PathRequest:
    """``access`` (letters r, w, x, h: see ``model.HELD``) to a file by its resolved absolute path."""

    path: str
    access: frozenset[str]


@dataclass(frozen=True)
class NetRequest:
    """An address is given to a socket: ``outward`` for its peer's, of a connect or send, else that of a bind.

    ``protocol`` is tcp, udp, unix or other; ``port`` None is one that has no ports, which no rule on some ports matches.
    A unix address is a ``path``, or an ``abstract`` name; both None is an unnamed socket, which only a rule on every unix
    socket matches.
    """

    protocol: str
    address: IPv4Address | IPv6Address | None = None
    port: int | None = 0
    path: str | None = None
    abstract: str | None = None
    outward: bool = True


@dataclass(frozen=True)
class SocketRequest:
    """A socket is made, or is used that was made before: family, type (without flags) and protocol, by number."""

    family: int
    type: int
    protocol: int


Request = CallRequest | PathRequest | NetRequest | SocketRequest


@dataclass(frozen=True)
class Decision:
    """The rule that decided, None where none matched."""

    rule: Rule | None

    @property
    def denied(self) -> bool:
        """Whether the rule is against the request: refuses it, asks about it, or reports it."""
        return self.rule is not None and not self.rule.allow

    @property
    def asked(self) -> bool:
        """Whether somebody is to be asked about the request."""
        return self.rule is not None and asks(self.rule)

    @property
    def excepted(self) -> bool:
        """Whether a rule allows the request, in so many words."""
        return self.rule is not None and self.rule.allow


def decide(policy: Policy, request: Request) -> Decision:
    """What the policy says about the request."""
    if isinstance(request, CallRequest):
        rules = [rule for rule in policy.rules if isinstance(rule, CallRule) and _calls(rule, request)]
        return _first(sorted(rules, key=strictness))
    if isinstance(request, NetRequest):
        return _net(policy, _canonical(request))
    if isinstance(request, SocketRequest):
        return _socket(policy, request)
    decisions = [_path(policy, request.path, letter) for letter in sorted(request.access)]
    return _strictest(decisions)


def decide_all(policy: Policy, requests: Sequence[Request]) -> Decision:
    """What it says about one call, which is several requests: that of the call, and of each path or address it is given.

    One that is refused is reason enough to refuse the call, and it is not asked about. A rule on calls does not ask
    where every path and address of the call is excepted by a rule. What asks does so once, whatever else asks.
    """
    decisions = [(request, decide(policy, request)) for each in requests for request in _by_access(each)]
    objects = [decision for request, decision in decisions if not isinstance(request, CallRequest)]
    if objects and all(decision.excepted for decision in objects):
        decisions = [pair for pair in decisions if not (isinstance(pair[0], CallRequest) and pair[1].asked)]
    return _strictest([decision for _, decision in decisions])


def _by_access(request: Request) -> Iterable[Request]:
    """The request for each access alone: an exception for reading is none for a request to read and write."""
    if isinstance(request, PathRequest):
        return [replace(request, access=frozenset(letter)) for letter in sorted(request.access)]
    return (request,)


def strictness(rule: Rule) -> tuple[bool, int]:
    """Sorts rules that are equally specific, the one that decides first: refuse, ask, report, allow."""
    return rule.allow, {"ask": 1, "audit": 2}.get(rule.action.kind, 0)


def _strictest(decisions: Iterable[Decision]) -> Decision:
    """The one that decides where each is about a part of what is asked for; the first of those that are alike."""
    return _first(sorted((decision.rule for decision in decisions if decision.rule), key=strictness))


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
    """For what is open already (``HELD``) that is what decides about opening it to read, if it is about both."""
    asked = "r" if letter == HELD else letter
    rules = [rule for rule in policy.rules if isinstance(rule, PathRule) and asked in rule.access]
    found = _winner([(rule.pattern.specificity, rule) for rule in rules if rule.pattern.matches(path)])
    if letter == HELD and isinstance(found.rule, PathRule) and not (found.excepted or HELD in found.rule.access):
        return Decision(None)
    return found


def _net(policy: Policy, request: NetRequest) -> Decision:
    rules = [rule for rule in policy.rules if isinstance(rule, NetRule)]
    if request.protocol == "unix":
        return _winner(
            [(unix_specificity(rule), rule) for rule in rules if rule.protocol == "unix" and _is_unix(rule, request)]
        )
    return _winner(
        [(inet_specificity(rule), rule) for rule in rules if rule.protocol != "unix" and _is_inet(rule, request)]
    )


def _socket(policy: Policy, request: SocketRequest) -> Decision:
    """Of the rules that refuse the socket whole the one that refuses, not only reports; then as for addresses."""
    _, kind, _ = families.row(request.family, request.type, request.protocol)
    rules = [rule for rule in policy.rules if isinstance(rule, NetRule) and families.refuses(rule, kind)]
    rules.sort(key=inet_specificity, reverse=True)
    return _first(sorted(rules, key=strictness))


def _canonical(request: NetRequest) -> NetRequest:
    """IPv4 inside IPv6 is IPv4."""
    address = request.address
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return replace(request, address=address.ipv4_mapped)
    return request


def _is_inet(rule: NetRule, request: NetRequest) -> bool:
    if rule.protocol not in ("any", request.protocol) or request.address is None:
        return False
    low, high = rule.ports or _EVERY_PORT
    first, last = _EVERY_PORT if request.port is None else (request.port, request.port)
    if first < low or last > high:
        return False
    if request.outward and request.address.is_unspecified:
        return means_unspecified(rule, request.address.version)
    return rule.network is None or _within(request.address, rule.network)


def means_unspecified(rule: NetRule, version: int) -> bool:
    """Whether the rule is on the unspecified address of IPv4 or IPv6 as a destination.

    That is this host, by an address of the kernel's choosing (ip(7)): the loopback address, or one of the socket's or its
    device's, and ``::`` also one of IPv4. A denial of any of these counts; an exception is for all of them, or names it.
    """
    network = rule.network
    if network is None:
        return True
    if not rule.allow:
        return version == 6 or network.version == 4
    named = network.network_address.is_unspecified and network.prefixlen == network.max_prefixlen
    return network.version == version and (named or (version == 4 and network.prefixlen == 0))


def _within(address: IPv4Address | IPv6Address, network: IPv4Network | IPv6Network) -> bool:
    return address.version == network.version and address in network


def _is_unix(rule: NetRule, request: NetRequest) -> bool:
    if rule.path is not None:
        return request.path is not None and rule.path.matches(request.path)
    if rule.abstract is not None:
        parts = map(re.escape, rule.abstract.split("*"))
        return request.abstract is not None and re.fullmatch(".*".join(parts), request.abstract, re.DOTALL) is not None
    return True


def inet_specificity(rule: NetRule) -> tuple[bool, int, int, bool]:
    """Sorts rules on IP addresses that match one address: the greater one is the more specific."""
    low, high = rule.ports or _EVERY_PORT
    network = rule.network
    if network is None:
        return False, -1, low - high, rule.protocol != "any"
    named = network.network_address.is_unspecified and network.prefixlen == network.max_prefixlen
    return named, network.prefixlen, low - high, rule.protocol != "any"


def unix_specificity(rule: NetRule) -> Any:
    """Sorts rules on unix sockets that match one address: the greater one is the more specific."""
    if rule.path is not None:
        return (1, rule.path.specificity)
    if rule.abstract is not None:
        return (1, (("*" not in rule.abstract), len(rule.abstract) - rule.abstract.count("*")))
    return (0,)
