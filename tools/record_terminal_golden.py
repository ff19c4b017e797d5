#!/usr/bin/env python3
"""Look at the pages of tests/terminal_pages.py in terminals of both sizes: writes tests/golden/terminal/.

Usage: record_terminal_golden.py [NAME]...        (needs tmux; no root)

Names are those of pages, or the beginnings of some: help. Look at `git diff` afterwards.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from terminal_pages import GOLDEN, PAGES, SIZES, furnish, settled, shown  # noqa: E402


def write(name: str, width: int, height: int) -> None:
    """One capture."""
    with tempfile.TemporaryDirectory() as directory:
        furnish(Path(directory))
        with shown(PAGES[name], Path(directory), width, height) as look:
            text = settled(look)
    target = GOLDEN / f"{width}x{height}" / f"{name}.txt"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def main() -> None:
    """All of them, or those that are named; what is there of no page goes."""
    names = [name for name in PAGES if name.startswith(tuple(sys.argv[1:]) or "")]
    for stale in GOLDEN.glob("*/*.txt"):
        if stale.stem not in PAGES:
            stale.unlink()
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write, name, *size) for name in names for size in SIZES]:
            done.result()


if __name__ == "__main__":
    main()
