"""The kernel module under strain, for a kernel that watches itself: load and unload while all calls are hooked, and noise.

Not among what `make test` runs: half an hour and more under emulation.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import kernel_module
import pytest

from isotrace.backends import lkm
from isotrace.catalog import names as call_names
from isotrace.enforce import Enforcer
from isotrace.kmod import load as loading
from isotrace.policy.model import CallRule
from isotrace.trace.target import Target
from tests.live.tracer import until
from tests.vm.enforced import AUDIT, FEATURES, PROGS, compiled, module_for

CYCLES = int(os.environ.get("ISOTRACE_STRESS_CYCLES", "1000"))
MESSAGES = int(os.environ.get("ISOTRACE_FUZZ_MESSAGES", "100000"))

pytestmark = pytest.mark.skipif("lkm" not in FEATURES, reason="needs lkm: the module was not built")


Say = Callable[[str], None]


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Say:
    """A word on how far it is: who waits outside takes silence for a hang."""

    def aloud(text: str) -> None:
        with capfd.disabled():
            print(text, file=sys.stderr, flush=True)

    return aloud


@contextmanager
def busy(directory: Path) -> Iterator[None]:
    """Forks as fast as they come, and a hundred tasks asleep in calls, who all wake as they should."""
    sleepers = subprocess.Popen([compiled(directory, "sleepers"), "100"], stdin=-1, stdout=-1, text=True)
    assert sleepers.stdout and sleepers.stdout.readline() == "ready\n"
    storm = subprocess.Popen([compiled(directory, "storm"), "1000000000", "4"], stdout=subprocess.DEVNULL)
    try:
        yield
        assert storm.poll() is None
        assert sleepers.communicate("\n")[0] == "woke 100\n"
    finally:
        storm.kill()
        storm.wait()
        sleepers.kill()


def all_calls() -> CallRule:
    """A rule on every call there is, which lets them pass."""
    return CallRule("everything", frozenset(call_names()), action=AUDIT)


def cycle(enforcer: Enforcer, path: Path, stop: bool) -> int:
    """Load, hook all calls, let them be met, end, unload; how many were met."""
    loading.load(path)
    try:
        enforcer.open(None)
        until(lambda: any(enforcer.counts().hits.values()), "calls are met")
        met = sum(enforcer.counts().hits.values())
        if stop:
            enforcer.lift()
    finally:
        enforcer.close()
        loading.unload()
    return met


def test_load_and_unload_while_everything_is_hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    path, known = loading.find(os.uname().release), loading.symbols()
    monkeypatch.setattr(loading, "symbols", lambda: known)
    enforcer = module_for([all_calls()], Target(comm="storm"), tested=False)
    with busy(tmp_path):
        for number in range(CYCLES):
            assert cycle(enforcer, path, stop=number % 2 == 0) > 0
            if number % 10 == 0:
                say(f"{number} cycles")
    assert kernel_module.module("status").returncode == 3


# ---- netlink ---------------------------------------------------------------------------------------------------------


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", len(data) + 4, kind) + data.ljust(-len(data) % 4 + len(data), b"\0")


def plausible(noise: random.Random) -> bytes:
    """Attributes that are near to what the module takes."""
    made = []
    for _ in range(noise.randrange(4)):
        kind = noise.randrange(len(lkm.ATTRIBUTES) + 2) | noise.choice((0, 0, 0x8000))
        size = noise.choice((0, 1, 4, 4, 8, 16, 32, 44, 44 * 3, 200, 4000))
        data = noise.choice(
            (noise.randbytes(size), bytes(size), struct.pack("=I", noise.choice((0, 1, 2, 1 << 16))) * 2)
        )
        made.append(attribute(kind, data))
    if noise.random() < 0.2:
        inner = b"".join(attribute(noise.randrange(12), struct.pack("=I", noise.randrange(1 << 23))) for _ in range(2))
        made.append(attribute(6 | 0x8000, inner))
    return b"".join(made)


def message(noise: random.Random, family: int) -> bytes:
    """A netlink message that may be cut, too long, of no known command or with flags that fit nothing."""
    body = struct.pack("=BBH", noise.randrange(14), noise.randrange(3), noise.choice((0, 0, 0, 7))) + plausible(noise)
    flags = noise.choice((1, 5, 0x301, 0x305, noise.randrange(1 << 16)))
    length = len(body) + 16 + noise.choice((0, 0, 0, 0, -1, -4, 1, 4, 1000, -len(body) // 2))
    return struct.pack("=IHHII", max(0, length), family, flags, noise.randrange(1 << 32), 0) + body


def drain(sock: socket.socket) -> None:
    try:
        while True:
            sock.recv(65536, socket.MSG_DONTWAIT)
    except OSError:  # nothing left, or more than the buffer held
        pass


def shout(noise: random.Random, family: int, count: int, say: Say) -> None:
    """Messages from sockets that come and go."""
    sock = None
    for number in range(count):
        if sock is None or noise.random() < 0.01:
            if sock is not None:
                sock.close()
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
            sock.bind((0, 0))
        sock.send(message(noise, family))
        if number % 8 == 0:
            drain(sock)
        if number % 10000 == 0:
            say(f"{number} messages")
    if sock is not None:
        sock.close()


def family_id() -> int:
    channel = lkm.Channel()
    found = int(channel._socket.prid)
    channel.close()
    return found


@pytest.mark.parametrize("beside", ["nobody", "a controller"])
def test_noise_on_netlink_changes_nothing(beside: str, say: Say) -> None:
    noise = random.Random(beside)
    with kernel_module.loaded():
        family, controller = family_id(), None
        if beside == "a controller":
            controller = lkm.Controller(Target(tree=os.getpid()), 1 << 16)
            controller.claim(lkm.conditions(Target(tree=os.getpid()), None))
            controller.start(0, 1)
            members = controller.pids()
        shout(noise, family, MESSAGES // 2, say)
        channel = lkm.Channel()
        assert channel.info().busy == (os.getpid() if controller else 0)
        channel.close()
        if controller:
            assert controller.pids() == members
            controller.close()
        run = [sys.executable, "-m", "isotrace", "log", "--backend", "lkm", "--format", "none", "--", "true"]
        done = subprocess.run(
            run, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(PROGS.parents[1])}
        )
        assert done.returncode == 0 and ", 0 lost" in done.stderr, done.stderr
