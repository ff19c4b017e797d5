"""How arguments are shown, and of which calls: strace's -v, -e abbrev, -e verbose and -e raw."""

from __future__ import annotations

from dataclasses import dataclass

from isotrace.catalog.model import Syscall

#: As ``catalog.expr.parse`` gives them: names of calls, or None for every call.
Calls = frozenset[str] | None
NO_CALLS: Calls = frozenset()


@dataclass(frozen=True)
class How:
    """How the arguments of one call are shown.

    ``full``: nothing is abbreviated that there is. ``followed``: what addresses lead to is shown; strings always are.
    ``raw``: registers as numbers in hexadecimal.
    """

    full: bool = False
    followed: bool = True
    raw: bool = False


SHORT = How()


@dataclass(frozen=True)
class View:
    """Which calls are shown abbreviated, with what their addresses lead to, and as raw registers."""

    abbreviated: Calls = None
    followed: Calls = None
    raw: Calls = NO_CALLS

    def of(self, call: Syscall) -> How:
        """How one call is shown."""
        return How(not call.among(self.abbreviated), call.among(self.followed), call.among(self.raw))


PLAIN = View()
