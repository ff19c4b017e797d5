"""A table on paper: whatever its width, no number is cut, and what is dropped goes by importance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isotrace.top import sheet
from isotrace.top.sheet import SheetColumn

NUMBERS = st.integers(0, 10**12).map(str)


@st.composite
def tables(draw):
    rows = draw(st.integers(0, 4))
    cells = st.lists(NUMBERS, min_size=rows, max_size=rows)
    numbers = [
        SheetColumn(draw(st.sampled_from(["calls", "p50", "usecs/call"])), draw(cells), rank=draw(st.integers(0, 9)))
        for _ in range(draw(st.integers(0, 6)))
    ]
    names = draw(st.lists(st.text("abcdefgh/", min_size=1, max_size=40), min_size=rows, max_size=rows))
    return [*numbers, SheetColumn("name", names, draw(st.sampled_from(["text", "path"])))]


@given(tables(), st.integers(1, 160))
def test_a_line_is_as_wide_as_it_may_be_and_no_number_is_cut(columns, width):
    lines = list(sheet.lines(columns, width))
    kept = [one for one in columns if one.rank == 0]
    least = sum(min(one.width, 24) if one.kind != "number" else one.width for one in kept) + 2 * (len(kept) - 1)
    assert max(map(len, lines)) <= max(width, least)
    assert len(lines) == 1 + len(columns[-1].cells)
    whole = {cell for one in columns for cell in one.cells if one.kind == "number"}
    for line in lines[1:]:
        assert all(word in whole for word in line.split() if word.isdecimal())
    assert all(one.title in lines[0] for one in kept if one.kind == "number")


@given(tables())
def test_nothing_is_dropped_or_cut_in_a_pipe(columns):
    lines = list(sheet.lines(columns))
    for row, line in enumerate(lines[1:]):
        assert all(one.cells[row] in line for one in columns)


def test_columns_go_by_their_rank_and_names_are_cut_last():
    columns = [
        SheetColumn("calls", ["1000"]),
        SheetColumn("p50", ["12.5µs"], rank=2),
        SheetColumn("bytes", ["1.2k"], rank=3),
        SheetColumn("file", ["/usr/lib/locale/C.UTF-8"], "path"),
    ]
    assert list(sheet.lines(columns, 45)) == [
        "calls     p50  bytes  file",
        " 1000  12.5µs   1.2k  /usr/lib/locale/C.UTF-8",
    ]
    assert [line.split()[-2] for line in sheet.lines(columns, 40)] == ["p50", "12.5µs"]
    assert list(sheet.lines(columns, 30)) == ["calls  file", " 1000  /usr/lib/locale/C.UTF-8"]
    assert list(sheet.lines(columns, 22)) == ["calls  file", " 1000  …locale/C.UTF-8"]
