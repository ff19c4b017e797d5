"""--from: a recording in place of a target that runs."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from isotrace.commands import keeping
from isotrace.commands.options import CONTAINER, Function
from isotrace.errors import UsageError
from isotrace.trace.target import Target

_FROM = click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="FILE",
    help="Read a recording of isotrace record: a file, a pattern, or - for standard input. More may follow.",
)
_FOLLOW_FILE = click.option(
    "--follow-file",
    is_flag=True,
    help="With --from: wait for more while the recording grows, and go on with its next part.",
)

#: What a recording does not have, and what is decided when it is made.
_LIVE = ("cgroup", *CONTAINER, *keeping.NAMES, "ring", "backend", "string_limit", "lossless")


def from_option(function: Function) -> Function:
    """--from FILE."""
    return _FROM(function)


def from_options(function: Function) -> Function:
    """--from FILE and --follow-file."""
    return _FROM(_FOLLOW_FILE(function))


def take_recorded(values: dict[str, Any], live: tuple[str, ...] = _LIVE) -> tuple[list[str], Target]:
    """The recordings that are named and the conditions on whom to show. Raises ``UsageError``.

    Words without an option are further recordings, which is what a shell makes of a pattern.
    """
    context = click.get_current_context()
    for name in live:
        if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} is not for recordings", "leave it out, or leave out --from")
    names = ("ppid", "pid", "tree", "uid", "comm", "follow")
    target = Target(**{name: values[name] for name in names})
    target.check_name()
    return [*values["sources"], *values["command"]], target


def not_alone(values: dict[str, Any]) -> None:
    """Refuse --follow-file without a recording. Raises ``UsageError``."""
    if values.get("follow_file") and not values["sources"]:
        raise UsageError("--follow-file needs a recording", "give --from FILE")
