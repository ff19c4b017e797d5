"""How the dialogue and the live table reach the terminal."""

from __future__ import annotations

from textual.driver import Driver

from isotrace.process import console


def driver() -> type[Driver] | None:
    """None for Textual's own; on Linux's console one that draws what its fonts have."""
    if not console.lacks_glyphs():
        return None
    from textual.drivers.linux_driver import LinuxDriver

    class ConsoleDriver(LinuxDriver):
        """Characters for characters: where things stand on the screen stays the same."""

        def write(self, data: str) -> None:
            super().write(console.fitting(data))

    return ConsoleDriver
