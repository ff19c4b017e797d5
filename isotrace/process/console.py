"""What the terminal can show: colours, a screen to draw on, and which characters its font has."""

from __future__ import annotations

import io
import os

#: Of the console of Linux: what every font for it has, be that of code page 437 or of Latin.
_THERE = frozenset("µ·─│┌┐└┘├┤┬┴┼")
#: One character for one, so that columns stay where they are.
_INSTEAD = {
    **dict(zip("✓✗×…–—‖■▶▼▲→←↑↓", "+xx~--=#>v^><^v", strict=True)),
    **dict(zip("▁▂▃▄▅▆▇█", "_..-=+*#", strict=True)),
    **dict(zip("▏▎▍▌▋▊▉", "|||####", strict=True)),
    **dict(zip("╭╮╰╯━┃▔▕", "┌┐└┘─│─│", strict=True)),
}


def capable() -> bool:
    """Whether TERM names a terminal that can draw, and not only print."""
    return os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def coloured(fd: int) -> bool:
    """Whether what is written there may have colours."""
    return os.isatty(fd) and capable() and not os.environ.get("NO_COLOR")


def lacks_glyphs() -> bool:
    """Whether the terminal is Linux's console, whose fonts have few characters beyond ASCII."""
    return os.environ.get("TERM", "").partition("-")[0] == "linux"


def fitting(text: str) -> str:
    """The text in characters that the console's fonts have, each in the place of one."""
    if text.isascii():
        return text
    return "".join(c if c.isascii() or c in _THERE else _INSTEAD.get(c, "?") for c in text)


class _Fitting(io.TextIOWrapper):
    """Standard output on such a console."""

    def write(self, text: str) -> int:
        super().write(fitting(text))
        return len(text)


def for_console(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The stream, or where it is such a console one in its place that writes ``fitting`` text."""
    if not (lacks_glyphs() and stream.isatty()):
        return stream
    encoding, errors = stream.encoding, stream.errors
    return _Fitting(stream.detach(), encoding, errors, line_buffering=True)
