"""A snapshot as a table on standard output, or as JSON: what ``--once`` prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson
from rich.console import Console
from rich.text import Text

from isotrace.backends.counts import unpack_keys
from isotrace.decode.errnos import errno_name
from isotrace.process.console import coloured
from isotrace.process.telling import tell
from isotrace.top import figures, sheet
from isotrace.top.model import Snapshot
from isotrace.top.sheet import SheetColumn
from isotrace.top.views import (
    Column,
    Grid,
    Order,
    arranged,
    by_call,
    by_container,
    by_error,
    by_place,
    by_process,
    call_name,
    grid_of,
)

_ORDER = {"call": "time", "process": "calls", "file": "calls", "error": "calls", "container": "calls"}


def _seconds(ns: float) -> str:
    return f"{ns / 1e9:.6f}"


#: Of strace -c, and what a histogram adds; with the number of a column that is dropped where the line is too short.
_CALL_TITLES = (
    *(("% time", 0), ("seconds", 3), ("usecs/call", 4), ("calls", 0), ("errors", 0)),
    *(("p50", 6), ("p99", 5), ("max", 7), ("bytes", 8)),
)


def _call_table(grid: Grid) -> list[SheetColumn]:
    """The columns that people know from ``strace -c``, and what a histogram adds to them; the sums come last."""
    values, rows = grid.values, []
    for row in arranged(grid, Order("time")).rows:
        calls, time = float(values["calls"][row]), float(values["time"][row])
        rows.append(
            [
                f"{100 * float(values['share'][row]):.2f}",
                _seconds(time),
                f"{time / calls / 1000:.1f}",
                f"{calls:.0f}",
                f"{float(values['errors'][row]):.0f}" if values["errors"][row] else "",
                *(figures.duration(float(values[name][row])) for name in ("p50", "p99", "longest")),
                figures.size(float(values["bytes"][row])),
                str(values["name"][row]),
            ]
        )
    rows.append(_total(grid))
    *numbers, names = zip(*rows, strict=True)
    found = [SheetColumn(title, cells, rank=rank) for (title, rank), cells in zip(_CALL_TITLES, numbers, strict=True)]
    return [*found, SheetColumn("syscall", names, "text")]


def _total(grid: Grid) -> list[str]:
    calls, errors, time, size = (float(np.sum(grid.values[name])) for name in ("calls", "errors", "time", "bytes"))
    mean = f"{time / calls / 1000:.1f}" if calls else ""
    return ["100.00", _seconds(time), mean, f"{calls:.0f}", f"{errors:.0f}", "", "", "", figures.size(size), "total"]


_WRITERS: Mapping[str, Callable[[float], str]] = {
    "rate": figures.rate,
    "count": lambda value: f"{value:.0f}",
    "failures": lambda value: f"{value:.0f}" if value else "",
    "pid": lambda value: f"{value:.0f}" if value else "",
    "time": figures.duration,
    "bytes": figures.size,
    "share": lambda value: f"{100 * value:.1f}%",
}


def _plain_table(grid: Grid, order: str) -> list[SheetColumn]:
    found = arranged(grid, Order(order))
    columns = [column for column in grid.columns if column.kind != "spark" and column.name != "rate"]
    return [
        SheetColumn(
            column.title,
            [found.prefixes.get(row, "") * (column.name == "name") + _cell(grid, column, row) for row in found.rows],
            "path" if column.kind == "path" else "text" if column.kind == "text" else "number",
            column.needs,
        )
        for column in columns
    ]


def _cell(grid: Grid, column: Column, row: int) -> str:
    value = grid.values[column.name][row]
    return value if isinstance(value, str) else _WRITERS[column.kind](float(value))


def write_text(snapshot: Snapshot, view: str) -> None:
    """Print the view; what was lost, and why it ended, go to standard error."""
    grid, console = grid_of(view, snapshot), Console(highlight=False)
    columns = _call_table(grid) if view == "call" else _plain_table(grid, _ORDER[view])
    head, *rest = sheet.lines(columns, console.width if sys.stdout.isatty() else None)
    last = len(rest) - 1 if view == "call" else -1
    for number, line in enumerate((head, *rest), -1):
        console.print(Text(line, "bold" if number in (-1, last) and coloured(1) else ""), soft_wrap=True)
    tell(notes(snapshot))


def notes(snapshot: Snapshot) -> list[str]:
    """What to say about a table: its losses."""
    found = snapshot.losses.lines()
    if snapshot.places and snapshot.places.forgotten:
        found.append(f"{snapshot.places.forgotten} uses of files and addresses that were pushed out by others")
    return found


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """All views; times in ns."""
    found: dict[str, Any] = {
        "seconds": round(snapshot.seconds, 3),
        "calls": _json_rows(by_call(snapshot), ("calls", "errors", "bytes", "time", "p50", "p99", "longest"), "call"),
        "processes": _json_processes(snapshot),
        "errors": [
            {"errno": name, "call": call, "count": int(count), "latest": latest}
            for name, call, count, latest in _columns(by_error(snapshot), "name", "call", "calls", "latest")
        ],
        "containers": [
            {"container": key, "calls": int(calls), "errors": int(errors)}
            for key, calls, errors in _keyed(by_container(snapshot), "calls", "errors")
        ],
        "lost": vars(snapshot.losses),
    }
    if snapshot.places is not None:
        grid = by_place(snapshot)
        found["places"] = [
            {"place": name, "calls": int(calls), "errors": int(errors), "last_call": call}
            for name, calls, errors, call in _columns(grid, "name", "calls", "errors", "last_call")
        ]
        found["places_pushed_out"] = snapshot.places.forgotten
    return found | ({"ended": snapshot.ended} if snapshot.ended else {})


def _columns(grid: Grid, *names: str) -> zip[tuple[Any, ...]]:
    return zip(*(grid.values[name] for name in names), strict=True)


def _keyed(grid: Grid, *names: str) -> zip[tuple[Any, ...]]:
    return zip(grid.keys, *(grid.values[name] for name in names), strict=True)


_UNITS = {"time": "time_ns", "p50": "p50_ns", "p99": "p99_ns", "longest": "max_ns"}


def _json_rows(grid: Grid, names: tuple[str, ...], label: str) -> list[dict[str, Any]]:
    return [
        {label: grid.values["name"][row]}
        | {_UNITS.get(name, name): round(float(grid.values[name][row])) for name in names}
        for row in arranged(grid, Order("time")).rows
    ]


def _json_processes(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Every process or group of ended ones, with its calls by name."""
    grid = by_process(snapshot)
    calls: dict[int, dict[str, int]] = {}
    table = snapshot.table
    for owner, slot, number in zip(
        table.owner.tolist(), table.slot.tolist(), table.rows.sums[:, 0].tolist(), strict=True
    ):
        calls.setdefault(owner, {})[call_name(slot)] = number
    failures: dict[int, dict[str, int]] = {}
    owners, _slots, numbers = (part.tolist() for part in unpack_keys(snapshot.errors.keys))
    for owner, number, count in zip(owners, numbers, snapshot.errors.counts.tolist(), strict=True):
        of = failures.setdefault(owner, {})
        of[errno_name(number)] = of.get(errno_name(number), 0) + count
    found = []
    for row, owner in enumerate(grid.keys):
        assert isinstance(owner, int)
        process = snapshot.processes.get(owner)
        one: dict[str, Any] = {"process": process.name if process else "?", "calls": calls[owner]}
        one["errors"] = failures.get(owner, {})
        one |= {"ended": process.members} if process and process.ended else {"pid": owner}
        one["container"] = process.container if process else None
        if process and not process.ended:
            one["pid_inside"] = process.inside or owner
        one["total"] = int(float(grid.values["calls"][row]))
        found.append(one)
    return sorted(found, key=lambda one: -one["total"])


def write_json(snapshot: Snapshot) -> None:
    """One object on one line."""
    sys.stdout.write(orjson.dumps(as_json(snapshot)).decode() + "\n")
    sys.stdout.flush()
    tell(notes(snapshot))
