"""The result of a query as a table for people, as CSV, or as JSON lines."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import TYPE_CHECKING, TextIO

import pyarrow as pa

from isotrace.decode.quote import safe
from isotrace.errors import UsageError
from isotrace.recording import progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SHOWN = 1000  # rows of a table on a terminal


def _plain(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Values that Python has: times as text with all their digits, decimals of sums as whole numbers."""
    kind = column.type
    if kind == pa.month_day_nano_interval():
        return pa.array([None if value is None else _interval(value) for value in column.to_pylist()], pa.utf8())
    if pa.types.is_temporal(kind):
        return column.cast(pa.utf8())
    if pa.types.is_decimal(kind):
        return column.cast(pa.int64() if kind.scale == 0 else pa.float64(), safe=False)
    return column


def _interval(value: pa.MonthDayNano) -> str:
    """As ``2 months 3 days 01:02:03.000000004``, without parts that are nothing."""
    seconds, nanoseconds = divmod(abs(value.nanoseconds), 1_000_000_000)
    sign = "-" if value.nanoseconds < 0 else ""
    clock = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{nanoseconds:09}"
    parts = [f"{count} {word}" for count, word in ((value.months, "months"), (value.days, "days")) if count]
    return " ".join([*parts, *([clock] if value.nanoseconds or not parts else [])])


def batches(result: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The rows as they are made. What goes wrong meanwhile is told by DuckDB through Arrow; raises ``UsageError``."""
    try:
        yield from result
    except (pa.ArrowException, OSError) as error:
        message = " ".join(str(error).partition("\nLINE")[0].split())
        raise UsageError(message, "the rows before it are right") from None


def rows(result: pa.RecordBatchReader) -> Iterator[list[object]]:
    """The rows, as lists of Python's values."""
    for batch in batches(result):
        yield from (list(row) for row in zip(*(_plain(column).to_pylist() for column in batch.columns), strict=True))


def as_csv(result: pa.RecordBatchReader, stream: TextIO) -> None:
    """With a line of names; nothing where a value is null."""
    out = csv.writer(stream, lineterminator="\n")
    out.writerow(result.schema.names)
    out.writerows(rows(result))


def as_json(result: pa.RecordBatchReader, stream: TextIO) -> None:
    """One object a line; of columns with one name the later ones get a number."""
    names = _distinct(result.schema.names)
    for row in rows(result):
        stream.write(json.dumps(dict(zip(names, row, strict=True)), default=str) + "\n")


def _distinct(names: list[str]) -> list[str]:
    found: dict[str, None] = {}
    for name in names:
        numbered = (f"{name}_{number}" for number in count(1))
        found[name if name not in found else next(one for one in numbered if one not in found)] = None
    return list(found)


def as_table(result: pa.RecordBatchReader, stream: TextIO) -> None:
    """For people, at most so many rows; whatever a value has, the terminal gets nothing but text.

    What is wider than the terminal is shown row by row, a line for each value.
    """
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    names = [safe(name) for name in result.schema.names]
    with progress.shown():
        found = [
            ["" if value is None else safe(_shown(value)) for value in row] for row in islice(rows(result), _SHOWN + 1)
        ]
    widths = [max(map(len, column)) for column in zip(names, *found, strict=True)]
    if sum(widths) + 2 * len(widths) <= console.width:
        console.print(_grid(result.schema, names, found[:_SHOWN]))
    else:
        _one_by_one(console, names, found[:_SHOWN])
    if len(found) > _SHOWN:
        console.print(f"the first {_SHOWN} rows; all of them: --format csv", style="dim")


def _grid(schema: pa.Schema, names: list[str], found: list[list[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for field, name in zip(schema, names, strict=True):
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        table.add_column(Text(name), justify="right" if number else "left", no_wrap=True)
    for row in found:
        table.add_row(*map(Text, row))
    return table


def _one_by_one(console: Console, names: list[str], found: list[list[str]]) -> None:
    from rich.text import Text

    width = max(map(len, names), default=0)
    for number, row in enumerate(found, 1):
        console.print(Text(f"row {number}", "dim"))
        for name, value in zip(names, row, strict=True):
            console.print(Text.assemble((name.rjust(width), "bold"), "  ", value), soft_wrap=True)


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


FORMATS: dict[str, Callable[[pa.RecordBatchReader, TextIO], None]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
}


def write(result: pa.RecordBatchReader, form: str | None) -> None:
    """On standard output; without a ``form`` a table on a terminal, and CSV in a pipe."""
    chosen = form or ("table" if sys.stdout.isatty() else "csv")
    if chosen == "table":
        as_table(result, sys.stdout)
    else:
        with progress.shown(also_there=True):
            FORMATS[chosen](result, sys.stdout)
    sys.stdout.flush()
