"""Netlink: the structs that messages begin with and attributes hold."""

from __future__ import annotations

from .layout import STRUCTS, Struct, add, layout
from .netlink_attrs import inet
from .quote import hexbytes
from .scalars import dev, ifindex
from .xlat import enum, flags

__all__ = ["STRUCTS", "sockid"]
#: Fields of a message's own struct begin with the family; strace shows that alone where the rest is missing.
add("""
ifinfomsg = ifi_family:B:enum:addrfams -:1x ifi_type:H:enum:arp_hardware_types ifi_index:i:ifindex
    ifi_flags:I:flags:iffflags ifi_change:I:x
ifaddrmsg = ifa_family:B:enum:addrfams ifa_prefixlen:B ifa_flags:B:flags:ifaddrflags ifa_scope:B:enum:routing_scopes
    ifa_index:I:ifindex
ifaddrlblmsg = ifal_family:B:enum:addrfams -:1x ifal_prefixlen:B ifal_flags:B ifal_index:I:ifindex ifal_seq:I
rtmsg = rtm_family:B:enum:addrfams rtm_dst_len:B rtm_src_len:B rtm_tos:B:flags:ip_type_of_services
    rtm_table:B:enum:routing_table_ids rtm_protocol:B:enum:routing_protocols rtm_scope:B:enum:routing_scopes
    rtm_type:B:enum:routing_types rtm_flags:I:flags:routing_flags
ndmsg = ndm_family:B:enum:addrfams -:3x ndm_ifindex:i:ifindex ndm_state:H:flags:neighbor_cache_entry_states
    ndm_flags:B:flags:neighbor_cache_entry_flags ndm_type:B:enum:routing_types
fib_rule_hdr = family:B:enum:addrfams dst_len:B src_len:B tos:B:flags:ip_type_of_services
    table:B:enum:routing_table_ids -:2x action:B:enum:fib_rule_actions flags:I:flags:fib_rule_flags
tcmsg = tcm_family:B:enum:addrfams -:3x tcm_ifindex:i:ifindex tcm_handle:I tcm_parent:I tcm_info:I
tcamsg = tca_family:B:enum:addrfams -:3x
ndtmsg = ndtm_family:B:enum:addrfams -:3x
netconfmsg = ncm_family:B:enum:addrfams
rtgenmsg = rtgen_family:B:enum:addrfams
dcbmsg = dcb_family:B:enum:addrfams cmd:B:enum:dcb_commands -:2x
br_port_msg = family:B:enum:addrfams -:3x ifindex:I:ifindex
if_stats_msg = family:B:enum:addrfams ?pad1:B:x ?pad2:H:x ifindex:I:ifindex filter_mask:I:flags:ifstats_attr_flags
nhmsg = nh_family:B:enum:addrfams nh_scope:B:enum:routing_scopes nh_protocol:B:enum:routing_protocols ?resvd:B:x
    nh_flags:I:flags:route_nexthop_flags
rtnl_link_ifmap = mem_start:Q:x mem_end:Q:x base_addr:Q:x irq:H dma:B port:B
ifla_cacheinfo = max_reasm_len:I tstamp:I reachable_time:I retrans_time:I
ifa_cacheinfo = ifa_prefered:I ifa_valid:I cstamp:I tstamp:I
rta_cacheinfo = rta_clntref:I rta_lastuse:I rta_expires:I rta_error:I rta_used:I rta_id:I:x rta_ts:I rta_tsage:I
rta_mfc_stats = mfcs_packets:Q mfcs_bytes:Q mfcs_wrong_if:Q
rtnexthop = rtnh_len:H rtnh_flags:B:flags:route_nexthop_flags rtnh_hops:B rtnh_ifindex:i:ifindex
nda_cacheinfo = ndm_confirmed:I ndm_used:I ndm_updated:I ndm_refcnt:I
ndt_config = ndtc_key_len:H ndtc_entry_size:H ndtc_entries:I ndtc_last_flush:I ndtc_last_rand:I ndtc_hash_rnd:I
    ndtc_hash_mask:I:x08 ndtc_hash_chain_gc:I ndtc_proxy_qlen:I
ndt_stats = ndts_allocs:Q ndts_destroys:Q ndts_hash_grows:Q ndts_res_failed:Q ndts_lookups:Q ndts_hits:Q
    ndts_rcv_probes_mcast:Q ndts_rcv_probes_ucast:Q ndts_periodic_gc_runs:Q ndts_forced_gc_runs:Q ndts_table_fulls:Q
nexthop_grp = id:I weight:B ?resvd1:B:x ?resvd2:H:x
fib_rule_uid_range = start:I end:I
fib_rule_port_range = start:H end:H
tc_stats = bytes:Q packets:I drops:I overlimits:I bps:I pps:I qlen:I backlog:I
tc_estimator = interval:b ewma_log:B
tc_sizespec = cell_log:B size_log:B cell_align:h overhead:i linklayer:I mpu:I mtu:I tsize:I
gnet_stats_basic = bytes:Q packets:I
gnet_stats_rate_est = bps:I pps:I
gnet_stats_rate_est64 = bps:Q pps:Q
gnet_stats_queue = qlen:I backlog:I drops:I requeues:I overlimits:I
mpls_link_stats = rx_packets:Q tx_packets:Q rx_bytes:Q tx_bytes:Q rx_errors:Q tx_errors:Q rx_dropped:Q tx_dropped:Q
    rx_noroute:Q
bridge_vlan_xstats = rx_bytes:Q rx_packets:Q tx_bytes:Q tx_packets:Q vid:H flags:H:flags:nl_bridge_vlan_flags
    ?pad2:I:x
bridge_stp_xstats = transition_blk:Q transition_fwd:Q rx_bpdu:Q tx_bpdu:Q rx_tcn:Q tx_tcn:Q
bridge_vlan_info = flags:H:flags:nl_bridge_vlan_flags vid:H
br_boolopt_multi = optval:I:flags:rtnl_ifla_br_boolopt_flags optmask:I:flags:rtnl_ifla_br_boolopt_flags
can_device_stats = bus_error:I error_warning:I error_passive:I bus_off:I arbitration_lost:I restarts:I
ifla_bridge_id = prio:2B addr:6s:mac
ifla_vf_mac = vf:I mac:32s:mac
ifla_vf_vlan = vf:I vlan:I qos:I
ifla_vf_tx_rate = vf:I rate:I
ifla_vf_setting = vf:I setting:I
ifla_vf_link_state = vf:I link_state:I:enum:rtnl_ifla_vf_link_states
ifla_vf_rate = vf:I min_tx_rate:I max_tx_rate:I
ifla_vf_guid = vf:I -:4x guid:Q:x
ifla_vf_broadcast = broadcast:32s:mac
ifla_vf_vlan_info = vf:I vlan:I qos:I vlan_proto:H:ether -:2x
ifla_port_vsi = vsi_mgr_id:B vsi_type_id:3s:hex vsi_type_version:B -:3x
inet_diag_meminfo = idiag_rmem:I idiag_wmem:I idiag_fmem:I idiag_tmem:I
inet_diag_markcond = mark:I mask:I
inet_diag_bc_op = code:B:enum:inet_diag_bytecodes yes:B no:H
inet_diag_hostcond = family:B:enum:addrfams prefix_len:B -:2x port:i
tcpvegas_info = tcpv_enabled:I tcpv_rttcnt:I tcpv_rtt:I tcpv_minrtt:I
tcp_dctcp_info = dctcp_enabled:H dctcp_ce_state:H dctcp_alpha:I dctcp_ab_ecn:I dctcp_ab_tot:I
tcp_bbr_info = bbr_bw_lo:I:x bbr_bw_hi:I:x bbr_min_rtt:I bbr_pacing_gain:I bbr_cwnd_gain:I
unix_diag_req = sdiag_family:B:enum:addrfams sdiag_protocol:B -:2x udiag_states:I:flags:tcp_state_flags udiag_ino:I
    udiag_show:I:flags:unix_diag_show udiag_cookie:2I
unix_diag_msg = udiag_family:B:enum:addrfams udiag_type:B:enum:socktypes udiag_state:B:enum:tcp_states -:1x
    udiag_ino:I udiag_cookie:2I
unix_diag_rqlen = udiag_rqueue:I udiag_wqueue:I
netlink_diag_req = sdiag_family:B:enum:addrfams sdiag_protocol:B:enum:netlink_diag_protocols -:2x ndiag_ino:I
    ndiag_show:I:flags:netlink_diag_show ndiag_cookie:2I
netlink_diag_msg = ndiag_family:B:enum:addrfams ndiag_type:B:enum:socktypes ndiag_protocol:B:enum:netlink_protocols
    ndiag_state:B:enum:netlink_states ndiag_portid:I ndiag_dst_portid:I ndiag_dst_group:I ndiag_ino:I ndiag_cookie:2I
netlink_diag_ring = ndr_block_size:I ndr_block_nr:I ndr_frame_size:I ndr_frame_nr:I
packet_diag_req = sdiag_family:B:enum:addrfams sdiag_protocol:B:x -:2x pdiag_ino:I pdiag_show:I:flags:packet_diag_show
    pdiag_cookie:2I
packet_diag_msg = pdiag_family:B:enum:addrfams pdiag_type:B:enum:socktypes pdiag_num:H:enum:ethernet_protocols
    pdiag_ino:I pdiag_cookie:2I
packet_diag_info = pdi_index:I:ifindex pdi_version:I:enum:af_packet_versions pdi_reserve:I pdi_copy_thresh:I pdi_tstamp:I
    pdi_flags:I:flags:packet_diag_info_flags
packet_diag_ring = pdr_block_size:I pdr_block_nr:I pdr_frame_size:I pdr_frame_nr:I pdr_retire_tmo:I pdr_sizeof_priv:I
    pdr_features:I
selnl_msg_setenforce = val:i
selnl_msg_policyload = seqno:I
crypto_user_alg = cru_name:64s:cstring cru_driver_name:64s:cstring cru_module_name:64s:cstring cru_type:I:x
    cru_mask:I:x cru_refcnt:I cru_flags:I:x
crypto_report_hash = type:64s:cstring blocksize:I digestsize:I
crypto_report_blkcipher = type:64s:cstring geniv:64s:cstring blocksize:I min_keysize:I max_keysize:I ivsize:I
crypto_report_aead = type:64s:cstring geniv:64s:cstring blocksize:I maxauthsize:I ivsize:I
crypto_report_rng = type:64s:cstring seedsize:I
crypto_report_cipher = type:64s:cstring blocksize:I min_keysize:I max_keysize:I
udev_monitor_netlink_header = prefix:8s:cstring magic:I:htonl header_size:I properties_off:I properties_len:I
    filter_subsystem_hash:I:htonl filter_devtype_hash:I:htonl filter_tag_bloom_hi:I:htonl filter_tag_bloom_lo:I:htonl
""")

_LINK_STATS = """
rx_packets tx_packets rx_bytes tx_bytes rx_errors tx_errors rx_dropped tx_dropped multicast collisions rx_length_errors
rx_over_errors rx_crc_errors rx_frame_errors rx_fifo_errors rx_missed_errors tx_aborted_errors tx_carrier_errors
tx_fifo_errors tx_heartbeat_errors tx_window_errors rx_compressed tx_compressed rx_nohandler
""".split()  # noqa: SIM905
STRUCTS["rtnl_link_stats"] = layout(" ".join([f"{name}:I" for name in _LINK_STATS]))
STRUCTS["rtnl_link_stats64"] = layout(" ".join([f"{name}:Q" for name in [*_LINK_STATS, "rx_otherhost_dropped"]]))


# ---- what depends on a family --------------------------------------------------------------------------------------


def _port(data: bytes) -> str:
    return f"htons({int.from_bytes(data, 'big')})"


def sockid(data: bytes, family: int) -> str:
    """A struct inet_diag_sockid with addresses of ``family``."""
    index, *cookie = (int.from_bytes(data[at : at + 4], "little") for at in (36, 40, 44))
    size = 4 if family == 2 else 16
    ends = f"idiag_sport={_port(data[:2])}, idiag_dport={_port(data[2:4])}, "
    ends += f"{inet(family, data[4 : 4 + size], 'idiag_src')}, {inet(family, data[20 : 20 + size], 'idiag_dst')}"
    return f"{{{ends}, idiag_if={ifindex(index)}, idiag_cookie=[{cookie[0]}, {cookie[1]}]}}"


def _inet_diag(spec: str, at: int) -> Struct:
    """A struct that begins with a family and has a struct inet_diag_sockid at byte ``at``, which ``spec`` leaves as id."""
    plain = layout(spec)

    def decode(data: bytes) -> str:
        return plain.decode(data).replace("id=?", f"id={sockid(data[at : at + 48], data[0])}", 1)

    return Struct(plain.size, decode, plain.prefix)


STRUCTS["inet_diag_req"] = _inet_diag(
    "idiag_family:B:enum:addrfams idiag_src_len:B idiag_dst_len:B idiag_ext:B:flags:inet_diag_extended_flags "
    "id:48s:later idiag_states:I:flags:tcp_state_flags idiag_dbs:I",
    4,
)
STRUCTS["inet_diag_req_v2"] = _inet_diag(
    "sdiag_family:B:enum:addrfams sdiag_protocol:B:enum:inet_protocols idiag_ext:B:flags:inet_diag_extended_flags -:1x "
    "idiag_states:I:flags:tcp_state_flags id:48s:later",
    8,
)
STRUCTS["inet_diag_msg"] = _inet_diag(
    "idiag_family:B:enum:addrfams idiag_state:B:enum:tcp_states idiag_timer:B idiag_retrans:B id:48s:later "
    "idiag_expires:I idiag_rqueue:I idiag_wqueue:I idiag_uid:I idiag_inode:I",
    4,
)


def _md5sig(data: bytes) -> str:
    length = int.from_bytes(data[2:4], "little")
    key = hexbytes(data[20 : 20 + min(length, 80)])
    size = 4 if data[0] == 2 else 16
    head = f"tcpm_family={enum('addrfams', data[0])}, tcpm_prefixlen={data[1]}, tcpm_keylen={length}"
    return f"{{{head}, {inet(data[0], data[4 : 4 + size], 'tcpm_addr')}, tcpm_key={key}}}"


def _mclist(data: bytes) -> str:
    index, count = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4))
    kind, length = (int.from_bytes(data[at : at + 2], "little") for at in (8, 10))
    head = f"pdmc_index={ifindex(index)}, pdmc_count={count}, pdmc_type={kind}, pdmc_alen={length}"
    return f"{{{head}, pdmc_addr={hexbytes(data[12 : 12 + min(length, 32)])}}}"


def _mdb_entry(data: bytes) -> str:
    index, vid = int.from_bytes(data[:4], "little"), int.from_bytes(data[6:8], "little")
    protocol = int.from_bytes(data[24:26], "big")
    family = {0x800: 2, 0x86DD: 10}.get(protocol, 0)
    head = (
        f"ifindex={ifindex(index)}, state={enum('mdb_states', data[4])}, flags={flags('mdb_flags', data[5])}, vid={vid}"
    )
    address = inet(family, data[8 : 12 if family == 2 else 24], "u")
    return f"{{{head}, addr={{{address}, proto=htons({enum('ethernet_protocols', protocol)})}}}}"


def _unix_vfs(data: bytes) -> str:
    inode, device = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4))
    return f"{{udiag_vfs_dev={dev(device)}, udiag_vfs_ino={inode}}}"


STRUCTS |= {
    "tcp_diag_md5sig": Struct(100, _md5sig),
    "packet_diag_mclist": Struct(44, _mclist),
    "br_mdb_entry": Struct(28, _mdb_entry),
    "unix_diag_vfs": Struct(8, _unix_vfs),
}
