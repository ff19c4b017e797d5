"""Pages as a user sees them at 80×24 and 200×50: captures that tools/record_terminal_golden.py makes."""

from __future__ import annotations

import shutil
import time
from itertools import pairwise

import pytest
from terminal_pages import GOLDEN, PAGES, SIZES, furnish, shown

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux: to read the screen")
_PATIENCE = 30  # seconds for what is drawn after the last thing that was waited for


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_as_it_was(tmp_path, name, size):
    """What differs is renewed by tools/record_terminal_golden.py, and looked at."""
    furnish(tmp_path)
    wanted = (GOLDEN / f"{size[0]}x{size[1]}" / f"{name}.txt").read_text()
    with shown(PAGES[name], tmp_path, *size) as look:
        end = time.monotonic() + _PATIENCE
        while PAGES[name].steps and look() != wanted and time.monotonic() < end:
            time.sleep(0.1)
        assert look() == wanted, f"tools/record_terminal_golden.py {name} renews it"


def test_every_capture_is_of_a_page():
    """And the other way round."""
    wanted = {f"{width}x{height}/{name}.txt" for name in PAGES for width, height in SIZES}
    assert {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.*")} == wanted


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if not page.steps and not page.raw])
def test_no_word_of_a_page_is_cut_at_the_edge(name):
    """A line as wide as the terminal, that goes on with the rest of a word, was folded by the terminal."""
    lines = (GOLDEN / f"80x24/{name}.txt").read_text().splitlines()
    cut = [(one, after) for one, after in pairwise(lines) if len(one) == 80 and after and not after[0].isspace()]
    assert [pair for pair in cut if pair[0][-1].isalnum() and pair[1][0].islower() and "isotrace" not in pair[1]] == []
