"""Writes man pages of isotrace and each of its commands, from what ``--help`` is made of: ``manpages.py DIRECTORY``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from isotrace import __version__
from isotrace.cli import VERBS, cli

_SETTINGS = cli.context_settings
_RAW = "\b"  # what Click takes as the mark of a paragraph that keeps its lines


def escape(text: str) -> str:
    """Text that roff shows as it is."""
    shown = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("^", "\\(ha").replace("~", "\\(ti").replace("`", "\\(ga")
    )
    return re.sub(r"^([.'])", r"\\&\1", shown, flags=re.MULTILINE)


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """The command and all below it, with their contexts."""
    yield command, context
    for below in _below(command, context):
        yield from commands(*below)


def _below(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield below, click.Context(below, info_name=name, parent=context, **_SETTINGS)


def page(command: click.Command, context: click.Context) -> str:
    """The page of one command, in man(7)'s macros."""
    path = context.command_path
    lines = [
        f'.TH {_name(context).upper()} 1 "" "isotrace {__version__}" "isotrace"',
        ".SH NAME",
        f"{escape(_name(context))} \\- {escape(_what(command, context))}",
        ".SH SYNOPSIS",
        f".B {escape(path)}",
        escape(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_text(command.help or ""),
    ]
    options = [entry for one in command.get_params(context) if (entry := one.get_help_record(context)) and entry[1]]
    if options:
        lines.append(".SH OPTIONS")
        for name, what in options:
            lines += [".TP", f".B {escape(name)}", escape(what)]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
    for below, inside in _below(command, context):
        lines += [".TP", f".BR {escape(_name(inside))} (1)", escape(_what(below, inside))]
    lines += _sections(command.epilog or "")
    if context.parent is not None:
        lines += [".SH SEE ALSO", f".BR {escape(_name(context.parent))} (1)"]
    return "\n".join(lines) + "\n"


def _name(context: click.Context) -> str:
    """The page's: ``isotrace-policy-check``."""
    return context.command_path.replace(" ", "-")


def _what(command: click.Command, context: click.Context) -> str:
    if context.parent is not None and context.parent.command is cli:
        return VERBS[context.info_name or ""].rstrip(".")
    first = (command.help or "").strip().partition("\n\n")[0]
    return " ".join(first.split()).rstrip(".")


def _sections(text: str) -> Iterator[str]:
    """A section for each paragraph whose first line is a title (``Examples:``), and before them one for all others."""
    titled, notes = [], []
    for paragraph in _paragraphs(text):
        title = re.fullmatch(r"(?:\x08\n)?([A-Z][a-z]+):\n", paragraph.partition("\n ")[0] + "\n")
        if title:
            titled += [f".SH {title[1].upper()}", *_lines(paragraph.replace(f"{title[1]}:\n", "", 1))]
        else:
            notes.append(paragraph)
    if notes:
        yield ".SH NOTES"
        yield from _text("\n\n".join(notes))
    yield from titled


def _text(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(_paragraphs(text)):
        yield from [".PP"] if number else []
        yield from _lines(paragraph)


def _paragraphs(text: str) -> list[str]:
    return re.split(r"\n\s*\n", text.strip("\n")) if text else []


def _lines(paragraph: str) -> Iterator[str]:
    if paragraph.startswith(_RAW):
        yield from (".nf", *map(escape, paragraph.split("\n")[1:]), ".fi")
    else:
        yield escape(" ".join(paragraph.split()))


def main() -> None:
    """One file a page: isotrace.1, isotrace-log.1, isotrace-policy-check.1, …"""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for command, context in commands(cli, click.Context(cli, info_name="isotrace", **_SETTINGS)):
        (directory / f"{_name(context)}.1").write_text(page(command, context))


if __name__ == "__main__":
    main()
