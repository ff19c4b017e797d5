"""The command line: ``isotrace VERB``, one file a verb in isotrace/commands, imported when it is called."""

from __future__ import annotations

from importlib import import_module

import click

from isotrace import __version__

_VERBS = ("log", "record", "top", "block", "ask", "answer", "sql", "export", "policy", "calls", "doctor", "module")

_EPILOG = """\b
Examples:
  isotrace log -- make                     every call of a build, from its first one on
  isotrace log --ppid $$                   what is typed in this shell, seen from another terminal
  isotrace log --calls %network -- curl -s http://127.0.0.1/
  isotrace record -o build.arrow -- make   the same build, kept in a file: isotrace sql build.arrow
  isotrace block --deny connect -- make    the same build, kept from the network
  isotrace top --uid www-data              a live table of what is called, how often and how long
  isotrace sql t.arrow "SELECT name, count(*) FROM calls GROUP BY name"
  isotrace export t.arrow --to perfetto    for https://ui.perfetto.dev
  isotrace calls %file                     the calls that take a file name
  isotrace doctor                          what this kernel can do

\b
Completion: eval "$(_ISOTRACE_COMPLETE=bash_source isotrace)"   (or zsh_source, fish_source)
"""


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command = getattr(import_module(f"isotrace.commands.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Verbs, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="isotrace")
def cli() -> None:
    """Log the system calls of a family of running processes, decoded as strace would, and refuse some of them."""
