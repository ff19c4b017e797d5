"""``python -m tests.vm.bench``: every kernel of the matrix, two guests at a time, and a table at the end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from isotrace.errors import IsotraceError

from .boot import INTERRUPTED, shell
from .build import artefacts
from .errors import from_oserror
from .matrix import Kernel, load, select
from .run import TESTS, Row, machine_of, pytest_command, run, shell_job
from .stage import explain, sayer
from .table import status, summary, table

#: The options: name, how argparse is to take it, what it is for.
OPTIONS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("--lenient", {"action": "store_true"}, "a kernel that cannot be had here is no failure, but is named"),
    ("--quick", {"action": "store_true"}, "only the kernels marked quick, leniently"),
    ("--jobs", {"type": int, "default": 2, "metavar": "N"}, "guests at a time (default 2)"),
    ("--tests", {"nargs": "+", "type": Path, "default": [], "metavar": "PATH"}, "run these tests instead"),
    ("--command", {"metavar": "COMMAND"}, "run this shell command in the guests instead of tests"),
    ("--smp", {"type": int, "default": 0, "metavar": "N"}, "processors of each guest (default: as kernels.toml says)"),
    ("--mitigations", {"action": "store_true"}, "guests with the kernel's mitigations"),
    ("--marker", {"default": "", "metavar": "MARKER"}, "of the tests those with this marker"),
    ("--with-headers", {"action": "store_true"}, "the guests have their kernels' headers, to build modules"),
    ("--shell", {"action": "store_true"}, "a shell in a guest of the first kernel, on this terminal"),
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.bench", description=__doc__)
    kernels = "names from kernels.toml or beginnings of them (default: all)"
    parser.add_argument("kernels", nargs="*", metavar="K", help=kernels)
    for name, how, purpose in OPTIONS:
        parser.add_argument(name, **how, help=purpose)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for and return the exit status."""
    options = parser().parse_args(argv)
    try:
        matrix = load()
        kernels = [_as_asked(kernel, options) for kernel in select(matrix, options.kernels)]
        if options.shell:
            return _shell(kernels[0])
    except (IsotraceError, OSError) as caught:
        error = from_oserror(caught) if isinstance(caught, OSError) else caught
        print(f"vm: {explain(error)}", file=sys.stderr)
        return error.status
    if options.quick:
        kernels = [kernel for kernel in kernels if kernel.quick]
    command = ["sh", "-c", options.command] if options.command else []
    if options.tests or options.marker:
        command = pytest_command(options.tests or TESTS, options.marker)
    lenient = options.lenient or options.quick
    rows = _all(kernels, command, options.jobs, options.with_headers, lenient)
    touched = {kernel.name for kernel in kernels}
    untouched = [kernel.name for kernel in matrix.kernels if kernel.name not in touched]
    print(f"\n{table(rows)}\n\n{summary(rows, untouched)}", flush=True)
    return status(rows, lenient)


def _as_asked(kernel: Kernel, options: argparse.Namespace) -> Kernel:
    """The kernel on the machine that the command line asks for."""
    return replace(
        kernel,
        processors=options.smp or kernel.processors,
        mitigations=options.mitigations or kernel.mitigations,
    )


def _shell(kernel: Kernel) -> int:
    return shell(artefacts(kernel, sayer(kernel.name)), shell_job(kernel), machine_of(kernel))


def _all(kernels: Sequence[Kernel], command: Sequence[str], jobs: int, headers: bool, lenient: bool) -> list[Row]:
    """Kernels that are built come first, for that takes longest; the rows are in the order of ``kernels``."""
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        work = partial(run, command=command, with_headers=headers, lenient=lenient)
        order = sorted(kernels, key=lambda kernel: not kernel.source)
        futures = {kernel.name: pool.submit(work, kernel, sayer(kernel.name)) for kernel in order}
        try:
            return [futures[kernel.name].result() for kernel in kernels]
        except KeyboardInterrupt:
            INTERRUPTED.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
