"""A snapshot as a table on standard output, or as JSON: what ``--once`` prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from isotrace.backends.counts import unpack_keys
from isotrace.decode.errnos import errno_name
from isotrace.process.telling import tell
from isotrace.top import figures
from isotrace.top.model import Snapshot
from isotrace.top.views import (
    Column,
    Grid,
    Order,
    arranged,
    by_call,
    by_error,
    by_place,
    by_process,
    call_name,
    grid_of,
)

_ORDER = {"call": "time", "process": "calls", "file": "calls", "error": "calls"}


def _seconds(ns: float) -> str:
    return f"{ns / 1e9:.6f}"


def _call_table(grid: Grid) -> Table:
    """The columns that people know from ``strace -c``, and what a histogram adds to them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("% time", "seconds", "usecs/call", "calls", "errors", "p50", "p99", "max", "bytes"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("syscall", no_wrap=True)
    values = grid.values
    for row in arranged(grid, Order("time")).rows:
        calls, time = float(values["calls"][row]), float(values["time"][row])
        table.add_row(
            f"{100 * float(values['share'][row]):.2f}",
            _seconds(time),
            f"{time / calls / 1000:.1f}",
            f"{calls:.0f}",
            f"{float(values['errors'][row]):.0f}" if values["errors"][row] else "",
            *(figures.duration(float(values[name][row])) for name in ("p50", "p99", "longest")),
            figures.size(float(values["bytes"][row])),
            Text(str(values["name"][row])),
        )
    table.add_section()
    table.add_row(*_total(grid), style="bold")
    return table


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


def _plain_table(grid: Grid, order: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = [column for column in grid.columns if column.kind != "spark" and column.name != "rate"]
    for column in columns:
        table.add_column(column.title, justify="left" if column.kind in ("text", "path") else "right", no_wrap=True)
    found = arranged(grid, Order(order))
    for row in found.rows:
        table.add_row(*(Text(found.prefixes.get(row, "") * (c.name == "name") + _cell(grid, c, row)) for c in columns))
    return table


def _cell(grid: Grid, column: Column, row: int) -> str:
    value = grid.values[column.name][row]
    return value if isinstance(value, str) else _WRITERS[column.kind](float(value))


def write_text(snapshot: Snapshot, view: str) -> None:
    """Print the view; what was lost, and why it ended, go to standard error."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 500)
    grid = grid_of(view, snapshot)
    console.print(_call_table(grid) if view == "call" else _plain_table(grid, _ORDER[view]), soft_wrap=True, crop=False)
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
        one["total"] = int(float(grid.values["calls"][row]))
        found.append(one)
    return sorted(found, key=lambda one: -one["total"])


def write_json(snapshot: Snapshot) -> None:
    """One object on one line."""
    sys.stdout.write(orjson.dumps(as_json(snapshot)).decode() + "\n")
    sys.stdout.flush()
    tell(notes(snapshot))
