"""The BPF mechanisms of ``isotrace block``: what is refused, what is not, and that it all ends."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from asked import Asked

from isotrace.enforce import Grade, Held, registry
from isotrace.enforce.report import KernelReport
from isotrace.policy import names, nets, paths
from isotrace.policy.model import Action
from isotrace.target import Target

FEATURES = os.environ.get("ISOTRACE_VM_FEATURES", "").split(",")
NEEDS = {
    "lsm": "lsm_bpf",
    "fmod_ret": "fmod_ret_security",
    "fmod_ret_call": "fmod_ret_syscall",
    "override": "override",
    "signal": "raw_tracepoint",
}
PROGRAM = Path(__file__).parents[1] / "progs" / "escape.c"
DENIED = Action("errno", errno.EXDEV)  # an error that none of these calls gives by itself

#: A process that answers each line, a Python expression, with "ok" or the name of an errno.
WORKER = """
import errno, os, socket, sys
for line in sys.stdin:
    try:
        eval(line)
        print("ok", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"""

#: word → an expression that makes such a call.
CALLS = {
    "open": "os.close(os.open('/etc/passwd', os.O_RDONLY))",
    "socket": "socket.socket().close()",
    "pipe": "[os.close(end) for end in os.pipe()]",
    "kill": "os.kill(os.getpid(), 0)",
    "mkdir": "os.mkdir('/tmp/isotrace-made')",
    "chmod": "os.chmod('/tmp', 0o1777)",
}


class Worker(Asked):
    """A process to be refused something."""

    def __init__(self):
        super().__init__([sys.executable, "-S", "-c", WORKER])
        assert self.ask("None") == "ok"


@pytest.fixture
def worker():
    one = Worker()
    yield one
    one.end()


@pytest.fixture
def sibling():
    one = Worker()
    yield one
    one.end()


def need(mechanism):
    if NEEDS[mechanism] not in FEATURES:
        pytest.skip(f"needs {NEEDS[mechanism]}: for {mechanism}")


def grade(mechanism, rule):
    chosen = next(one for one in registry.MECHANISMS if one.name == mechanism)
    found = chosen.holds(rule, KernelReport())
    assert isinstance(found, Grade), found
    return found


@contextmanager
def enforced(mechanism, rules, target):
    grades = [grade(mechanism, rule) for rule in rules]
    held = [Held(number, rule, mechanism, grades[number]) for number, rule in enumerate(rules)]
    enforcer = registry.make(mechanism, held, target)
    enforcer.open(None)
    try:
        yield enforcer
    finally:
        enforcer.close()


@pytest.mark.parametrize("mechanism", ["lsm", "fmod_ret", "fmod_ret_call", "override"])
def test_calls_fail_are_counted_and_work_again(mechanism, worker, sibling):
    need(mechanism)
    rules = [names.parse(word, action=DENIED) for word in CALLS]
    with enforced(mechanism, rules, Target(pid=worker.process.pid)) as enforcer:
        for number, expression in enumerate(CALLS.values()):
            assert [worker.ask(expression) for _ in range(3)] == ["EXDEV"] * 3, expression
            assert enforcer.counts().hits[number] == 3
        assert sibling.ask(CALLS["open"]) == sibling.ask(CALLS["socket"]) == "ok"
        records = [record for batch in enforcer.batches() for record in batch]
        assert {record.pid for record in records} == {worker.process.pid}
        assert [record.rule for record in records] == [number for number in range(len(CALLS)) for _ in range(3)]
        assert records[0].what == "/etc/passwd"
        enforcer.lift()
        assert [worker.ask(expression) for expression in CALLS.values()] == ["ok"] * len(CALLS)
    os.rmdir("/tmp/isotrace-made")


def test_kill_ends_the_process_before_the_call(worker):
    mechanism = "lsm" if "lsm_bpf" in FEATURES else "fmod_ret"
    need(mechanism)
    rules = [names.parse("mkdir", action=Action("kill"))]
    with enforced(mechanism, rules, Target(pid=worker.process.pid)) as enforcer:
        assert worker.ask("os.mkdir('/tmp/isotrace-killed')") == ""
        assert worker.process.wait() == -9
        assert enforcer.counts().hits == {0: 1}
    assert not Path("/tmp/isotrace-killed").exists()


def test_signal_kills(worker):
    rules = [names.parse("mkdir", action=Action("kill"))]
    with enforced("signal", rules, Target(pid=worker.process.pid)):
        assert worker.ask("os.mkdir('/tmp/isotrace-signalled') or os.rmdir('/tmp/isotrace-signalled')") == ""
        assert worker.process.wait() == -9


def test_audit_reports_and_lets_pass(worker, tmp_path):
    mechanism = "lsm" if "lsm_bpf" in FEATURES else "fmod_ret"
    need(mechanism)
    with enforced(mechanism, [names.parse("open", action=Action("audit"))], Target(pid=worker.process.pid)) as enforcer:
        (tmp_path / "file").touch()  # not on the guest's overlay, which opens the file below in turn
        assert worker.ask(f"os.close(os.open('{tmp_path}/file', 0))") == "ok"
        assert enforcer.counts().hits == {0: 1}


@pytest.mark.parametrize("mechanism", ["lsm", "fmod_ret"])
def test_no_way_round_rules_on_paths_and_addresses(mechanism, tmp_path):
    need(mechanism)
    program = tmp_path / "escape"
    subprocess.run(["gcc", "-O1", "-pthread", "-o", program, PROGRAM], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    secret, place = tmp_path / "secret", tmp_path / "place"
    secret.mkdir()
    place.mkdir()
    (secret / "file").write_text("hidden")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    process = subprocess.Popen(
        [program, secret / "file", place, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    rules = [
        paths.parse(f"{secret}/**", allow=False, action=DENIED),
        nets.parse(f"tcp:127.0.0.1:{port}", allow=False, action=DENIED),
    ]
    with enforced(mechanism, rules, Target(tree=process.pid)):
        said, _ = process.communicate("\n", timeout=300)
    results = {line.split()[0]: line.split()[1:] for line in said.splitlines()}
    assert {name for name, result in results.items() if result == ["through"]} == set()
    assert {name for name, result in results.items() if result[0] == "refused" and result[1] != "EXDEV"} <= {
        "race",
        "x32",
    }
    assert "race" in results
    assert (secret / "file").read_text() == "hidden"
    listener.close()
