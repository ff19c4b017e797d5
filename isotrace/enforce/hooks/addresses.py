"""Rules on addresses as the table of bpf/block_nets.h, in the order in which they decide. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from isotrace.enforce import Held
from isotrace.enforce.tables import Slots
from isotrace.policy.decide import strictness
from isotrace.policy.model import NetRule

ALLOWED = 0x8000
MAX_NETS = 128
_PROTOCOLS = {"any": 0, "tcp": 1, "udp": 2}


def table(held: Sequence[Held], slots: Slots) -> list[bytes]:
    """``struct net`` of every rule on IP addresses, the one that decides first at the front."""
    found = [(one, one.rule) for one in held if isinstance(one.rule, NetRule) and one.rule.protocol != "unix"]
    found.sort(key=lambda pair: strictness(pair[1]))
    found.sort(key=lambda pair: _specificity(pair[1]), reverse=True)
    return [_pack(rule, slots.add(one)) for one, rule in found]


def _specificity(rule: NetRule) -> tuple[int, int, bool]:
    """As ``isotrace.policy.decide`` orders them."""
    low, high = rule.ports or (0, 65535)
    return (rule.network.prefixlen if rule.network else -1), low - high, rule.protocol != "any"


def _pack(rule: NetRule, slot: int) -> bytes:
    low, high = rule.ports or (0, 65535)
    network = rule.network
    address, mask = _words(network) if network else (bytes(16), bytes(16))
    version = network.version if network else 0
    verdict = slot | (ALLOWED if rule.allow else 0)
    return address + mask + struct.pack("=HHBBH", low, high, version, _PROTOCOLS[rule.protocol], verdict)


def _words(network: IPv4Network | IPv6Network) -> tuple[bytes, bytes]:
    return network.network_address.packed.ljust(16, b"\0"), network.netmask.packed.ljust(16, b"\0")
