"""Each mechanism on each family of calls: the right error, a counter that moves by the number of tries, a sibling that is
not concerned, and everything working again at the end."""

from __future__ import annotations

import errno
import os
import socket
from functools import partial

import pytest

from isotrace.enforce.hooks import coverage
from isotrace.enforce.hooks.lsm import by_lsm
from isotrace.policy import names
from isotrace.policy.model import Action
from isotrace.trace.target import Target
from tests.vm.enforced import REFUSING, enforced, need_for
from tests.vm.family import family

TRIES = 3
DENIED = Action("errno", errno.EXFULL)  # an error that none of these calls gives by itself

# What is denied, what makes one such call, and what that gives when nothing is refused. HERE is a directory of the test's
# on tmpfs, PORT a listener's, VICTIM a process beside.
TABLE = (
    # files
    ("open", "os.close(os.open('HERE/file', os.O_RDONLY))", "ok"),
    ("stat", "os.stat('HERE/file') and None", "ok"),
    ("access", "call(21, b'HERE/file', os.R_OK)", "ok"),
    ("readlink", "os.readlink('HERE/link') and None", "ok"),
    ("truncate", "os.truncate('HERE/file', 0)", "ok"),
    ("fallocate", "call(285, THINGS['file'], 0, 0, 4096)", "ok"),
    ("lock", "fcntl.flock(THINGS['file'], fcntl.LOCK_SH)", "ok"),
    ("list", "call(217, THINGS['directory'], ROOM, 4096)", "ok"),
    ("chdir", "os.chdir('HERE')", "ok"),
    ("chmod", "os.chmod('HERE/file', 0o600)", "ok"),
    ("chown", "os.chown('HERE/file', 0, 0)", "ok"),
    ("utime", "os.utime('HERE/file')", "ok"),
    ("xattr", "os.setxattr('HERE/file', 'trusted.isotrace', b'1')", "ok"),
    ("ioctl", "fcntl.ioctl(THINGS['file'], termios.FIONREAD, b'    ') and None", "ok"),
    ("fcntl", "fcntl.fcntl(THINGS['file'], fcntl.F_GETFD) and None", "ok"),
    # what changes paths
    ("mkdir", "os.mkdir('HERE/new')", "ok"),
    ("=rmdir", "os.rmdir('HERE/directory')", "ok"),
    ("mknod", "os.mknod('HERE/node')", "ok"),
    ("rename", "os.rename('HERE/old', 'HERE/renamed')", "ok"),
    ("link", "os.link('HERE/file', 'HERE/linked')", "ok"),
    ("symlink", "os.symlink('file', 'HERE/symlinked')", "ok"),
    ("=unlink", "os.unlink('HERE/needless')", "ok"),
    # running programs, processes, signals
    ("exec", "child(lambda: os.execv('/bin/true', ['true']))", "ok"),
    ("kill", "os.kill(os.getpid(), 0)", "ok"),
    ("ptrace", "call(101, 0x4206, VICTIM, 0, 0)", "ok"),
    ("setuid,!setfsuid,!setfsuid32", "os.setuid(0)", "ok"),
    ("setgid,!setfsgid,!setfsgid32", "os.setgid(0)", "ok"),
    ("nice", "os.setpriority(os.PRIO_PROCESS, 0, 1)", "ok"),
    ("=prctl", "call(157, 16, ROOM, 0, 0, 0)", "ok"),
    ("chroot", "os.chroot('/')", "ok"),
    ("rlimit", "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))", "ok"),
    ("unshare", "call(272, 0)", "ok"),
    # sockets
    ("socket", "socket.socket().close()", "ok"),
    ("bind", "THINGS['udp'].bind(('127.0.0.1', 0))", "ok"),
    ("=connect", "THINGS['udp'].connect(('127.0.0.1', PORT))", "ok"),
    ("listen", "THINGS['tcp'].listen()", "ok"),
    ("accept", "THINGS['listener'].accept()[0].close()", "ok"),
    ("=sendto", "THINGS['pair'][0].send(b'x') and None", "ok"),
    ("recv", "THINGS['pair'][1].recv(1) and None", "ok"),
    ("=getsockname", "THINGS['udp'].getsockname() and None", "ok"),
    ("=setsockopt", "THINGS['udp'].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)", "ok"),
    ("=shutdown", "THINGS['pair'][0].shutdown(socket.SHUT_WR)", "ok"),
    # between processes
    ("pipe", "[os.close(end) for end in os.pipe()] and None", "ok"),
    ("memfd", "os.close(os.memfd_create('x'))", "ok"),
    ("shm", "call(29, 0, 4096, 0o1600)", "ok"),
    ("sem", "call(64, 0, 1, 0o1600)", "ok"),
    ("msg", "call(68, 0, 0o1600)", "ok"),
    ("=inotify_init1", "call(294, 0)", "ok"),
    # the machine
    ("=mount", "call(165, b'x', b'HERE', b'none', 0x1020, 0)", "EINVAL"),
    ("=bpf", "call(321, 9999, ROOM, 8)", "EINVAL"),
    ("=init_module", "call(175, ROOM, 4096, b'')", "ENOEXEC"),
    ("=delete_module", "call(176, b'isotrace-none', 0x800)", "ENOENT"),
    ("=clock_settime", "time.clock_settime(time.CLOCK_REALTIME, time.time())", "ok"),
    ("=syslog", "call(103, 10, 0, 0)", "ok"),
    ("reboot", "call(169, 1, 2, 3, 0)", "EINVAL"),
    ("swap", "call(167, b'/nowhere', 0)", "ENOENT"),
    ("hostname", "call(170, b'localhost', 9)", "ok"),
    ("keys", "call(250, 0, -3, 0)", "ok"),
    ("=io_uring_setup", "call(425, 1, ctypes.create_string_buffer(120))", "ok"),
)  # fmt: skip

#: What the worker needs beforehand.
THINGS = (
    "keep('file', os.open('HERE/file', os.O_RDWR))",
    "keep('directory', os.open('HERE', os.O_RDONLY))",
    "keep('udp', socket.socket(socket.AF_INET, socket.SOCK_DGRAM))",
    "keep('tcp', socket.socket())",
    "keep('listener', socket.create_server(('127.0.0.1', 0)))",
    "keep('caller', socket.create_connection(THINGS['listener'].getsockname()))",
    "keep('pair', socket.socketpair())",
)


def rows_of(mechanism):
    """The rows that the mechanism can hold: not every call comes to a security hook, and not every kernel has them all."""
    if mechanism not in ("lsm", "fmod_ret"):
        return TABLE
    found = [row for row in TABLE if not coverage.unenforceable(names.parse(row[0]).calls, partial(is_hook, mechanism))]
    assert len(found) > 35
    return found


def is_hook(mechanism, hook):
    return by_lsm(hook, mechanism == "lsm") is not None


@pytest.mark.parametrize("mechanism", REFUSING)
def test_every_family(mechanism, tmp_path):
    need_for(mechanism)
    for name in ("file", "old", "needless"):
        (tmp_path / name).touch()
    (tmp_path / "directory").mkdir()
    os.symlink("file", tmp_path / "link")
    listener = socket.create_server(("127.0.0.1", 0))
    rows = rows_of(mechanism)
    rules = [names.parse(word, action=DENIED) for word, _, _ in rows]
    with family(size=1) as victim, family(size=1) as sibling, family(size=2) as one:  # the victim's tracer ends first

        def ready(expression):
            for name, value in (
                ("HERE", tmp_path),
                ("PORT", listener.getsockname()[1]),
                ("VICTIM", victim.root.pid),
            ):
                expression = expression.replace(name, str(value))
            return expression

        for expression in THINGS:
            assert one.root.ask(ready(expression)) == "ok"
        with enforced(mechanism, rules, Target(tree=one.root.pid)) as enforcer:
            wrong = {}
            for number, (word, expression, _) in enumerate(rows):
                answers = [one.root.ask(ready(expression)) for _ in range(TRIES)]
                counted = enforcer.counts().hits.get(number, 0)
                if answers != ["EXFULL"] * TRIES or counted != TRIES:
                    wrong[word] = (answers, counted)
            assert not wrong, "\n".join(f"{word}: {found}" for word, found in wrong.items())
            untouched = ("open", "stat", "chmod", "exec", "kill", "socket", "pipe", "=bpf")
            for word, expression, given in rows:
                if word in untouched:
                    assert sibling.root.ask(ready(expression)) == given, word
            records = [record for batch in enforcer.batches() for record in batch]
            assert len(records) == TRIES * len(rows) and enforcer.counts().lost == 0
            enforcer.lift()
            again = {word: one.root.ask(ready(expression)) for word, expression, _ in rows}
            assert again == {word: given for word, _, given in rows}
    listener.close()
