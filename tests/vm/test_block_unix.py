"""Rules on unix sockets by the BPF mechanisms: who is met decides, whatever call, spelling or link led there."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from isotrace.policy import nets, paths
from isotrace.policy.model import Action
from isotrace.trace.target import Target
from tests.vm.enforced import enforced, need_for
from tests.vm.family import family

TRIES = 3
DENIED = Action("errno", errno.EXFULL)  # an error that none of these calls gives by itself
KINDS = {"stream": socket.SOCK_STREAM, "seq": socket.SOCK_SEQPACKET, "dgram": socket.SOCK_DGRAM}


def deny(text):
    return nets.parse(f"unix:{text}", allow=False, action=DENIED)


def allow(text):
    return nets.parse(f"unix:{text}", allow=True)


class World:
    """Sockets that wait, in HERE, in HERE/open and in OUT, and with the abstract names NAME-…; LINK leads to HERE."""

    def __init__(self, directory, stack):
        self.here, self.out, self.link = (directory / name for name in ("here", "out", "link"))
        self.name = f"isotrace-{os.getpid()}"
        self._stack = stack
        for made in (self.here, self.here / "open", self.out, self.out / "directory"):
            made.mkdir()
        self.link.symlink_to("here")
        for where in (f"{self.here}/", f"{self.here}/open/", f"{self.out}/", f"\0{self.name}-", f"\0{self.name}-open-"):
            for kind, number in KINDS.items():
                self.wait(number, where + kind)
        for name in ("stream", "removed"):
            self.wait(socket.SOCK_STREAM, f"{self.here}/{name}2")
            os.link(self.here / f"{name}2", self.out / f"linked-{name}")
        os.unlink(self.here / "removed2")

    def wait(self, kind, address):
        """Somebody who is there to be met."""
        one = self._stack.enter_context(socket.socket(socket.AF_UNIX, kind))
        one.bind(address)
        if kind != socket.SOCK_DGRAM:
            one.listen(128)

    def ready(self, expression):
        """With the names in place."""
        for word, value in (("HERE", self.here), ("OUT", self.out), ("LINK", self.link), ("NAME", rf"\0{self.name}")):
            expression = expression.replace(word, str(value))
        return expression


def unix(kind, end):
    return f"socket.socket(socket.AF_UNIX, socket.SOCK_{kind}).{end}"


# What has a socket for its peer in HERE or of a name NAME-…: how, the call that is recorded, and what it shows.
FILES = (
    (unix("STREAM", "connect('HERE/stream')"), "connect", "HERE/stream"),
    (unix("SEQPACKET", "connect('HERE/seq')"), "connect", "HERE/seq"),
    (unix("DGRAM", "connect('HERE/dgram')"), "connect", "HERE/dgram"),
    (unix("DGRAM", "sendto(b'x', 'HERE/dgram') and None"), "sendto", "HERE/dgram"),
    (unix("DGRAM", "sendmsg([b'x'], [], 0, 'HERE/dgram') and None"), "sendmsg", "HERE/dgram"),
    ("THINGS['dgram'].send(b'x') and None", "sendto", "HERE/dgram"),
    ("os.write(THINGS['dgram'].fileno(), b'x') and None", "write", "HERE/dgram"),
    (unix("STREAM", "bind('HERE/new')"), "bind", "HERE/new"),
    (unix("STREAM", "connect('LINK/stream')"), "connect", "HERE/stream"),
    (unix("STREAM", "connect('/proc/self/rootHERE/../here/./stream')"), "connect", "HERE/stream"),
    (unix("STREAM", "connect('OUT/linked-stream')"), "connect", "HERE/stream2"),
    (unix("STREAM", "connect('OUT/linked-removed')"), "connect", "HERE/removed2"),
)
MOVES = (
    ("os.rename('HERE/stream', 'OUT/moved')", "rename", "HERE/stream"),
    ("os.rename('OUT/stream', 'HERE/moved')", "rename", "HERE/moved"),
    ("os.link('OUT/seq', 'HERE/linked')", "link", "HERE/linked"),
    ("os.rename('OUT/directory', 'HERE/directory')", "rename", "HERE/directory"),
)
ABSTRACT = (
    (unix("STREAM", "connect('NAME-stream')"), "connect", "@NAME-stream"),
    (unix("SEQPACKET", "connect('NAME-seq')"), "connect", "@NAME-seq"),
    (unix("DGRAM", "sendto(b'x', 'NAME-dgram') and None"), "sendto", "@NAME-dgram"),
    (unix("STREAM", "bind('NAME-x\\0y')"), "bind", "@NAME-x\0y"),
)
# What the rules do not concern.
FREE = (
    unix("STREAM", "connect('HERE/open/stream')"),
    unix("STREAM", "connect('OUT/stream')"),
    unix("STREAM", "connect('NAME-open-stream')"),
    "THINGS['pair'][0].send(b'x') and THINGS['pair'][1].recv(1) and None",
)
DATAGRAM_PAIR = "THINGS['pairs'][0].send(b'x') and THINGS['pairs'][1].recv(1) and None"


@contextmanager
def world():
    """(the sockets, a process to be refused, one beside it); the address of a socket has room for short paths only."""
    with ExitStack() as stack, family(size=1) as sibling, family(size=1) as one:
        sockets = World(Path(stack.enter_context(TemporaryDirectory(prefix="unix-"))), stack)
        for expression in (
            "keep('dgram', socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))",
            "THINGS['dgram'].connect('HERE/dgram')",
            "keep('pair', socket.socketpair())",
            "keep('pairs', socket.socketpair(type=socket.SOCK_DGRAM))",
            "keep('udp', socket.socket(socket.AF_INET, socket.SOCK_DGRAM))",
        ):
            assert one.root.ask(sockets.ready(expression)) == "ok"
        yield sockets, one.root, sibling.root


@pytest.fixture(params=["lsm", "fmod_ret"])
def mechanism(request):
    need_for(request.param)
    return request.param


def assert_refused(sockets, one, enforcer, rows, rule):
    """Each of ``rows`` fails every time, is counted for ``rule``, and its record shows call and socket."""
    before = enforcer.counts().hits[rule]
    for expression, *_ in rows:
        assert [one.ask(sockets.ready(expression)) for _ in range(TRIES)] == ["EXFULL"] * TRIES, expression
    assert enforcer.counts().hits[rule] - before == TRIES * len(rows)
    records = [record for batch in enforcer.batches() for record in batch]
    shown = [(record.call, record.what, record.rule) for record in records]
    wanted = [(call, sockets.ready(what).replace(r"@\0", "@"), rule) for _, call, what in rows]
    assert shown == [each for each in wanted for _ in range(TRIES)]


def assert_free(sockets, one, expressions):
    wrong = {text: one.ask(sockets.ready(text)) for text in expressions}
    assert set(wrong.values()) == {"ok"}, wrong


def test_sockets_by_path_and_by_name(mechanism):
    with world() as (sockets, one, sibling):
        here, name = sockets.here, sockets.name
        rules = [deny(f"{here}/**"), allow(f"{here}/open/**"), deny(f"@{name}*"), allow(f"@{name}-open*")]
        rules += [paths.parse(f"w:{sockets.out}/key", allow=False, action=DENIED)]
        with enforced(mechanism, rules, Target(pid=one.pid)) as enforcer:
            assert_refused(sockets, one, enforcer, [*FILES, *MOVES], 0)
            assert_refused(sockets, one, enforcer, ABSTRACT, 2)
            assert_free(
                sockets, one, [*FREE, DATAGRAM_PAIR, unix("STREAM", "bind('NAMEx')").replace("NAME", r"\0other")]
            )
            assert one.ask(sockets.ready("os.close(os.open('OUT/key', os.O_CREAT | os.O_WRONLY))")) == "EXFULL"
            assert_free(sockets, sibling, [FILES[0][0], ABSTRACT[0][0], FILES[3][0]])
            assert enforcer.counts().missed == 0
            enforcer.lift()
            assert_free(sockets, one, [expression for expression, *_ in (*FILES, *ABSTRACT, *MOVES)])


def test_every_socket_but_exceptions(mechanism):
    with world() as (sockets, one, _sibling):
        rules = [deny(""), allow(f"{sockets.here}/open/**"), allow(f"@{sockets.name}-open*")]
        outside = unix("STREAM", "connect('OUT/stream')")
        with enforced(mechanism, rules, Target(pid=one.pid)) as enforcer:
            assert_refused(sockets, one, enforcer, [*FILES, *ABSTRACT, (outside, "connect", "OUT/stream")], 0)
            into = [
                ("os.rename('OUT/stream', 'HERE/open/moved')", "rename", "HERE/open/moved"),
                ("os.rename('OUT/directory', 'HERE/open/moved')", "rename", "HERE/open/moved"),
                (DATAGRAM_PAIR, "sendto", ""),
                (unix("STREAM", "bind('')"), "bind", "@"),
            ]
            assert_refused(sockets, one, enforcer, into, 0)
            assert_free(sockets, one, [FREE[0], FREE[2], FREE[3]])
            own = [unix("STREAM", "bind('HERE/open/own')"), "os.rename('HERE/open/own', 'HERE/open/mine')"]
            assert_free(sockets, one, [*own, "os.rename('OUT/directory', 'OUT/other')", "os.unlink('HERE/seq')"])


def test_no_directory_moves_to_where_an_exception_is_deeper(mechanism):
    with world() as (sockets, one, _sibling):
        rules = [deny(""), allow(f"{sockets.here}/late/stream")]
        with enforced(mechanism, rules, Target(pid=one.pid)) as enforcer:
            into = ("os.rename('OUT/directory', 'HERE/late')", "rename", "HERE/late")
            assert_refused(sockets, one, enforcer, [into], 0)
            assert_free(sockets, one, ["os.mkdir('HERE/late')", unix("STREAM", "bind('HERE/late/stream')")])
            assert_refused(sockets, one, enforcer, [(unix("STREAM", "bind('HERE/late/x')"), "bind", "HERE/late/x")], 0)


def test_every_socket_without_rules_on_paths_and_ip_beside(mechanism):
    with world() as (sockets, one, _sibling):
        rules = [deny(""), nets.parse("udp:", allow=False, action=DENIED)]
        with enforced(mechanism, rules, Target(pid=one.pid)) as enforcer:
            assert_refused(sockets, one, enforcer, [*FILES, *ABSTRACT], 0)
            bind = ("THINGS['udp'].bind(('127.0.0.1', 1234))", "bind", "127.0.0.1:1234")
            assert_refused(sockets, one, enforcer, [bind], 1)


def test_names_alone_leave_files_alone(mechanism):
    with world() as (sockets, one, _sibling):
        rules = [deny(f"@{sockets.name}-s*"), deny(f"@{sockets.name}-dgram"), deny(f"@{sockets.name}-x*")]
        with enforced(mechanism, rules, Target(pid=one.pid)) as enforcer:
            assert_refused(sockets, one, enforcer, ABSTRACT[:2], 0)
            assert_refused(sockets, one, enforcer, ABSTRACT[2:3], 1)
            assert_refused(sockets, one, enforcer, ABSTRACT[3:], 2)
            assert_free(sockets, one, [*FREE, FILES[0][0], FILES[7][0]])


def test_audit_reports_a_socket_and_lets_pass(mechanism):
    with world() as (sockets, one, _sibling):
        rules = [nets.parse(f"unix:{sockets.here}/stream", allow=False, action=Action("audit"))]
        with enforced(mechanism, rules, Target(pid=one.pid)) as enforcer:
            assert_free(sockets, one, [FILES[0][0], FREE[0]])
            assert enforcer.counts().hits == {0: 1}
