"""isotrace as a library on this kernel: it records, and the examples of docs/library.md run as they are written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import isotrace

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.native


def test_a_command_is_recorded_and_has_its_status(tmp_path):
    run = isotrace.record(
        tmp_path / "t.arrow", ["sh", "-c", "cat /etc/hostname >/dev/null; exit 3"], calls="execve,openat"
    )
    assert run.status == 3 and run.problems == ()
    assert {call.name for call in run.calls()} == {"execve", "openat"}
    assert "/etc/hostname" in {call.path for call in run.calls("comm = 'cat'")}
    assert isotrace.record(tmp_path / "t.arrow", ["sh", "-c", "kill -9 $$"]).status == 128 + 9


def test_what_runs_already_is_recorded_for_a_time(tmp_path):
    with subprocess.Popen(["sh", "-c", "while :; do cat /etc/hostname; done"], stdout=subprocess.DEVNULL) as shell:
        try:
            run = isotrace.record(tmp_path / "t.arrow", ppid=shell.pid, calls="openat", seconds=0.5)
        finally:
            shell.kill()
    assert {call.comm for call in run.calls()} <= {"cat", "sh"} and run.status == 0
    assert any(call.path == "/etc/hostname" for call in run.calls())


def test_the_examples_run(tmp_path):
    first, second = re.findall(r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text(), re.DOTALL)
    said = subprocess.run(
        [sys.executable, "-c", first], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert "\n0 0\n" in said and re.search(r"^\d+ denied, \d+ allowed$", said, re.MULTILINE)
    kept = "\n".join(line for line in second.splitlines() if "pandas" not in line and "by_name" not in line)
    assert "isotrace.open" in kept
    subprocess.run([sys.executable, "-c", kept], cwd=tmp_path, check=True)
