"""What is expected to be refused, in a file: ``CALL``, or ``CALL THING``, a line; ``*`` in a thing is anything.

# the plugin looks for another editor's settings
openat r /home/*/.config/other/settings
connect tcp 10.0.0.1:*
ptrace
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from isotrace.decode.quote import escape_text
from isotrace.errors import IsotraceError, UsageError
from isotrace.learning.judging import Refusal
from isotrace.learning.requests import shown
from isotrace.policy import CallRequest

_MAX = 1 << 20  # bytes


@dataclass(frozen=True)
class Expected:
    """A line of the file; ``thing`` "" is anything."""

    line: int
    call: str
    thing: str

    def matches(self, refusal: Refusal) -> bool:
        """Whether the refusal is meant."""
        if not fnmatch.fnmatchcase(refusal.asked.call, self.call):
            return False
        return not self.thing or fnmatch.fnmatchcase(thing_of(refusal), self.thing)

    def __str__(self) -> str:
        return f"{self.call} {self.thing}".rstrip()


def thing_of(refusal: Refusal) -> str:
    """What a refusal is about, as it is shown and written in such a file; "" where it is about the call itself."""
    if isinstance(refusal.request, CallRequest):
        return ""
    return escape_text(shown(refusal.request))


def load(path: str) -> list[Expected]:
    """The lines of the file. Raises ``IsotraceError``."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MAX + 1)
    except OSError as error:
        raise IsotraceError(f"cannot read {path!r}: {error.strerror}", "check the name after --expect") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path!r} is not UTF-8 text", "a line is CALL, or CALL THING") from None
    if len(text) > _MAX:
        raise UsageError(f"{path!r} is longer than {_MAX} bytes", "a line is CALL, or CALL THING")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        call, _, thing = line.partition("#")[0].strip().partition(" ")
        if call:
            found.append(Expected(number, call, thing.strip()))
    return found


def compare(expected: Iterable[Expected], refusals: Iterable[Refusal]) -> tuple[list[Refusal], list[Expected]]:
    """Refusals that no line expects, and lines that no refusal answers to."""
    lines, found = list(expected), list(refusals)
    surprising = [one for one in found if not any(line.matches(one) for line in lines)]
    return surprising, [line for line in lines if not any(line.matches(one) for one in found)]
