"""The pages of --help: each fits eighty columns, and the list of commands has them all."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from isotrace.cli import VERBS, cli

ROOT = Path(__file__).parent.parent


def pages(command=cli, words=()):
    """The words of every command and of every group."""
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from pages(command.get_command(context, name), (*words, name))


@pytest.mark.parametrize("words", [*pages()], ids=lambda words: " ".join(words) or "isotrace")
def test_a_page_fits_eighty_columns_and_has_no_marks_of_being_cut(words):
    shown = CliRunner().invoke(cli, [*words, "--help"], terminal_width=80)
    assert shown.exit_code == 0
    usage, *rest = shown.output.splitlines()
    assert usage.startswith(f"Usage: {' '.join(('cli', *words))} ")
    assert [line for line in rest if len(line) > 80 or line.endswith("...")] == []
    assert not re.search(r"\\b|<=x|x>=|INTEGER|RANGE", shown.output)


def test_every_verb_is_listed_and_is_a_file():
    assert set(VERBS) == {words[0] for words in pages() if len(words) == 1}
    files = {path.stem for path in (ROOT / "isotrace/commands").glob("*.py")}
    assert set(VERBS) <= files
    for verb in VERBS:
        module = (ROOT / f"isotrace/commands/{verb}.py").read_text()
        assert f"def {verb}(" in module
    output = CliRunner().invoke(cli, ["--help"], terminal_width=80).output
    assert all(f"  {verb:6}  {what}\n" in output for verb, what in VERBS.items())


def test_alone_on_a_terminal_it_says_what_to_do_now():
    ours, theirs = pty.openpty()
    command, environment = [sys.executable, "-m", "isotrace"], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment, timeout=300)
    os.close(theirs)
    lines = os.read(ours, 65536).decode().replace("\r", "").splitlines()
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    assert any(line.startswith("isotrace log -- ls ") for line in lines) and len(lines) <= 8
    assert max(map(len, lines)) <= 80


def test_alone_in_a_pipe_it_is_an_error():
    command, environment = [sys.executable, "-m", "isotrace"], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=300, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("Usage: ")
