"""Man pages: one for every command, with all of its help in it, and nothing in it that roff would take for its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from isotrace.cli import cli

ROOT = Path(__file__).parents[1]
MACROS = {".TH", ".SH", ".B", ".BR", ".PP", ".TP", ".nf", ".fi"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    directory = tmp_path_factory.mktemp("man")
    subprocess.run(
        [sys.executable, ROOT / "tools/manpages.py", directory], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True
    )
    return {path.stem: path for path in directory.glob("*.1")}


def commands(command=cli, words=("isotrace",)):
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*words, name))


def plain(page):
    """What is shown, without roff's escapes."""
    for escaped, shown in (("\\&", ""), ("\\-", "-"), ("\\(ha", "^"), ("\\(ti", "~"), ("\\(ga", "`"), ("\\e", "\\")):
        page = page.replace(escaped, shown)
    return " ".join(page.split())


def test_every_command_has_one_with_all_of_its_help(pages):
    assert set(pages) == {"-".join(words) for words, _ in commands()}
    for words, command in commands():
        text, name = plain(pages["-".join(words)].read_text()), "-".join(words)
        assert text.startswith(f".TH {name.upper()} 1 ") and f".SH NAME {name} - " in text
        for option in command.params:
            said = [*option.opts, option.help or ""] if isinstance(option, click.Option) else []
            assert [one for one in said if " ".join(one.split()) not in text] == []
        for line in f"{command.help}\n{command.epilog or ''}".replace("\b", "").split("\n"):
            shown = " ".join(line.split())
            assert shown in text or f".SH {shown[:-1].upper()} " in text, (words, line)


def test_only_macros_begin_a_line_as_macros_do(pages):
    for path in pages.values():
        for line in path.read_text().splitlines():
            assert not line.startswith("'")
            assert not line.startswith(".") or line.split()[0] in MACROS, (path.name, line)


def test_man_takes_them(pages):
    if not (shutil.which("man") and shutil.which("groff")):
        pytest.skip("needs man: the program that shows them")
    for path in pages.values():
        command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path]
        environment = {"MANWIDTH": "80", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        assert done.stderr == b"", path.name
