"""``isotrace block --verify`` where objects are judged: what it tries is refused, and then it starts."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.live.tracer import PATIENCE, environment, until
from tests.vm.family import block, family


def refused(said, title="refused"):
    """The ways of the lines with a title."""
    return [
        way
        for line in said.splitlines()
        if line.startswith(f"isotrace: verify: {title}: ")
        for way in line.split(": ", 3)[3].split(", ")
    ]


def test_the_ways_are_refused_before_the_target_is(tmp_path):
    rules = ("--deny-path", f"{tmp_path}/secret/**", "--deny-net", "udp:192.0.2.1", "--deny-net", "unix:@isotrace-test")
    with family() as one, block("--tree", one.root.pid, *rules, "--deny", "mkdir", "--verify") as run:
        until(lambda: "refusing from now on" in run.said or run.process.poll() is not None, "it starts")
        assert run.process.poll() is None, run.said
        assert one.root.ask(f"os.mkdir({str(tmp_path / 'new')!r})") == "EPERM"
        assert run.end() == 0
    assert "NOT REFUSED" not in run.said
    ways = refused(run.said)
    wanted = {"open", "open by int 0x80", "io_uring", "a new hard link", "moving the file out", "a bind mount", "chmod"}
    wanted |= {"TCP", "0.0.0.0", "UDP by sendto", "a socket by its name", "a socket by a new hard link", "mkdir(2)"}
    assert wanted <= set(ways), wanted - set(ways)


def test_the_doctors_row():
    run = [sys.executable, "-m", "isotrace", "doctor", "--verify", "--json"]
    done = subprocess.run(run, capture_output=True, text=True, env=environment(), timeout=3 * PATIENCE)
    assert done.returncode == 0, done.stderr
    (row,) = [feature for feature in json.loads(done.stdout)["features"] if feature["name"] == "verified"]
    assert row["verdict"] == "yes", row
    assert int(row["why"].split()[0]) > 30, row
