"""The programs of tests/progs/attacks, compiled on the host: in a guest one takes ten seconds."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from tests.vm.attacks import programs

from . import cache
from .archive import Say


def attacks(say: Say) -> Path | None:
    """The directory that has them, by the hash of their sources; None where they cannot be compiled here."""
    if not shutil.which("gcc"):
        return None
    final = cache.place("attacks") / _hash()
    if not final.is_dir():
        say("compile the attacks")
        with cache.staged(final) as part:
            part.mkdir()
            for name in programs.names():
                programs.compiled(name, part)
    return final


def _hash() -> str:
    found = hashlib.sha256(" ".join(programs.FLAGS).encode())
    for source in sorted(programs.SOURCES.iterdir()):
        found.update(source.name.encode() + source.read_bytes())
    return found.hexdigest()[:16]
