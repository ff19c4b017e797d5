"""What a rule's pattern names literally, and so what can be marked for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from isotrace.policy.patterns import Pattern


@dataclass(frozen=True)
class Place:
    """A file or directory to mark; ``children``: with what is in it. ``deeper``: more is meant, which no mark is on."""

    path: str
    children: bool = False
    deeper: bool = False


def place(pattern: Pattern) -> Place | None:
    """Where a pattern has its mark; None where it names no directory literally.

    ``/d/f`` is itself; ``/d/*`` and ``/d/*.pem`` are in /d; of ``/d/**`` only what is in /d itself can be met.
    """
    if pattern.exact is not None:
        return Place(pattern.exact)
    head, last = Pattern(pattern.components[:-1]).exact, pattern.components[-1]
    return None if head is None else Place(head, children=True, deeper=last.anything)
