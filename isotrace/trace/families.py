"""What the numbers of generic netlink's families mean on this machine, while it is traced."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from isotrace.kernel import generic_netlink

_LOOK = 1_000_000_000  # ns between two looks for a number that is not known


class Families(Mapping[int, str]):
    """Names by number. The kernel is asked when the first is wanted, and again for one that came later: it gives out no
    number a second time before all others have been used.
    """

    def __init__(self) -> None:
        self._known: dict[int, str] = {}
        self._looked = 0

    def __getitem__(self, number: int) -> str:
        if number not in self._known:
            self._look()
        return self._known[number]

    def _look(self) -> None:
        now = time.monotonic_ns()
        if self._looked and now - self._looked < _LOOK:
            return
        self._looked = now
        try:
            self._known |= generic_netlink.families()
        except OSError:  # no such protocol, or no right to it: numbers stay numbers
            return

    def __iter__(self) -> Iterator[int]:
        self._look()
        return iter(self._known)

    def __len__(self) -> int:
        return sum(1 for _ in self)


_families = Families()


def live() -> Families:
    """Those of this kernel, for everything in this process."""
    return _families
