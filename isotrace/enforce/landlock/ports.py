"""From rules on addresses to TCP ports that are allowed, and to sockets that are refused whole. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import Literal

from isotrace.policy import families
from isotrace.policy.decide import NetRequest, SocketRequest, decide
from isotrace.policy.families import AF_INET, AF_INET6, STREAM, Kind
from isotrace.policy.model import Group, NetRule, Policy, Rule
from isotrace.policy.patterns import EVERYTHING

#: An address: no rule that Landlock holds is on some addresses alone.
ANYWHERE = IPv4Address("192.0.2.1")
_PORTS = 1 << 16
_TCP = frozenset(((STREAM, 0), (STREAM, 6)))
AF_UNIX, _AF_SMC = 1, 43
_SEQPACKET = 5


def denies_tcp(rules: Sequence[NetRule]) -> bool:
    """Whether a rule denies some of TCP."""
    return any(not rule.allow and rule.protocol in ("tcp", "any") for rule in rules)


def closes_unix(rules: Iterable[Rule]) -> bool:
    """Whether unix sockets are not made: a rule denies all of them, or every file, and no rule excepts one."""
    unix = [rule for rule in rules if isinstance(rule, NetRule) and rule.protocol == "unix"]
    return not any(rule.allow for rule in unix) and any(
        rule.path == EVERYTHING or (rule.path is None and rule.abstract is None) for rule in unix
    )


def scoped(rules: Sequence[NetRule]) -> bool:
    """Whether abstract names of others are denied, where unix sockets are made."""
    return not closes_unix(rules) and any(not rule.allow and rule.abstract == "*" for rule in rules)


def allowed(rules: Sequence[NetRule]) -> Iterator[int]:
    """The TCP ports that no rule denies; every rule is on all addresses."""
    for low, high, denied in _ranges(rules, "tcp"):
        if not denied:
            yield from range(low, high)


def _ranges(rules: Sequence[NetRule], protocol: Literal["tcp", "udp"]) -> Iterator[tuple[int, int, bool]]:
    """All ports, in ranges that the rules make no difference in, each with whether it is denied; the end is not in it."""
    policy = Policy((Group("", tuple(rules)),))
    edges = {0, _PORTS}
    for rule in rules:
        low, high = rule.ports or (0, _PORTS - 1)
        edges |= {low, high + 1}
    for low, high in zip(sorted(edges), sorted(edges)[1:], strict=False):
        yield low, high, decide(policy, NetRequest(protocol, ANYWHERE, low)).denied


def refused(rules: Sequence[NetRule], family: int, kind: int, protocol: int, pair: bool = False) -> bool:
    """Whether a socket, or ``pair`` of them, is not made: what Landlock does not judge and a rule denies some of.

    ``kind`` is without the flags in the type.
    """
    if family == AF_UNIX:
        return closes_unix(rules) and not (
            pair and kind in (STREAM, _SEQPACKET)
        )  # of raw ones the kernel makes datagrams
    if decide(Policy((Group("", tuple(rules)),)), SocketRequest(family, kind, protocol)).denied:
        return True
    if families.row(family, kind, protocol)[1] is not Kind.JUDGED:
        return False
    over_ip = family in (AF_INET, AF_INET6)
    if over_ip and (kind, protocol) in _TCP:
        return False
    denied = {rule.protocol for rule in rules if not rule.allow and rule.protocol != "unix"}
    if family == _AF_SMC or kind == STREAM:
        return bool(denied & {"tcp", "any"})
    if families.row(family, kind, protocol)[0].startswith("UDP"):
        return any(one for _, _, one in _ranges(rules, "udp"))
    return "any" in denied
