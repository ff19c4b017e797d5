"""Sockets' options and network interfaces."""

from __future__ import annotations

import socket
import struct

from . import style
from .layout import STRUCTS, Struct, add
from .quote import hexbytes
from .scalars import ifindex
from .sockaddr import inet
from .xlat import enum


def _ip_mreq(data: bytes) -> str:
    return f"{{imr_multiaddr={inet(data[:4])}, imr_interface={inet(data[4:])}}}"


def _ipv6_mreq(data: bytes) -> str:
    address = socket.inet_ntop(socket.AF_INET6, data[:16])
    index = int.from_bytes(data[16:], "little")
    return f'{{inet_pton(AF_INET6, "{address}", &ipv6mr_multiaddr), ipv6mr_interface={index}}}'


def _packet_mreq(data: bytes) -> str:
    index, kind, length = struct.unpack_from("<iHH", data)
    address = data[8 : 8 + length]
    written = style.constant(hexbytes(address), ":".join([f"{byte:02x}" for byte in address]))
    shown = f"mr_ifindex={ifindex(index)}, mr_type={enum('packet_mreq_type', kind)}, mr_alen={length}"
    return f"{{{shown}, mr_address={written}}}"


_TCP_INFO = """
rto ato snd_mss rcv_mss unacked sacked lost retrans fackets
last_data_sent last_ack_sent last_data_recv last_ack_recv
pmtu
rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans
""".split()  # noqa: SIM905


def _tcp_info(data: bytes) -> str:
    state = enum("tcp_states", data[0])
    shown = [
        f"tcpi_state={state}",
        f"tcpi_ca_state={data[1]}",
        f"tcpi_retransmits={data[2]}",
        f"tcpi_probes={data[3]}",
    ]
    shown += [
        f"tcpi_backoff={data[4]}",
        f"tcpi_options={data[5]}",
        f"tcpi_snd_wscale={data[6] & 15}",
        f"tcpi_rcv_wscale={data[6] >> 4}",
    ]
    shown += [
        f"tcpi_{name}={int.from_bytes(data[at : at + 4], 'little')}"
        for name, at in zip(_TCP_INFO, range(8, 104, 4), strict=True)
    ]
    return f"{{{', '.join(shown)}}}"


STRUCTS |= {
    "ip_mreq": Struct(8, _ip_mreq),
    "ipv6_mreq": Struct(20, _ipv6_mreq),
    "packet_mreq": Struct(16, _packet_mreq, most=16),
    "tcp_info": Struct(104, _tcp_info),
}
add("""
linger = l_onoff:i l_linger:i
ifconf = ifc_len:i -:4x ifc_buf:Q:p
ifconf32 = ifc_len:i ifc_buf:I:p
tpacket_req = tp_block_size:I tp_block_nr:I tp_frame_size:I tp_frame_nr:I
tpacket_stats = tp_packets:I tp_drops:I
""")
