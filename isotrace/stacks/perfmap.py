"""/tmp/perf-PID.map: names that a program gives to the code that it makes, a line each: ``START SIZE NAME``. Pure.

Whatever is there is the program's own word. Of two lines for one address the later holds.
"""

from __future__ import annotations

import bisect
import re

_LINE = re.compile(rb"(?:0x)?([0-9a-fA-F]{1,16}) (?:0x)?([0-9a-fA-F]{1,16}) (.*)", re.DOTALL)
_LINES_MAX = 1_000_000
_NAME_MAX = 512
_LOOK_BACK = 16


class PerfMap:
    """What has been read of one file. ``size`` is how many bytes of it, in whole lines."""

    def __init__(self) -> None:
        self.size = 0
        self._found: dict[int, tuple[int, int, bytes]] = {}  # start → number of the line, size, name
        self._starts: list[int] = []
        self._lines = 0

    def add(self, data: bytes) -> None:
        """Take what was behind what is known. A line that is none is left out, and one without an end waits for it."""
        whole, newline, _ = data.rpartition(b"\n")
        self.size += len(whole) + len(newline)
        for line in whole.split(b"\n") if newline else ():
            if self._lines >= _LINES_MAX:
                break
            if match := _LINE.fullmatch(line):
                self._lines += 1
                self._found[int(match[1], 16)] = self._lines, int(match[2], 16), match[3][:_NAME_MAX]
        self._starts = sorted(self._found)

    def at(self, address: int) -> tuple[str, int] | None:
        """The name of the code at an address, and where it begins."""
        end = bisect.bisect_right(self._starts, address)
        best = None
        for start in self._starts[max(end - _LOOK_BACK, 0) : end]:
            line, size, name = self._found[start]
            if address < start + size and (best is None or line > best[0]):
                best = line, name, start
        return (best[1].decode("utf-8", "backslashreplace"), best[2]) if best else None
