"""The table of tests/vm/attacks: each attack, by each mechanism that this kernel has, is refused or announced, or fails."""

from __future__ import annotations

import pytest

from tests.vm.attacks import Announced, Open, Row, runs
from tests.vm.attacks.rows import ROWS
from tests.vm.conftest import KERNEL as NAME
from tests.vm.enforced import FEATURES, NEEDS, available

KERNEL = (NAME or "").removeprefix("two-")
#: Where a mechanism would hold less than any rule asks, and block does not begin.
LACKS = {("7.x", "fmod_ret"): "another one was preempted inside the same program is let through"}
MECHANISMS = [name for name in ("lsm", "fmod_ret", "fmod_ret_call", "override", "lkm") if NEEDS[name] in FEATURES]


def has(row: Row, mechanism: str) -> bool:
    """Whether this kernel can have that."""
    return mechanism in row.expect and set(row.needs) <= set(FEATURES)


def cases(quick: bool) -> list:
    """A parameter for each row and mechanism; rows of one mechanism beside each other. The quick ones are run by one that
    judges objects only: a start of block takes half a minute here."""
    found = []
    for mechanism in MECHANISMS[:1] if quick else [*MECHANISMS, "seccomp"]:
        for row in (row for row in ROWS if row.quick == quick and has(row, mechanism)):
            expected = row.expect[mechanism]
            marks = [pytest.mark.race] if row.race else []
            if isinstance(expected, Open) and (not expected.on or KERNEL in expected.on) and KERNEL not in row.untried:
                marks.append(pytest.mark.xfail(reason=expected.why, strict=True, raises=GotThrough))
            found.append(pytest.param(mechanism, row, id=f"{mechanism}-{row.name}", marks=marks))
    return found


class GotThrough(AssertionError):
    """An attack got through, and nothing had said that it would."""


class Table:
    """What came of the rows that this session asks for, run in groups when the first of a group is looked at."""

    def __init__(self, asked: list[tuple[str, Row]]) -> None:
        self._asked = asked
        self._found: dict[tuple[str, str], runs.Outcome] = {}

    def outcome(self, mechanism: str, row: Row) -> runs.Outcome:
        """Of one row by one mechanism, or "without" any."""
        if (mechanism, row.name) not in self._found:
            group = [one for name, one in self._asked if name == mechanism and one.shares == row.shares]
            outcomes = self._run(mechanism, group)
            self._found |= {(mechanism, name): outcome for name, outcome in outcomes.items()}
        return self._found[mechanism, row.name]

    def without(self, row: Row) -> runs.Outcome:
        """Where nothing is refused."""
        if ("", row.name) not in self._found:
            rows = list({one.name: one for _, one in self._asked if one.control and one.shares == row.shares}.values())
            self._found |= {("", name): outcome for name, outcome in runs.control(rows).items()}
        return self._found["", row.name]

    def _run(self, mechanism: str, group: list[Row]) -> dict[str, runs.Outcome]:
        tried = [row for row in group if not row.control or self.without(row).what == "through"]
        with available(mechanism):
            return runs.together(mechanism, tried)


@pytest.fixture(scope="session")
def table(request):
    """Of what this session runs."""
    asked = [item.callspec.params for item in request.session.items if "mechanism" in getattr(item, "fixturenames", ())]
    return Table([(params["mechanism"], params["row"]) for params in asked if isinstance(params.get("row"), Row)])


def judge(table: Table, mechanism: str, row: Row) -> None:
    """Refused, announced, or a failure."""
    if row.control:
        free = table.without(row)
        assert free.what == ("untried" if KERNEL in row.untried else "through"), f"without a rule: {free}"
        if KERNEL in row.untried:
            return
    outcome, expected = table.outcome(mechanism, row), row.expect[mechanism]
    lack = LACKS.get((KERNEL, mechanism))
    if lack and "--best-effort" not in row.rules:
        assert outcome.what == "broken" and lack in outcome.text + outcome.said, f"{outcome.what}: {outcome.text}"
        assert runs.TURNED_DOWN in outcome.text + outcome.said
        return
    if outcome.what == "through" and isinstance(expected, Announced):
        assert expected.words in outcome.said, f"nothing announced it:\n{outcome.said}"
        return
    if outcome.what == "through":
        raise GotThrough(f"{outcome.text}\nblock had said:\n{outcome.said}")
    assert outcome.what == "refused", f"{outcome.what}: {outcome.text}"
    assert not isinstance(expected, Announced) or expected.unless, (
        f"it was refused, but is said to get through: {outcome.text}"
    )


@pytest.mark.parametrize(("mechanism", "row"), cases(quick=True))
def test_quick_attack(mechanism, row, table):
    judge(table, mechanism, row)


@pytest.mark.parametrize(("mechanism", "row"), cases(quick=False))
def test_attack(mechanism, row, table):
    judge(table, mechanism, row)
