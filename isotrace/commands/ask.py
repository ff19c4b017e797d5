"""``isotrace ask``: calls of the target wait until somebody has said whether they go on."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from isotrace import units
from isotrace.backends.loader import Loader
from isotrace.commands.enforcing import asked_of, best_effort_option, enforced_target, guard_from, prepare, rule_options
from isotrace.commands.keeping import record_options
from isotrace.commands.options import FOR, Parsed, kept_target_options
from isotrace.errors import UsageError
from isotrace.process import forkserver
from isotrace.process.console import capable
from isotrace.process.interrupts import import_in_one_thread
from isotrace.sinks.output import Output
from isotrace.trace.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isotrace.asking.desk import Desk
    from isotrace.asking.desktop import Desktop
    from isotrace.policy.model import Policy
    from isotrace.process.launch import Command
    from isotrace.run.asking import Asker, Held, OnScreen
    from isotrace.run.lifecycle import Part
    from isotrace.top.asked import AskedTable

_EPILOG = """\b
Rules are those of isotrace block, plus rules that ask: --ask, --ask-path,
--ask-read, --ask-net. The most specific rule decides. On a tie denying wins
over asking, and asking over allowing. isotrace does not ask about what
another rule denies or exempts.

\b
A question says who makes the call, what it is, and what an answer covers.
The answers are allow, deny and kill: once, for the process, for the program,
for a time (10m), or always. An answer for always is written to the file of
--policy. Questions about one directory, program or address are grouped. A
call is never allowed because nobody answers, the answering program fails, or
too many calls wait.

\b
Calls wait in BPF programs at the kernel's security hooks. Where BPF cannot
attach there, seccomp makes the calls of a command wait. For processes that
already run, fanotify then covers opens of files and directories that a rule
names literally (r:/d/file, r:/d/*).

\b
Examples:
  isotrace ask --ask-path 'r:/home/*/.ssh/**' --ask-net any: -- ./install.sh
  isotrace ask --tree 1234 --ask-path r:/srv/key     running processes, in a
                                                     dialogue
  isotrace ask --ask connect --policy answers.toml -- make
                                                     "always" is kept there
  isotrace ask --ask-path 'w:/srv/**' --answer-with ./decide.py -- ./agent

\b
--answer-with runs a program for each question. It gets the question as JSON
on its standard input. It prints allow, deny or kill, and perhaps a scope:
deny, allow process, allow 10m, {"answer": "allow", "scope": "always"}.
"""


_NO_RULE = "give --ask, --ask-path, --ask-read or --ask-net; isotrace block does not ask"


@click.command(epilog=_EPILOG)
@kept_target_options
@click.option("--ask", "ask_calls", multiple=True, metavar="EXPR", help="Ask before these calls.")
@click.option("--ask-path", multiple=True, metavar="[rwx:]GLOB", help="Ask before these files are used in this way.")
@click.option(
    "--ask-read",
    multiple=True,
    metavar="GLOB",
    help="Ask before these files are read, including files that are already open.",
)
@click.option("--ask-net", multiple=True, metavar="ADDRESS", help="Ask before these addresses are used.")
@rule_options
@click.option(
    "--policy",
    metavar="FILE|@NAME",
    help="Also use the rules of a TOML file or a preset. Answers for always are written to the file, never to a preset.",
)
@click.option("--errno", metavar="NAME", help="The error of a denied call.  [default: EPERM]")
@click.option(
    "--timeout",
    type=Parsed("duration", units.duration),
    default="60s",
    show_default=True,
    help="How long a question waits for an answer.",
)
@click.option(
    "--default",
    "otherwise",
    type=click.Choice(["deny", "kill"]),
    default="deny",
    show_default=True,
    help="What happens to a call that nobody answers in time, or that cannot wait.",
)
@click.option(
    "--fail-closed",
    "kept",
    is_flag=True,
    help="If isotrace is killed, deny what it would ask about, until isotrace runs again or the target has ended.",
)
@click.option(
    "--stop-catchers",
    "stops",
    is_flag=True,
    help="Stop processes that catch SIGCONT while they wait, instead of applying --default; their parents see that.",
)
@click.option("--answer-with", metavar="CMD", help="Ask this program instead of a person.")
@click.option("--socket", metavar="PATH", help="Make a socket there, for isotrace answer PATH.")
@click.option("--notify", is_flag=True, help="Also show questions on the desktop, and take answers there.")
@click.option("--plain", is_flag=True, help="Ask line by line, without the full-screen dialogue.")
@click.option("--top", is_flag=True, help="Show the live table of isotrace top, with questions over it.")
@FOR
@click.option(
    "--backend",
    type=click.Choice(["auto", "lsm", "seccomp", "fanotify"]),
    default="auto",
    show_default=True,
    help="Use only this mechanism.",
)
@best_effort_option
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Write answers and denials there instead of to standard output.")
@record_options
def ask(**choices: Any) -> int:
    """Ask before calls of the target go on: they wait until somebody says allow, deny or kill.

    Each answer and each denial is a line; repeated ones are folded into a count.
    """
    if choices["top"]:
        forkserver.use(forkserver.ForkServer())  # first of all, as for isotrace top: for what is refused from the table
    import_in_one_thread()
    from isotrace.policy import assemble

    target = enforced_target(choices, "asked about")
    words = {
        key: choices[key]
        for key in ("deny", "ask_path", "ask_read", "deny_path", "allow_path", "ask_net", "deny_net", "allow_net")
    }
    words["ask"] = choices["ask_calls"]
    action = assemble.action(choices["errno"], False, False)
    _check_file(choices["policy"])
    if choices["policy"] is None and not any(words.values()):
        raise UsageError("no rule asks", _NO_RULE)
    policy = assemble.questions(
        words, action, choices["policy"], choices["otherwise"], choices["kept"], choices["stops"]
    )
    if not policy.asks:
        raise UsageError("no rule asks", _NO_RULE)
    if choices["kept"] and not target.mapped:
        raise UsageError("--fail-closed needs a target whose end can be detected", "give --tree or a command")
    if choices["kept"] and target.waited:
        raise UsageError(
            "--fail-closed and --wait exclude each other: nobody looks for the container once isotrace is killed",
            "leave one of them out",
        )
    guard_from(target)
    return _ask(target, policy, choices)


def _check_file(path: str | None) -> None:
    """A policy that answers for always are written into is a file, or may become one. Raises ``UsageError``."""
    from isotrace.policy.presets import is_preset

    if path is None or is_preset(path):
        return
    where = os.path.dirname(os.path.abspath(path))
    if not path or (os.path.exists(path) and not os.path.isfile(path)):
        raise UsageError(f"--policy {path!r} is not a file", "name a file; isotrace makes it if it does not exist")
    if not os.path.isdir(where):
        raise UsageError(f"--policy {path!r}: there is no directory {where!r}", "make the directory first")


def _ask(target: Target, policy: Policy, choices: dict[str, Any]) -> int:
    from isotrace.asking.desk import Desk
    from isotrace.run.asking import Held, Questions, asking

    asked = asked_of(target, choices, "the answers'")
    askers = _Askers(choices, target)
    held = Held() if askers.dialogue and not choices["output"] and os.isatty(1) else None
    screens = _Screens(target, askers.dialogue, choices["top"], held)
    found = prepare(target, policy, choices, asked, lambda: held or Output(choices["output"]))
    desk = Desk(asking(found.enforcers, found.plan), found.sink.rules, policy, choices["timeout"])
    part = Questions(
        target,
        found.plan,
        found.enforcers,
        found.sink,
        choices["best_effort"],
        desk,
        partial(askers.make, desk, screens.made),
        found.recorder,
    )
    return found.go(part, choices["seconds"], screens.make, screens.output)


class _Screens:
    """What has the whole terminal, if anything: the dialogue, or with ``top`` the live table."""

    def __init__(self, target: Target, dialogue: bool, top: bool, held: Held | None) -> None:
        self._target, self._dialogue, self._held = target, dialogue, held
        self._loader = Loader() if top else None  # forked while isotrace is small
        self.output = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC) if top and target.command else None
        self.made: list[OnScreen | AskedTable] = []

    def make(self, command: Command | None) -> Sequence[Part]:
        """The part of the run, beside the one that asks."""
        if self._loader:
            from isotrace.backends import counts
            from isotrace.top.asked import AskedTable

            backend = counts.planned(self._target, None, self._loader, True)
            self.made.append(AskedTable(backend, self._target, command, self._held))
        elif self._dialogue:
            from isotrace.run.asking import OnScreen

            self.made.append(OnScreen(str(self._target), self._held))
        return self.made


def _desktop() -> Desktop:
    from isotrace.asking.desktop import Desktop
    from isotrace.process.telling import say

    desktop = Desktop()
    how = (
        "whoever reaches the session bus can answer there, a target of the same user too"
        if desktop.actions
        else ("which has no buttons: questions are only shown there")
    )
    say(f"questions are shown on the desktop of {desktop.user}, {how}")
    return desktop


class _Askers:
    """Whoever is asked: found before anything starts. Raises ``IsotraceError`` where there is nobody."""

    def __init__(self, choices: dict[str, Any], target: Target) -> None:
        from isotrace.asking import prompt, socket

        self._choices, self._target = choices, target
        program = choices["answer_with"]
        if program is not None and not program.strip():
            raise UsageError("--answer-with names no program", "give a command line for sh")
        self._tty = prompt.terminal() if program is None else None
        if program is None and self._tty is None and choices["socket"] is None and not choices["notify"]:
            hint = "--answer-with CMD asks a program, --socket PATH whoever runs isotrace answer, --notify a desktop"
            raise UsageError("there is nobody to ask: isotrace has no terminal here", hint)
        draws = capable() and os.isatty(0) and os.isatty(2)
        alone = not target.command or choices["top"]
        self.dialogue = self._tty is not None and draws and alone and not choices["plain"]
        if choices["top"] and not (self.dialogue and os.isatty(1)):
            raise UsageError(
                "--top shows questions on a terminal: there is none, or another option asks elsewhere",
                "leave --top out",
            )
        self._desktop = _desktop() if choices["notify"] else None
        self._listener = socket.listen(choices["socket"]) if choices["socket"] is not None else None

    def make(self, desk: Desk, screens: Sequence[OnScreen | AskedTable]) -> Sequence[Asker]:
        """All of them; one of the ``screens`` has the dialogue."""
        from isotrace.asking.file import AnswersFile
        from isotrace.asking.program import Program
        from isotrace.asking.prompt import Prompt
        from isotrace.asking.replies import Replies
        from isotrace.asking.socket import Server
        from isotrace.policy.presets import is_preset
        from isotrace.process.telling import say

        path, target = self._choices["policy"], self._target
        file = AnswersFile(path) if path is not None and not is_preset(path) else None
        replies = Replies(desk, file, say, {*target.pid, *target.tree, *target.ppid, os.getpid()})
        found: list[Asker] = []
        if self._listener:
            found.append(Server(self._listener, replies))
        if self._desktop:
            from isotrace.asking.desktop import Notifications

            found.append(Notifications(self._desktop, replies))
        if self._choices["answer_with"] is not None:
            found.append(Program(self._choices["answer_with"], replies))
        for screen in screens:
            screen.replies = replies
        if self._tty is not None and not screens:
            found.append(Prompt(self._tty, replies, shared=bool(target.command)))
        return found
