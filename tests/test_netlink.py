"""Netlink messages: what strace prints of them, and that no length in them is trusted."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from learned import Run, blob, isotrace

from isotrace.decode import netlink, netlink_attrs, style
from isotrace.decode.netlink import GENERIC, NETFILTER, ROUTE, SOCK_DIAG, UEVENT, XFRM, messages
from isotrace.kernel import generic_netlink
from isotrace.trace import events, families
from isotrace.trace.events import Blob


def attr(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HH", 4 + len(body) if length is None else length, kind) + body + bytes(-len(body) % 4)


def message(kind: int, body: bytes, flags: int = 1, length: int | None = None) -> bytes:
    size = 16 + len(body) if length is None else length
    return struct.pack("<IHHIi", size, kind, flags, 7, 42) + body + bytes(-len(body) % 4)


def shown(data: bytes, protocol: int = ROUTE) -> str:
    return messages(data, len(data), protocol)


LINK = struct.pack("<BxHiII", 0, 1, 3, 0x3, 0)
HEAD = "{nlmsg_len=%d, nlmsg_type=%s, nlmsg_flags=%s, nlmsg_seq=7, nlmsg_pid=42}"
IFINFO = "{ifi_family=AF_UNSPEC, ifi_type=ARPHRD_ETHER, ifi_index=3, ifi_flags=IFF_UP|IFF_BROADCAST, ifi_change=0}"


def head(size: int, kind: str, flags: str = "NLM_F_REQUEST") -> str:
    return HEAD % (size, kind, flags)


def test_a_request_without_attributes():
    assert shown(message(18, LINK, 0x301)) == f"[{head(32, 'RTM_GETLINK', 'NLM_F_REQUEST|NLM_F_DUMP')}, {IFINFO}]"


def test_one_attribute_stands_alone_and_several_in_a_list():
    name, mtu = attr(3, b"lo\0"), attr(4, struct.pack("<I", 1500))
    first, second = '[{nla_len=7, nla_type=IFLA_IFNAME}, "lo"]', "[{nla_len=8, nla_type=IFLA_MTU}, 1500]"
    assert shown(message(16, LINK + name)) == f"[{head(40, 'RTM_NEWLINK')}, {IFINFO}, {first}]"
    assert shown(message(16, LINK + name + mtu)) == f"[{head(48, 'RTM_NEWLINK')}, {IFINFO}, [{first}, {second}]]"


def test_several_messages_stand_in_a_list():
    done = message(3, struct.pack("<i", 0), 2)
    text = f"[{head(20, 'NLMSG_DONE', 'NLM_F_MULTI')}, 0]"
    assert shown(done + done) == f"[{text}, {text}]"


def test_an_error_has_the_message_that_it_is_of():
    body = struct.pack("<i", -19) + message(18, LINK)
    whose = f"[{head(32, 'RTM_GETLINK')}, {IFINFO}]"
    assert shown(message(2, body, 0)) == f"[{head(52, 'NLMSG_ERROR', '0')}, {{error=-ENODEV, msg={whose}}}]"


def test_an_error_that_is_capped_has_attributes_behind_the_header():
    body = struct.pack("<i", -22) + message(18, b"", length=32) + attr(1, b"no\0")
    told = '[{nla_len=7, nla_type=NLMSGERR_ATTR_MSG}, "no"]'
    text = shown(message(2, body, 0x100))
    assert (
        text
        == f"[{head(44, 'NLMSG_ERROR', 'NLM_F_CAPPED')}, [{{error=-EINVAL, msg={head(32, 'RTM_GETLINK')}}}, {told}]]"
    )


def test_addresses_are_of_the_messages_family():
    four = struct.pack("<BBBBBBBBI", 2, 8, 0, 0, 254, 3, 0, 1, 0) + attr(1, bytes([10, 0, 0, 1]))
    six = struct.pack("<BBBBBBBBI", 10, 8, 0, 0, 254, 3, 0, 1, 0) + attr(1, bytes(15) + b"\1")
    other = struct.pack("<BBBBBBBBI", 28, 8, 0, 0, 254, 3, 0, 1, 0) + attr(1, b"\1\2\3\4")
    assert '{nla_len=8, nla_type=RTA_DST}, inet_addr("10.0.0.1")]' in shown(message(24, four))
    assert '{nla_len=20, nla_type=RTA_DST}, inet_pton(AF_INET6, "::1")]' in shown(message(24, six))
    assert r'{nla_len=8, nla_type=RTA_DST}, "\x01\x02\x03\x04"]' in shown(message(24, other))


def test_a_links_data_is_of_its_kind():
    bridge = attr(18, attr(1, b"bridge\0") + attr(2, attr(5, struct.pack("<I", 1))))
    other = attr(18, attr(1, b"dummy\0") + attr(2, attr(5, struct.pack("<I", 1))))
    assert "[{nla_len=12, nla_type=IFLA_INFO_DATA}, [{nla_len=8, nla_type=IFLA_BR_STP_STATE}, 1]]" in shown(
        message(16, LINK + bridge)
    )
    assert r'{nla_len=12, nla_type=IFLA_INFO_DATA}, "\x08\x00\x05\x00\x01\x00\x00\x00"]' in shown(
        message(16, LINK + other)
    )


def test_next_hops_have_attributes_of_a_route():
    hop = struct.pack("<HBBi", 16, 0, 1, 3) + attr(5, bytes([10, 0, 0, 1]))
    body = struct.pack("<BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0) + attr(9, hop)
    via = '[{nla_len=8, nla_type=RTA_GATEWAY}, inet_addr("10.0.0.1")]'
    text = "[[{rtnh_len=16, rtnh_flags=0, rtnh_hops=1, rtnh_ifindex=3}, " + via + "]]"
    assert shown(message(24, body)).endswith(f"[{{nla_len=20, nla_type=RTA_MULTIPATH}}, {text[1:-1]}]]")


def test_what_the_types_are_called_depends_on_the_protocol():
    assert "nlmsg_type=XFRM_MSG_NEWSA, nlmsg_flags=NLM_F_REPLACE," in shown(message(16, b"", 0x100), XFRM)
    assert "nlmsg_type=nlctrl, nlmsg_flags=0x100 /* NLM_F_??? */," in shown(message(16, b"", 0x100), GENERIC)
    table = "nlmsg_type=NFNL_SUBSYS_NFTABLES<<8|NFT_MSG_GETTABLE, nlmsg_flags=NLM_F_REQUEST|NLM_F_DUMP,"
    assert table in shown(message(10 << 8 | 1, b"", 0x301), NETFILTER)
    assert "nlmsg_type=SOCK_DIAG_BY_FAMILY, nlmsg_flags=NLM_F_REQUEST|NLM_F_DUMP," in shown(
        message(20, b"", 0x301), SOCK_DIAG
    )
    assert "nlmsg_type=0x10 /* NLMSG_??? */" in shown(message(16, b""), 30)


def test_a_socket_asked_for_has_both_ends():
    ends = struct.pack(">HH", 80, 1234) + bytes([127, 0, 0, 1]).ljust(16, b"\0") * 2 + struct.pack("<III", 0, 5, 6)
    text = shown(message(20, struct.pack("<BBBxI", 2, 6, 2, 1 << 10) + ends, 0x301), SOCK_DIAG)
    assert (
        "{sdiag_family=AF_INET, sdiag_protocol=IPPROTO_TCP, idiag_ext=1<<(INET_DIAG_INFO-1), idiag_states=1<<TCP_LISTEN"
        in text
    )
    assert 'id={idiag_sport=htons(80), idiag_dport=htons(1234), idiag_src=inet_addr("127.0.0.1")' in text
    assert "idiag_if=0, idiag_cookie=[5, 6]}}" in text


def test_what_the_kernel_says_of_devices_is_text():
    assert shown(b"add@/x\0ACTION=add\0", UEVENT) == r'"add@/x\0ACTION=add\0"'


def test_what_was_not_copied_is_said():
    data = message(16, LINK + attr(3, b"lo\0") + attr(4, struct.pack("<I", 1500)))
    whole = shown(data)
    for size in range(len(data)):
        text = messages(data[:size], len(data), ROUTE)
        assert "..." in text, size
        assert "1500" not in text
    assert messages(data, len(data) + 64, ROUTE).endswith(", ...]")
    assert whole in messages(data, len(data) + 64, ROUTE)
    assert "..." not in whole


def test_what_could_not_be_read_is_an_address():
    whole = message(18, LINK + attr(4, struct.pack("<I", 1500)))
    at = 0x7F0000000000

    def read(size: int) -> str:
        return messages(whole[:size], len(whole), ROUTE, at=at)

    first = head(40, "RTM_GETLINK")
    assert read(36) == f"[{first}, {IFINFO}, [{{nla_len=8, nla_type=IFLA_MTU}}, {at + 36:#x}<fault>]]"
    assert read(32) == f"[{first}, {IFINFO}, {at + 32:#x}<fault>]"
    assert read(20) == f"[{first}, {{ifi_family=AF_UNSPEC, {at + 17:#x}<fault>}}]"
    two = message(18, LINK) + message(18, LINK)
    assert messages(two[:40], 64, ROUTE, at=at) == f"[[{head(32, 'RTM_GETLINK')}, {IFINFO}], ... /* {at + 32:#x} */]"


def test_the_loopback_interface_is_the_first_everywhere():
    first = struct.pack("<BxHiII", 0, 772, 1, 1, 0)
    assert 'ifi_index=if_nametoindex("lo")' in shown(message(18, first))
    with style.used(style.Style("raw")):
        assert "nlmsg_flags=0x301" in shown(message(18, first, flags=0x301))
        assert "ifi_index=1," in shown(message(18, first))


def test_strings_and_lists_have_strace_limit():
    long = attr(3, b"x" * 40 + b"\0")
    assert f'"{"x" * 32}"...' in shown(message(16, LINK + long))
    many = b"".join([attr(4, struct.pack("<I", 1))] * 40)
    assert shown(message(16, LINK + many)).count("IFLA_MTU") == 32


def test_a_name_cannot_reach_the_terminal():
    assert "\x1b" not in shown(message(16, LINK + attr(3, b"\x1b[2J\0")))


@pytest.mark.parametrize("name", netlink_attrs.table_names())
def test_every_row_is_of_attributes_and_kinds_that_there_are(name: str):
    assert netlink_attrs.table(name).names


# ---- hostile ---------------------------------------------------------------------------------------------------------


def test_a_nest_that_is_deep_ends():
    deep = b""
    for _ in range(300):
        deep = struct.pack("<HBBi", min(8 + len(deep), 65535), 0, 0, 0) + deep
        deep = attr(9, deep)
    route = struct.pack("<BBBBBBBBI", 2, 0, 0, 0, 0, 0, 0, 0, 0)
    assert shown(message(24, route + deep)).count("RTA_MULTIPATH") <= netlink_attrs.DEPTH + 2


def test_errors_of_errors_end():
    deep = b""
    for _ in range(300):
        deep = message(2, struct.pack("<i", -1) + deep)
    assert shown(deep).count("NLMSG_ERROR") <= netlink_attrs.DEPTH + 2


@pytest.mark.parametrize("length", [0, 1, 3])
def test_an_attribute_shorter_than_its_header_ends_the_list(length: int):
    text = shown(message(16, LINK + attr(3, b"lo\0", length) + attr(4, bytes(4))))
    assert f"{{nla_len={length}, nla_type=IFLA_IFNAME}}]" in text
    assert "IFLA_MTU" not in text


@pytest.mark.parametrize("length", [0, 15])
def test_a_message_shorter_than_its_header_ends_the_list(length: int):
    assert shown(message(18, LINK, length=length) * 3) == head(length, "RTM_GETLINK")


_TYPES = st.sampled_from([2, 3, *range(16, 123), 20, 2561])
_ATTRS = st.recursive(
    st.binary(max_size=40),
    lambda inner: st.lists(st.tuples(st.integers(0, 70), inner, st.none() | st.integers(0, 0xFFFF)), max_size=4).map(
        lambda many: b"".join([attr(kind, body[:9000], length) for kind, body, length in many])
    ),
    max_leaves=12,
)


@given(_TYPES, st.integers(0, 0xFFFF), st.binary(max_size=80), _ATTRS, st.integers(0, 31), st.integers(0, 4000))
@example(16, 0, b"", attr(18, attr(2, b"", 0)), ROUTE, 0)
def test_any_bytes_have_a_text(kind: int, flags: int, start: bytes, attrs: bytes, protocol: int, more: int):
    data = message(kind, start[: len(start) // 4 * 4] + attrs, flags)
    text = messages(data, len(data) + more, protocol)
    assert text.isascii()
    assert text.isprintable()


@given(st.binary(max_size=400), st.integers(0, 31), st.integers(0, 400))
def test_any_part_of_any_bytes_has_a_text(data: bytes, protocol: int, size: int):
    assert messages(data[:size], len(data), protocol).isprintable()
    assert netlink.messages(data, len(data), protocol).isprintable()


# ---- generic netlink ---------------------------------------------------------------------------------------------------


def family(number: int, name: bytes) -> bytes:
    """What the kernel says of one."""
    return struct.pack("<BBH", 1, 2, 0) + attr(2, name + b"\0") + attr(1, struct.pack("<H", number)) + attr(99, b"more")


def test_a_familys_name_stands_for_its_number():
    data = message(31, struct.pack("<BBH", 1, 1, 0))
    text = f'[{head(20, "%s")}, "\\x01\\x01\\x00\\x00"]'
    assert messages(data, len(data), GENERIC, families={31: "a\n"}) == text % "a\\n"
    assert messages(data, len(data), GENERIC, families={30: "a"}) == text % "0x1f /* GENERIC_FAMILY_??? */"
    assert messages(data, len(data), XFRM, families={31: "a"}) != text % "a"
    data = message(16, struct.pack("<BBH", 3, 1, 0))
    assert "nlmsg_type=nlctrl" in messages(data, len(data), GENERIC, families={16: "other"})


def test_families_are_read_from_the_kernels_answer():
    data = message(16, family(31, b"one")) + message(16, family(300, b"two"))
    assert generic_netlink.parsed(data) == {31: "one", 300: "two"}
    assert generic_netlink.parsed(message(3, struct.pack("<i", 0))) == {}


@given(st.binary(max_size=80))
def test_no_length_in_the_answer_is_trusted(data):
    assert isinstance(generic_netlink.parsed(data), dict)
    generic_netlink.parsed(message(16, family(31, b"one"))[:-12] + data)


def test_a_family_that_is_not_known_is_asked_for_once_a_second(monkeypatch):
    known, asked = {31: "one"}, []
    now = [1]
    monkeypatch.setattr(generic_netlink, "families", lambda: asked.append(1) or dict(known))
    monkeypatch.setattr(families.time, "monotonic_ns", lambda: now[0])
    found = families.Families()
    assert (found.get(31), found.get(32), found.get(33), len(asked)) == ("one", None, None, 1)
    known[32], now[0] = "two", 2_000_000_000
    assert (found.get(32), len(asked)) == ("two", 2)
    monkeypatch.setattr(generic_netlink, "families", lambda: (_ for _ in ()).throw(OSError))
    now[0] = 9_000_000_000
    assert found.get(33) is None and found[31] == "one"


def test_a_recording_keeps_what_families_were_called(tmp_path):
    data, run = message(31, struct.pack("<BBH", 1, 1, 0)), Run()
    on = Blob(0, events.PART_NETLINK, events.WHOLE, GENERIC, b"")
    run.call("sendto", (3, 0x1000, len(data)), len(data), [on, blob(1, events.PART_SELF, data)])
    for number, names in enumerate(({31: "made"}, {})):
        path = run.save(tmp_path / f"{number}.arrow", families=names)
        assert f"nlmsg_type={names.get(31, '0x1f')}" in isotrace("log", "--from", path).stdout
