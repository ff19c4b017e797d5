"""``isotrace block --verify`` with a seccomp filter: no root is needed, and nothing is started if a way gets through."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tracer import PATIENCE, environment

from isotrace.enforce.calls import notify

pytestmark = pytest.mark.skipif(
    notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"
)
#: isotrace with one way more, which no rule on mkdir refuses.
MORE = (
    "from isotrace.verify import by_call; by_call._MADE += (('mkdir mkdirat', lambda on: None),); "
    "from isotrace.__main__ import main; main()"
)


def block(*words, program=("-m", "isotrace")):
    argv = [sys.executable, *program, "block", "--backend", "seccomp", "--verify", *words]
    return subprocess.run(argv, capture_output=True, text=True, env=environment(), timeout=PATIENCE)


def test_what_is_refused_is_said_and_the_command_runs():
    run = block("--deny", "connect", "--deny", "mkdir", "--", "sh", "-c", "echo ran")
    assert run.returncode == 0 and run.stdout == "ran\n", run.stderr
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("isotrace: verify: denied: ")]
    assert {"mkdir(2)", "TCP", "UDP by sendmsg"} <= set(line.split(": ")[3].split(", "))
    assert "NOT DENIED" not in run.stderr


def test_a_way_that_gets_through_ends_it_before_anything_is_started(tmp_path):
    run = block("--deny", "mkdir", "--", "touch", tmp_path / "ran", program=("-c", MORE))
    assert run.returncode == 3 and not (tmp_path / "ran").exists()
    assert "isotrace: verify: NOT DENIED: mkdir(2)" in run.stderr
    assert "the rules can be got round (1 ways): nothing was started" in run.stderr


def test_rules_that_no_way_is_against_say_so():
    run = block("--deny", "=swapon", "--", "true")
    assert run.returncode == 0 and "verify: no way of the table is against these rules" in run.stderr
