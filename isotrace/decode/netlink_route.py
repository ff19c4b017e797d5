"""NETLINK_ROUTE: links, addresses, routes, neighbours, rules, traffic control, as rows of attributes."""

from __future__ import annotations

import struct
from dataclasses import replace

from .netlink_attrs import CUT, SPECIAL, Look, Table, add_tables, after, attributes, family_address, nested, raw, table
from .scalars import ifindex
from .structs_netlink import STRUCTS
from .xlat import SETS, enum

AF_BRIDGE, AF_INET6 = 7, 10

add_tables("""
link = rtnl_link_attrs IFLA_ADDRESS:hwaddr IFLA_BROADCAST:hwaddr IFLA_IFNAME:str IFLA_MTU:u32 IFLA_LINK:u32
 IFLA_QDISC:str IFLA_STATS:struct:rtnl_link_stats:92 IFLA_MASTER:u32 IFLA_PROTINFO:protinfo IFLA_TXQLEN:u32
 IFLA_MAP:struct:rtnl_link_ifmap IFLA_WEIGHT:u32 IFLA_OPERSTATE:u8 IFLA_LINKMODE:u8 IFLA_LINKINFO:linkinfo
 IFLA_NET_NS_PID:u32 IFLA_IFALIAS:str IFLA_NUM_VF:u32 IFLA_VFINFO_LIST:nest:vfinfo_list
 IFLA_STATS64:struct:rtnl_link_stats64:184,192 IFLA_VF_PORTS:nest:vf_ports IFLA_PORT_SELF:nest:port
 IFLA_AF_SPEC:af_spec IFLA_GROUP:u32 IFLA_NET_NS_FD:fd IFLA_EXT_MASK:flags:rtnl_ifla_ext_filter_flags:4
 IFLA_PROMISCUITY:u32 IFLA_NUM_TX_QUEUES:u32 IFLA_NUM_RX_QUEUES:u32 IFLA_CARRIER:u8 IFLA_CARRIER_CHANGES:u32
 IFLA_LINK_NETNSID:s32 IFLA_PHYS_PORT_NAME:str IFLA_PROTO_DOWN:u8 IFLA_GSO_MAX_SEGS:u32 IFLA_GSO_MAX_SIZE:u32
 IFLA_XDP:nest:xdp IFLA_EVENT:enum:rtnl_ifla_events:4 IFLA_NEW_NETNSID:s32 IFLA_IF_NETNSID:s32
 IFLA_CARRIER_UP_COUNT:u32 IFLA_CARRIER_DOWN_COUNT:u32 IFLA_NEW_IFINDEX:ifindex IFLA_MIN_MTU:u32 IFLA_MAX_MTU:u32
 IFLA_PROP_LIST:nest:properties IFLA_ALT_IFNAME:str IFLA_PERM_ADDRESS:hwaddr IFLA_PROTO_DOWN_REASON:nest:proto_down
 IFLA_PARENT_DEV_NAME:str IFLA_PARENT_DEV_BUS_NAME:str IFLA_GRO_MAX_SIZE:u32 IFLA_TSO_MAX_SIZE:u32
 IFLA_TSO_MAX_SEGS:u32 IFLA_ALLMULTI:u32 IFLA_GSO_IPV4_MAX_SIZE:u32 IFLA_GRO_IPV4_MAX_SIZE:u32
 IFLA_MAX_PACING_OFFLOAD_HORIZON:u32 IFLA_NETNS_IMMUTABLE:u8 IFLA_HEADROOM:u16 IFLA_TAILROOM:u16
properties = rtnl_link_attrs IFLA_ALT_IFNAME:str
proto_down = rtnl_ifla_proto_down_reason_attrs IFLA_PROTO_DOWN_REASON_MASK:x32 IFLA_PROTO_DOWN_REASON_VALUE:x32
xdp = rtnl_ifla_xdp_attrs IFLA_XDP_FD:fd IFLA_XDP_ATTACHED:enum:rtnl_ifla_xdp_attached_mode:1
 IFLA_XDP_FLAGS:flags:xdp_flags:4 IFLA_XDP_PROG_ID:u32 IFLA_XDP_DRV_PROG_ID:u32 IFLA_XDP_SKB_PROG_ID:u32
 IFLA_XDP_HW_PROG_ID:u32 IFLA_XDP_EXPECTED_FD:fd
port = rtnl_ifla_port_attrs IFLA_PORT_VF:u32 IFLA_PORT_PROFILE:str IFLA_PORT_VSI_TYPE:struct:ifla_port_vsi
 IFLA_PORT_REQUEST:u8 IFLA_PORT_RESPONSE:u16
vf_ports = rtnl_ifla_vf_port_attrs IFLA_VF_PORT:nest:port
vfinfo_list = rtnl_ifla_vfinfo_list_attrs IFLA_VF_INFO:nest:vf_info
vf_info = rtnl_ifla_vf_info_attrs IFLA_VF_MAC:struct:ifla_vf_mac IFLA_VF_VLAN:struct:ifla_vf_vlan
 IFLA_VF_TX_RATE:struct:ifla_vf_tx_rate IFLA_VF_SPOOFCHK:struct:ifla_vf_setting
 IFLA_VF_LINK_STATE:struct:ifla_vf_link_state IFLA_VF_RATE:struct:ifla_vf_rate
 IFLA_VF_RSS_QUERY_EN:struct:ifla_vf_setting IFLA_VF_STATS:nest:vf_stats IFLA_VF_TRUST:struct:ifla_vf_setting
 IFLA_VF_IB_NODE_GUID:struct:ifla_vf_guid IFLA_VF_IB_PORT_GUID:struct:ifla_vf_guid IFLA_VF_VLAN_LIST:nest:vf_vlans
 IFLA_VF_BROADCAST:struct:ifla_vf_broadcast
vf_vlans = rtnl_ifla_vf_vlan_list_attrs IFLA_VF_VLAN_INFO:struct:ifla_vf_vlan_info
vf_stats = rtnl_ifla_vf_stats_attrs IFLA_VF_STATS_RX_PACKETS:u64 IFLA_VF_STATS_TX_PACKETS:u64
 IFLA_VF_STATS_RX_BYTES:u64 IFLA_VF_STATS_TX_BYTES:u64 IFLA_VF_STATS_BROADCAST:u64 IFLA_VF_STATS_MULTICAST:u64
 IFLA_VF_STATS_RX_DROPPED:u64 IFLA_VF_STATS_TX_DROPPED:u64
inet = rtnl_ifla_af_spec_inet_attrs IFLA_INET_CONF:list:i:inet_devconf_indices
inet6 = rtnl_ifla_af_spec_inet6_attrs IFLA_INET6_FLAGS:flags:inet6_if_flags:4
 IFLA_INET6_CONF:list:i:inet6_devconf_indices IFLA_INET6_STATS:list:Q:snmp_ip_stats
 IFLA_INET6_CACHEINFO:struct:ifla_cacheinfo IFLA_INET6_ICMP6STATS:list:Q:snmp_icmp6_stats IFLA_INET6_TOKEN:in6
 IFLA_INET6_ADDR_GEN_MODE:enum:in6_addr_gen_mode:1 IFLA_INET6_RA_MTU:u32
mctp = rtnl_ifla_af_spec_mctp_attrs IFLA_MCTP_NET:u32
bridge_spec = rtnl_ifla_af_spec_bridge_attrs IFLA_BRIDGE_FLAGS:flags:rtnl_ifla_bridge_flags:2
 IFLA_BRIDGE_MODE:enum:rtnl_ifla_bridge_modes:2 IFLA_BRIDGE_VLAN_INFO:vlan_info
 IFLA_BRIDGE_VLAN_TUNNEL_INFO:nest:vlan_tunnel
vlan_tunnel = rtnl_ifla_af_spec_bridge_vlan_tunnel_info_attrs IFLA_BRIDGE_VLAN_TUNNEL_ID:u32
 IFLA_BRIDGE_VLAN_TUNNEL_VID:u16 IFLA_BRIDGE_VLAN_TUNNEL_FLAGS:flags:nl_bridge_vlan_flags:2
brport = rtnl_ifla_brport_attrs IFLA_BRPORT_STATE:u8 IFLA_BRPORT_PRIORITY:u16 IFLA_BRPORT_COST:u32 IFLA_BRPORT_MODE:u8
 IFLA_BRPORT_GUARD:u8 IFLA_BRPORT_PROTECT:u8 IFLA_BRPORT_FAST_LEAVE:u8 IFLA_BRPORT_LEARNING:u8
 IFLA_BRPORT_UNICAST_FLOOD:u8 IFLA_BRPORT_PROXYARP:u8 IFLA_BRPORT_LEARNING_SYNC:u8 IFLA_BRPORT_PROXYARP_WIFI:u8
 IFLA_BRPORT_ROOT_ID:struct:ifla_bridge_id IFLA_BRPORT_BRIDGE_ID:struct:ifla_bridge_id IFLA_BRPORT_DESIGNATED_PORT:u16
 IFLA_BRPORT_DESIGNATED_COST:u16 IFLA_BRPORT_ID:u16 IFLA_BRPORT_NO:u16 IFLA_BRPORT_TOPOLOGY_CHANGE_ACK:u8
 IFLA_BRPORT_CONFIG_PENDING:u8 IFLA_BRPORT_MESSAGE_AGE_TIMER:clock IFLA_BRPORT_FORWARD_DELAY_TIMER:clock
 IFLA_BRPORT_HOLD_TIMER:clock IFLA_BRPORT_MULTICAST_ROUTER:u8 IFLA_BRPORT_MCAST_FLOOD:u8 IFLA_BRPORT_MCAST_TO_UCAST:u8
 IFLA_BRPORT_VLAN_TUNNEL:u8 IFLA_BRPORT_BCAST_FLOOD:u8 IFLA_BRPORT_GROUP_FWD_MASK:x16 IFLA_BRPORT_NEIGH_SUPPRESS:u8
 IFLA_BRPORT_ISOLATED:u8 IFLA_BRPORT_BACKUP_PORT:ifindex IFLA_BRPORT_MRP_RING_OPEN:u8 IFLA_BRPORT_MRP_IN_OPEN:u8
 IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT:u32 IFLA_BRPORT_MCAST_EHT_HOSTS_CNT:u32 IFLA_BRPORT_LOCKED:u8
linkinfo = rtnl_ifla_info_attrs IFLA_INFO_KIND:cstr IFLA_INFO_DATA:link_data IFLA_INFO_XSTATS:link_xstats
 IFLA_INFO_SLAVE_KIND:cstr IFLA_INFO_SLAVE_DATA:slave_data
bridge = rtnl_ifla_info_data_bridge_attrs IFLA_BR_FORWARD_DELAY:clock IFLA_BR_HELLO_TIME:clock IFLA_BR_MAX_AGE:clock
 IFLA_BR_AGEING_TIME:clock IFLA_BR_STP_STATE:u32 IFLA_BR_PRIORITY:u16 IFLA_BR_VLAN_FILTERING:u8
 IFLA_BR_VLAN_PROTOCOL:ether IFLA_BR_GROUP_FWD_MASK:x16 IFLA_BR_ROOT_ID:struct:ifla_bridge_id
 IFLA_BR_BRIDGE_ID:struct:ifla_bridge_id IFLA_BR_ROOT_PORT:u16 IFLA_BR_ROOT_PATH_COST:u32 IFLA_BR_TOPOLOGY_CHANGE:u8
 IFLA_BR_TOPOLOGY_CHANGE_DETECTED:u8 IFLA_BR_HELLO_TIMER:clock IFLA_BR_TCN_TIMER:clock
 IFLA_BR_TOPOLOGY_CHANGE_TIMER:clock IFLA_BR_GC_TIMER:clock IFLA_BR_GROUP_ADDR:hwaddr IFLA_BR_MCAST_ROUTER:u8
 IFLA_BR_MCAST_SNOOPING:u8 IFLA_BR_MCAST_QUERY_USE_IFADDR:u8 IFLA_BR_MCAST_QUERIER:u8
 IFLA_BR_MCAST_HASH_ELASTICITY:u32 IFLA_BR_MCAST_HASH_MAX:u32 IFLA_BR_MCAST_LAST_MEMBER_CNT:u32
 IFLA_BR_MCAST_STARTUP_QUERY_CNT:u32 IFLA_BR_MCAST_LAST_MEMBER_INTVL:clock IFLA_BR_MCAST_MEMBERSHIP_INTVL:clock
 IFLA_BR_MCAST_QUERIER_INTVL:clock IFLA_BR_MCAST_QUERY_INTVL:clock IFLA_BR_MCAST_QUERY_RESPONSE_INTVL:clock
 IFLA_BR_MCAST_STARTUP_QUERY_INTVL:clock IFLA_BR_NF_CALL_IPTABLES:u8 IFLA_BR_NF_CALL_IP6TABLES:u8
 IFLA_BR_NF_CALL_ARPTABLES:u8 IFLA_BR_VLAN_DEFAULT_PVID:u16 IFLA_BR_VLAN_STATS_ENABLED:u8
 IFLA_BR_MCAST_STATS_ENABLED:u8 IFLA_BR_MCAST_IGMP_VERSION:u8 IFLA_BR_MCAST_MLD_VERSION:u8
 IFLA_BR_VLAN_STATS_PER_PORT:u8 IFLA_BR_MULTI_BOOLOPT:struct:br_boolopt_multi IFLA_BR_MCAST_QUERIER_STATE:nest:querier
querier = rtnl_ifla_br_mcast_querier_attrs BRIDGE_QUERIER_IP_ADDRESS:in4 BRIDGE_QUERIER_IP_PORT:ifindex
 BRIDGE_QUERIER_IP_OTHER_TIMER:clock BRIDGE_QUERIER_IPV6_ADDRESS:in6 BRIDGE_QUERIER_IPV6_PORT:ifindex
 BRIDGE_QUERIER_IPV6_OTHER_TIMER:clock
tun = rtnl_ifla_info_data_tun_attrs IFLA_TUN_OWNER:uid IFLA_TUN_GROUP:uid IFLA_TUN_TYPE:enum:tun_device_types:1
 IFLA_TUN_PI:u8 IFLA_TUN_VNET_HDR:u8 IFLA_TUN_PERSIST:u8 IFLA_TUN_MULTI_QUEUE:u8 IFLA_TUN_NUM_QUEUES:u32
 IFLA_TUN_NUM_DISABLED_QUEUES:u32
address = rtnl_addr_attrs IFA_ADDRESS:addr IFA_LOCAL:addr IFA_LABEL:str IFA_BROADCAST:addr IFA_ANYCAST:addr
 IFA_CACHEINFO:struct:ifa_cacheinfo IFA_MULTICAST:addr IFA_FLAGS:flags:ifaddrflags:4 IFA_RT_PRIORITY:u32
 IFA_TARGET_NETNSID:s32
label = rtnl_addrlabel_attrs IFAL_ADDRESS:addr IFAL_LABEL:u32
route = rtnl_route_attrs RTA_DST:addr RTA_SRC:addr RTA_IIF:ifindex RTA_OIF:ifindex RTA_GATEWAY:addr RTA_PRIORITY:u32
 RTA_PREFSRC:addr RTA_METRICS:nest:metrics RTA_MULTIPATH:multipath RTA_PROTOINFO:u32 RTA_FLOW:u32
 RTA_CACHEINFO:struct:rta_cacheinfo RTA_MP_ALGO:u32 RTA_TABLE:enum:routing_table_ids:4 RTA_MARK:u32
 RTA_MFC_STATS:struct:rta_mfc_stats RTA_VIA:via RTA_NEWDST:addr RTA_PREF:u8 RTA_ENCAP_TYPE:enum:lwtunnel_encap_types:2
 RTA_EXPIRES:u64 RTA_UID:u32 RTA_TTL_PROPAGATE:u8 RTA_IP_PROTO:u8 RTA_SPORT:u16 RTA_DPORT:u16
metrics = rtnl_rta_metrics_attrs RTAX_LOCK:u32 RTAX_MTU:u32 RTAX_WINDOW:u32 RTAX_RTT:u32 RTAX_RTTVAR:u32
 RTAX_SSTHRESH:u32 RTAX_CWND:u32 RTAX_ADVMSS:u32 RTAX_REORDERING:u32 RTAX_HOPLIMIT:u32 RTAX_INITCWND:u32
 RTAX_FEATURES:u32 RTAX_RTO_MIN:u32 RTAX_INITRWND:u32 RTAX_QUICKACK:u32 RTAX_CC_ALGO:str
neighbour = rtnl_neigh_attrs NDA_DST:addr NDA_LLADDR:hwaddr NDA_CACHEINFO:struct:nda_cacheinfo NDA_PROBES:u32
 NDA_VLAN:u16 NDA_PORT:be16 NDA_VNI:u32 NDA_IFINDEX:ifindex NDA_MASTER:ifindex NDA_LINK_NETNSID:u32 NDA_SRC_VNI:u32
 NDA_PROTOCOL:ip_proto NDA_NH_ID:u32 NDA_FDB_EXT_ATTRS:nest:fdb NDA_FLAGS_EXT:flags:neighbor_cache_entry_ext_flags:4
 NDA_NDM_STATE_MASK:flags:neighbor_cache_entry_states:2 NDA_NDM_FLAGS_MASK:flags:neighbor_cache_entry_flags:1
fdb = rtnl_neigh_fdb_ext_attrs NFEA_ACTIVITY_NOTIFY:flags:fdb_notify_flags:1
neighbours = rtnl_neightbl_attrs NDTA_NAME:str NDTA_THRESH1:u32 NDTA_THRESH2:u32 NDTA_THRESH3:u32
 NDTA_CONFIG:struct:ndt_config NDTA_PARMS:nest:neighbour_parms NDTA_STATS:struct:ndt_stats:80 NDTA_GC_INTERVAL:u64
neighbour_parms = rtnl_neightbl_parms_attrs NDTPA_IFINDEX:ifindex NDTPA_REFCNT:u32 NDTPA_REACHABLE_TIME:u64
 NDTPA_BASE_REACHABLE_TIME:u64 NDTPA_RETRANS_TIME:u64 NDTPA_GC_STALETIME:u64 NDTPA_DELAY_PROBE_TIME:u64
 NDTPA_QUEUE_LEN:u32 NDTPA_APP_PROBES:u32 NDTPA_UCAST_PROBES:u32 NDTPA_MCAST_PROBES:u32 NDTPA_ANYCAST_DELAY:u64
 NDTPA_PROXY_DELAY:u64 NDTPA_PROXY_QLEN:u32 NDTPA_LOCKTIME:u64 NDTPA_QUEUE_LENBYTES:u32 NDTPA_MCAST_REPROBES:u32
 NDTPA_INTERVAL_PROBE_TIME_MS:u64
netconf = rtnl_netconf_attrs NETCONFA_IFINDEX:ifindex NETCONFA_FORWARDING:s32 NETCONFA_RP_FILTER:s32
 NETCONFA_MC_FORWARDING:s32 NETCONFA_PROXY_NEIGH:s32 NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN:s32 NETCONFA_INPUT:s32
 NETCONFA_BC_FORWARDING:s32
nexthop = rtnl_nexthop_attrs NHA_ID:u32 NHA_GROUP:structs:nexthop_grp NHA_GROUP_TYPE:enum:rtnl_nexthop_grp_types:2
 NHA_BLACKHOLE:u32 NHA_OIF:ifindex NHA_GATEWAY:addr NHA_ENCAP_TYPE:enum:lwtunnel_encap_types:2 NHA_GROUPS:u32
 NHA_MASTER:ifindex NHA_FDB:u32 NHA_RES_GROUP:nest:res_group NHA_RES_BUCKET:nest:res_bucket
res_group = rtnl_nha_res_group_attrs NHA_RES_GROUP_BUCKETS:u16 NHA_RES_GROUP_IDLE_TIMER:clock
 NHA_RES_GROUP_UNBALANCED_TIMER:clock NHA_RES_GROUP_UNBALANCED_TIME:clock
res_bucket = rtnl_nha_res_bucket_attrs NHA_RES_BUCKET_INDEX:u16 NHA_RES_BUCKET_IDLE_TIME:clock
 NHA_RES_BUCKET_NH_ID:u32
nsid = rtnl_nsid_attrs NETNSA_NSID:s32 NETNSA_PID:u32 NETNSA_FD:fd NETNSA_TARGET_NSID:s32 NETNSA_CURRENT_NSID:s32
rule = rtnl_rule_attrs FRA_DST:addr FRA_SRC:addr FRA_IIFNAME:str FRA_GOTO:u32 FRA_PRIORITY:u32 FRA_FWMARK:u32
 FRA_FLOW:u32 FRA_TUN_ID:be64 FRA_SUPPRESS_IFGROUP:u32 FRA_SUPPRESS_PREFIXLEN:u32 FRA_TABLE:enum:routing_table_ids:4
 FRA_FWMASK:u32 FRA_OIFNAME:str FRA_L3MDEV:u8 FRA_UID_RANGE:struct:fib_rule_uid_range
 FRA_PROTOCOL:enum:routing_protocols:1 FRA_IP_PROTO:ip_proto FRA_SPORT_RANGE:struct:fib_rule_port_range
 FRA_DPORT_RANGE:struct:fib_rule_port_range
qdisc = rtnl_tc_attrs TCA_KIND:str TCA_STATS:struct:tc_stats TCA_RATE:struct:tc_estimator TCA_FCNT:u32
 TCA_STATS2:nest:tc_stats2 TCA_STAB:nest:tc_stab TCA_CHAIN:u32 TCA_HW_OFFLOAD:u8 TCA_INGRESS_BLOCK:u32
 TCA_EGRESS_BLOCK:u32 TCA_DUMP_FLAGS:u32
tc_stats2 = rtnl_tca_stats_attrs TCA_STATS_BASIC:struct:gnet_stats_basic TCA_STATS_RATE_EST:struct:gnet_stats_rate_est
 TCA_STATS_QUEUE:struct:gnet_stats_queue TCA_STATS_RATE_EST64:struct:gnet_stats_rate_est64
 TCA_STATS_BASIC_HW:struct:gnet_stats_basic TCA_STATS_PKT64:u64
tc_stab = rtnl_tca_stab_attrs TCA_STAB_BASE:struct:tc_sizespec TCA_STAB_DATA:list:H
action = rtnl_tc_action_attrs TCA_ACT_KIND:str TCA_ACT_INDEX:u32 TCA_ACT_STATS:nest:tc_stats2
 TCA_ACT_FLAGS:flags:rtnl_tca_act_flags:4 TCA_ACT_HW_STATS:flags:rtnl_tca_act_hw_stats:4
 TCA_ACT_USED_HW_STATS:flags:rtnl_tca_act_hw_stats:4 TCA_ACT_IN_HW_COUNT:u32
dcb = rtnl_dcb_attrs
multicast = rtnl_mdb_attrs MDBA_MDB:nest:mdb MDBA_ROUTER:nest:mdb_router
mdb = rtnl_mdba_mdb_attrs MDBA_MDB_ENTRY:nest:mdb_entry
mdb_entry = rtnl_mdba_mdb_entry_attrs MDBA_MDB_ENTRY_INFO:mdb_info
mdb_more = rtnl_mdba_mdb_eattr_attrs MDBA_MDB_EATTR_TIMER:clock
mdb_router = rtnl_mdba_router_attrs MDBA_ROUTER_PORT:mdb_port
mdb_port = rtnl_mdba_router_pattr_attrs MDBA_ROUTER_PATTR_TIMER:clock
 MDBA_ROUTER_PATTR_TYPE:enum:multicast_router_types:1 MDBA_ROUTER_PATTR_INET_TIMER:clock
 MDBA_ROUTER_PATTR_INET6_TIMER:clock
stats = ifstats_attrs IFLA_STATS_LINK_64:struct:rtnl_link_stats64:184,192 IFLA_STATS_LINK_XSTATS:nest:xstats
 IFLA_STATS_LINK_XSTATS_SLAVE:nest:xstats IFLA_STATS_LINK_OFFLOAD_XSTATS:nest:offload IFLA_STATS_AF_SPEC:stats_af
xstats = ifstats_xstats_type_attrs LINK_XSTATS_TYPE_BRIDGE:nest:bridge_xstats
bridge_xstats = ifstats_xstats_bridge_attrs BRIDGE_XSTATS_VLAN:struct:bridge_vlan_xstats
 BRIDGE_XSTATS_STP:struct:bridge_stp_xstats
offload = ifstats_offload_attrs IFLA_OFFLOAD_XSTATS_CPU_HIT:struct:rtnl_link_stats64:184,192
mpls_stats = ifstats_af_spec_mpls_attrs MPLS_STATS_LINK:struct:mpls_link_stats
""")

_MESSAGES = """
RTM_NEWLINK,RTM_DELLINK,RTM_GETLINK,RTM_SETLINK ifinfomsg link
RTM_NEWADDR,RTM_DELADDR,RTM_GETADDR,RTM_GETMULTICAST,RTM_GETANYCAST ifaddrmsg address
RTM_NEWROUTE,RTM_DELROUTE,RTM_GETROUTE rtmsg route
RTM_NEWNEIGH,RTM_DELNEIGH,RTM_GETNEIGH ndmsg neighbour
RTM_NEWRULE,RTM_DELRULE,RTM_GETRULE fib_rule_hdr rule
RTM_NEWQDISC,RTM_DELQDISC,RTM_GETQDISC,RTM_NEWTCLASS,RTM_DELTCLASS,RTM_GETTCLASS tcmsg qdisc
RTM_NEWTFILTER,RTM_DELTFILTER,RTM_GETTFILTER,RTM_NEWCHAIN,RTM_DELCHAIN,RTM_GETCHAIN tcmsg qdisc
RTM_NEWACTION,RTM_DELACTION,RTM_GETACTION tcamsg action
RTM_NEWNEIGHTBL,RTM_GETNEIGHTBL,RTM_SETNEIGHTBL ndtmsg neighbours
RTM_NEWADDRLABEL,RTM_DELADDRLABEL,RTM_GETADDRLABEL ifaddrlblmsg label
RTM_GETDCB,RTM_SETDCB dcbmsg dcb
RTM_NEWNETCONF,RTM_DELNETCONF,RTM_GETNETCONF netconfmsg netconf
RTM_NEWMDB,RTM_DELMDB,RTM_GETMDB br_port_msg multicast
RTM_NEWNSID,RTM_DELNSID,RTM_GETNSID rtgenmsg nsid
RTM_NEWSTATS,RTM_GETSTATS if_stats_msg stats
RTM_NEWNEXTHOP,RTM_DELNEXTHOP,RTM_GETNEXTHOP nhmsg nexthop
"""
#: Message type → its struct and its table.
MESSAGES: dict[int, tuple[str, str]] = {
    number: (name, attrs)
    for types, name, attrs in (line.split() for line in _MESSAGES.strip().splitlines())
    for number, constant in SETS["nl_route_types"].pairs
    if constant in types.split(",")
}
_GETNEIGH = 30


def message(kind: int, data: bytes, full: int, look: Look) -> str:
    """What is behind the header of a message of ``kind``: its struct, and attributes behind that."""
    if not data:
        return look.missing()
    family = data[0]
    name, attrs = MESSAGES.get(kind, ("", ""))
    if kind == _GETNEIGH and family == AF_BRIDGE:
        name, attrs = "ifinfomsg", "link"
    if not name:
        rest = f", data={raw(data[1:], full - 1, look.behind(1))}" if full > 1 else ""
        return f"{{family={enum('addrfams', family)}{rest}}}"
    return headed(name, attrs, data, full, replace(look, family=family))


def headed(name: str, attrs: str, data: bytes, full: int, look: Look) -> str:
    """A message's struct ``name``, of which the family alone is there if it is too short, and its attributes."""
    known = STRUCTS[name]
    if len(data) < known.size:
        only = known.prefix(data[:1]) if known.prefix else ""
        rest = look.behind(1).missing() if full >= known.size else CUT
        return f"{only[:-1]}, {rest}}}" if known.size > 1 else only
    head = known.decode(data[: known.size])
    aligned = known.size + 3 & ~3
    return after(head, data, full, aligned, attrs, look) if attrs else head


# ---- what depends on more than its bytes ---------------------------------------------------------------------------


def _families(tables: dict[int, str]) -> Table:
    """A table whose attribute types are address families, each with a table of its own."""
    return Table("addrfams", {family: nested(name) for family, name in tables.items()})


_SPECS = _families({2: "inet", 10: "inet6", 45: "mctp"})
_STATS = _families({28: "mpls_stats"})


def _af_spec(data: bytes, full: int, look: Look) -> str:
    if look.family == AF_BRIDGE:
        return attributes(data, full, table("bridge_spec"), look.deeper())
    return attributes(data, full, _SPECS, look.deeper())


def _protinfo(data: bytes, full: int, look: Look) -> str:
    name = {AF_BRIDGE: "brport", AF_INET6: "inet6"}.get(look.family)
    return attributes(data, full, table(name), look.deeper()) if name else raw(data, full, look)


def _linkinfo(data: bytes, full: int, look: Look) -> str:
    kinds = [_named(data, number) for number in (1, 4)]
    return attributes(data, full, table("linkinfo"), replace(look.deeper(), kind=" ".join(kinds)))


def _named(data: bytes, wanted: int) -> str:
    """The string in the first attribute of type ``wanted``, ``-`` where there is none."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("<HH", data, at)
        if length < 4:
            break
        if kind == wanted:
            return data[at + 4 : at + length].partition(b"\0")[0].decode("latin-1").partition(" ")[0] or "-"
        at += length + 3 & ~3
    return "-"


def _link_data(data: bytes, full: int, look: Look) -> str | None:
    name = look.kind.partition(" ")[0]
    return attributes(data, full, table(name), look.deeper()) if name in ("bridge", "tun") else None


def _slave_data(data: bytes, full: int, look: Look) -> str | None:
    bridged = look.kind.partition(" ")[2] == "bridge"
    return attributes(data, full, table("brport"), look.deeper()) if bridged else None


def _link_xstats(data: bytes, full: int, look: Look) -> str | None:
    known = STRUCTS["can_device_stats"]
    if look.kind.partition(" ")[0] != "can" or full < known.size:
        return None
    return known.decode(data[: known.size]) if len(data) >= known.size else look.missing()


def _vlan_info(data: bytes, full: int, look: Look) -> str | None:
    return _followed("bridge_vlan_info", "", data, full, look)


def _followed(name: str, attrs: str, data: bytes, full: int, look: Look) -> str | None:
    """A struct, and behind it attributes of the table ``attrs``, or bytes."""
    known = STRUCTS[name]
    if full < known.size:
        return None
    if len(data) < known.size:
        return look.missing()
    head = known.decode(data[: known.size])
    if attrs:
        return after(head, data, full, known.size, attrs, look.deeper())
    rest = raw(data[known.size :], full - known.size, look.behind(known.size))
    return f"{head}, {rest}" if full > known.size else head


def _mdb_port(data: bytes, full: int, look: Look) -> str | None:
    if full < 4:
        return None
    if len(data) < 4:
        return look.missing()
    head = ifindex(int.from_bytes(data[:4], "little"))
    return after(head, data, full, 4, "mdb_port", look.deeper())


def _via(data: bytes, full: int, look: Look) -> str | None:
    if full < 2:
        return None
    if len(data) < 2:
        return look.missing()
    family = int.from_bytes(data[:2], "little")
    address = f", {family_address(family, data[2:], full - 2, look.behind(2), 'rtvia_addr')}" if full > 2 else ""
    return f"{{rtvia_family={enum('addrfams', family)}{address}}}"


def _multipath(data: bytes, full: int, look: Look) -> str | None:
    """Next hops, each with attributes of a route's own kinds; the last one may say that it is longer than it is."""
    found: list[str] = []
    known, at = STRUCTS["rtnexthop"], 0
    if full < known.size:
        return None
    several = False
    while True:
        left = full - at
        if len(data) - at < known.size or len(found) == look.limit:
            found.append(look.missing(at) if len(found) < look.limit else CUT)
            break
        length = int.from_bytes(data[at : at + 2], "little")
        several = several or length < full
        size = min(length, left)
        head = known.decode(data[at : at + known.size])
        inner = after(head, data[at : at + max(size, known.size)], size, known.size, "route", look.behind(at).deeper())
        found.append(f"[{inner}]" if size > known.size else inner)
        step = size + 3 & ~3
        if step >= left or step < known.size:
            break
        at += step
    return f"[{', '.join(found)}]" if several else found[0]


SPECIAL.update(
    af_spec=_af_spec,
    protinfo=_protinfo,
    linkinfo=_linkinfo,
    link_data=_link_data,
    slave_data=_slave_data,
    link_xstats=_link_xstats,
    vlan_info=_vlan_info,
    mdb_info=lambda data, full, look: _followed("br_mdb_entry", "mdb_more", data, full, look),
    mdb_port=_mdb_port,
    via=_via,
    multipath=_multipath,
    stats_af=lambda data, full, look: attributes(data, full, _STATS, look.deeper()),
)
