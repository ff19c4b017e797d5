"""tests/progs/attacks/*.c, compiled: by the bench on the host, or here; without shared libraries, to open nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "progs" / "attacks"
FLAGS = ("-O1", "-Wall", "-pthread", "-static")


def compiled(name: str, where: Path) -> Path:
    """Compile one of them into a directory. Raises ``CalledProcessError``."""
    program = where / name
    subprocess.run(["gcc", *FLAGS, "-o", program, SOURCES / f"{name}.c"], check=True)
    return program


@cache
def directory() -> Path:
    """Where they are; everybody may run them."""
    made = Path(tempfile.mkdtemp(prefix="isotrace-attacks-"))
    made.chmod(0o755)
    return made


@cache
def built(name: str) -> Path:
    """One of them."""
    ready = Path(os.environ.get("ISOTRACE_ATTACKS", "/nowhere"), name)
    return Path(shutil.copy(ready, directory())) if ready.exists() else compiled(name, directory())


def names() -> list[str]:
    """Which there are."""
    return sorted(source.stem for source in SOURCES.glob("*.c"))
