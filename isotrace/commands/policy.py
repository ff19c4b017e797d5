"""``isotrace policy``: look at a policy file without enforcing it."""

from __future__ import annotations

import shutil
import sys

import click

from isotrace.commands import handing
from isotrace.commands.options import INCOMPLETE_OK
from isotrace.errors import UsageError
from isotrace.process.telling import folded, tell
from isotrace.trace.target import Target

_ONE_LINE = 4096  # columns

_EPILOG = """\b
@NAME in the place of a FILE is a policy that comes with isotrace.

\b
Examples:
  isotrace policy show                     the policies that come with it
  isotrace policy show @agent > agent.toml
                                           a copy to change
  isotrace policy check worker.toml        every mistake, with its line
  isotrace policy explain worker.toml      what each rule becomes here
  isotrace policy test worker.toml t.arrow
                                           which calls of a recorded run it
                                           would have denied
  isotrace policy diff old.toml new.toml   what the new one allows and the old
                                           one did not
  isotrace policy export worker.toml --to seccomp -o worker.json
                                           for Docker and Podman
  isotrace policy import default.json -o container.toml
                                           from a Docker profile
"""


@click.group(epilog=_EPILOG)
def policy() -> None:
    """Show, check, explain, test, compare and export policies."""


@policy.command(short_help="Show a policy that comes with isotrace, or list them.")
@click.argument("name", metavar="[@NAME]", required=False)
def show(name: str | None) -> None:
    """Show the file of @NAME, a policy that comes with isotrace; without a name list them.

    They are made for commands and need no root: isotrace block --policy @agent -- CMD.
    """
    from isotrace.policy import presets

    if name is not None:
        click.echo(presets.text(name), nl=False)
        return
    width = shutil.get_terminal_size().columns - 1 if sys.stdout.isatty() else _ONE_LINE
    formatter = click.HelpFormatter(width=width, indent_increment=0)
    formatter.write_dl([*presets.titles()])
    click.echo(formatter.getvalue(), nl=False)


@policy.command(short_help="Find every mistake in a policy.")
@click.argument("file", metavar="FILE|@NAME")
def check(file: str) -> None:
    """Report every mistake in a policy, each with its line; status 2 if there is one."""
    from isotrace.policy.file import load

    loaded = load(file)
    count = len(loaded.rules)
    groups = ", ".join(group.name for group in loaded.groups)
    click.echo(f"{file}: {count} rule{'s' * (count != 1)} in {groups}")


@policy.command(short_help="Say what would enforce each rule on this kernel.")
@click.argument("file", metavar="FILE|@NAME")
@click.option("--backend", default="auto", show_default=True, help="As in isotrace block.")
@click.option(
    "-v", "--verbose", is_flag=True, help="For a rule that cannot be enforced, say what every mechanism lacks."
)
def explain(file: str, backend: str, verbose: bool) -> None:
    """Say what would enforce each rule of a policy on this kernel, or why nothing would.

    It does so for processes that already run, and for a command that isotrace starts.
    """
    from isotrace.enforce import describe, plan
    from isotrace.enforce.findings import KernelFindings
    from isotrace.enforce.registry import BACKENDS
    from isotrace.policy.file import load

    if backend not in BACKENDS:
        raise UsageError(f"no such backend: {backend!r}", f"one of {', '.join(BACKENDS)}")
    loaded, findings = load(file), KernelFindings()
    for group in loaded.groups:
        if group.description:
            click.echo(folded(f"{group.name}: {describe.plain(group.description)}", 1))
    for title, target in (
        ("Processes that run already (--ppid, --pid, --tree, …)", Target(pid=(1,))),
        ("A command that isotrace starts (-- CMD)", Target(command=("CMD",))),
    ):
        click.echo(f"\n{title}:")
        for line in describe.plan_lines(plan.make(loaded, findings, target, backend, best_effort=True), verbose):
            click.echo(folded(f"  {line}", 1))


_TEST_EPILOG = """\b
The rules are judged as the enforcers judge them. A recording made with
isotrace record -y has the files and sockets; otherwise only the names that
callers gave. What cannot be judged is counted, and does not count as allowed.
The status is 1 if anything would have been denied (with --expect: if that
differs from what was expected), or if a recording lacks something of its run.

\b
A file for --expect has a line for each expected denial: CALL, or CALL and
what follows it in the output. * is anything, # begins a comment:
  openat r /etc/shadow
  connect tcp 10.0.0.1:*

\b
Examples:
  isotrace policy test worker.toml t.arrow
  isotrace policy test worker.toml 'web*.arrow' --rows
  isotrace policy test worker.toml t.arrow --expect denied.txt --format json
"""


@policy.command(name="test", short_help="Try a policy on recorded runs.", epilog=_TEST_EPILOG)
@click.argument("file", metavar="POLICY")
@click.argument("recordings", metavar="REC...", nargs=-1, required=True)
@click.option("--rows", is_flag=True, help="Show each call that would have been denied, as isotrace log does.")
@click.option("--expect", metavar="FILE", help="The denials to expect; status 1 if there are more, or fewer.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@INCOMPLETE_OK
def try_on(
    file: str, recordings: tuple[str, ...], rows: bool, expect: str | None, style: str, incomplete_ok: bool
) -> int:
    """Show which calls of recorded runs POLICY would have denied."""
    from isotrace.learning import expected, reporting, sources
    from isotrace.learning.folding import FIRST
    from isotrace.learning.judging import Judge
    from isotrace.policy.file import load

    if rows and style == "json":
        raise UsageError("--rows prints text", "--format json has the first rows of each denial")
    loaded, lines = load(file), expected.load(expect) if expect else None
    most = None if rows else FIRST
    read = sources.read(recordings, most=most)
    judged = Judge(loaded).judge(read.calls, most)
    if style == "json":
        for found in reporting.objects(read, judged):
            click.echo(found)
    else:
        for line in reporting.row_by_row(read, judged) if rows else reporting.folded(read, judged):
            click.echo(line)
    tell(reporting.summary(read, judged))
    read.verdict.say()
    status = read.verdict.of_whole(incomplete_ok)
    if lines is None:
        return int(status or judged.refusals > 0)
    surprising, missing = expected.compare(lines, judged.refused)
    tell(f"not expected: {one.asked.call} {expected.thing_of(one)}".rstrip() for one in surprising)
    tell(f"{expect}:{one.line}: expected, and not denied: {one}" for one in missing)
    return int(status or bool(surprising or missing))


@policy.command(short_help="Compare what two policies allow.")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def diff(before: str, after: str, style: str) -> int:
    """Show what policy B allows and A does not (+), and the reverse (-); status 1 if B allows more."""
    import orjson

    from isotrace.decode.quote import escape_text
    from isotrace.learning.policies import compare
    from isotrace.policy.file import load

    found = compare(load(before), load(after))
    for one in found:
        what = escape_text(one.what)
        if style == "json":
            click.echo(orjson.dumps({"wider": one.wider, "kind": one.kind, "what": what}))
        else:
            click.echo(f"{'+' if one.wider else '-'} {one.kind}: {what}")
    return int(any(one.wider for one in found))


policy.add_command(handing.export)
policy.add_command(handing.take)
