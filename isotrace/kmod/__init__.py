"""The kernel module as a file: building it, loading it, unloading it."""

from __future__ import annotations

from pathlib import Path

_PACKAGED = Path(__file__).parents[1] / "_kernel_fallback"
#: The module's sources.
SOURCES = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "kernel_fallback"

#: Where a module that was built is kept, by kernel release.
STORE = Path("/var/lib/isotrace")
FILE = "isotrace.ko"
