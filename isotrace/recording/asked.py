"""What a user asks of a recording that is to be made. Arrow is not needed for it."""

from __future__ import annotations

from dataclasses import dataclass

from isotrace.errors import UsageError
from isotrace.recording.rotate import Rotation

#: What ``--redact`` can leave out.
REDACTABLE = ("data", "argv")


@dataclass(frozen=True)
class Asked:
    """Where it goes ("-" is standard output), what is left out of it, and when another part begins."""

    path: str
    redact: tuple[str, ...] = ()
    rotation: Rotation | None = None

    def __post_init__(self) -> None:
        """Raises ``UsageError``."""
        redactable(self.redact)


def redactable(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, each once, in one order. Raises ``UsageError`` for what cannot be left out."""
    if unknown := sorted(set(names) - set(REDACTABLE)):
        name = unknown[0] or "''"
        raise UsageError(f"--redact {name} is not known", f"give {' or '.join(REDACTABLE)}, or both with a comma")
    return tuple(name for name in REDACTABLE if name in names)
