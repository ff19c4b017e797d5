"""isotrace policy export: every target with a policy that allows everything, nothing, or what it cannot hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from isotrace.cli import cli
from isotrace.commands import handing
from isotrace.handover.targets import TARGETS

ROOT = Path(__file__).parents[1]
NOTHING = 'version = 1\n[groups.a]\ndeny = "all"\ndeny-path = "/**"\ndeny-net = ["any:", "unix:"]\n'
#: What each target has no word for.
FOREIGN = {
    "seccomp": 'deny-path = "/etc/"',
    "oci": 'deny-net = "tcp:"',
    "systemd": 'deny-path = "/*/x"',
    "apparmor": 'deny = "ptrace"',
    "landlock": 'deny = "ptrace"',
    "tetragon": 'deny-net = "any:"',
    "kubearmor": 'deny = "ptrace"',
}


def run(tmp_path, text, *words):
    """Status, standard output, standard error; never a traceback."""
    policy = tmp_path / "p.toml"
    policy.write_text(text)
    found = subprocess.run(
        [sys.executable, "-m", "isotrace", "policy", "export", str(policy), *words],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in found.stderr
    return found.returncode, found.stdout, found.stderr


def test_every_target_can_be_asked_for_and_is_documented():
    assert tuple(TARGETS) == tuple(sorted(TARGETS, key=handing._TARGETS.index)) and set(TARGETS) == set(
        handing._TARGETS
    )
    text = (ROOT / "docs" / "export.md").read_text()
    assert all(f"\n## {target}\n" in text and f"| `{target}` |" in text for target in TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_a_policy_that_allows_everything_is_refused(tmp_path, target):
    status, output, said = run(tmp_path, 'version = 1\n[groups.a]\nallow-path = "/**"\n', "--to", target, "--lossy")
    assert status == 1 and not output
    assert f"isotrace: {target}: 1 rule: " in said and "can enforce no rule of" in said


@pytest.mark.parametrize("target", TARGETS)
def test_a_policy_that_allows_nothing_is_written(tmp_path, target):
    status, output, said = run(tmp_path, NOTHING, "--to", target, "--lossy", "-o", str(tmp_path / "out"))
    assert (status, output) == (0, "") and (tmp_path / "out").stat().st_size
    assert f"isotrace: {target}: 4 rules: " in said


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_can_hold_none_of_is_refused_with_the_report(tmp_path, target):
    status, output, said = run(tmp_path, f"version = 1\n[groups.a]\n{FOREIGN[target]}\n", "--to", target, "--lossy")
    assert status == 1 and not output
    assert "isotrace: not expressible   deny" in said


@pytest.mark.parametrize("target", TARGETS)
def test_the_report_is_json_where_that_is_asked(tmp_path, target):
    _, _, said = run(tmp_path, NOTHING, "--to", target, "--lossy", "--report", "json", "-o", str(tmp_path / "out"))
    *rules, summary = map(json.loads, said.splitlines())
    assert [one["rule"] for one in rules] == [0, 1, 2, 3] and summary["target"] == target
    assert {one["held"] for one in rules} <= {"exact", "wider", "part", "not"}
    assert sum(summary[word] for word in ("exact", "wider", "part", "not")) == 4


def test_a_group_alone(tmp_path):
    text = 'version = 1\n[groups.a]\ndeny = "ptrace"\n[groups.b]\ndeny-path = "/x"\n'
    assert run(tmp_path, text, "--to", "seccomp", "--group", "a")[0] == 0
    status, _, said = run(tmp_path, text, "--to", "seccomp", "--group", "c")
    assert status == 2 and "no group 'c'" in said and "one of a, b" in said


@pytest.mark.parametrize("name", ["", "A", "a b", 'x"', "a\n", "-a", "a" * 64, "../x"])
def test_a_name_is_checked(name):
    found = CliRunner().invoke(cli, ["policy", "export", str(ROOT / "examples/policies/worker.toml"), "--to", "apparmor",
                                     "--lossy", "--name", name])  # fmt: skip
    assert found.exit_code != 0 and not found.stdout


def test_what_cannot_be_read_or_written_is_one_line(tmp_path):
    text = 'version = 1\n[groups.a]\ndeny = "ptrace"\n'
    status, _, said = run(tmp_path, text, "--to", "seccomp", "--report", "none", "-o", str(tmp_path / "no" / "x"))
    assert status == 1 and said.startswith("isotrace: cannot write") and said.count("\n") <= 2
    status, _, said = run(tmp_path, "version = 2", "--to", "seccomp")
    assert status == 2 and "should be 1" in said


def test_a_hostile_rule_is_quoted_in_the_report(tmp_path):
    text = 'version = 1\n[groups.a]\ndeny-path = "/a\u202e\\u00e9\\\\*"\n'
    status, _, said = run(tmp_path, text, "--to", "seccomp")
    assert status != 0 and "\u202e" not in said
