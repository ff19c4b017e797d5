"""``isotrace block --verify`` where objects are judged: what it tries is refused, and then it starts. A way may get through
only while its row in the table of attacks says so; then nothing is started."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.live.tracer import PATIENCE, environment
from tests.vm.attacks import Open
from tests.vm.attacks.rows import ROWS

#: Way → its row.
ROW_OF = {
    "FS_IOC_SETFLAGS": "FS_IOC_SETFLAGS on a descriptor for reading",
    ":: of a socket that is bound to IPv4": ":: from a socket bound to ::ffff:0.0.0.0",
}


def known():
    """The ways that are known to be open."""
    rows = {row.name: row for row in ROWS}
    expected = {way: rows[name].expect.values() for way, name in ROW_OF.items() if name in rows}
    return {way for way, found in expected.items() if any(isinstance(one, Open) for one in found)}


def ways(said, title):
    """The ways of the lines with a title."""
    head = f"isotrace: verify: {title}: "
    return {way for line in said.splitlines() if line.startswith(head) for way in line[len(head) :].split(", ")}


def run(*words):
    argv = [sys.executable, "-m", "isotrace", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, env=environment(), timeout=3 * PATIENCE)


def test_the_ways_are_refused_before_the_target_is_started(tmp_path):
    rules = ("--deny-path", f"{tmp_path}/secret/**", "--deny-net", "udp:192.0.2.1", "--deny-net", "unix:@isotrace-test")
    done = run("block", "--backend", "lsm", *rules, "--deny", "mkdir", "--verify", "--", "echo", "started")
    through = ways(done.stderr, "NOT DENIED")
    assert through <= known(), done.stderr
    assert (done.returncode, done.stdout) == ((3, "") if through else (0, "started\n")), done.stderr
    wanted = {"open", "open by int 0x80", "a new hard link", "moving the file out", "a bind mount", "chmod", "execve"}
    wanted |= {"TCP", "0.0.0.0", "UDP by sendto", "a socket by its name", "a socket by a new hard link", "mkdir(2)"}
    assert wanted <= ways(done.stderr, "denied"), done.stderr


def test_the_doctors_row():
    done = run("doctor", "--verify", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = [feature for feature in json.loads(done.stdout)["features"] if feature["name"] == "verified"]
    if row["verdict"] == "no":
        assert set(row["why"].removeprefix("gets through: ").split(", ")) <= known(), row
    else:
        assert row["verdict"] == "yes" and int(row["why"].split()[0]) > 30, row
