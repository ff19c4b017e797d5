"""isotrace's kernel module, built on the host for a kernel of the matrix as `isotrace module build` does it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from isotrace.kmod import FILE, SOURCES
from isotrace.kmod.build import build

from . import cache
from .archive import Say
from .headers import headers
from .matrix import Kernel
from .stage import each


def module(kernel: Kernel, say: Say) -> Path:
    """The directory that has the module for ``kernel``; it is kept by the hash of its sources.

    Raises ``UnavailableError`` where the kernel's headers cannot be had.
    """
    tree = headers(kernel, say)
    final = cache.place("modules") / f"{kernel.name}_{_hash(tree)}"
    if not final.is_dir():
        say("build the kernel module")
        with cache.staged(final) as part:
            build(kernel.name, part, tree)
    return final


def _hash(tree: Path) -> str:
    found = hashlib.sha256(str(tree).encode())
    for source in sorted(SOURCES.iterdir()):
        found.update(source.name.encode() + source.read_bytes())
    return found.hexdigest()[:16]


if __name__ == "__main__":
    each(lambda kernel, say: say(str(module(kernel, say) / FILE)))
