"""Numbers as the table writes them: short, and of one width."""

from __future__ import annotations

_SPARK = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def count(value: float) -> str:
    """``0``, ``812``, ``99,999``, ``123k``, ``4.56M``."""
    if value < 100_000:
        return f"{value:,.0f}"
    for factor, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")):
        scaled = value / factor
        if scaled < 999.5 or unit == "T":
            return f"{scaled:.3g}{unit}" if scaled < 99.95 else f"{scaled:.0f}{unit}"
    return str(value)


def rate(value: float) -> str:
    """A number a second: ``0`` only where there was nothing."""
    if value == 0:
        return "0"
    return f"{value:.2g}" if value < 0.995 else f"{value:.1f}" if value < 99.95 else count(value)


def duration(ns: float) -> str:
    """``812ns``, ``1.2µs``, ``34ms``, ``5.1s``, ``12m``, ``3.4h``, ``12d``; empty where nothing was timed."""
    if ns <= 0:
        return ""
    for factor, unit in ((1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")):
        scaled = ns / factor
        if scaled < (119.5 if unit == "s" else 999.5):
            return f"{scaled:.0f}{unit}" if scaled >= 9.95 or unit == "ns" else f"{scaled:.1f}{unit}"
    minutes = ns / 60e9
    if minutes < 119.5:
        return f"{minutes:.0f}m"
    return f"{minutes / 60:.3g}h" if minutes < 5990 else f"{minutes / 1440:.0f}d"


def size(value: float) -> str:
    """Bytes in powers of 1024: ``812``, ``1.2k``, ``34M``; empty for none."""
    if value <= 0:
        return ""
    for unit in ("", "k", "M", "G", "T"):
        if value < 999.5 or unit == "T":
            return f"{value:.0f}{unit}" if value >= 9.95 or not unit else f"{value:.1f}{unit}"
        value /= 1024
    return str(value)


def clock(seconds: float) -> str:
    """``1:23`` or ``1:02:03``."""
    whole = int(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
    )


def bar(share: float, width: int) -> str:
    """A horizontal bar of ``width`` cells, in eighths of a cell; what is more than nothing can be seen."""
    eighths = min(width * 8, max(round(share * width * 8), 1 if share > 0 else 0))
    return ("█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")).ljust(width)


def spark(values: list[float], width: int, top: float = 0.0) -> str:
    """The last minute in ``width`` cells, oldest first, scaled to ``top`` or to its own highest; nothing is a blank."""
    cells = _fitted(values, width)
    top = top or max(cells, default=0.0)
    if top <= 0:
        return " " * width
    return "".join(" " if v <= 0 else _SPARK[min(7, int(v / top * 7.999))] for v in cells)


def _fitted(values: list[float], width: int) -> list[float]:
    if width >= len(values):
        return [0.0] * (width - len(values)) + values
    found = []
    for i in range(width):
        part = values[i * len(values) // width : (i + 1) * len(values) // width]
        found.append(max(part))
    return found
