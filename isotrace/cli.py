"""The command line: ``isotrace VERB``, one file a verb in isotrace/commands, imported when it is called."""

from __future__ import annotations

import difflib
import sys
from importlib import import_module

import click

from isotrace import __version__
from isotrace.errors import KernelError, UsageError

#: By what people want: verb → what it does, for the list of them.
_GROUPS = {
    "See": {
        "log": "Log system calls as strace shows them.",
        "top": "Show a live table of calls, files and errors.",
    },
    "Record": {
        "record": "Record system calls in a file.",
        "sql": "Query recordings in SQL.",
        "export": "Write recordings in other formats.",
        "diff": "Show what one run did and another did not.",
    },
    "Block": {
        "block": "Deny calls, files and addresses.",
        "ask": "Ask somebody before calls go on.",
        "answer": "Answer questions from another terminal.",
    },
    "Make policies": {
        "learn": "Learn a policy from what a run does.",
        "policy": "Show, check, explain, test and export policies.",
    },
    "This machine": {
        "doctor": "Show what isotrace can do on this kernel.",
        "calls": "List system calls and their arguments.",
        "module": "Build and load the fallback kernel module.",
    },
}
VERBS = {verb: what for group in _GROUPS.values() for verb, what in group.items()}

_EPILOG = """\b
Examples:
  isotrace log -- ls                       every call of ls
  isotrace log --ppid $$                   what this shell starts (run it in
                                           another terminal)
  isotrace top --uid www-data              a live table of one user's calls
  isotrace record -o t.arrow -- make       a build, recorded in a file
  isotrace sql t.arrow "SELECT name, count(*) FROM calls GROUP BY name"
  isotrace block --deny connect -- make    a build without network
  isotrace learn -o make.toml -- make      a policy that allows what make did
  isotrace -v block --deny connect -- ls   a debug log of how it is done

\b
Completion: eval "$(_ISOTRACE_COMPLETE=bash_source isotrace)"
(or zsh_source, fish_source)
"""
_NOW = (
    ("isotrace log -- ls", "every system call of a command"),
    ("isotrace log --ppid PID", "every system call of a process's children"),
    ("isotrace block --deny connect -- CMD", "run a command that cannot connect anywhere"),
)


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = getattr(import_module(f"isotrace.commands.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, 2)
            hint = f"did you mean {' or '.join(near)}?" if near else "isotrace --help lists the commands"
            raise UsageError(f"no such command: {args[0]!r}", hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, VERBS))
        for title, verbs in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(verb.ljust(width), what) for verb, what in verbs.items()])


@click.group(
    cls=_Verbs,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARG]...",
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Log to standard error what isotrace probes, chooses, loads and attaches. Give it before COMMAND: a -v after it is"
    " the command's own.",
)
@click.version_option(__version__, prog_name="isotrace")
@click.pass_context
def cli(ctx: click.Context, verbose: bool) -> None:
    """See, record and block the system calls of running processes."""
    if verbose:
        _say_more()
    if ctx.invoked_subcommand is not None:
        return
    if not sys.stdout.isatty():
        raise click.exceptions.NoArgsIsHelpError(ctx)
    _what_now()


def _say_more() -> None:
    from isotrace.decode.quote import safe
    from isotrace.process import verbose

    verbose.use(safe)


def _what_now() -> None:
    """A few lines for a user who typed isotrace alone: what to do now, on this kernel."""
    from isotrace.kernel import features
    from isotrace.process.telling import folded

    try:
        features.require_log()
    except KernelError as error:
        for said in (f"isotrace cannot trace here: {error.message}", f"  hint: {error.hint}"):
            click.echo(folded(said, 1))
        click.echo()
    for line, what in _NOW:
        click.echo(f"{line:38}{what}")
    click.echo("What this kernel can do: isotrace doctor. All commands: isotrace --help.")
