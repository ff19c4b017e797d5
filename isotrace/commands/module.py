"""``isotrace module``: the kernel module for machines on which BPF cannot serve."""

from __future__ import annotations

import os
from pathlib import Path

import click

from isotrace.errors import KernelError

_EPILOG = """\b
The module logs and denies calls as BPF would, for isotrace log --backend lkm
and isotrace block --backend lkm. It does nothing until an isotrace uses it,
and stops when that isotrace ends.

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
    """Build, load and unload the kernel module: the fallback where BPF is not available."""


@module.command()
@click.option("--release", metavar="RELEASE", help="Build for this kernel.  [default: the running one]")
@click.option(
    "--headers", type=_PATH, metavar="DIR", help="The kernel's headers.  [default: /lib/modules/RELEASE/build]"
)
@click.option("--to", type=_PATH, metavar="DIR", help="Write the module there.  [default: /var/lib/isotrace/RELEASE]")
@click.option("--dkms", is_flag=True, help="Let DKMS build and install it, for this kernel and later ones.")
def build(release: str | None, headers: Path | None, to: Path | None, dkms: bool) -> None:
    """Build the module against a kernel's headers."""
    from isotrace.kmod import STORE
    from isotrace.kmod import build as building

    release = release or os.uname().release
    if dkms:
        if headers or to:
            raise click.UsageError("--dkms excludes --headers and --to: DKMS chooses both itself")
        building.dkms(release)
        click.echo(f"installed by DKMS for {release}")
        return
    click.echo(f"built {building.build(release, to or STORE / release, headers)}")


@module.command()
@click.option(
    "--file", "path", type=_PATH, metavar="FILE", help="Load this file instead of the one built for this kernel."
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "ftrace", "table"]),
    default="auto",
    show_default=True,
    help="How to deny calls: at their own functions (ftrace), or by sys_call_table (table), if calls go through it.",
)
def load(path: Path | None, mode: str) -> None:
    """Load the module; it does nothing until an isotrace uses it."""
    from isotrace.kmod import load as loading

    loading.load(path or loading.find(os.uname().release), mode)
    status_lines()


@module.command()
def unload() -> None:
    """Unload the module; this fails while an isotrace uses it."""
    from isotrace.kmod import load as loading

    loading.unload()


@module.command(short_help="Say whether the module is loaded, and who uses it.")
def status() -> int:
    """Say whether the module is loaded, how it denies calls, and who uses it; exit status 3 if it is not loaded."""
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
    ways = {"none": "cannot deny calls", "ftrace": "denies by ftrace", "table": "denies by sys_call_table"}
    click.echo(f"loaded: version {info.version}; {ways[info.mode]}; {info.table}")
    click.echo(f"in use by process {info.busy}" if info.busy else "not in use")
