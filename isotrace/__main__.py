"""The entry point: runs the command line and is the one place that prints an error."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import click

from isotrace.cli import cli
from isotrace.errors import IsotraceError
from isotrace.process.telling import open_standard, say_raw, tell


def _fail(message: str, hint: str, status: int) -> NoReturn:
    tell([message])
    if hint:
        say_raw(f"  hint: {hint}\n")
    sys.exit(status)


def main() -> NoReturn:
    """Run ``isotrace`` and exit with its status."""
    open_standard()
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except IsotraceError as error:
        _fail(error.message, error.hint, error.status)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        sys.exit(2)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "isotrace"
        _fail(error.format_message().rstrip("."), f"see: {path} --help", 2)
    except click.ClickException as error:
        _fail(error.format_message(), "", 1)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", "", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _fail("the reader of standard output is gone", "normal when the output goes to head", 1)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter tries once more to write what is left
        where = f": {error.filename}" if error.filename else ""
        hint = "make room for the output, or send it elsewhere" if error.errno == errno.ENOSPC else ""
        _fail(f"{(error.strerror or str(error)).lower()}{where}", hint, 1)


if __name__ == "__main__":
    main()
