"""The options of what makes a recording: ``isotrace record``, and ``--record`` beside what other verbs do."""

from __future__ import annotations

import os
import stat
from typing import Any

import click

from isotrace import units
from isotrace.commands.options import Function, Number, Parsed, with_options
from isotrace.errors import UsageError
from isotrace.recording.asked import Asked
from isotrace.recording.rotate import Rotation

_HOW = (
    click.option(
        "--redact",
        metavar="WHAT",
        help="Leave out of the recording: data (what is read, written, sent and received, keys, options of mounts and"
        " sockets), argv (also the environment), or both: data,argv.",
    ),
    click.option(
        "--max-size",
        type=Parsed("size", units.size),
        metavar="SIZE",
        help="Begin a new file of the recording at this size; FILE.1 is the one before.",
    ),
    click.option("--keep", type=Number(1), metavar="N", help="Keep this many earlier files.  [default: 9]"),
)
_RECORD = click.option(
    "--record", metavar="FILE", help="Also record every call to this file: see isotrace record --help."
)
#: The options by the names of their values.
NAMES = ("record", "redact", "max_size", "keep")


def how_options(function: Function) -> Function:
    """--redact, --max-size, --keep; ``take`` makes of their values what is asked."""
    return with_options(_HOW, function)


def record_options(function: Function) -> Function:
    """--record and the same; ``take_beside`` makes of their values what is asked."""
    return with_options((_RECORD, *_HOW), function)


def take(values: dict[str, Any], path: str) -> Asked:
    """What is asked of the recording at ``path``. Raises ``UsageError``."""
    size, keep = values["max_size"], values["keep"]
    if keep and not size:
        raise UsageError("--keep needs --max-size", "give --max-size, or leave --keep out")
    if size is not None and not _can_be_renamed(path):
        raise UsageError("--max-size needs a file with a name", "give a file, or leave --max-size out")
    redact = tuple(values["redact"].split(",")) if values["redact"] is not None else ()
    rotation = Rotation(size, keep or 9) if size is not None else None
    if rotation:
        rotation.begin(path)
    return Asked(path, redact, rotation)


def take_beside(values: dict[str, Any], output: str | None, stdout: str) -> Asked | None:
    """The same of --record; None without it. ``output`` is where the verb writes, and ``stdout`` whose standard output is,
    in words; "" where it is nobody's. Raises ``UsageError``.
    """
    path = values["record"]
    if path is None:
        for name in NAMES:
            if values[name] is not None:
                raise UsageError(f"--{name.replace('_', '-')} needs a recording", "give --record FILE")
        return None
    if output is not None and os.path.realpath(output) == os.path.realpath(path):
        raise UsageError("the output and the recording are the same file", "name another one after -o or --record")
    if stdout and is_stdout(path):
        raise UsageError(f"standard output is {stdout}", "give --record another file")
    return take(values, path)


def is_stdout(path: str) -> bool:
    """Whether that is standard output: "-", or the file or pipe that it is."""
    if path == "-":
        return True
    try:
        there, here = os.stat(path), os.fstat(1)
    except OSError:
        return False
    return os.path.samestat(there, here) and (stat.S_ISREG(here.st_mode) or stat.S_ISFIFO(here.st_mode))


def _can_be_renamed(path: str) -> bool:
    return path != "-" and (not os.path.exists(path) or stat.S_ISREG(os.stat(path).st_mode))
