"""docs/threat-model.md: every limit that it states is shown by an attack of the table."""

import re
from pathlib import Path

import pytest

from tests.vm.attacks import Announced, Open
from tests.vm.attacks.rows import ROWS

PAGE = Path(__file__).parents[1] / "docs" / "threat-model.md"
SECTIONS = (
    *("The end of a run", "Paths and layers", "Execution", "Attributes and names", "Addresses", "io_uring and calls"),
    *("The mechanisms by number, and the module", "isotrace itself", "What another root can do"),
)


def limits():
    """Each paragraph or item that begins with **Limit**."""
    blocks = re.split(r"\n\s*\n|\n(?=\s*[*-] )", PAGE.read_text())
    return [block for block in blocks if re.match(r"\s*([*-] )?\*\*Limit", block)]


def test_the_page_has_its_sections():
    headings = re.findall(r"^## (.*)$", PAGE.read_text(), re.M)
    assert [heading for heading in headings if heading in SECTIONS] == list(SECTIONS)


@pytest.mark.parametrize("limit", limits())
def test_a_limit_names_an_attack_that_shows_it(limit):
    rows = {row.name: row for row in ROWS}
    named = [word for word in re.findall(r"`([^`]+)`", limit.replace("\n", " ")) if word in rows]
    assert named, "no attack of the table is named"
    for name in named:
        kinds = {type(expected) for expected in rows[name].expect.values()}
        assert kinds & {Announced, Open}, f"{name} is refused by every mechanism"


def test_every_announced_attack_is_on_the_page():
    """What block announces, the page explains."""
    text = " ".join(PAGE.read_text().split())
    announced = [row.name for row in ROWS if any(isinstance(one, Announced) for one in row.expect.values())]
    missing = [name for name in announced if f"`{name}`" not in text]
    assert not missing
