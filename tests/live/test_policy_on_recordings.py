"""isotrace policy test on a recording says what isotrace block --audit said during that same run."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from learned import isotrace

from isotrace.enforce.calls import notify
from isotrace.policy import names

pytestmark = pytest.mark.skipif(
    notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"
)
SCRIPT = """
import os, socket, subprocess, tempfile, threading
with tempfile.TemporaryDirectory() as where:
    os.mkdir(where + "/d"); os.rename(where + "/d", where + "/e"); os.symlink("x", where + "/l")
    open(where + "/f", "w").close(); os.chmod(where + "/f", 0o600); os.stat(where + "/none/x") if 0 else None
    try: os.stat(where + "/none")
    except OSError: pass
    try: socket.create_connection(("127.0.0.1", 1), 1)
    except OSError: pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s: s.sendto(b"x", ("127.0.0.1", 9))
    a, b = socket.socketpair(); a.send(b"x"); b.recv(1)
    subprocess.run(["true"]); os.kill(os.getpid(), 0)
    thread = threading.Thread(target=os.getppid); thread.start(); thread.join()
"""
#: What the mechanism by number does not hold as the words say it, or what the start of the command does beside it.
NOT_COMPARED = {"exec", "connect"}


def summary(text: str) -> dict:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("seed", range(4))
def test_audit_and_the_recording_of_it_agree_on_every_rule(tmp_path: Path, seed: int) -> None:
    words = random.Random(seed).sample(sorted(set(names.words()) - NOT_COMPARED), 12)
    policy, file = tmp_path / "p.toml", tmp_path / "t.arrow"
    policy.write_text("version = 1\n[groups.g]\ndeny = [" + ", ".join(f'"{word}"' for word in words) + "]\n")
    command = ("--", "/usr/bin/python3", "-c", SCRIPT)
    live = isotrace(
        "block", "--backend", "seccomp", "--audit", "--policy", policy, "--format", "json", "-o", tmp_path / "said",
        "--record", file, *command,
    )  # fmt: skip
    assert live.returncode == 0, live.stderr
    rules = summary((tmp_path / "said").read_text())[-1]["rules"]
    audited = {rule["asked"].replace("audit ", "deny "): rule["hits"] for rule in rules}
    tried = isotrace("policy", "test", policy, file, "--format", "json")
    recorded = dict.fromkeys(audited, 0)
    for one in summary(tried.stdout)[:-1]:
        recorded[one["asked"]] += one["count"]
    assert recorded == audited
    assert sum(audited.values()) > 0
    assert tried.returncode == 1
