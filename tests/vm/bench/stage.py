"""What the stages share when they run alone: kernel names as arguments, one line and a hint for a failure."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from isotrace.errors import IsotraceError

from .archive import Say
from .errors import from_oserror
from .matrix import Kernel, load, select

_PRINTING = threading.Lock()


def sayer(name: str) -> Say:
    """A printer of lines that begin with the kernel's name, whole also when several kernels print at once."""

    def say(text: str) -> None:
        with _PRINTING:
            for line in text.splitlines():
                print(f"[{name}] {line}", flush=True)

    return say


def explain(error: IsotraceError) -> str:
    """An error as one line, with its hint."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def each(act: Callable[[Kernel, Say], object]) -> None:
    """Run one stage for the kernels named on the command line and exit, with 1 when it failed for one of
    them."""
    status = 0
    try:
        kernels = select(load(), sys.argv[1:])
    except IsotraceError as error:
        sys.exit(explain(error))
    for kernel in kernels:
        say = sayer(kernel.name)
        try:
            act(kernel, say)
        except (IsotraceError, OSError) as error:
            say(explain(from_oserror(error) if isinstance(error, OSError) else error))
            status = 1
    sys.exit(status)
