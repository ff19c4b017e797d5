"""Netlink messages as strace prints them: ``[{nlmsg_len=…, nlmsg_type=…}, {ifi_family=…}, …]``.

What a message means depends on the socket's protocol; whoever calls must know that the bytes were sent to, or came from, a
netlink socket of that protocol.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType

from . import netlink_diag, netlink_route, style
from .errnos import errno_name
from .netlink_attrs import CUT, DEPTH, SPECIAL, Look, add_tables, attributes, elements, raw, table
from .quote import escape, quote
from .scalars import hexa
from .structs_netlink import STRUCTS
from .xlat import SETS, enum

ROUTE, SOCK_DIAG, XFRM, SELINUX, AUDIT, NETFILTER, UEVENT, GENERIC, CRYPTO = 0, 4, 6, 7, 9, 12, 15, 16, 21
_HEADER = struct.Struct("<IHHIi")
_ERROR, _DONE, _FIRST = 2, 3, 16
_CAPPED = 0x100

add_tables("error = nlmsgerr_attrs NLMSGERR_ATTR_MSG:str NLMSGERR_ATTR_OFFS:u32 NLMSGERR_ATTR_COOKIE:cookie")
SPECIAL["cookie"] = lambda data, full, look: elements(data, full, 1, lambda place, one: str(one[0]), look)


def messages(
    data: bytes,
    full: int,
    protocol: int,
    limit: int = 32,
    families: Mapping[int, str] = MappingProxyType({}),
    at: int = 0,
) -> str:
    """The messages in ``full`` bytes, of which ``data`` was copied, for a socket of ``protocol``.

    ``limit``: how many bytes of a string and elements of a list are shown. What was not copied is ``...``. ``families``:
    what generic netlink's are called, by number. ``at``: the address of the bytes where the rest could not be read.
    """
    look = Look(limit=limit, families=families, at=at)
    if protocol == UEVENT:
        return _uevent(data, full, look)
    found: list[str] = []
    at, several = 0, False
    while True:
        left = full - at
        if left < _HEADER.size or len(data) - at < _HEADER.size or len(found) == limit:
            cut = look.missing(at) if len(found) < limit else CUT
            found.append(cut if left >= _HEADER.size else raw(data[at:], left, look.behind(at)))
            break
        length = int.from_bytes(data[at : at + 4], "little")
        following = at + (length + 3 & ~3)
        more = length >= _HEADER.size and following < full
        found.append(_message(data[at:], left, protocol, look.behind(at)))
        if not more:
            break
        at, several = following, True
    return f"[{', '.join(found)}]" if several else found[0]


def _message(data: bytes, full: int, protocol: int, look: Look) -> str:
    """One message: ``data`` begins with a whole header."""
    length, kind, marks, sequence, port = _HEADER.unpack_from(data)
    head = (
        f"{{nlmsg_len={length}, nlmsg_type={_type(kind, protocol, look)}, nlmsg_flags={_marks(marks, kind, protocol)}, "
    )
    head += f"nlmsg_seq={sequence}, nlmsg_pid={port}}}"
    size = min(length, full) - _HEADER.size
    if size <= 0:
        return head
    payload = data[_HEADER.size : _HEADER.size + size]
    return f"[{head}, {_payload(kind, marks, protocol, payload, size, look.behind(_HEADER.size))}]"


def _payload(kind: int, marks: int, protocol: int, data: bytes, full: int, look: Look) -> str:
    if kind == _ERROR:
        return _error(marks, protocol, data, full, look)
    if kind == _DONE and full == 4:
        return str(int.from_bytes(data, "little", signed=True)) if len(data) == 4 else look.missing()
    if kind < _FIRST:
        return raw(data, full, look)
    if protocol == ROUTE:
        return netlink_route.message(kind, data, full, look)
    if protocol == SOCK_DIAG:
        return netlink_diag.message(kind, marks, data, full, look)
    if protocol == NETFILTER:
        return _netfilter(kind, data, full, look)
    if protocol == CRYPTO and kind <= 19:
        return netlink_diag.algorithm(data, full, look)
    name = {16: "selnl_msg_setenforce", 17: "selnl_msg_policyload"}.get(kind) if protocol == SELINUX else None
    if name and full >= 4:
        return STRUCTS[name].decode(data[:4]) if len(data) >= 4 else look.missing()
    return raw(data, full, look)


def _error(marks: int, protocol: int, data: bytes, full: int, look: Look) -> str:
    """A struct nlmsgerr: an error and the message that it is of, or its header alone, and attributes behind that."""
    if full < 4 + _HEADER.size:
        return raw(data, full, look)
    if len(data) < 4 + _HEADER.size:
        return look.missing()
    error = int.from_bytes(data[:4], "little", signed=True)
    name = errno_name(-error) if -4096 < error < 0 else ""
    inner, left = data[4:], full - 4
    length = max(_HEADER.size, int.from_bytes(inner[:4], "little"))
    payload = min(left, _HEADER.size if marks & _CAPPED else length)
    deeper = look.behind(4).deeper()
    whose = _message(inner, payload, protocol, deeper) if look.depth < DEPTH else raw(inner, payload, deeper)
    text = f"{{error={'-' + name if name and not name.isdigit() else error}, msg={whose}}}"
    if left <= payload:
        return text
    return f"[{text}, {attributes(inner[payload:], left - payload, table('error'), deeper.behind(payload))}]"


# ---- types and flags -----------------------------------------------------------------------------------------------

_TYPES = {
    ROUTE: "nl_route_types",
    SOCK_DIAG: "nl_sock_diag_types",
    XFRM: "nl_xfrm_types",
    SELINUX: "nl_selinux_types",
    AUDIT: "nl_audit_types",
    GENERIC: "nl_generic_types",
    CRYPTO: "nl_crypto_types",
}
_SUBSYSTEMS = {
    1: "nf_ctnetlink_msg_types",
    2: "nf_ctnetlink_exp_msg_types",
    3: "nf_queue_msg_types",
    4: "nf_ulog_msg_types",
    5: "nf_osf_msg_types",
    6: "nf_ipset_msg_types",
    7: "nf_acct_msg_types",
    8: "nf_cttimeout_msg_types",
    9: "nf_cthelper_msg_types",
    10: "nf_nftables_msg_types",
    11: "nf_nft_compat_msg_types",
    12: "nf_hook_msg_types",
}
_NFTABLES = 10


def _type(kind: int, protocol: int, look: Look) -> str:
    if kind < _FIRST:
        return enum("netlink_types", kind)
    if protocol == GENERIC and kind not in SETS["nl_generic_types"].names and kind in look.families:
        return style.constant(hexa(kind), escape(look.families[kind].encode()))
    if protocol == NETFILTER:
        reserved = SETS["nl_netfilter_msg_types"].names.get(kind)
        return reserved or f"{enum('nl_netfilter_subsys_ids', kind >> 8)}<<8|{_subsystem_type(kind >> 8, kind & 0xFF)}"
    return enum(_TYPES.get(protocol, "netlink_types"), kind)


def _subsystem_type(subsystem: int, kind: int) -> str:
    name = _SUBSYSTEMS.get(subsystem)
    return enum(name, kind) if name else f"{kind:#x}" if kind else "0"


_NEW, _DELETE, _GET = "netlink_new_flags", "netlink_delete_flags", "netlink_get_flags"


def _route_flags(kind: int) -> str:
    if kind == 49:  # RTM_DELACTION has the flags of a dump
        return _GET
    return (_NEW, _DELETE, _GET, "")[kind & 3]


#: What stands before the verb in the names of types.
_NOUN = re.compile(r".*MSG_(?:(?:CT|EXP|ACCT|TIMEOUT|CTHELPER|COMPAT|HOOK)_)?")


def _by_name(name: str, kind: int) -> str:
    """Whether a message makes, deletes or asks, from its type's name: XFRM_MSG_NEWSA, IPCTNL_MSG_CT_GET_DYING."""
    verb = _NOUN.sub("", SETS[name].names.get(kind, ""))[:3]
    return {"NEW": _NEW, "DEL": _DELETE, "GET": _GET}.get(verb, "")


_WITHOUT_FLAGS = {3, 4, 5, 6}  # netfilter's queue, log, fingerprints and ipset: their types say otherwise


def _netfilter_flags(kind: int) -> str:
    subsystem = kind >> 8
    known = subsystem in _SUBSYSTEMS and subsystem not in _WITHOUT_FLAGS
    return _by_name(_SUBSYSTEMS[subsystem], kind & 0xFF) if known else ""


def _diag_flags(kind: int) -> str:
    return _GET


_FLAGS: dict[int, Callable[[int], str]] = {
    ROUTE: _route_flags,
    SOCK_DIAG: _diag_flags,
    XFRM: lambda kind: _by_name("nl_xfrm_types", kind),
    CRYPTO: lambda kind: _by_name("nl_crypto_types", kind),
    NETFILTER: _netfilter_flags,
}


def _marks(marks: int, kind: int, protocol: int) -> str:
    """A message's flags: what the upper ones mean depends on its type."""
    which = _FLAGS.get(protocol) if kind >= _FIRST else None
    also = which(kind) if which else "netlink_ack_flags" if kind == _ERROR else ""
    left, found = marks, []
    for bit, name in [*SETS["netlink_flags"].pairs, *(SETS[also].pairs if also else ())]:
        if left & bit == bit:
            found.append(name)
            left &= ~bit
    if not found:
        return style.constant(hexa(left), f"{left:#x} /* NLM_F_??? */" if left else "0")
    return style.constant(hexa(marks), "|".join([*found, f"{left:#x}"] if left else found))


# ---- single protocols ----------------------------------------------------------------------------------------------


def _netfilter(kind: int, data: bytes, full: int, look: Look) -> str:
    """A struct nfgenmsg, and attributes that have no names."""
    if full < 4:
        return raw(data, full, look)
    if len(data) < 4:
        return look.missing()
    resource, swapped = int.from_bytes(data[2:4], "big"), int.from_bytes(data[2:4], "little")
    name = f"htons({resource})"
    if kind >> 8 == _NFTABLES and _NFTABLES in (resource, swapped):
        name = "htons(NFNL_SUBSYS_NFTABLES)" if resource == _NFTABLES else "NFNL_SUBSYS_NFTABLES"
    head = f"{{nfgen_family={enum('addrfams', data[0])}, version={enum('netfilter_versions', data[1])}, res_id={name}}}"
    if full == 4:
        return head
    if SETS["nl_netfilter_msg_types"].names.get(kind):
        return f"{head}, {raw(data[4:], full - 4, look.behind(4))}"
    return f"{head}, {attributes(data[4:], full - 4, None, look.behind(4))}"


def _uevent(data: bytes, full: int, look: Look) -> str:
    """What the kernel, or udev, says of a device: text, behind a header if it is udev's."""
    known = STRUCTS["udev_monitor_netlink_header"]
    if len(data) < known.size or data[:8] != b"libudev\0":
        return quote(data[: look.limit], full > min(look.limit, len(data)))
    head, rest = known.decode(data[: known.size]), data[known.size :]
    if full == known.size:
        return head
    return f"[{head}, {quote(rest[: look.limit], full - known.size > min(look.limit, len(rest)))}]"
