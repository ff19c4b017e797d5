"""Policies by name, ``@agent`` for one: the files in ``shipped``, for people to read and copy."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from isotrace.catalog.expr import show
from isotrace.errors import UsageError

_SHIPPED = Path(__file__).parent / "shipped"


def is_preset(path: str) -> bool:
    """Whether ``FILE or @NAME`` is the name of a preset, also of one that there is not; ``./@NAME`` is a file."""
    return path.startswith("@")


def text(name: str) -> str:
    """The file of ``@NAME``. Raises ``UsageError``."""
    known = [preset for preset, _ in titles()]
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(known)}"
        raise UsageError(
            f"no preset is called {show(name)}", f"{hint} A file of that name is ./{name}" if near else hint
        )
    return _file(name).read_text(encoding="utf-8")


def titles() -> Iterator[tuple[str, str]]:
    """Each name with what the first line of its file says of it, in order."""
    for file in sorted(_SHIPPED.glob("*.toml")):
        with file.open(encoding="utf-8") as lines:
            name, _, title = next(lines).removeprefix("# ").strip().partition(": ")
        yield name, title


def _file(name: str) -> Path:
    return _SHIPPED / f"{name.removeprefix('@')}.toml"
