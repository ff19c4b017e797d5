"""The end of a run: kernel × tests × seconds, and which kernels were tested and which were not, and why."""

from __future__ import annotations

from collections.abc import Sequence

from .run import Row

HEADER = ("kernel", "release", "passed", "failed", "skipped", "seconds", "result")


def table(rows: Sequence[Row]) -> str:
    """The rows in columns."""
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER) - 1)]
    return "\n".join(_line(line, widths) for line in cells)


def _cells(row: Row) -> tuple[str, ...]:
    counts = (row.passed, row.failed, row.skipped, round(row.seconds))
    result = row.problem or "ok"
    if not row.tested:
        return (row.name, "-", "-", "-", "-", f"{row.seconds:.0f}", f"NOT TESTED: {result}")
    return (row.name, row.release or "?", *map(str, counts), f"FAILED: {result}" if row.problem else result)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [
        cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells[:-1], widths, strict=True))
    ]
    return "  ".join([*aligned, cells[-1]]).rstrip()


def summary(rows: Sequence[Row], untouched: Sequence[str] = ()) -> str:
    """Which kernels were tested and which were not, and last, as it is what is kept of a long log, which tests failed.
    ``untouched`` are those that nobody asked for."""
    tested = [f"{row.name} ({row.release or '?'})" for row in rows if row.tested]
    lines = [f"Kernels tested: {', '.join(tested) or 'none'}."]
    for row in rows:
        if not row.tested:
            lines.append(f"NOT TESTED: {row.name}: {row.problem}{f' ({row.hint})' if row.hint else ''}.")
    lines += [f"NOT TESTED: the kernel module on {row.name}: {row.without}." for row in rows if row.without]
    lines += [f"NOT TESTED: {', '.join(untouched)}: not asked for."] if untouched else []
    lines += [f"FAILED: [{row.name}] {name}: {why}" for row in rows for name, why in row.failures]
    return "\n".join(lines)


def status(rows: Sequence[Row], lenient: bool) -> int:
    """The exit status: 0 when all is well; ``lenient`` forgives a kernel that could not be had."""
    return int(
        any((row.problem and not (lenient and row.unavailable)) or (row.without and not lenient) for row in rows)
    )
