"""The options on how arguments are shown, as strace spells them: what renders lines has them."""

from __future__ import annotations

from typing import Any

import click

from isotrace.commands.options import Function, with_options
from isotrace.errors import UsageError

#: As isotrace.decode.style has them; --help waits for no table.
CONSTANTS = ("abbrev", "raw", "verbose")
_HOW = (
    click.option(
        "-x",
        "--strings-in-hex",
        "hexadecimal",
        count=True,
        help="Show strings that are not plain ASCII in hexadecimal; -xx all strings.",
    ),
    click.option(
        "-X",
        "--const-print-style",
        "constants",
        type=click.Choice(CONSTANTS),
        default=CONSTANTS[0],
        show_default=True,
        help="Show constants and flags by name, as numbers (raw), or as both: 0x2 /* AF_INET */ (verbose).",
    ),
)
#: The options by the names of their values.
NAMES = ("hexadecimal", "constants")


def showing_options(function: Function) -> Function:
    """-x and -X; ``take_style`` has them done."""
    return with_options(_HOW, function)


def take_style(values: dict[str, Any]) -> None:
    """Write constants and strings as asked for."""
    from isotrace.decode import style

    style.use(style.Style(values["constants"], values["hexadecimal"]))


def not_asked(values: dict[str, Any], of: str) -> None:
    """Refuse these options where no line is rendered. Raises ``UsageError``."""
    context = click.get_current_context()
    for option in context.command.params:
        if option.name in NAMES and values[option.name] != option.get_default(context):
            raise UsageError(f"{max(option.opts, key=len)} is about lines of text", f"leave it out with {of}")
