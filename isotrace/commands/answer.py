"""``isotrace answer``: answer the questions of an isotrace ask that runs elsewhere."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from isotrace.errors import IsotraceError, UsageError

if TYPE_CHECKING:
    from isotrace.asking.socket import Client

_EPILOG = """\b
With SOCKET alone, it opens the dialogue on a terminal, and prints the list
elsewhere. list shows the name of each question, such as 3.7: the third
question, with the calls that were waiting when it was shown. An answer for
once covers just these.

\b
Examples:
  isotrace answer /run/ask.sock list          one line a question; more with
                                              --format json
  isotrace answer /run/ask.sock show 3.7      who asks, what, and what each
                                              answer would cover
  isotrace answer /run/ask.sock allow 3.7     for once
  isotrace answer /run/ask.sock deny 3.7 program
                                              also: process, 10m, always,
                                              always 2
"""


@click.command(epilog=_EPILOG)
@click.argument("socket")
@click.argument("words", nargs=-1)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def answer(socket: str, words: tuple[str, ...], style: str) -> int:
    """List the questions at SOCKET, show one, or answer it: allow, deny, kill."""
    from isotrace.asking.socket import Client

    with Client(socket) as client:
        try:
            _do(client, socket, words, style)
        except (KeyError, TypeError, AttributeError, ValueError):
            raise IsotraceError(
                "no isotrace ask answers at that socket", "start it with: isotrace ask … --socket PATH"
            ) from None
    return 0


def _do(client: Client, socket: str, words: tuple[str, ...], style: str) -> None:
    from isotrace.asking.socket import Over
    from isotrace.process.console import capable
    from isotrace.process.telling import say

    verb = words[0] if words else "list"
    if not words and style == "text" and os.isatty(0) and os.isatty(1) and capable():
        from isotrace.asking import dialogue

        try:
            dialogue.run(client, socket, lambda: None)
        except Over as error:
            say(error.message)
    elif verb == "list" and len(words) < 2:
        _print_list(client.listed(), style)
    elif verb == "show" and len(words) == 2:
        _print(_question(client.listed(), words[1]), style)
    elif verb in ("allow", "deny", "kill") and len(words) > 1:
        click.echo(client.answer(words[1], [verb, *words[2:]]))
    else:
        raise UsageError(f"{' '.join(words)!r} is no answer", "list, show ID, allow ID, deny ID, kill ID")


def _question(found: dict[str, Any], name: str) -> dict[str, Any]:
    """By its name, or by its number alone."""
    for question in found["questions"]:
        if name in (question["id"], question["id"].partition(".")[0]):
            return dict(question)
    raise UsageError(f"no question is {name!r}", "isotrace answer SOCKET list shows them")


def _print_list(found: dict[str, Any], style: str) -> None:
    if style == "json":
        _print_json(found)
        return
    for one in found["questions"]:
        more = f"  ({one['waiting']} calls)" if one["waiting"] > 1 else ""
        click.echo(f"{one['id']:8} {one['seconds_left']:4.0f} s  {one['comm']} {one['pid']}  {one['covers']}{more}")
    if found["count"] > len(found["questions"]):
        click.echo(f"and {found['count'] - len(found['questions'])} more questions")


def _print_json(found: dict[str, Any]) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(found).decode() + "\n")


def _print(one: dict[str, Any], style: str) -> None:
    if style == "json":
        _print_json(one)
        return
    for line in lines(one):
        click.echo(line)


def lines(one: dict[str, Any]) -> list[str]:
    """The question in lines; what is in it is escaped already."""
    found = [
        f"{one['id']}  {one['comm']} {one['pid']} of {one['user']}: {' '.join(one['argv'])}",
        "  below " + " < ".join(f"{parent['comm']} {parent['pid']}" for parent in one["parents"]),
        f"  {one['line']}",
        f"  {one['covers']}; {one['waiting']} waiting; {one['seconds_left']:.0f} s until: {one['default']}",
        f"  {one['rule']}",
    ]
    for verdict in ("allow", "deny"):
        found += [f"  {verdict} always {number}: {rule}" for number, rule in enumerate(one["always"][verdict], 1)]
    return found
