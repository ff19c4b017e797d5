"""Where the bench keeps what it has fetched and built: whole files and whole directories only, never half of
one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def root() -> Path:
    """The cache's directory: ``$XDG_CACHE_HOME/isotrace``, by default ``~/.cache/isotrace``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "isotrace"


def place(kind: str) -> Path:
    """The directory for one kind of thing (``packages``, ``kernels``, …), made if it is not there."""
    path = root() / kind
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def staged(final: Path) -> Iterator[Path]:
    """A path to write a file or a directory to, which becomes ``final`` in one step if the block ends well.

    When somebody else was first with ``final``, theirs stays.
    """
    work = Path(tempfile.mkdtemp(prefix=".part-", dir=final.parent))
    part = work / final.name
    try:
        yield part
        if part.is_dir() and final.is_dir():
            return
        part.replace(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)
