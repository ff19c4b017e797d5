"""Packages into the cache: fetched once, kept under their hash, there only when they are whole and right."""

from __future__ import annotations

from pathlib import Path

from . import cache
from .archive import Package, Say, check, transfer
from .find import find
from .matrix import Kernel
from .stage import each


def fetch(package: Package, say: Say) -> Path:
    """The package as a file. Raises ``UnavailableError`` (network, disk) or ``BenchError`` (its hash
    differs)."""
    path = cache.place("packages") / f"{package.name}_{package.sha256[:16]}.deb"
    if not path.exists():
        say(f"fetch {package.name} {package.version}, {package.size / 1e6:.0f} MB")
        with cache.staged(path) as part:
            transfer(package.url, part)
            check(part, package.sha256)
    return path


def _fetch_all(kernel: Kernel, say: Say) -> None:
    found = find(kernel, say)
    for package in (found.main, *found.parts):
        say(str(fetch(package, say)))


if __name__ == "__main__":
    each(_fetch_all)
