"""log -Y: what processes are called, and whose numbers are whose."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import tracer

_SCRIPT = """
import os
os.setpgid(0, 0)
begin, go = os.pipe()
back, said = os.pipe()
child = os.fork()
if not child:
    os.close(go); os.read(begin, 1); os.dup2(begin, 0); os.dup2(said, 1); os.execv("/bin/cat", ["cat"])
os.getpgid(child)
os.write(go, b"x")
os.write(go, b"y"); os.read(back, 1)  # it runs
os.getpgid(child); os.getpgid(os.getpid())
os.close(go)
os.waitpid(child, 0)
try: os.getpgid(child)
except OSError: pass
os.kill(os.getppid(), 0)
"""


def test_names_behind_numbers(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(_SCRIPT)
    calls = "getpgid,kill,clone,fork,vfork,execve"
    run = tracer.log("-Y", "--calls", calls, "--", "/usr/bin/python3", "-S", tmp_path / "p.py")
    assert run.status == 0, run.err
    texts = [re.sub(r"\b\d{2,}\b", "N", line.call) for line in run.lines if line.name in ("getpgid", "kill")]
    assert texts == [
        "getpgid(N<python3>) = N<python3>",
        "getpgid(N<cat>) = N<python3>",
        "getpgid(N<python3>) = N<python3>",
        "getpgid(N) = -1 ESRCH (No such process)",
        "kill(N, 0) = 0",
    ]
    assert re.search(r"= \d+<python3>", next(line.text for line in run.lines if line.name in ("clone", "fork")))


def test_numbers_of_a_namespace_of_their_own_have_no_names(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare: not installed")
    script = "import os; os.getpgid(1); os.getpgid(os.getppid()); os.fork()"
    run = tracer.log(
        "-Y",
        "--calls",
        "getpgid,clone,fork,getpid",
        "--",
        "unshare",
        "-p",
        "-f",
        "/usr/bin/python3",
        "-S",
        "-c",
        script,
    )
    inner = [line for line in run.lines if line.comm == "python3" and line.name]
    assert [line.args for line in inner if line.name == "getpgid"] == ["1", "0"]
    assert [line.result for line in inner if line.name in ("clone", "fork")] == ["2"]
    assert re.search(r"= \d+<unshare>", next(line.text for line in run.lines if line.comm == "unshare"))
