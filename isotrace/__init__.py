"""isotrace: log, watch and refuse the system calls of a family of running processes.

For programs: ``isotrace.record`` and ``isotrace.open`` (``isotrace.library``, docs/library.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from isotrace.errors import IsotraceError, UsageError
    from isotrace.library import Call, Recording, Refusal, Trial, open, record

__all__ = ["Call", "IsotraceError", "Recording", "Refusal", "Trial", "UsageError", "__version__", "open", "record"]


def __getattr__(name: str) -> Any:
    """What programs use is imported with the first use: the command line starts without it."""
    if name not in __all__:
        raise AttributeError(f"module 'isotrace' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("isotrace.errors" if name.endswith("Error") else "isotrace.library"), name)
