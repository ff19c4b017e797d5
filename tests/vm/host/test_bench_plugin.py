"""In a guest, a test may skip only for a feature that its kernel does not have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm.bench.matrix import ROOT
from tests.vm.plugin import objection

HAS, KNOWN = {"btf", "kprobe"}, {"btf", "kprobe", "override"}


@pytest.mark.parametrize(
    ("reason", "complaint"),
    [
        ("needs override: not in this kernel", ""),
        ("Skipped: needs override: not in this kernel", ""),
        ("needs feature: override: not in this kernel", ""),
        ("needs kprobe: not built in", "this kernel has kprobe"),
        ("needs kprobes: not built in", "kprobes is no feature of kernels.toml"),
        ("no gcc", 'a skip in a guest has to begin with "needs NAME:"'),
    ],
)
def test_reasons(reason: str, complaint: str) -> None:
    assert objection(reason, HAS, KNOWN) == complaint


TESTS = """
import pytest

def test_passes(): pass
def test_may_skip(): pytest.skip("needs override: no")
def test_may_not_skip(): pytest.skip("needs kprobe: no")
@pytest.mark.skipif(True, reason="needs btf: no")
def test_may_not_be_marked(): pass
@pytest.mark.xfail
def test_is_expected_to_fail(): assert False
@pytest.fixture
def broken():
    yield
    assert False
def test_with_a_broken_end(broken): pass
"""


def test_a_run_reports_each_test_and_fails_for_a_forbidden_skip(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_file.py").write_text(
        "import pytest\npytest.skip('needs kprobe: no', allow_module_level=True)\n"
    )
    status, outcomes = run_with_plugin(tmp_path)
    assert status == 1
    assert outcomes == {
        "test_file.py": ["failed"],
        "test_some.py::test_passes": ["passed"],
        "test_some.py::test_may_skip": ["skipped"],
        "test_some.py::test_may_not_skip": ["failed"],
        "test_some.py::test_may_not_be_marked": ["failed"],
        "test_some.py::test_is_expected_to_fail": ["skipped"],
        "test_some.py::test_with_a_broken_end": ["passed", "failed"],
    }


def run_with_plugin(directory: Path) -> tuple[int, dict[str, list[str]]]:
    """Pytest's status, and what the plugin reported of each test."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.vm.plugin", "-p", "no:cacheprovider"]
    report = directory / "report"
    with report.open("wb") as stream:
        channel = {"ISOTRACE_VM_REPORT": str(stream.fileno()), "ISOTRACE_VM_FEATURES": ",".join(HAS)}
        environment = {**os.environ, **channel, "PYTHONPATH": str(ROOT)}
        arguments = ["--continue-on-collection-errors", f"--rootdir={directory}", "."]
        done = subprocess.run(
            [*command, *arguments],
            cwd=directory,
            env=environment,
            pass_fds=[stream.fileno()],
            capture_output=True,
        )
    outcomes: dict[str, list[str]] = {}
    for line in report.read_text().splitlines():
        message = json.loads(line)
        if "test" in message:
            outcomes.setdefault(message["test"], []).append(message["outcome"])
    return done.returncode, outcomes
