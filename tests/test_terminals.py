"""Terminals that show less: without drawing (dumb), without glyphs (Linux's console), without colours (NO_COLOR)."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminal import PATIENCE
from terminal_pages import PAGES, furnish, settled, shown

from isotrace.process import console

ROOT = Path(__file__).parent.parent
STAGED = ROOT / "tests/staged.py"
#: Of a console's font; what isotrace writes on one beyond ASCII.
LINUX = set("µ·─│┌┐└┘├┤┬┴┼")
PRINTED = ("able doctor", "locked doctor --all", "able", "able log --from t.arrow", "able top --once --from t.arrow")
PRINTED += ("locked block --policy @agent -- make", "able policy explain worker.toml")
PRINTED += ("able calls openat", "able --help", "locked block --tree $$ --deny connect")
COLOURED = ("able doctor", "able log --from t.arrow", "able top --once --from t.arrow")
COLOUR = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:[34][0-8]|9[0-7])(?:;[0-9;]*)?m")  # 39 and 49 are none
needs_tmux = pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux: to read the screen")


def written(directory, command, typed=(), **environment):
    """What the program writes on a terminal of 80 columns, byte for byte; ``typed``: what it shows → what is typed then."""
    furnish(directory)
    left = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES", "SUDO_UID")}
    env = left | {"PYTHONPATH": str(ROOT), "HOME": "/home/alice", "XDG_STATE_HOME": str(directory)} | environment
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "cols", "80", "rows", "24"], stdin=theirs, check=True)
    script = f'exec "{sys.executable}" "{STAGED}" {command}'
    with subprocess.Popen(
        ["setsid", "-c", "-w", "sh", "-c", script], stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=directory
    ) as run:
        os.close(theirs)
        found, typed = b"", list(typed)
        try:
            while select.select([ours], [], [], PATIENCE)[0] and (some := os.read(ours, 65536)):
                found += some
                if typed and typed[0][0] in found:
                    os.write(ours, typed.pop(0)[1])
        except OSError:  # all have closed their end
            pass
        try:
            run.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            run.kill()
            raise AssertionError(f"{command} does not end; it has written {found!r}") from None
    os.close(ours)
    assert b"Traceback" not in found
    return found


@pytest.mark.parametrize("command", [*PRINTED, "able top --from t.arrow"])
def test_what_cannot_draw_gets_no_escape(tmp_path, command):
    found = written(tmp_path, command, TERM="dumb")
    assert found and b"\x1b" not in found


def test_the_table_says_why_there_is_none(tmp_path):
    found = written(tmp_path, "able top --from t.arrow", TERM="dumb")
    assert b"TERM is 'dumb', a terminal that cannot draw the live table: a summary follows" in b" ".join(found.split())
    assert b"usecs/call" in found


def test_the_prompt_of_sql_is_lines_there(tmp_path):
    found = written(
        tmp_path, "able sql t.arrow", [(b"isotrace> ", b"SELECT 6 * 7 AS answer;\r"), (b"42", b"\x04")], TERM="dumb"
    )
    assert b"isotrace> " in found and b"42" in found and b"\x1b" not in found


def test_the_dialogue_is_not_begun_there(tmp_path):
    rule = "able ask --top --tree $$ --ask-path r:/srv/key"
    found = written(tmp_path, rule, TERM="dumb")
    assert b"--top " in found and b"hint: " in found and b"\x1b" not in found


@pytest.mark.parametrize("command", COLOURED)
def test_no_color_is_no_colour(tmp_path, command):
    assert not COLOUR.search(written(tmp_path, command, NO_COLOR="1", TERM="xterm-256color").replace(b"\x1b[?", b""))


def test_colours_are_there_otherwise(tmp_path):
    assert COLOUR.search(written(tmp_path, "able doctor", TERM="xterm-256color"))


@pytest.mark.parametrize("command", COLOURED)
def test_colours_can_be_read_on_a_light_ground(tmp_path, command):
    """Neither white nor yellow nor a bright colour is written on the ground of the terminal."""
    found = written(tmp_path, command, TERM="xterm-256color")
    codes = {code for some in re.findall(rb"\x1b\[([0-9;]*)m", found) for code in some.split(b";")}
    assert not codes & {b"33", b"37", *(b"%d" % code for code in range(90, 98))}


@pytest.mark.parametrize("command", [*PRINTED, "able policy show @agent"])
def test_linuxs_console_gets_characters_that_its_fonts_have(tmp_path, command):
    found = written(tmp_path, command, TERM="linux").decode()
    assert {c for c in found if not c.isascii()} <= LINUX


@needs_tmux
@pytest.mark.parametrize("name", ["top", "top-detail", "top-refuse", "top-help", "ask", "top-recording"])
def test_what_is_drawn_there_has_them_as_well_and_stands_where_it_did(tmp_path, name):
    furnish(tmp_path)
    with shown(PAGES[name], tmp_path, 80, 24, TERM="linux") as look:
        found = settled(look)
    assert {c for c in found if not c.isascii()} <= LINUX
    wanted = (ROOT / f"tests/golden/terminal/80x24/{name}.txt").read_text()
    assert len(found.splitlines()) == len(wanted.splitlines())


@needs_tmux
@pytest.mark.parametrize("name", ["top", "ask"])
def test_what_is_drawn_has_no_colour_where_none_is_wanted(tmp_path, name):
    furnish(tmp_path)
    with shown(PAGES[name], tmp_path, 80, 24, colours=True, NO_COLOR="1") as look:
        found = settled(look)
    assert "\x1b[" in found and not COLOUR.search(found.encode())


@given(st.text())
def test_each_character_is_one(text):
    found = console.fitting(text)
    assert len(found) == len(text) and {c for c in found if not c.isascii()} <= LINUX
    assert console.fitting(found) == found
