"""Runs the ``console`` blocks of a README as they are written, in one shell, and compares what they print.

A line that begins with ``$ `` is a command, the lines below it are what it prints, on both outputs; … stands for anything
within a line.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from tests.live.tracer import PATIENCE, ROOT, environment

_END = "--end-of-output--"
#: What isotrace says on a machine that is slow.
_SLOW = re.compile(r"isotrace: (.* takes long, \d+ s so far: .*|writing [\d,]+ calls that were already seen; .*)")


def steps(text: str, kinds: Collection[str]) -> list[tuple[str, list[str]]]:
    """(command, the lines that it is to print), of the blocks of these kinds."""
    found: list[tuple[str, list[str]]] = []
    for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if kind not in kinds:
            continue
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def matches(printed: list[str], claimed: list[str]) -> bool:
    """Whether the lines are those that the README shows."""
    patterns = [".*".join(map(re.escape, line.split("…"))) for line in claimed]
    return len(printed) == len(patterns) and all(map(re.fullmatch, patterns, printed))


def run(readme: Path, where: Path, *kinds: str) -> None:
    """Run it; an assertion says which command printed what else. ``where`` gets a program called isotrace.

    ``kinds``: of blocks beside ``console``, for kernels that can do what these show.
    """
    program = where / "isotrace"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m isotrace "$@"\n')
    program.chmod(0o755)
    shell = subprocess.Popen(
        ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        text=True, cwd=ROOT, env=environment(PATH=f"{where}:{os.environ['PATH']}"),
    )  # fmt: skip
    assert shell.stdin and shell.stdout
    patience = threading.Timer(6 * PATIENCE, os.killpg, (shell.pid, signal.SIGKILL))
    patience.start()
    try:
        for command, claimed in steps(readme.read_text(), {"console", *kinds}):
            shell.stdin.write(f"{command}\necho {_END}\n")
            shell.stdin.flush()
            printed = list(_until_end(shell.stdout))
            assert matches(printed, claimed), f"{command}\nprinted {printed}\nnot {claimed}"
    finally:
        patience.cancel()
        os.killpg(shell.pid, signal.SIGKILL)
        shell.communicate()


def _until_end(output: IO[str]) -> Iterator[str]:
    for line in output:
        if line.rstrip("\n") == _END:
            return
        if not _SLOW.fullmatch(line.rstrip("\n")):
            yield line.rstrip("\n")
    raise AssertionError("the shell ended, or took too long")
