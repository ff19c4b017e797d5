"""What rules on addresses mean for each kind of socket: a row a family and, over IP, a row a protocol. Pure.

A kind is *judged* by its addresses, *left alone*, or refused whole where it is made or used: because packets are made by
hand or sent where no hook sees it, as soon as a rule denies anything over IP that it could reach; or because it reaches
others than by IP, where a rule denies every address of every protocol. What has no row is refused like that, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from isotrace.policy.model import NetRule

#: The room of the kernel's table (bpf/block_nets.h); the last family and protocol stand for all beyond.
FAMILIES, TYPES, PROTOCOLS = 64, 16, 512
AF_INET, AF_INET6 = 2, 10


class Kind(Enum):
    """What becomes of a kind of sockets; the value says it for the table of docs/policy.md."""

    JUDGED = "judged by address"
    FREE = "left alone"
    UNSEEN = "denied whole by every rule that denies over IP"
    UNSEEN_DATAGRAMS = "denied whole by every rule that denies `udp` or `any` over IP"
    BEYOND = "denied whole by `any:`"


_J, _F, _U, _D, _B = Kind.JUDGED, Kind.FREE, Kind.UNSEEN, Kind.UNSEEN_DATAGRAMS, Kind.BEYOND

#: Family → (name, kind, why).
ROWS: dict[int, tuple[str, Kind, str]] = {
    1: ("AF_UNIX", _F, "has rules of its own, `unix:`"),
    2: ("AF_INET", _J, "by protocol, below"),
    3: ("AF_AX25", _B, "amateur radio"),
    4: ("AF_IPX", _B, "not IP"),
    5: ("AF_APPLETALK", _B, "not IP"),
    6: ("AF_NETROM", _B, "amateur radio"),
    7: ("AF_BRIDGE", _B, "no sockets"),
    8: ("AF_ATMPVC", _B, "not IP"),
    9: ("AF_X25", _B, "not IP"),
    10: ("AF_INET6", _J, "by protocol, below"),
    11: ("AF_ROSE", _B, "amateur radio"),
    12: ("AF_DECnet", _B, "not IP"),
    13: ("AF_NETBEUI", _B, "no sockets"),
    14: ("AF_SECURITY", _B, "no sockets"),
    15: ("AF_KEY", _B, "keys of IPsec, for root"),
    16: ("AF_NETLINK", _F, "talks to the kernel, and to processes that listen there; libc needs it"),
    17: ("AF_PACKET", _U, "packets made by hand"),
    18: ("AF_ASH", _B, "no sockets"),
    19: ("AF_ECONET", _B, "not IP"),
    20: ("AF_ATMSVC", _B, "not IP"),
    21: ("AF_RDS", _U, "the kernel connects by TCP in a thread of its own"),
    22: ("AF_SNA", _B, "no sockets"),
    23: ("AF_IRDA", _B, "not IP"),
    24: ("AF_PPPOX", _U, "frames, and tunnels over IP"),
    25: ("AF_WANPIPE", _B, "not IP"),
    26: ("AF_LLC", _B, "frames"),
    27: ("AF_IB", _B, "InfiniBand"),
    28: ("AF_MPLS", _B, "no sockets"),
    29: ("AF_CAN", _B, "not IP"),
    30: ("AF_TIPC", _B, "a cluster's nodes, over Ethernet or UDP"),
    31: ("AF_BLUETOOTH", _B, "not IP"),
    32: ("AF_IUCV", _B, "other machines of a mainframe"),
    33: ("AF_RXRPC", _U, "the kernel sends by UDP in a thread of its own"),
    34: ("AF_ISDN", _B, "not IP"),
    35: ("AF_PHONET", _B, "a modem"),
    36: ("AF_IEEE802154", _B, "not IP"),
    37: ("AF_CAIF", _B, "a modem"),
    38: ("AF_ALG", _F, "ciphers, reaches nobody"),
    39: ("AF_NFC", _B, "not IP"),
    40: ("AF_VSOCK", _B, "the host of a virtual machine, other machines, this one"),
    41: ("AF_KCM", _B, "messages over TCP sockets that are connected already"),
    42: ("AF_QIPCRTR", _B, "a modem and other processors"),
    43: ("AF_SMC", _J, "as `tcp`, which it falls back to"),
    44: ("AF_XDP", _U, "packets made by hand"),
    45: ("AF_MCTP", _B, "the controllers of a machine"),
}
STREAM, DGRAM, RAW, SEQPACKET, DCCP = 1, 2, 3, 5, 6
_SCTP = 132

#: Over IP: (type, protocol) → (name, kind, why). Every other one is UNSEEN, but SCTP under whatever type.
OVER_IP: dict[tuple[int, int], tuple[str, Kind, str]] = {
    (STREAM, 0): ("TCP", _J, "`tcp`"),
    (STREAM, 6): ("TCP", _J, "`tcp`"),
    (STREAM, 262): ("MPTCP", _J, "`tcp`, by the address of the first subflow"),
    (STREAM, 256): ("SMC", _J, "`tcp`"),
    (DGRAM, 0): ("UDP", _J, "`udp`"),
    (DGRAM, 17): ("UDP", _J, "`udp`"),
    (DGRAM, 136): ("UDP-Lite", _J, "`udp`"),
    (DGRAM, 1): ("ICMP", _J, "`any`; has no ports"),
    (DGRAM, 58): ("ICMPv6", _J, "`any`; has no ports"),
    (DCCP, 0): ("DCCP", _J, "`any`"),
    (DCCP, 33): ("DCCP", _J, "`any`"),
    (STREAM, _SCTP): ("SCTP", _D, "both sides add addresses to a connection, in control messages and packets"),
}
_SCTP_ROW = OVER_IP[STREAM, _SCTP]
_RAW_ROW = ("raw sockets, L2TP and the rest", _U, "packets made by hand, or protocols that are not known here")
_UNKNOWN_ROW = ("every other family", _B, "not known here")


def row(family: int, type_: int, protocol: int) -> tuple[str, Kind, str]:
    """The row of a socket, as socket(2) asks for it (without the flags in the type) or as it is."""
    if family not in (AF_INET, AF_INET6):
        return ROWS.get(family, _UNKNOWN_ROW)
    if protocol == _SCTP or (type_, protocol) == (SEQPACKET, 0):
        return _SCTP_ROW
    return OVER_IP.get((type_, protocol), _RAW_ROW)


def refuses(rule: NetRule, kind: Kind) -> bool:
    """Whether a rule refuses sockets of the kind whole."""
    if rule.allow or rule.protocol == "unix":
        return False
    if kind is Kind.BEYOND:
        return rule.protocol == "any" and rule.network is None and rule.ports is None
    return kind is Kind.UNSEEN or (kind is Kind.UNSEEN_DATAGRAMS and rule.protocol != "tcp")


def table() -> Iterator[Kind]:
    """The kinds in the order of ``struct socket_kinds``: by family, then over IP by type and protocol."""
    for family in range(FAMILIES):
        yield Kind.JUDGED if family in (AF_INET, AF_INET6) else row(family, 0, 0)[1]
    for type_ in range(TYPES):
        for protocol in range(PROTOCOLS):
            yield row(AF_INET, type_, protocol)[1]


def documented() -> Iterator[tuple[str, str, str]]:
    """(sockets, what becomes of them, why) for docs/policy.md."""
    ip = dict.fromkeys([*OVER_IP.values(), _RAW_ROW])
    for name, kind, why in (*ROWS.values(), _UNKNOWN_ROW):
        yield name, kind.value, why
        if name == "AF_INET6":
            yield from ((f"IP: {entry[0]}", entry[1].value, entry[2]) for entry in ip)


def markdown() -> Iterator[str]:
    """The lines of the table in docs/policy.md."""
    yield "| sockets | rules on addresses | |"
    yield "|---|---|---|"
    yield from (f"| {name} | {kind} | {why} |" for name, kind, why in documented())
