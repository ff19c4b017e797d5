"""A learned policy at the security hooks: it stops an update that steals, and lets through what it was learned from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import console
from tests.live.tracer import PATIENCE, ROOT, environment
from tests.vm.enforced import FEATURES

PLACE = Path("/tmp/isotrace-update")
SCRIPT = (
    "cp {0}/a {0}/b; mv {0}/b {0}/c; cat {0}/c; cat {0}/none; ln -s c {0}/l; rm {0}/l; mkdir {0}/d; rmdir {0}/d; true"
)

pytestmark = pytest.mark.skipif(
    not {"lsm_bpf", "fmod_ret_security"} & set(FEATURES), reason="needs lsm_bpf or fmod_ret_security: of this kernel"
)


def isotrace(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "isotrace", *map(str, words)], capture_output=True, text=True, timeout=6 * PATIENCE,
        env=environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_commands_of_the_readme(tmp_path):
    shutil.rmtree(PLACE, ignore_errors=True)
    try:
        console.run(ROOT / "examples/package-update/README.md", tmp_path, "hooks")
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)


def test_a_second_run_passes_and_audit_agrees_with_policy_test(tmp_path):
    where = Path("/tmp/isotrace-learned")
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir()
    (where / "a").write_text("content")
    script, policy, kept = SCRIPT.format(where), tmp_path / "p.toml", tmp_path / "t.arrow"
    try:
        learned = isotrace("learn", "-o", policy, "--", "sh", "-c", script)
        assert learned.returncode == 0, learned.stderr
        held = isotrace(
            "block", "--policy", policy, "--format", "json", "-o", tmp_path / "said", "--", "sh", "-c", script
        )
        assert held.returncode == 0, held.stderr
        assert [line for line in (tmp_path / "said").read_text().splitlines() if '"refused"' in line[:20]] == []
        rules = tmp_path / "rules.toml"
        rules.write_text(
            f'version = 1\n[groups.g]\ndeny-path = ["w:{where}/**", "r:{where}/c"]\nallow-path = "w:{where}/d"\n'
        )
        words = ("--audit", "--policy", rules, "--format", "json", "-o", tmp_path / "said", "--record", kept)
        audit = isotrace("block", *words, "--", "sh", "-c", script)
        assert audit.returncode == 0, audit.stderr
        summary = json.loads((tmp_path / "said").read_text().splitlines()[-1])
        tried = isotrace("policy", "test", rules, kept, "--format", "json")
        counts = {rule["asked"].replace("audit-path", "deny-path"): 0 for rule in summary["rules"]}
        for line in tried.stdout.splitlines()[:-1]:
            one = json.loads(line)
            counts[one["asked"]] += one["count"]
        hits = {rule["asked"].replace("audit-path", "deny-path"): rule["hits"] for rule in summary["rules"]}
        assert {name: count > 0 for name, count in counts.items()} == {
            name: bool(count) for name, count in hits.items()
        }
    finally:
        shutil.rmtree(where, ignore_errors=True)
