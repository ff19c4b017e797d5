"""isotrace ask in a terminal of its own: the dialogue, the live table with questions over it, and a terminal that goes."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time

import pytest
from asked import Asked
from asks import wait_for
from terminal import PATIENCE, Terminal

from isotrace.kernel import fanotify

pytestmark = [
    pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux: to press keys and read the screen"),
    pytest.mark.skipif(fanotify.permissions().verdict != "yes", reason=f"needs fanotify: {fanotify.permissions().why}"),
]

READING = """
import errno, sys
for line in sys.stdin:
    try: print(open(line.strip()).read(), flush=True)
    except OSError as error: print(errno.errorcode[error.errno], flush=True)
"""


@pytest.fixture
def target(tmp_path):
    (tmp_path / "key").write_text("secret")
    found = Asked([sys.executable, "-c", READING])
    yield found
    found.end()


@pytest.fixture
def terminal(tmp_path):
    found = Terminal(tmp_path / "tmux")
    yield found
    found.close()


def press(terminal, key):
    """An answer: again, until the question has been looked at for as long as the dialogue wants it, and is over."""
    end = time.monotonic() + PATIENCE
    while re.search(r"^asks ", terminal.screen(), re.MULTILINE):
        assert time.monotonic() < end, terminal.screen()
        time.sleep(1)
        terminal.keys(key)
        time.sleep(1)


def later(target, name):
    target.process.stdin.write(f"{name}\n")
    target.process.stdin.flush()
    return target.process.stdout.readline


def test_the_dialogue_by_keys(terminal, target, tmp_path):
    rule = f"--ask-path r:{tmp_path}/key --policy {tmp_path}/p.toml"
    terminal.start(f"--tree {target.process.pid} {rule}", verb="ask")
    terminal.wait("Nothing is asked now")
    answer = later(target, tmp_path / "key")
    terminal.wait(r"^asks +reads")
    screen = " ".join(terminal.wait(r"^a allow  d deny  k kill").split())
    for words in ('openat(AT_FDCWD, "', "without an answer it is denied", f"{target.process.pid}"):
        assert words in screen, screen  # folded where the names of a test's directory have it
    press(terminal, "d")
    assert answer() == "EPERM\n"
    terminal.wait("denied 1 call")
    answer = later(target, tmp_path / "key")
    terminal.wait(r"^asks +reads")
    terminal.wait(r"^who")
    terminal.keys("w")
    terminal.wait(r"→ 1 .*key")
    press(terminal, "a")
    assert answer() == "secret\n"
    assert target.ask(f"{tmp_path}/key") == "secret"
    wait_for(lambda: "allow-path" in (tmp_path / "p.toml").read_text())
    terminal.keys("q")
    terminal.wait("STATUS=0")
    terminal.wait(" echo")  # of stty, which runs after the status has been said
    assert "denied by" in " ".join(terminal.all().split())


def test_the_live_table_with_questions_over_it(terminal, target, tmp_path):
    terminal.start(f"--top --tree {target.process.pid} --ask-path r:{tmp_path}/key", verb="ask")
    terminal.wait("isotrace top --tree")
    answer = later(target, tmp_path / "key")
    terminal.wait(r"^asks +reads")
    terminal.keys("Escape")
    terminal.wait("1 question, 1 call wait: a shows them")
    terminal.keys("a")
    terminal.wait(r"^who")
    press(terminal, "d")
    assert answer() == "EPERM\n"
    terminal.wait("denied 1 call")
    terminal.wait("^openat ")
    terminal.keys("q")
    terminal.wait("STATUS=0")
    screen = terminal.all()
    assert "1 denied, by a person" in " ".join(screen.split()) and "Traceback" not in screen


def test_a_command_below_the_live_table_has_no_terminal_and_ends_with_it(terminal, tmp_path):
    script = f"mkdir {tmp_path}/one; tty > {tmp_path}/tty; sleep 1000"
    terminal.start(f'--top --ask mkdir -- sh -c "{script}"', verb="ask")
    terminal.wait(r"^call +mkdir\(")
    press(terminal, "a")
    wait_for(lambda: (tmp_path / "one").exists() and (tmp_path / "tty").exists() and (tmp_path / "tty").read_text())
    assert "not a tty" in (tmp_path / "tty").read_text()
    terminal.wait("^openat ")
    terminal.keys("q")
    terminal.wait("STATUS=")
    screen = terminal.all()
    assert "is ended" in screen and "Traceback" not in screen


@pytest.mark.parametrize("top", ["", "--top"])
def test_a_terminal_that_goes_allows_nothing_and_isotrace_ends_with_the_target(terminal, target, tmp_path, top):
    terminal.start(f"{top} --timeout 9s --tree {target.process.pid} --ask-path r:{tmp_path}/key", verb="ask")
    terminal.wait("isotrace (ask|top) ")
    answer = later(target, tmp_path / "key")
    terminal.wait(r"^asks +reads")
    pid = terminal.pid
    terminal.hang_up()
    assert answer() == "EPERM\n" and target.ask(f"{tmp_path}/key") == "EPERM" and os.path.exists(f"/proc/{pid}")
    target.end()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"))


@pytest.mark.parametrize("words", ["--plain", "--answer-with true"])
def test_top_without_a_person_is_said(terminal, target, tmp_path, words):
    terminal.start(f"--top {words} --tree {target.process.pid} --ask-path r:{tmp_path}/key", verb="ask")
    assert "Traceback" not in terminal.wait("STATUS=2") and "--top shows questions on a terminal" in terminal.screen()
