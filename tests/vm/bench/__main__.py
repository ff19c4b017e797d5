"""``python -m tests.vm.bench``: every kernel of the matrix, two guests at a time, and a table at the end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from isotrace.errors import IsotraceError

from .boot import shell
from .build import artefacts
from .matrix import Kernel, load, select
from .run import TESTS, Row, pytest_command, run, shell_job
from .stage import explain, sayer
from .table import status, summary, table


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.bench", description=__doc__)
    parser.add_argument(
        "kernels", nargs="*", metavar="K", help="names from kernels.toml or beginnings of them; default: all"
    )
    parser.add_argument(
        "--lenient", action="store_true", help="a kernel that cannot be had here is no failure, but is named"
    )
    parser.add_argument("--quick", action="store_true", help="only the kernels marked quick, leniently")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="guests at a time (default 2)")
    parser.add_argument(
        "--tests", nargs="+", type=Path, default=TESTS, metavar="PATH", help="run these tests instead"
    )
    parser.add_argument(
        "--command", metavar="COMMAND", help="run this shell command in the guests instead of tests"
    )
    parser.add_argument(
        "--shell", action="store_true", help="a shell in a guest of one kernel, on this terminal"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for and return the exit status."""
    options = parser().parse_args(argv)
    try:
        matrix = load()
        kernels = select(matrix, options.kernels)
        if options.shell:
            return _shell(kernels[0])
    except IsotraceError as error:
        print(f"vm: {explain(error)}", file=sys.stderr)
        return error.status
    if options.quick:
        kernels = [kernel for kernel in kernels if kernel.quick]
    command = ["sh", "-c", options.command] if options.command else pytest_command(options.tests)
    rows = _all(kernels, command, options.jobs)
    untouched = [kernel.name for kernel in matrix.kernels if kernel not in kernels]
    print(f"\n{table(rows)}\n\n{summary(rows, untouched)}", flush=True)
    return status(rows, options.lenient or options.quick)


def _shell(kernel: Kernel) -> int:
    return shell(artefacts(kernel, sayer(kernel.name)), shell_job(kernel), kernel.append)


def _all(kernels: Sequence[Kernel], command: Sequence[str], jobs: int) -> list[Row]:
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        futures = [pool.submit(run, kernel, sayer(kernel.name), command) for kernel in kernels]
        try:
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
