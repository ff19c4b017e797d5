"""The table of what rules on addresses mean for each kind of socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from isotrace.decode import xlat
from isotrace.policy import Group, Policy, decide, families, nets
from isotrace.policy.decide import SocketRequest
from isotrace.policy.families import Kind

DOCS = Path(__file__).parents[1] / "docs" / "policy.md"


def refused(text, *socket):
    policy = Policy((Group("", (nets.parse(text, allow=False), nets.parse("127.0.0.0/8", allow=True))),))
    return decide(policy, SocketRequest(*socket)).denied


def test_every_family_that_has_a_name_has_a_row():
    for family in range(1, families.FAMILIES):
        name = xlat.enum("addrfams", family)
        assert (name.startswith("AF_") and "/*" not in name) == (family in families.ROWS), (family, name)
        if family in families.ROWS:
            assert families.ROWS[family][0] == name


def test_the_page_has_the_table():
    assert "\n".join(families.markdown()) in DOCS.read_text()


@pytest.mark.parametrize(
    ("socket", "rules"),
    [
        ((2, 1, 6), ""),  # TCP
        ((10, 2, 0), ""),
        ((2, 1, 262), ""),
        ((43, 1, 0), ""),
        ((1, 1, 0), ""),
        ((16, 3, 0), ""),
        ((2, 1, 132), "any: 10.0.0.0/8 udp::53"),  # SCTP
        ((10, 5, 0), "any: 10.0.0.0/8 udp::53"),
        ((2, 3, 1), "any: 10.0.0.0/8 udp::53 tcp:10.0.0.1"),  # raw
        ((10, 3, 255), "any: 10.0.0.0/8 udp::53 tcp:10.0.0.1"),
        ((17, 3, 768), "any: 10.0.0.0/8 udp::53 tcp:10.0.0.1"),
        ((2, 2, 77), "any: 10.0.0.0/8 udp::53 tcp:10.0.0.1"),  # a protocol that is not known
        ((40, 1, 0), "any:"),  # vsock
        ((63, 1, 0), "any:"),  # a family that is not known
        ((4000, 1, 0), "any:"),
    ],
)
def test_what_is_refused_whole(socket, rules):
    for text in ("any:", "10.0.0.0/8", "udp::53", "tcp:10.0.0.1", "unix:"):
        assert refused(text, *socket) == (text in rules.split()), text


def test_the_kernel_has_room_for_every_row():
    assert max(families.ROWS) < families.FAMILIES - 1
    assert all(type_ < families.TYPES and protocol < families.PROTOCOLS - 1 for type_, protocol in families.OVER_IP)
    assert len(list(families.table())) == families.FAMILIES + families.TYPES * families.PROTOCOLS
    assert families.row(families.FAMILIES - 1, 1, 0)[1] is Kind.BEYOND
