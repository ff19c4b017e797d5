"""Loading isotrace's kernel module for a test, in a guest of tests/vm whose host has built it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def module(*args: str) -> subprocess.CompletedProcess[str]:
    """Run ``isotrace module ARGS``."""
    command = [sys.executable, "-m", "isotrace", "module", *args]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


@contextmanager
def loaded(mode: str = "auto") -> Iterator[str]:
    """The module in the kernel; what `isotrace module load` said of it."""
    done = module("load", "--mode", mode)
    assert done.returncode == 0, done.stderr
    try:
        yield done.stdout
    finally:
        done = module("unload")
        assert done.returncode == 0, done.stderr
