"""The views as pure functions of a snapshot, and how they are written."""

from __future__ import annotations

import numpy as np
import pytest
from top_tables import SLOT, Clock, Recorded, errors, rows

from isotrace.top import failures, figures, painting, summary, views
from isotrace.top import source as sources
from isotrace.top.source import Source
from isotrace.top.views import Order


@pytest.fixture
def tables():
    found = Recorded()
    found.comms = {1: (b"sh", 0), 10: (b"cat", 1), 11: (b"dd", 1), 20: (b"tr", 10)}
    found.table = rows(
        (1, "wait4", 4, {"time": 9_000_000, "longest": 8_000_000, "buckets": {15: 4}}),
        (10, "read", 100, {"bytes": 4096, "errors": 7}),
        (10, "openat", 5, {"errors": 2}),
        (11, "read", 300, {"bytes": 100}),
        (20, "write", 50, {"bytes": 10}),
    )
    found.failures = errors(
        (10, "openat", 2, 2, b"/no/such\x1b[31m", 0xFFFFFF9C, 0x1000, 0), (10, "read", 11, 7, b"", 3, 0x2000, 512)
    )
    found.used = [(1, b"/etc/passwd", 9), (1, b"/a\x1b]0;owned\x07b", 3), (1, b"x" * 123, 1)]
    found.used += [
        (2, bytes([2, 0, 0, 80, 127, 0, 0, 1]), 2),
        (2, bytes([10, 0, 1, 187]) + bytes(4) + bytes(15) + b"\1", 1),
    ]
    found.used += [(2, b"\1\0/run/s.sock", 1), (2, b"\1\0\0abstract\n", 1)]
    return found


@pytest.fixture
def snapshot(tables, monkeypatch):
    monkeypatch.setattr(sources, "living_now", lambda: set(tables.comms))
    clock = Clock()
    source = Source(tables, clock)
    source.requests.places = True
    clock.now += 1
    return source.look()


def shown(grid, order=Order()):  # noqa: B008 - frozen
    found = views.arranged(grid, order)
    return [found.prefixes.get(row, "") + grid.values["name"][row] for row in found.rows]


def test_by_call_adds_up_processes(snapshot):
    grid = views.by_call(snapshot)
    row = grid.values["name"].index("read")
    assert (grid.values["calls"][row], grid.values["errors"][row], grid.values["bytes"][row]) == (400, 7, 4196)
    assert shown(grid) == ["read", "write", "openat", "wait4"]


def placed(tables, monkeypatch):
    """A look at the tables, with two of the processes in a container."""
    monkeypatch.setattr(sources, "living_now", lambda: set(tables.comms))
    tables.where = {1: ("", 0), 10: ("web\n", 7), 11: (None, 0), 20: ("web\n", 8)}
    return Source(tables, Clock())


def test_by_container(tables, monkeypatch):
    grid = views.by_container(placed(tables, monkeypatch).look())
    rows_of = zip(grid.values["name"], grid.values["calls"].tolist(), grid.values["processes"].tolist(), strict=True)
    assert list(rows_of) == [("(none)", 4, 1), (r"web\n", 155, 2), ("?", 300, 1)]
    assert grid.values["calls"].sum() == views.by_call(placed(tables, monkeypatch).look()).values["calls"].sum()


def test_processes_say_their_container_where_one_is_in_one(tables, snapshot, monkeypatch):
    grid = views.by_process(placed(tables, monkeypatch).look())
    found = {key: (grid.values["container"][i], grid.values["inside"][i]) for i, key in enumerate(grid.keys)}
    assert found == {1: ("", 0), 10: (r"web\n", 7), 11: ("?", 0), 20: (r"web\n", 8)}
    names = [column.name for column in grid.columns]
    assert "container" in names and "inside" in names
    assert "container" not in [column.name for column in views.by_process(snapshot).columns]


def test_those_who_have_ended_stay_in_their_container(tables, monkeypatch):
    """Of one name and parent, and in different containers: two groups."""
    source = placed(tables, monkeypatch)
    tables.comms = {1: (b"sh", 0), 10: (b"cat", 1), 11: (b"cat", 1), 20: (b"cat", 1)}
    source.look()
    tables.ended = {10, 11, 20}
    found = source.look()
    ended = {process.container: process.members for process in found.processes.values() if process.ended}
    assert ended == {r"web\n": 2, None: 1}
    calls = views.by_container(found).values
    assert dict(zip(calls["name"], calls["calls"].tolist(), strict=True)) == {"(none)": 4, r"web\n": 155, "?": 300}


def test_by_call_of_one_process(snapshot):
    grid = views.by_call(snapshot, 10)
    assert dict(zip(grid.values["name"], grid.values["calls"], strict=True)) == {"read": 100, "openat": 5}


@pytest.mark.parametrize("column", [c.name for c in views.CALL_COLUMNS])
def test_every_column_sorts_both_ways(snapshot, column):
    grid = views.by_call(snapshot)
    down, up = (views.arranged(grid, Order(column, way)).rows for way in (True, False))
    assert sorted(down) == sorted(up) == list(range(len(grid)))
    values = grid.values.get(column, None)
    if values is not None:
        assert [values[row] for row in down] == sorted(values, reverse=True)
        assert [values[row] for row in up] == sorted(values)


def test_processes_are_a_tree_with_shares(snapshot):
    grid = views.by_process(snapshot)
    assert shown(grid) == ["sh", "├─ dd", "└─ cat", "   └─ tr"]
    assert grid.values["share"].sum() == pytest.approx(1)
    assert grid.values["share"][grid.values["name"].index("dd")] == pytest.approx(300 / 459)


def test_siblings_are_sorted_within_the_tree(snapshot):
    assert shown(views.by_process(snapshot), Order("errors")) == ["sh", "├─ cat", "│  └─ tr", "└─ dd"]


def test_a_filter_flattens_the_tree_and_looks_at_every_text(snapshot):
    assert shown(views.by_process(snapshot), Order(needle="T")) == ["cat", "tr"]
    assert shown(views.by_error(snapshot), Order(needle="openat")) == ["ENOENT"]
    assert shown(views.by_call(snapshot), Order(needle="nothing")) == []


def test_a_loop_of_parents_still_shows_every_row(tables, snapshot, monkeypatch):
    tables.comms = {1: (b"a", 2), 2: (b"b", 1)}
    tables.table = rows((1, "read", 1), (2, "read", 1))
    monkeypatch.setattr(sources, "living_now", lambda: {1, 2})
    found = Source(tables).look()
    assert sorted(shown(views.by_process(found))) == ["a", "b"]


def test_places_are_readable_and_harmless(snapshot):
    names = views.by_place(snapshot).values["name"]
    assert names[0] == "/etc/passwd"
    assert {"127.0.0.1:80", "[::1]:443", "/run/s.sock"} <= set(names)
    assert "@abstract\\n" in names
    assert all(name.replace("…", "").isascii() and name.isprintable() for name in names)
    assert any(name.endswith("x…") for name in names), "a path that was cut is marked"


def test_errors_by_call_with_the_latest_arguments(snapshot):
    grid = views.by_error(snapshot)
    at = grid.values["name"].index("ENOENT")
    assert grid.values["meaning"][at] == "No such file or directory"
    assert grid.values["latest"][at] == 'openat(AT_FDCWD, "/no/such\\33[31m", O_RDONLY)'
    assert "read(3, 0x2000, 512)" in grid.values["latest"], "memory that nobody read is no fault"


def test_recent_failures_of_a_call(snapshot):
    found = list(failures.recent(snapshot, None, SLOT["openat"]))
    assert found == [(2, 'openat(AT_FDCWD, "/no/such\\33[31m", O_RDONLY) = -1 ENOENT (No such file or directory)')]
    assert list(failures.recent(snapshot, 11, None)) == []


def test_histogram_of_a_row(snapshot):
    assert views.histogram(snapshot, None, SLOT["read"]).sum() == 400
    assert views.histogram(snapshot, 10, None).sum() == 105
    assert views.histogram(snapshot, 99, None).sum() == 0


@pytest.mark.parametrize("width", [60, 80, 81, 99, 120, 200])
@pytest.mark.parametrize("view", [name for name, _ in views.VIEWS])
def test_lines_have_the_width_of_the_terminal(snapshot, view, width):
    grid = views.grid_of(view, snapshot)
    columns = painting.layout(grid.columns, width)
    found = views.arranged(grid, Order())
    lengths = {sum(s.cell_length for s in painting.line(found, row, columns)) for row in found.rows}
    lengths.add(sum(s.cell_length for s in painting.heading(columns, Order())))
    if width >= 80:
        assert lengths == {width}
    assert len(lengths) == 1


def test_json_has_every_count(snapshot):
    found = summary.as_json(snapshot)
    assert {row["call"]: row["calls"] for row in found["calls"]} == {"read": 400, "write": 50, "openat": 5, "wait4": 4}
    cat = next(row for row in found["processes"] if row["process"] == "cat")
    assert cat["calls"] == {"read": 100, "openat": 5}
    assert cat["errors"] == {"ENOENT": 2, "EAGAIN": 7}
    assert (cat["pid"], cat["total"]) == (10, 105)


def test_summary_reads_like_strace(snapshot, capsys):
    summary.write_text(snapshot, "call")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "%",
        "time",
        "seconds",
        "usecs/call",
        "calls",
        "errors",
        "p50",
        "p99",
        "max",
        "bytes",
        "syscall",
    ]
    assert lines[1].split()[-1] == "wait4"
    total = lines[-1].split()
    assert (total[0], total[3], total[4], total[-1]) == ("100.00", "459", "9", "total")
    assert float(total[1]) == pytest.approx(0.009455)


@pytest.mark.parametrize("view", ["process", "file", "error"])
def test_other_summaries_have_a_row_each(snapshot, capsys, view):
    summary.write_text(snapshot, view)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1 + len(views.grid_of(view, snapshot))
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (figures.count, 0, "0"),
        (figures.count, 99_999, "99,999"),
        (figures.count, 123_456, "123k"),
        (figures.count, 1_234_567, "1.23M"),
        (figures.count, 999_600_000, "1G"),
        (figures.rate, 0.25, "0.25"),
        (figures.rate, 12.34, "12.3"),
        (figures.rate, 4321, "4,321"),
        (figures.duration, 0, ""),
        (figures.duration, 812, "812ns"),
        (figures.duration, 1234, "1.2µs"),
        (figures.duration, 34e6, "34ms"),
        (figures.duration, 90e9, "90s"),
        (figures.duration, 600e9, "10m"),
        (figures.duration, 3 * 3600e9, "3h"),
        (figures.size, 0, ""),
        (figures.size, 1023, "1.0k"),
        (figures.size, 5 << 30, "5.0G"),
        (figures.clock, 83, "1:23"),
        (figures.clock, 3723, "1:02:03"),
    ],
)
def test_figures(function, value, text):
    assert function(value) == text


@pytest.mark.parametrize("value", [10.0**n * m for n in range(16) for m in (1, 4.4, 9.99)])
def test_figures_fit_their_columns(value):
    assert len(figures.count(value)) <= 7
    assert len(figures.rate(value)) <= 8
    assert len(figures.duration(value)) <= 6 or value > 3.6e17
    assert len(figures.size(value)) <= 6


def test_curve_and_bar():
    assert figures.spark([0.0] * 56 + [1, 2, 4, 8], 4) == "   █"
    assert figures.spark([0.0] * 60, 5) == "     "
    assert len(figures.spark([1.0] * 60, 100)) == 100
    assert figures.bar(0.5, 4) == "██  "
    assert figures.bar(0.0001, 4).strip() == "▏"
    assert figures.bar(2.0, 3) == "███"


def test_histogram_folds_its_emptier_ends():
    buckets = [0] * 32
    buckets[3:12] = [1, 2, 90, 80, 70, 60, 50, 3, 1]
    lines = painting.histogram(buckets, 5, 40)
    text = ["".join(segment.text for segment in line) for line in lines]
    assert len(text) == 5
    assert sum(int(line.split()[-1]) for line in text) == sum(buckets)
    assert painting.histogram([0] * 32, 5, 40) == []


def test_edges_are_powers_of_two():
    from isotrace.top.model import edges

    assert edges()[:4].tolist() == [0, 128, 256, 512]
    assert np.all(np.diff(edges()) > 0)


def test_a_table_without_errors(tables, monkeypatch):
    tables.failures = errors()
    monkeypatch.setattr(sources, "living_now", lambda: set(tables.comms))
    assert len(views.by_error(Source(tables).look())) == 0
