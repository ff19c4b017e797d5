"""isotrace's Debian package, built on the host by `make deb` and unpacked there: a guest has its tree."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from . import cache
from .archive import Say
from .errors import BenchError, UnavailableError
from .matrix import ROOT

#: What the package is made of, of what git knows.
_PARTS = ("isotrace", "bpf", "kernel_fallback", "debian", "tools", "docs", "examples", "pyproject.toml", "README.md")
_BUILT = ROOT / "build/deb"


def package(say: Say) -> Path:
    """The directory that has the package's files, by the hash of their sources; others, of before, are removed.

    Raises ``UnavailableError`` where there is no dpkg, ``BenchError`` where it cannot be built.
    """
    if not shutil.which("dpkg"):
        raise UnavailableError("dpkg is missing", "the package is built and unpacked on Debian or Ubuntu")
    trees = cache.place("trees")
    final = trees / _hash()
    if not final.is_dir():
        say("build the Debian package, which takes some minutes")
        with cache.staged(final) as part:
            _call("make", "deb")
            (built,) = _BUILT.glob("isotrace_*_amd64.deb")
            _call("dpkg", "-x", str(built), str(part))
        for other in trees.iterdir():
            if other != final:
                shutil.rmtree(other, ignore_errors=True)
    return final


def _call(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().split("\n")[-1]
        raise BenchError(f"the package cannot be built: {said}", f"{' '.join(command)} says more")


def _hash() -> str:
    known = subprocess.run(["git", "ls-files", "-z", *_PARTS], cwd=ROOT, capture_output=True, check=True)
    found = hashlib.sha256()
    for name in sorted(filter(None, known.stdout.decode().split("\0"))):
        file = ROOT / name
        found.update(f"{name}\0".encode() + (file.read_bytes() if file.is_file() else b""))
    return found.hexdigest()[:16]
