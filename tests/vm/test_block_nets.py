"""Rules on addresses by BPF mechanisms under attack, tests/progs/attacks/nets.c: refused, or announced."""

from __future__ import annotations

import errno
import socket
import subprocess
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest

from isotrace.policy import nets
from isotrace.policy.model import Action
from isotrace.trace.target import Target
from tests.vm import modules
from tests.vm.attacks import programs
from tests.vm.enforced import FEATURES, enforced, guarantees_of, need_for

DENIED = Action("errno", errno.EXFULL)  # an error that none of these calls gives by itself
THROUGH, REFUSED, UNTRIED = 0, 1, 77
SCTP = 132

#: Attacks on one port of one address, PORT: each must be refused by a rule on the address that it comes to.
SPELLINGS = (
    "address PORT 127.0.0.1",
    "address PORT 127.0.0.2",
    "address PORT 0.0.0.0",
    "address PORT ::",
    "address PORT ::1",
    "address PORT ::ffff:127.0.0.1",
    "address PORT ::ffff:0.0.0.0",
    "datagram PORT 0.0.0.0",
    "datagram PORT ::",
    "datagram PORT ::ffff:127.0.0.1",
    "bound_any PORT 127.0.0.2",
    "device_any PORT",
    "mapped_bound PORT",
    "mapped_datagram PORT",
    "no_family PORT",
    "crossed PORT",
    "scoped PORT",
    "second_message PORT",
    "fast_open PORT",
    "repair PORT",
    "protocol PORT 262 1",
    "protocol PORT 256 1",
    "protocol PORT 136 2",
    "protocol PORT 33 6",
    "protocol PORT 132 1",
    "smc PORT",
)
RACE = "bind_race PORT 127.0.0.2"  # gets through, without rules, now and then
#: Sockets that are refused whole as soon as something is denied over IP, and some from before, by descriptor.
WHOLE = (
    "family 2 3 1",
    "family 2 3 255",
    "family 10 3 58",
    "family 2 10 768",
    "family 17 3 768",
    "family 17 2 768",
    "family 44 3 0",
    "family 21 5 0",
    "family 33 2 2",
    "family 2 2 115",
    "family 2 1 132",
    "family 10 5 132",
    "old_raw PORT RAW",
    "old_packet PORT PACKET",
    "old_sctp SCTP 100 PORT",
    "old_sctp SCTP 110 PORT",
    "old_sctp SCTP 107 PORT",
    "old_sctp_message SCTP PORT",
)
#: What is refused where every address is.
EVERY = (
    "family 40 1 0",
    "family 30 1 0",
    "family 41 5 0",
    "family 42 2 0",
    "family 29 3 1",
    "family 15 3 2",
    "family 26 1 0",
    "listens",
    "old_listener LISTENER",
    "address PORT 127.0.0.1",
    "datagram PORT 255.255.255.255",
    "datagram PORT 224.0.0.1",
    "protocol 53 1 2",
)
#: What rules do not concern.
FREE = ("family 2 1 0", "family 10 2 0", "family 1 1 0", "family 16 3 0", "family 16 2 15", "address OTHER 127.0.0.1")
#: What gets through, and the words of the guarantees that say so.
ANNOUNCED = (
    ("old_connection CONNECTION", "connections that exist already"),
    ("address PORT 127.0.0.9", "this host has others than 127.0.0.1"),
    ("datagram PORT 127.255.255.255", "a broadcast or multicast address reaches many"),
    ("chosen_port 40000", "ports that the kernel chooses"),
    ("source_route 127.0.0.1", "source routes"),
    ("old_listener LISTENER", "not by that of who comes"),
)


class Place:
    """Listeners, sockets from before, and a shell that runs attacks; the words of an attack are its attributes."""

    def __init__(self, program, stack):
        self.program = program
        keep = stack.enter_context
        self.tcp = keep(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096))
        self.port = self.tcp.getsockname()[1]
        self.udp = keep(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        self.udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.udp.bind(("::", self.port))
        self.other = keep(socket.create_server(("127.0.0.1", 0), backlog=4096))
        self.listener = keep(socket.create_server(("127.0.0.1", 0), backlog=4096))
        for _ in range(8):
            keep(socket.create_connection(self.listener.getsockname()))
        self.connection = keep(socket.create_connection(("127.0.0.1", self.port)))
        old = {"RAW": (socket.AF_INET, socket.SOCK_RAW, 255), "PACKET": (socket.AF_PACKET, socket.SOCK_DGRAM, 8)}
        old["SCTP"] = (socket.AF_INET, socket.SOCK_SEQPACKET, SCTP)
        self.words = {"PORT": self.port, "OTHER": self.other.getsockname()[1]}
        self.descriptors = {"LISTENER": self.listener.fileno(), "CONNECTION": self.connection.fileno()}
        for name, kind in old.items():
            try:
                self.descriptors[name] = keep(socket.socket(*kind)).fileno()
            except OSError:
                self.descriptors[name] = -1
        shell = 'while read -r line; do timeout 20 $line >&2; echo "status $?"; done'
        self.shell = subprocess.Popen(
            ["sh", "-c", shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            pass_fds=[fd for fd in self.descriptors.values() if fd >= 0],
        )  # fmt: skip

    def tries(self, attack):
        """What the attack ends with; UNTRIED where the kernel has not the socket that was to be there before."""
        known = self.words | self.descriptors
        words = [str(known.get(word, word)) for word in attack.split()]
        if "-1" in words:
            return UNTRIED
        self.shell.stdin.write(f"{self.program} {' '.join(words)}\n")
        self.shell.stdin.flush()
        return int(self.shell.stdout.readline().split()[1])

    def end(self):
        self.shell.stdin.close()
        self.shell.wait()


@contextmanager
def place():
    with ExitStack() as stack:
        one = Place(programs.built("nets"), stack)
        try:
            yield one
        finally:
            one.end()


@cache
def load_modules():
    """Those of the kinds of sockets that there are."""
    for name in (
        "sctp",
        "smc",
        "dccp_ipv4",
        "rds",
        "tipc",
        "vsock_loopback",
        "l2tp_ip",
        "kcm",
        "rxrpc",
        "can_raw",
        "qrtr",
    ):
        try:
            modules.load(name)
        except Exception as error:  # what a module lacks is as good as no module
            print(name, error)
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")


@pytest.fixture(params=["lsm", "fmod_ret"])
def mechanism(request):
    need_for(request.param)
    load_modules()
    return request.param


@pytest.fixture
def one_mechanism():
    load_modules()
    return "lsm" if "lsm_bpf" in FEATURES else "fmod_ret"


def deny(*texts):
    return [nets.parse(text, allow=False, action=DENIED) for text in texts]


def assert_all(one, attacks, wanted):
    """Each attack ends as wanted, or this kernel has not what it needs."""
    ended = {attack: one.tries(attack) for attack in attacks}
    assert {attack: status for attack, status in ended.items() if status not in (wanted, UNTRIED)} == {}
    return {attack for attack, status in ended.items() if status != UNTRIED}


def test_every_spelling_of_this_host(mechanism):
    with place() as one:
        tried = assert_all(one, (*SPELLINGS, *FREE, *WHOLE), THROUGH)
        assert len(tried) > 25
        own = [f"{protocol}:{address}:{one.port}" for protocol in ("tcp", "udp") for address in ("127.0.0.2", "[::1]")]
        rules = deny(f"any:127.0.0.1:{one.port}", *own)
        with enforced(mechanism, rules, Target(tree=one.shell.pid)) as enforcer:
            assert_all(one, [attack for attack in (*SPELLINGS, *WHOLE) if attack in tried], REFUSED)
            assert_all(one, FREE, THROUGH)
            assert_all(one, [RACE], REFUSED)
            records = [record for batch in enforcer.batches() for record in batch]
            assert {record.call for record in records} >= {"connect", "sendto", "socket"}
            assert f"0.0.0.0:{one.port}" in {record.what for record in records}
        assert_all(one, [attack for attack in ("address PORT ::", "device_any PORT") if attack in tried], THROUGH)


def test_every_address(one_mechanism):
    with place() as one:
        tried = assert_all(one, (*EVERY, *WHOLE, *FREE), THROUGH)
        rules = [*deny("any:"), nets.parse(f"any:*:{one.words['OTHER']}", allow=True), nets.parse(":53", allow=True)]
        with enforced(one_mechanism, rules, Target(tree=one.shell.pid)):
            assert_all(one, [attack for attack in (*EVERY, *WHOLE) if attack in tried], REFUSED)
            assert_all(one, FREE, THROUGH)


def test_what_gets_through_is_announced(one_mechanism):
    with place() as one:
        (rule,) = rules = deny(f"any:127.0.0.1:{one.port}")
        said = " ".join(guarantees_of(one_mechanism, rule).notes)
        with enforced(one_mechanism, rules, Target(tree=one.shell.pid)):
            for attack, words in ANNOUNCED:
                assert words in said
                assert one.tries(attack) in (THROUGH, UNTRIED), (
                    f"{attack}: it is refused, so the guarantees need not say otherwise"
                )
