"""/proc/PID/maps: what a process that ran before has mapped. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from isotrace.stacks.spaces import File, Mapping

_LINE = re.compile(
    rb"([0-9a-f]{1,16})-([0-9a-f]{1,16}) ..x. ([0-9a-f]{1,16}) ([0-9a-f]{2,3}):([0-9a-f]{2,5}) ([0-9]{1,20}) *(.*)",
    re.DOTALL,
)
_OCTAL = re.compile(rb"\\012")


def parse(data: bytes) -> Iterator[Mapping]:
    """What may be executed. A path has any bytes; a newline in it is written ``\\012``. A line that is none is left out."""
    for line in data.split(b"\n"):
        if match := _LINE.fullmatch(line):
            start, end, offset, major, minor = (int(match[i], 16) for i in range(1, 6))
            path = _OCTAL.sub(b"\n", match[7])
            yield Mapping(0, start, end, offset, File(path, b"", os.makedev(major, minor), int(match[6])))
