"""The options on how arguments are shown, as strace spells them: whatever renders lines has them."""

from __future__ import annotations

from typing import Any

import click

from isotrace.commands import qualifiers
from isotrace.commands.options import Function, with_options
from isotrace.errors import UsageError
from isotrace.render.view import NO_CALLS, View

#: As isotrace.decode.style has them; --help waits for no table.
CONSTANTS = ("abbrev", "raw", "verbose")
NO_ABBREV = click.option(
    "-v",
    "--no-abbrev",
    "full",
    is_flag=True,
    help="Show structs, arrays and directories in full, and all arguments and the environment of an execve.",
)
KEEP_ALL = click.option(
    "-v",
    "--no-abbrev",
    "full",
    is_flag=True,
    help="Record all arguments and the environment of an execve, and long arrays, for isotrace log --from FILE -v.",
)
QUALIFIERS = click.option(
    "-e",
    "qualifiers",
    metavar="QUALIFIER=SET",
    multiple=True,
    help="As in strace. abbrev: abbreviate structs of these calls; verbose: follow their addresses; raw: show their"
    " arguments as numbers. trace is --calls, signal --signals, status --status, fd --fd, decode-fds -y.",
)
_HOW = (
    NO_ABBREV,
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
NAMES = ("hexadecimal", "constants", "full")


def showing_options(function: Function) -> Function:
    """-v, -x and -X; ``take_view`` has them done."""
    return with_options(_HOW, function)


def take_view(values: dict[str, Any]) -> View:
    """How arguments are shown; constants and strings are written so from now on.

    What ``-e`` asks of other options is put in their place in ``values``. Raises ``UsageError``.
    """
    from isotrace.decode import style

    values |= {"abbreviated": NO_CALLS if values["full"] else None, "followed": None, "raw": NO_CALLS}
    qualifiers.take(values, values.get("qualifiers", ()))
    style.use(style.Style(values["constants"], values["hexadecimal"]))
    return View(values["abbreviated"], values["followed"], values["raw"])


def not_asked(values: dict[str, Any], of: str) -> None:
    """Refuse these options where no line is rendered. Raises ``UsageError``."""
    context = click.get_current_context()
    for option in context.command.params:
        if option.name in NAMES and values[option.name] != option.get_default(context):
            raise UsageError(f"{max(option.opts, key=len)} is only for lines of text", f"leave it out with {of}")
