"""This host by other addresses, sockets that are refused whole, and what a rule on an address does not cover.

tests/vm/test_block_nets.py has more of them, with the kernel's modules and sockets from before.
"""

from tests.vm.attacks import REFUSED, Announced, Expected, Row, by

_PORT = ("--deny-net", "any:127.0.0.1:PORT")


def _row(name: str, attack: str, expected: Expected = REFUSED, rules: tuple[str, ...] = _PORT, **more: object) -> Row:
    return Row(name, rules, ("nets", *attack.split()), by(expected), **more)  # type: ignore[arg-type]


ROWS = (
    _row("0.0.0.0 from a socket bound to 127.0.0.1", "bound_any PORT 127.0.0.1"),
    _row("0.0.0.0 on a device", "device_any PORT"),
    _row("a datagram without a family", "no_family PORT"),
    _row("a raw socket", "family 2 3 255", user="root"),
    _row("a packet socket", "family 17 3 768", user="root"),
    _row(
        "another address of this host",
        "address PORT 127.0.0.9",
        Announced("this host has others than 127.0.0.1"),
    ),
    _row(
        "a port of the kernel's choosing",
        "chosen_port 40000",
        Announced("ports that the kernel chooses"),
        rules=("--deny-net", "udp:127.0.0.1:40000-40999"),
    ),
)  # fmt: skip
