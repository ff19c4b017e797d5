"""NETLINK_SOCK_DIAG, as ``ss`` asks for sockets and is told of them; NETLINK_CRYPTO."""

from __future__ import annotations

from dataclasses import replace

from .netlink_attrs import SPECIAL, Look, add_tables, after, elements, family_address, raw
from .netlink_route import headed
from .quote import quote
from .scalars import hexa, ifindex
from .sockaddr import sockaddr
from .structs_netlink import STRUCTS
from .xlat import bits, enum

_UNIX, _NETLINK, _PACKET = 1, 16, 17
_INET = (2, 10)
_COMPAT = (18, 19)  # TCPDIAG_GETSOCK, DCCPDIAG_GETSOCK
_REQUEST = 1  # NLM_F_REQUEST

add_tables("""
inet_request = inet_diag_req_attrs INET_DIAG_REQ_BYTECODE:bytecode INET_DIAG_REQ_PROTOCOL:ip_proto
inet_socket = inet_diag_attrs INET_DIAG_MEMINFO:struct:inet_diag_meminfo INET_DIAG_VEGASINFO:struct:tcpvegas_info
 INET_DIAG_CONG:str INET_DIAG_TOS:u8 INET_DIAG_TCLASS:u8 INET_DIAG_SKMEMINFO:list:I:netlink_sk_meminfo_indices
 INET_DIAG_SHUTDOWN:shutdown INET_DIAG_DCTCPINFO:struct:tcp_dctcp_info INET_DIAG_PROTOCOL:ip_proto
 INET_DIAG_SKV6ONLY:u8 INET_DIAG_LOCALS:sockaddrs INET_DIAG_PEERS:sockaddrs INET_DIAG_MARK:u32
 INET_DIAG_BBRINFO:struct:tcp_bbr_info INET_DIAG_CLASS_ID:u32 INET_DIAG_MD5SIG:structs:tcp_diag_md5sig
 INET_DIAG_ULP_INFO:nest:ulp INET_DIAG_SK_BPF_STORAGES:nest:storages INET_DIAG_CGROUP_ID:u64 INET_DIAG_SOCKOPT:sockopt
ulp = inet_diag_ulp_info_attrs INET_ULP_INFO_NAME:str INET_ULP_INFO_TLS:nest:tls INET_ULP_INFO_MPTCP:nest:mptcp
tls = inet_diag_ulp_info_tls_attrs TLS_INFO_VERSION:enum:tls_info_versions:2 TLS_INFO_CIPHER:enum:tls_info_ciphers:2
 TLS_INFO_TXCONF:enum:tls_info_configs:2 TLS_INFO_RXCONF:enum:tls_info_configs:2
mptcp = inet_diag_ulp_info_mptcp_attrs MPTCP_SUBFLOW_ATTR_TOKEN_REM:x32 MPTCP_SUBFLOW_ATTR_TOKEN_LOC:x32
 MPTCP_SUBFLOW_ATTR_RELWRITE_SEQ:u32 MPTCP_SUBFLOW_ATTR_MAP_SEQ:u64 MPTCP_SUBFLOW_ATTR_MAP_SFSEQ:u32
 MPTCP_SUBFLOW_ATTR_SSN_OFFSET:u32 MPTCP_SUBFLOW_ATTR_MAP_DATALEN:u16
 MPTCP_SUBFLOW_ATTR_FLAGS:flags:mptcp_subflow_flags:4 MPTCP_SUBFLOW_ATTR_ID_REM:u8 MPTCP_SUBFLOW_ATTR_ID_LOC:u8
storages = inet_diag_bpf_storages_attrs SK_DIAG_BPF_STORAGE:nest:storage
storage = inet_diag_bpf_storage_attrs SK_DIAG_BPF_STORAGE_MAP_ID:u32 SK_DIAG_BPF_STORAGE_MAP_VALUE:xint
unix_socket = unix_diag_attrs UNIX_DIAG_NAME:str UNIX_DIAG_VFS:struct:unix_diag_vfs UNIX_DIAG_PEER:u32
 UNIX_DIAG_ICONS:list:I UNIX_DIAG_RQLEN:struct:unix_diag_rqlen UNIX_DIAG_MEMINFO:list:I:netlink_sk_meminfo_indices
 UNIX_DIAG_SHUTDOWN:u8 UNIX_DIAG_UID:uid
netlink_socket = netlink_diag_attrs NETLINK_DIAG_MEMINFO:list:I:netlink_sk_meminfo_indices NETLINK_DIAG_GROUPS:groups
 NETLINK_DIAG_RX_RING:struct:netlink_diag_ring NETLINK_DIAG_TX_RING:struct:netlink_diag_ring
 NETLINK_DIAG_FLAGS:flags:netlink_socket_flags:4
packet_socket = packet_diag_attrs PACKET_DIAG_INFO:struct:packet_diag_info
 PACKET_DIAG_MCLIST:structs:packet_diag_mclist PACKET_DIAG_RX_RING:struct:packet_diag_ring
 PACKET_DIAG_TX_RING:struct:packet_diag_ring PACKET_DIAG_FANOUT:u32 PACKET_DIAG_UID:uid
 PACKET_DIAG_MEMINFO:list:I:netlink_sk_meminfo_indices
algorithm = crypto_nl_attrs CRYPTOCFGA_PRIORITY_VAL:u32 CRYPTOCFGA_REPORT_LARVAL:crypto_type
 CRYPTOCFGA_REPORT_HASH:struct:crypto_report_hash CRYPTOCFGA_REPORT_BLKCIPHER:struct:crypto_report_blkcipher
 CRYPTOCFGA_REPORT_AEAD:struct:crypto_report_aead CRYPTOCFGA_REPORT_COMPRESS:crypto_type
 CRYPTOCFGA_REPORT_RNG:struct:crypto_report_rng CRYPTOCFGA_REPORT_CIPHER:struct:crypto_report_cipher
 CRYPTOCFGA_REPORT_AKCIPHER:crypto_type CRYPTOCFGA_REPORT_KPP:crypto_type CRYPTOCFGA_REPORT_ACOMP:crypto_type
""")

#: Family → the struct and the table of a request, and of an answer.
_FAMILIES = {
    _UNIX: (("unix_diag_req", ""), ("unix_diag_msg", "unix_socket")),
    _NETLINK: (("netlink_diag_req", ""), ("netlink_diag_msg", "netlink_socket")),
    _PACKET: (("packet_diag_req", ""), ("packet_diag_msg", "packet_socket")),
} | dict.fromkeys(_INET, (("inet_diag_req_v2", "inet_request"), ("inet_diag_msg", "inet_socket")))


def message(kind: int, marks: int, data: bytes, full: int, look: Look) -> str:
    """What is behind the header of a message of ``kind`` whose flags are ``marks``."""
    if not data:
        return look.missing()
    family = data[0]
    if family not in _FAMILIES or full == 1:
        rest = f", data={raw(data[1:], full - 1, look.behind(1))}" if full > 1 else ""
        return f"{{family={enum('addrfams', family)}{rest}}}"
    name, attrs = _FAMILIES[family][0 if marks & _REQUEST else 1]
    if kind in _COMPAT and name == "inet_diag_req_v2":
        name = "inet_diag_req"
    return headed(name, attrs, data, full, replace(look, family=family))


def algorithm(data: bytes, full: int, look: Look) -> str:
    """NETLINK_CRYPTO: a struct crypto_user_alg and what the kernel says of the algorithm."""
    known = STRUCTS["crypto_user_alg"]
    if full < known.size:
        return raw(data, full, look)
    return (
        after(known.decode(data[: known.size]), data, full, known.size, "algorithm", look)
        if len(data) >= known.size
        else look.missing()
    )


# ---- what depends on more than its bytes ---------------------------------------------------------------------------

_HOSTS, _PORTS, _DEVICE, _MARK = (7, 8), (2, 3, 4, 5), 9, 10


def _bytecode(data: bytes, full: int, look: Look) -> str | None:
    """The first operation of a filter, and what it compares with."""
    known = STRUCTS["inet_diag_bc_op"]
    if full < known.size:
        return None
    if len(data) < known.size:
        return look.missing()
    head, rest, left = known.decode(data[: known.size]), data[known.size :], full - known.size
    return f"{{{head}, {_operand(data[0], rest, left, look.behind(known.size))}}}"[1:-1] if left else head


def _operand(code: int, data: bytes, full: int, look: Look) -> str:
    if code in _HOSTS:
        return _host(data, full, look)
    if code == _DEVICE and full >= 4:
        return ifindex(int.from_bytes(data[:4], "little")) if len(data) >= 4 else look.missing()
    name = {**dict.fromkeys(_PORTS, "inet_diag_bc_op"), _MARK: "inet_diag_markcond"}.get(code)
    if name and full >= STRUCTS[name].size:
        size = STRUCTS[name].size
        return STRUCTS[name].decode(data[:size]) if len(data) >= size else look.missing()
    return raw(data, full, look)


def _host(data: bytes, full: int, look: Look) -> str:
    known = STRUCTS["inet_diag_hostcond"]
    if full < known.size:
        return raw(data, full, look)
    if len(data) < known.size:
        return look.missing()
    head, left = known.decode(data[: known.size]), full - known.size
    address = family_address(data[0], data[known.size :], left, look.behind(known.size), "addr") if left else ""
    return f"{head[:-1]}, {address}}}" if address else head


def _shutdown(data: bytes, full: int, look: Look) -> str | None:
    """strace shows these flags both as a number and by name."""
    if not data:
        return look.missing()
    return f"{data[0]:#x} /* {bits('inet_diag_shutdown_flags', data[0])} */" if 0 < data[0] < 4 else hexa(data[0])


_OPTIONS = (
    *("recverr", "is_icsk", "freebind", "hdrincl", "mc_loop", "transparent", "mc_all", "nodefrag"),
    *("bind_address_no_port", "recverr_rfc4884", "defer_connect"),
)


def _sockopt(data: bytes, full: int, look: Look) -> str | None:
    if full < 2:
        return None
    if len(data) < 2:
        return look.missing()
    value = int.from_bytes(data[:2], "little")
    shown = [f"{name}=1" for place, name in enumerate(_OPTIONS) if value >> place & 1]
    unused = value >> len(_OPTIONS)
    if unused:
        shown.append(f"unused={unused:#x} /* bits 3..8 */")
    return f"{{{', '.join(shown)}}}"


def _sockaddrs(data: bytes, full: int, look: Look) -> str | None:
    return elements(data, full, 128, lambda place, one: sockaddr(one, 128), look)


def _groups(data: bytes, full: int, look: Look) -> str | None:
    return elements(data, full, 8, lambda place, one: f"{int.from_bytes(one, 'little'):#016x}", look)


def _crypto_type(data: bytes, full: int, look: Look) -> str:
    text, nul, _ = data.partition(b"\0")
    return f"{{type={quote(text[: look.limit], not nul or len(text) > look.limit)}}}"


SPECIAL.update(
    bytecode=_bytecode,
    shutdown=_shutdown,
    sockopt=_sockopt,
    sockaddrs=_sockaddrs,
    groups=_groups,
    crypto_type=_crypto_type,
)
