"""``isotrace module``: the kernel module for machines on which BPF cannot serve."""

from __future__ import annotations

import os
from pathlib import Path

import click

from isotrace.errors import KernelError

_EPILOG = """\b
The module logs and refuses calls as BPF would, for isotrace log --backend lkm
and isotrace block --backend lkm. It does nothing until isotrace asks it to,
and what was asked ends with the isotrace that asked.

\b
Examples:
  sudo isotrace module build         against the running kernel's headers
  sudo isotrace module load
  sudo isotrace log --backend lkm --ppid $$
  sudo isotrace module unload
"""
_PATH = click.Path(path_type=Path, dir_okay=True)


@click.group(epilog=_EPILOG)
def module() -> None:
    """Build, load and unload the kernel module: the fallback where BPF is not to be had."""


@module.command()
@click.option("--release", metavar="RELEASE", help="For this kernel.  [default: the running one]")
@click.option("--headers", type=_PATH, metavar="DIR", help="Its headers.  [default: /lib/modules/RELEASE/build]")
@click.option("--to", type=_PATH, metavar="DIR", help="Put it there.  [default: /var/lib/isotrace/RELEASE]")
@click.option("--dkms", is_flag=True, help="Let DKMS build and install it, for this kernel and those to come.")
def build(release: str | None, headers: Path | None, to: Path | None, dkms: bool) -> None:
    """Build the module against a kernel's headers."""
    from isotrace.kmod import STORE
    from isotrace.kmod import build as building

    release = release or os.uname().release
    if dkms:
        if headers or to:
            raise click.UsageError(
                "DKMS knows the headers and the place itself: --dkms goes without --headers and --to"
            )
        building.dkms(release)
        click.echo(f"installed by DKMS for {release}")
        return
    click.echo(f"built {building.build(release, to or STORE / release, headers)}")


@module.command()
@click.option(
    "--file", "path", type=_PATH, metavar="FILE", help="This one, rather than what was built for this kernel."
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "ftrace", "table"]),
    default="auto",
    show_default=True,
    help="How calls are refused: at their own functions, or by sys_call_table where calls go through it.",
)
def load(path: Path | None, mode: str) -> None:
    """Load the module; it does nothing until isotrace asks it to."""
    from isotrace.kmod import load as loading

    loading.load(path or loading.find(os.uname().release), mode)
    status_lines()


@module.command()
def unload() -> None:
    """Unload the module; refused while an isotrace uses it."""
    from isotrace.kmod import load as loading

    loading.unload()


@module.command(short_help="Say whether the module is loaded, and who uses it.")
def status() -> int:
    """Say whether the module is loaded, how it refuses, and who uses it; exit status 3 when it is not loaded."""
    from isotrace.backends import lkm
    from isotrace.kmod import load as loading

    if lkm.is_loaded():
        status_lines()
        return 0
    try:
        click.echo(f"not loaded; built: {loading.find(os.uname().release)}")
    except KernelError as error:
        click.echo(f"not loaded; {error.message}")
    return KernelError.status


def status_lines() -> None:
    """What the loaded module says of itself."""
    from isotrace.backends.lkm import Channel

    channel = Channel()
    info = channel.info()
    channel.close()
    ways = {"none": "cannot refuse calls", "ftrace": "refuses by ftrace", "table": "refuses by sys_call_table"}
    click.echo(f"loaded: version {info.version}; {ways[info.mode]}; {info.table}")
    click.echo(f"in use by process {info.busy}" if info.busy else "not in use")
