"""``isotrace policy``: look at a policy file without enforcing it."""

from __future__ import annotations

import click

from isotrace.trace.target import Target

_EPILOG = """\b
Examples:
  isotrace policy check worker.toml        every mistake at once, each with its line
  isotrace policy explain worker.toml      what each rule becomes on this kernel
"""


@click.group(epilog=_EPILOG)
def policy() -> None:
    """Check a policy file, or explain what its rules become on this kernel."""


@policy.command()
@click.argument("file")
def check(file: str) -> None:
    """Findings every mistake in FILE at once, each with its line; status 2 if there is one."""
    from isotrace.policy.file import load

    loaded = load(file)
    count = len(loaded.rules)
    groups = ", ".join(group.name for group in loaded.groups)
    click.echo(f"{file}: {count} rule{'s' * (count != 1)} in {groups}")


@policy.command()
@click.argument("file")
@click.option("--backend", default="auto", show_default=True, help="As in isotrace block.")
def explain(file: str, backend: str) -> None:
    """Say what would enforce each rule of FILE on this kernel, or why nothing would.

    For processes that run already, and for a command that isotrace starts.
    """
    from isotrace.enforce import describe, plan
    from isotrace.enforce.findings import KernelFindings
    from isotrace.enforce.registry import BACKENDS
    from isotrace.errors import UsageError
    from isotrace.policy.file import load

    if backend not in BACKENDS:
        raise UsageError(f"no such backend: {backend!r}", f"one of {', '.join(BACKENDS)}")
    loaded, findings = load(file), KernelFindings()
    for group in loaded.groups:
        if group.description:
            click.echo(f"{group.name}: {describe.plain(group.description)}")
    for title, target in (
        ("Processes that run already (--ppid, --pid, --tree, …)", Target(pid=(1,))),
        ("A command that isotrace starts (-- CMD)", Target(command=("CMD",))),
    ):
        click.echo(f"\n{title}:")
        for line in describe.plan_lines(plan.make(loaded, findings, target, backend, best_effort=True)):
            click.echo(f"  {line}")
