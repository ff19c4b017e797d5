"""The table of attacks as data: tests/vm/test_attacks.py runs it, in guests."""

import re

import pytest

from tests.vm.attacks import HOOKS, NUMBERS, REFUSED, Open, Row, by, programs
from tests.vm.attacks.rows import ROWS
from tests.vm.attacks.runs import Place
from tests.vm.bench.matrix import load

MATRIX = load()
NAMES = {
    name: re.findall(r'\{"(\w+)", \w+, \d+\}', (programs.SOURCES / f"{name}.c").read_text())
    for name in programs.names()
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_names_what_there_is(row):
    kernels = {kernel.name for kernel in MATRIX.kernels}
    named = {*row.untried, *(name for one in row.expect.values() if isinstance(one, Open) for name in one.on)}
    assert named <= kernels and set(row.needs) <= set(MATRIX.features)
    assert row.expect and set(row.expect) <= {*HOOKS, *NUMBERS, "seccomp"}
    if isinstance(row.attack, str):
        assert set(re.findall(r"BIN/(\w+)", f"{row.setup} {row.attack}")) <= set(NAMES)
    else:
        assert row.attack[1] in NAMES[row.attack[0]]
    assert not row.quick or row.shares == ("tree", False, "places"), "all quick rows are under one block"
    assert not (row.live and row.setup and "mount" in row.setup), "on the host nothing is mounted"


def test_rows_share_a_block_where_their_rules_are_on_places_of_their_own():
    rows = [Row(str(number), ("--deny-path", "HERE/x"), ("ends", "stays"), by(REFUSED)) for number in range(2)]
    other = Row("2", ("--deny-net", "any:"), ("ends", "stays"), by(REFUSED))
    alone = Row("3", ("--deny-path", "HERE/x"), ("ends", "stays"), by(REFUSED), alone=True)
    assert len({row.shares for row in (*rows, other, alone)}) == 3 and rows[0].shares == rows[1].shares


@pytest.mark.parametrize(
    ("status", "what"),
    [(0, "through"), (1, "refused"), (77, "untried"), (139, "broken"), (None, "broken")],
)
def test_an_attack_that_breaks_is_neither_through_nor_refused(tmp_path, status, what):
    place = Place(Row("x", (), ("ends", "stays"), by(REFUSED)), tmp_path / "00", 1)
    assert place.outcome(status).what == what


@pytest.mark.parametrize(
    ("written", "what"),
    [("THROUGH\n", "through"), ("refused to the end\n", "refused"), ("first try refused\n", "broken")],
)
def test_what_outlives_a_run_is_known_by_its_answer(tmp_path, written, what):
    place = Place(Row("x", (), ("ends", "stays"), by(REFUSED), answers=True), tmp_path / "00", 1)
    (place.here / "answer").write_text(written)
    assert place.outcome(0).what == what
    place.broken = "its script failed"
    assert place.outcome(0).what == "broken"
