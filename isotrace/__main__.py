"""The entry point: runs the command line and is the one place that prints an error."""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

_PROCESS = os.getpid()
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _interrupted(number: int, _frame: FrameType | None) -> NoReturn:
    """While what follows is imported nothing has begun, and nobody needs to know at which line that was."""
    if os.getpid() == _PROCESS:
        word = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        os.write(2, f"isotrace: {word}\n".encode())
    os._exit(128 + number)


def _listen() -> object:
    """Have each signal that ends a process end this one with a word, but for those that whoever started it keeps from
    it (nohup). Returns what SIGINT did before.

    A run has handlers of its own once it begins (``process.interrupts``), and Ctrl-C once all is imported. Whoever started
    it may ignore SIGCHLD, and that outlives an execve: then the kernel would keep no child's status for isotrace.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.getsignal(signal.SIGINT)
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupted)
    return before


_BEFORE = _listen() if __name__ == "__main__" or sys.argv[0].endswith("isotrace") else None

import click  # noqa: E402

from isotrace.cli import cli  # noqa: E402
from isotrace.errors import IsotraceError  # noqa: E402
from isotrace.process.console import for_console  # noqa: E402
from isotrace.process.telling import NOT_OPEN, folded, open_standard, say_raw, tell, wait_for_readers  # noqa: E402


def _fail(message: str, hint: str, status: int, details: Sequence[str] = ()) -> NoReturn:
    tell([message])
    for line in details:
        say_raw(f"{folded(f'  {line}')}\n")
    if hint:
        say_raw(f"{folded(f'  hint: {hint}')}\n")
    sys.exit(status)


def _unread() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(1, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def main() -> NoReturn:
    """Run ``isotrace`` and exit with its status."""
    open_standard()
    try:
        wait_for_readers()
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout = for_console(sys.stdout)
        if callable(_BEFORE):
            signal.signal(signal.SIGINT, _BEFORE)
        status = cli.main(standalone_mode=False) or 0
        sys.stdout.flush()
        sys.exit(status)
    except IsotraceError as error:
        _fail(error.message, error.hint, error.status, error.details)
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
    except BrokenPipeError as error:
        if not _unread():
            _fail(f"a part of isotrace has ended: {error.strerror}", "see whether somebody, or a limit, killed it", 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _fail("the reader of standard output is gone", "normal when the output goes to head", 1)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter tries once more to write what is left
        if error.strerror == NOT_OPEN:
            _fail(f"cannot write standard output: {NOT_OPEN}", "leave out >&-, or send the output somewhere", 1)
        where = f": {error.filename}" if error.filename else ""
        hint = "make room for the output, or send it elsewhere" if error.errno == errno.ENOSPC else ""
        _fail(f"{(error.strerror or str(error)).lower()}{where}", hint, 1)


if __name__ == "__main__":
    main()
