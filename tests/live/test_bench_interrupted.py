"""A bench that is interrupted halfway: no process, no directory, and the earlier results as they were."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.measure import Keeper, compile_program
from bench.works import Place, attached

ROOT = Path(__file__).parents[2]


def _left(scratch: Path) -> list[str]:
    """Processes that work in a directory below ``scratch``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and os.readlink(entry / "cwd").startswith(str(scratch)):
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_bench_that_is_interrupted(tmp_path, number):
    if not shutil.which("strace") or not shutil.which("gcc"):
        pytest.skip("needs strace: the bench runs it")
    page, log = tmp_path / "page.md", tmp_path / "log"
    page.write_text("the earlier results")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "bench", "--only", "getppid,strace", "--output", str(page)]
    with log.open("wb") as output:
        bench = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"TMPDIR": str(scratch)}, stderr=output)
    try:
        end = time.monotonic() + 300
        while "getppid in a loop, 1" not in log.read_text():
            assert bench.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        bench.send_signal(number)
        assert bench.wait(60) == 130
    finally:
        bench.kill()
        bench.wait()
    assert page.read_text() == "the earlier results" and sorted(tmp_path.iterdir()) == [log, page, scratch]
    # A tool that was being started finds that the bench is gone, and ends: that takes it a moment.
    while _left(scratch):
        assert time.monotonic() < end + 60, _left(scratch)
        time.sleep(0.02)
    assert list(scratch.iterdir()) == []


def test_a_tool_that_is_told_a_pid_traces_that_process(tmp_path):
    if not shutil.which("strace") or not shutil.which("gcc"):
        pytest.skip("needs strace: it is the tool")
    keeper = Keeper(tmp_path)
    try:
        place = Place(keeper, tmp_path, compile_program("work", tmp_path))
        out = tmp_path / "out"
        found = attached(
            place, ("getppid", 300, 1), lambda pid: ["strace", "-o", str(out), "-p", str(pid)], "attached$"
        )
        assert found.calls == 300 and found.time > 0
        keeper.end(found.tracer)
        assert sum("getppid()" in line for line in out.read_text().splitlines()) == 300
    finally:
        keeper.close()
