"""``isotrace record``: every system call of the target, kept in a file."""

from __future__ import annotations

from typing import Any

import click

from isotrace.backends.loader import Loader
from isotrace.catalog import expr
from isotrace.commands.keeping import how_options, is_stdout, take
from isotrace.commands.options import (
    BACKEND,
    DESCRIPTORS,
    FOR,
    LOSSLESS,
    RESOLVE,
    RING,
    SHOW_CONTAINERS,
    STACKS,
    STRICT,
    STRING_LIMIT,
    containers_to_show,
    take_target,
    target_options,
    trace_options,
)
from isotrace.commands.showing import KEEP_ALL
from isotrace.errors import UsageError
from isotrace.kernel.backend import choose
from isotrace.process.interrupts import one_thread
from isotrace.process.launch import Command

_EPILOG = """\b
A recording is an Arrow file that only its owner may read (docs/recording.md).
You can read it while it grows. However isotrace ends, the recording is whole
up to its last batch. It also has losses, signals, exits and the processes
that ran before. A complete recording ends with the counts of the run.

\b
Examples:
  isotrace record -o t.arrow -- make -j2    a build, from its first call on
  isotrace record -o web.arrow --uid www-data --for 10m
  isotrace record -y -o t.arrow -- make     also what descriptors are, for
                                            isotrace log --from t.arrow -y
  isotrace record -k -o t.arrow --uid www-data
                                            also user stacks, for
                                            isotrace export --to folded
  isotrace record -v -o t.arrow --calls execve -- make
                                            all arguments, the environment
  isotrace record -o t.arrow --tree 1234 --max-size 1g --keep 20
                                            files of 1 GB, and 20 earlier ones
  isotrace record -o t.arrow --redact data,argv --comm smtpd
                                            names, but no contents
  isotrace record -o - --pid 1234 | ssh host 'cat >1234.arrow'
"""


@click.command(epilog=_EPILOG)
@target_options
@click.option("-o", "--output", metavar="FILE", required=True, help="The recording; - is standard output.")
@FOR
@how_options
@click.option("--no-durations", is_flag=True, help="Do not time calls; this costs the target less.")
@click.option("-q", "--quiet", is_flag=True, help="No signals and no summary, unless something was lost.")
@DESCRIPTORS
@RESOLVE
@STACKS
@SHOW_CONTAINERS
@KEEP_ALL
@STRING_LIMIT
@RING
@BACKEND
@STRICT
@LOSSLESS
def record(**choices: Any) -> int:
    """Record every system call of the target in a file, to show, count and query it later."""
    containers = containers_to_show(choices)
    target = take_target(choices)
    path, text = choices["output"], choices["calls"]
    calls = expr.parse(text) if text is not None else None
    if target.command and is_stdout(path):
        raise UsageError("standard output is the command's", "give -o FILE")
    asked = take(choices, path)
    by_module = choose(choices["backend"]) == "lkm"
    containers = containers and (choices["show_containers"] or not by_module)
    command = Command(target.command) if target.command else None
    loader = None if by_module else Loader()
    # Only now what takes time to import: both children are forked small and have their work to do.
    one_thread()
    from isotrace.run.lifecycle import Run
    from isotrace.run.recorder import Recorder
    from isotrace.run.records import Records

    def parts() -> list[Records]:
        options = trace_options(choices, target, calls, not choices["no_durations"], choices["full"], containers)
        recorder = Recorder(asked, text)
        return [Records(options, loader, lambda _: [], recorder, choices["quiet"], choices["strict"])]

    return Run(target, parts, command, choices["seconds"], quiet=choices["quiet"]).go()
