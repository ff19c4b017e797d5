"""Rules on addresses as the tables of bpf/block_nets.h: the one of addresses, in the order in which rules decide. Pure."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from isotrace.enforce import Enforced
from isotrace.enforce.tables import RuleTable
from isotrace.policy import families
from isotrace.policy.decide import inet_specificity, means_unspecified, strictness
from isotrace.policy.families import Kind
from isotrace.policy.model import NetRule

ALLOWED = 0x8000
MAX_NETS = 128
_PROTOCOLS = {"any": 0, "tcp": 1, "udp": 2}


@dataclass(frozen=True)
class Nets:
    """``nets``: ``struct net`` of every rule on IP addresses, the one that decides first at the front.

    ``kinds`` is ``struct socket_kinds``; ``closed`` the index of the rule that answers for what cannot be judged.
    """

    nets: Sequence[bytes]
    kinds: bytes
    closed: int


def table(enforced: Sequence[Enforced], rule_table: RuleTable) -> Nets | None:
    """What the rules on IP addresses become; None where none is denied."""
    found = [(one, one.rule) for one in enforced if isinstance(one.rule, NetRule) and one.rule.protocol != "unix"]
    if all(rule.allow for _, rule in found):
        return None
    found.sort(key=lambda pair: strictness(pair[1]))
    found.sort(key=lambda pair: inet_specificity(pair[1]), reverse=True)
    placed = [(rule_table.add(one), rule) for one, rule in found]
    whole = {
        kind: rule_table.strictest([index for index, rule in placed if families.refuses(rule, kind)]) for kind in Kind
    }
    kinds = array("H", (whole[kind] for kind in families.table())).tobytes()
    return Nets([_pack(rule, index) for index, rule in placed], kinds, whole[Kind.UNSEEN])


def _pack(rule: NetRule, index: int) -> bytes:
    low, high = rule.ports or (0, 65535)
    network = rule.network
    address, mask = _words(network) if network else (bytes(16), bytes(16))
    version = network.version if network else 0
    verdict = index | (ALLOWED if rule.allow else 0)
    unspecified = sum(bit for bit, asked in ((1, 4), (2, 6)) if means_unspecified(rule, asked))
    protocol = _PROTOCOLS[rule.protocol]
    return address + mask + struct.pack("=HHBBHB3x", low, high, version, protocol, verdict, unspecified)


def _words(network: IPv4Network | IPv6Network) -> tuple[bytes, bytes]:
    return network.network_address.packed.ljust(16, b"\0"), network.netmask.packed.ljust(16, b"\0")
