"""What the kernel's programs hang on can be switched off by root: looked at again and again while something is refused."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from isotrace.kernel import mounts

#: How a program is attached → the switches that take it away.
OF = {"hook": ("kernel.ftrace_enabled",), "kprobe": ("kernel.ftrace_enabled", "kprobes/enabled")}
_DEBUGFS = (Path("/sys/kernel/debug"),)


class Switches:
    """The switches that concern programs attached in the ways ``hows``, as far as this kernel has them."""

    def __init__(self, hows: Collection[str]) -> None:
        self._open: dict[str, int] = {}
        for name in dict.fromkeys(name for how in hows for name in OF.get(how, ())):
            with suppress(OSError):
                self._open[name] = _descriptor(name)

    def off(self) -> str:
        """``kernel.ftrace_enabled is 0``, or "" where none is off."""
        return ", ".join(f"{name} is 0" for name, fd in self._open.items() if os.pread(fd, 16, 0).strip() == b"0")

    def close(self) -> None:
        """Look no more."""
        while self._open:
            os.close(self._open.popitem()[1])


def _descriptor(name: str) -> int:
    """Raises ``OSError`` where this kernel does not have it."""
    if name.startswith("kernel."):
        return os.open(f"/proc/sys/{name.replace('.', '/')}", os.O_RDONLY | os.O_CLOEXEC)
    return mounts.descriptor("debugfs", _DEBUGFS, "kprobes", name)
