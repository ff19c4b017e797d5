"""Durations and sizes as people write them."""

from __future__ import annotations

import re

from isotrace.errors import UsageError

_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def duration(text: str) -> float:
    """Seconds from ``10``, ``500ms``, ``1.5h``, ``1m30s``. Raises ``UsageError``."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|d|)", text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise UsageError(f"{text!r} is not a duration", "write it like 500ms, 10s, 5m or 1h30m")
    total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if total <= 0:
        raise UsageError(f"{text!r} must be greater than zero", "write it like 500ms, 10s, 5m or 1h30m")
    return total


def many(count: int, noun: str) -> str:
    """``1 row``, ``2 rows``, ``3 batches``."""
    plural = "es" if noun.endswith(("ch", "s", "x")) else "s"
    return f"{count} {noun}{plural if count != 1 else ''}"


def size(text: str) -> int:
    """Bytes from ``65536``, ``64k``, ``16m``, ``1g`` (powers of 1024). Raises ``UsageError``."""
    match = re.fullmatch(r"(\d+)([kmg]?)i?b?", text.lower())
    if not match:
        raise UsageError(f"{text!r} is not a size", "write it like 65536, 64k or 16m")
    return int(match[1]) * _BYTES[match[2]]
