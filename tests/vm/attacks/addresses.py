"""Addresses spelled otherwise, protocols beside TCP and UDP, and sockets that nobody bound."""

from tests.vm.attacks import REFUSED, Row, by

ROWS = (
    Row(
        ":: from a socket bound to ::ffff:0.0.0.0",
        ("--deny-net", "tcp:127.0.0.1:PORT"),
        ("addresses", "mapped_any", "PORT"),
        by(REFUSED),
        quick=True,
    ),
    Row(
        "SCTP that connects by a socket option",
        ("--deny", "connect", "--deny-net", "any:"),
        ("addresses", "sctp_option", "PORT"),
        by(REFUSED),
        untried=("5.10", "6.1", "6.12", "7.x", "6.1-override"),
    ),
    Row(
        "a listener that nobody bound",
        ("--deny-net", "any:"),
        ("addresses", "listens"),
        by(REFUSED),
    ),
)  # fmt: skip
