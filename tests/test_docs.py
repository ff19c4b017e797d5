"""What the pages link to is there, every page of docs/ is in the site, and every block that shows a command is run."""

from __future__ import annotations

import re
from pathlib import Path

import console
import pytest
import shown
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(page):
    """The names of its headings, as GitHub and MkDocs make them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target, anchor in _LINK.findall(text):
        found = page.parent / target if target else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


def test_every_page_is_in_the_site():
    def pages(entry):
        return (
            [entry]
            if isinstance(entry, str)
            else [p for one in (entry.values() if isinstance(entry, dict) else entry) for p in pages(one)]
        )

    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(listed) == sorted(path.name for path in ROOT.glob("docs/*.md"))


_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Fences in which nothing is a command with its output.
_UNRUN = {"", "json", "python", "sh", "sql", "toml"}


def kinds(page):
    """Of its blocks, those that are to be run."""
    found = _FENCE.findall(page.read_text())
    return {kind for kind, text in found if kind not in _UNRUN or re.search("^[$#] isotrace ", text, re.MULTILINE)}


def test_every_console_block_is_run():
    """Those of a page that is run as a whole by the tests that it names; any other by itself, and none twice."""
    for page in console.PAGES:
        name, text = str(page.relative_to(ROOT)), page.read_text()
        alone = [block.steps for block in shown.BLOCKS if block.page == name]
        if name in shown.WHOLE:
            assert kinds(page) == set(shown.WHOLE[name]) and not alone, name
            continue
        assert kinds(page) <= {"console"}, name
        missing = [steps[0][0] for steps in console.blocks(text) if steps not in alone]
        assert not missing and len(console.blocks(text)) == len(alone), f"{name}: {missing} not in tests/shown.py"


@pytest.mark.parametrize("page", shown.WHOLE)
def test_a_page_that_is_run_as_a_whole_is_in_the_tests_that_are_said_to_run_it(page):
    for kind, test in shown.WHOLE[page].items():
        text = (ROOT / "tests" / test).read_text()
        assert f'"{page}"' in text and "console.run(" in text and (kind == "console" or f'"{kind}"' in text), test


def test_every_block_that_runs_alone_is_in_a_test():
    """tests/live/test_pages.py and the one below go through the groups of tests/shown.py by their names."""
    tests = Path(__file__).read_text() + (ROOT / "tests/live/test_pages.py").read_text()
    groups = {
        name: group if isinstance(group, tuple) else (group,)
        for name, group in vars(shown).items()
        if isinstance(group, console.Block) or name in ("PURE", "TRACED", "REFUSED")
    }
    run = [block for name, group in groups.items() if f"shown.{name}" in tests for block in group]
    assert sorted(map(repr, run)) == sorted(map(repr, shown.BLOCKS))


@pytest.mark.parametrize("block", shown.PURE, ids=lambda block: f"{block.page}: {block.begins}")
def test_what_traces_nothing_prints_what_the_page_shows(block, tmp_path):
    console.run_here(block, tmp_path)


SHOWN = ["a.txt", "24337 ls  close(3) = 0", "…", "24337 ls  +++ exited with 0 +++", "isotrace: 2 calls, 0 lost"]
PRINTED = ["7 ls  close(3) = 0", "isotrace: 2 calls, 0 lost", "a.txt", "7 ls  +++ exited with 0 +++"]


@pytest.mark.parametrize(
    ("printed", "agrees"),
    [
        (PRINTED, True),
        ([*PRINTED[:3], "7 ls  close(4) = 0", PRINTED[3]], True),
        ([*PRINTED[:3], PRINTED[3], "7 ls  close(4) = 0"], False),
        (["7 ls  close(4) = 0", *PRINTED[1:]], False),
        ([*PRINTED[:1], "isotrace: 2 calls, 1 lost", *PRINTED[2:]], False),
        (["b.txt", *PRINTED], False),
        (PRINTED[1:], False),
    ],
)
def test_what_is_printed_is_compared_with_what_a_page_shows(printed, agrees):
    assert console.matches(printed, SHOWN) == agrees


def test_a_block_has_its_commands_by_their_prompts():
    text = "```console\n$ one\nsays\n# two\n```\n\n```sh\n$ none\n```\n"
    assert console.blocks(text) == [[("one", ["says"]), ("two", [])]]
