"""A trace goes on as long as anything of the target lives: without its leading thread, or as the last of a chain."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tracer import PROGS, Live, argv, environment, until


@pytest.mark.parametrize("way", ["leaderless", "chain"])
def test_the_command_is_traced_until_its_last_thread_has_ended(way: str, tmp_path: Path) -> None:
    program, place, answer = tmp_path / "ends", tmp_path / "place", tmp_path / "answer"
    subprocess.run(["gcc", "-O1", "-Wall", "-pthread", "-o", program, PROGS / "attacks/ends.c"], check=True)
    command = argv("--calls", "openat,exit_group", "--", program, way, place, answer)
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment(), stdin=subprocess.DEVNULL)
    try:
        live = Live(process, tmp_path / "out", tmp_path / "err")
        until(lambda: f'"{place}"' in live.text() or process.poll() is not None, "the last one tries")
        until(
            lambda: "descendants of it go on" in (tmp_path / "err").read_text() or process.poll() is not None, "a word"
        )
        assert process.poll() is None, (tmp_path / "err").read_text()
        place.touch()
        run = live.wait()
    finally:
        process.kill()
        process.wait()
    assert run.status == 0 and answer.read_text().endswith("THROUGH\n")
    last = [line for line in run.lines if f'"{place}"' in line.text][-1]
    assert last.result.isdecimal(), "the last call of it is there"
    assert [line.text for line in run.lines if line.tid == last.tid][-1] == "+++ exited with 0 +++"
    assert run.counts[2] == 0
