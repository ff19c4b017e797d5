"""The mechanisms of ``isotrace block``: what is refused, what is not, and that it all ends."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from isotrace.policy import nets, paths
from isotrace.trace.target import Target
from tests.vm.enforced import AUDIT, CALLS, DENIED, KILL, REFUSING, Worker, compiled, deny, enforced, need_for


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


@pytest.mark.parametrize("mechanism", REFUSING)
def test_calls_fail_are_counted_and_work_again(mechanism, worker, sibling):
    need_for(mechanism)
    with enforced(mechanism, [deny(word) for word in CALLS], Target(pid=worker.pid)) as enforcer:
        for number, expression in enumerate(CALLS.values()):
            assert [worker.ask(expression) for _ in range(3)] == ["EXDEV"] * 3, expression
            assert enforcer.counts().hits[number] == 3
        assert sibling.ask(CALLS["open"]) == sibling.ask(CALLS["socket"]) == "ok"
        records = [record for batch in enforcer.batches() for record in batch]
        assert {record.pid for record in records} == {worker.pid}
        assert [record.rule for record in records] == [number for number in range(len(CALLS)) for _ in range(3)]
        assert records[0].what == "/etc/passwd"
        enforcer.lift()
        assert [worker.ask(expression) for expression in CALLS.values()] == ["ok"] * len(CALLS)
    os.rmdir("/tmp/isotrace-made")


@pytest.mark.parametrize("mechanism", REFUSING)
def test_kill_ends_the_process_before_the_call(mechanism, worker):
    need_for(mechanism)
    with enforced(mechanism, [deny("mkdir", KILL)], Target(pid=worker.pid)) as enforcer:
        assert worker.ask("os.mkdir('/tmp/isotrace-killed')") == ""
        assert worker.process.wait() == -9
        assert enforcer.counts().hits == {0: 1}
    assert not Path("/tmp/isotrace-killed").exists()


def test_signal_kills(worker):
    need_for("signal")
    with enforced("signal", [deny("mkdir", KILL)], Target(pid=worker.pid)):
        assert worker.ask("os.mkdir('/tmp/isotrace-signalled') or os.rmdir('/tmp/isotrace-signalled')") == ""
        assert worker.process.wait() == -9


@pytest.mark.parametrize("mechanism", REFUSING)
def test_audit_reports_and_lets_pass(mechanism, worker, tmp_path):
    need_for(mechanism)
    (tmp_path / "file").touch()  # not on the guest's overlay, which opens the file below in turn
    with enforced(mechanism, [deny("open", AUDIT)], Target(pid=worker.pid)) as enforcer:
        assert worker.ask(f"os.close(os.open('{tmp_path}/file', 0))") == "ok"
        (record,) = [record for batch in enforcer.batches() for record in batch]
        assert (record.call, record.what) == ("openat", f"{tmp_path}/file")
        assert enforcer.counts().hits == {0: 1}


@pytest.mark.parametrize("mechanism", ["lsm", "fmod_ret"])
def test_what_is_reported_of_a_call_takes_no_refusal_of_its_other_part_away(mechanism, worker, tmp_path):
    need_for(mechanism)
    for name in ("one", "kept"):
        (tmp_path / name).touch()
    rules = [
        paths.parse(f"r:{tmp_path}/**", allow=False, action=AUDIT),
        paths.parse(f"w:{tmp_path}/**", allow=False, action=DENIED),
        paths.parse(f"{tmp_path}/below/**", allow=False, action=AUDIT),
        paths.parse(f"{tmp_path}/kept", allow=True),
    ]
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").touch()
    with enforced(mechanism, rules, Target(tree=(worker.pid,)), whole=True) as enforcer:
        assert worker.ask(f"os.close(os.open('{tmp_path}/one', os.O_RDONLY))") == "ok"
        assert worker.ask(f"os.close(os.open('{tmp_path}/one', os.O_RDWR))") == "EXDEV"
        assert worker.ask(f"os.close(os.open('{tmp_path}/below/file', os.O_RDWR))") == "ok"
        assert worker.ask(f"os.rename('{tmp_path}/below/file', '{tmp_path}/moved')") == "EXDEV"
        assert worker.ask(f"os.close(os.open('{tmp_path}/kept', os.O_RDWR))") == "ok"
        records = [record for batch in enforcer.batches() for record in batch]
        assert {record.rule for record in records} == {0, 1, 2}
        assert next(record.what for record in records if record.rule == 1) == f"{tmp_path}/one"
        assert enforcer.counts().hits[1] == 2
    assert worker.ask(f"os.close(os.open('{tmp_path}/one', os.O_RDWR))") == "ok"


#: What takes the verifier most steps: patterns of every kind at one directory, on a root that other file systems are below.
PATTERNS = {
    "programs": ["x:/**", "+x:/usr/**", "w:/srv/**/x", "r:/srv/*/k*y", "w:/srv/*/.ssh/**", "+r:/srv/**/a*b*c/**"],
    "sockets": ["r:/srv/**/key", "w:/srv/**/*.c", "w:/srv/**/x", "unix:/run/**", "+unix:/run/*/a/**", "unix:"],
}


def parsed(text):
    """A rule on a path or a socket; ``+`` before an exception."""
    kind = nets if text.lstrip("+").startswith("unix:") else paths
    return kind.parse(text.lstrip("+"), allow=text.startswith("+"), action=DENIED)


@pytest.mark.parametrize("mechanism", ["lsm", "fmod_ret"])
@pytest.mark.parametrize("kind", PATTERNS)
def test_the_verifier_takes_many_patterns_together(mechanism, kind, worker):
    need_for(mechanism)
    Path("/srv").mkdir(exist_ok=True)
    with enforced(mechanism, [parsed(text) for text in PATTERNS[kind]], Target(pid=worker.pid)):
        assert worker.ask("os.mkdir('/srv/x')") == "EXDEV"


@pytest.mark.parametrize("mechanism", ["lsm", "fmod_ret"])
def test_no_way_round_rules_on_paths_and_addresses(mechanism, tmp_path):
    need_for(mechanism)
    program = compiled(tmp_path, "escape")
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
