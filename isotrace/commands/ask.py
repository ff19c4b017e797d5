"""``isotrace ask``: calls of the target wait until somebody has said whether they go on."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from isotrace import units
from isotrace.commands.enforcing import asked_of, best_effort_option, enforced_target, guard_from, prepare, rule_options
from isotrace.commands.keeping import record_options
from isotrace.commands.options import FOR, Parsed, kept_target_options
from isotrace.errors import UsageError
from isotrace.process.interrupts import import_in_one_thread
from isotrace.sinks.output import Output
from isotrace.trace.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isotrace.asking.desk import Desk
    from isotrace.policy.model import Policy
    from isotrace.run.asking import Asker, OnScreen

_EPILOG = """\b
Rules are those of isotrace block, and --ask, --ask-path, --ask-net are such that ask. The most specific rule decides; on a
tie refusing comes before asking, asking before allowing. What a rule refuses or excepts is not asked about.

\b
The question says who asks, what call it is, and what an answer covers. Answers: allow, deny, kill; for this once, the
process, the program, a time (10m), or always, which is written into the file of --policy. Questions about one directory,
program or address are one. Nothing is allowed because nobody answers, whoever is asked fails, or too many wait.

\b
Examples:
  isotrace ask --ask-path 'r:/home/*/.ssh/**' --ask-net any: -- ./install.sh
  isotrace ask --ask connect --policy answers.toml -- make        always is written into answers.toml
  isotrace ask --ask-path 'w:/srv/**' --answer-with ./decide.py -- ./agent

\b
--answer-with runs a program for each question, with the question as JSON on its standard input; it prints allow, deny or
kill, and perhaps for what: deny, allow process, allow 10m, {"answer": "allow", "scope": "always"}.
"""


@click.command(epilog=_EPILOG)
@kept_target_options
@click.option("--ask", "ask_calls", multiple=True, metavar="EXPR", help="Ask before these calls.")
@click.option("--ask-path", multiple=True, metavar="[rwx:]GLOB", help="Ask before these files are used so.")
@click.option("--ask-net", multiple=True, metavar="ADDRESS", help="Ask before these addresses are used.")
@rule_options
@click.option("--policy", metavar="FILE", help="Rules from a TOML file, which answers for always are written into.")
@click.option("--errno", metavar="NAME", help="The error of a call that is denied.  [default: EPERM]")
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
    help="What becomes of a call that nobody answers in time, or that cannot wait.",
)
@click.option("--answer-with", metavar="CMD", help="Ask this program instead of a person.")
@click.option("--socket", metavar="PATH", help="Let isotrace answer PATH answer, too, by a socket made there.")
@click.option("--plain", is_flag=True, help="Ask line by line, without a dialogue that has the whole terminal.")
@FOR
@click.option(
    "--backend",
    type=click.Choice(["auto", "lsm", "seccomp"]),
    default="auto",
    show_default=True,
    help="Use only this mechanism.",
)
@best_effort_option
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Write answers and refusals there instead of to standard output.")
@record_options
def ask(**choices: Any) -> int:
    """Ask before calls of the target go on: they wait until somebody has said allow, deny or kill.

    Each answer and each refusal is a line; repeated ones are folded into a count.
    """
    import_in_one_thread()
    from isotrace.policy import assemble

    target = enforced_target(choices, "asked about")
    words = {
        key: choices[key] for key in ("deny", "ask_path", "deny_path", "allow_path", "ask_net", "deny_net", "allow_net")
    }
    words["ask"] = choices["ask_calls"]
    action = assemble.action(choices["errno"], False, False)
    policy = assemble.questions(words, action, choices["policy"], choices["otherwise"])
    if not policy.asks:
        raise UsageError("no rule asks", "give --ask, --ask-path or --ask-net; isotrace block refuses without asking")
    guard_from(target)
    return _ask(target, policy, choices)


def _ask(target: Target, policy: Policy, choices: dict[str, Any]) -> int:
    from isotrace.asking.desk import Desk
    from isotrace.run.asking import Held, OnScreen, Questions, asking

    asked = asked_of(target, choices, "the answers'")
    askers = _Askers(choices, target)
    held = Held() if askers.dialogue and not choices["output"] and os.isatty(1) else None
    found = prepare(target, policy, choices, asked, lambda: held or Output(choices["output"]))
    screen = OnScreen(str(target), held) if askers.dialogue else None
    desk = Desk(asking(found.enforcers, found.plan), found.sink.rules, policy, choices["timeout"])
    part = Questions(
        target,
        found.plan,
        found.enforcers,
        found.sink,
        choices["best_effort"],
        desk,
        partial(askers.make, desk, screen),
        found.recorder,
    )
    return found.go(part, choices["seconds"], [screen] if screen else [])


class _Askers:
    """Whoever is asked: found before anything starts. Raises ``IsotraceError`` where there is nobody."""

    def __init__(self, choices: dict[str, Any], target: Target) -> None:
        from isotrace.asking import prompt, socket

        self._choices, self._target = choices, target
        program = choices["answer_with"]
        if program is not None and not program.strip():
            raise UsageError("--answer-with names no program", "give a command line for sh")
        self._tty = prompt.terminal() if program is None else None
        if program is None and self._tty is None and choices["socket"] is None:
            hint = "--answer-with CMD asks a program, --socket PATH whoever runs isotrace answer"
            raise UsageError("there is nobody to ask: isotrace has no terminal here", hint)
        capable = os.environ.get("TERM", "dumb") != "dumb" and os.isatty(0) and os.isatty(2)
        self.dialogue = self._tty is not None and capable and not target.command and not choices["plain"]
        self._listener = socket.listen(choices["socket"]) if choices["socket"] is not None else None

    def make(self, desk: Desk, screen: OnScreen | None) -> Sequence[Asker]:
        """All of them; the dialogue has the ``screen``."""
        from isotrace.asking.file import AnswersFile
        from isotrace.asking.program import Program
        from isotrace.asking.prompt import Prompt
        from isotrace.asking.replies import Replies
        from isotrace.asking.socket import Server
        from isotrace.process.telling import say

        path, target = self._choices["policy"], self._target
        file = AnswersFile(path) if path is not None else None
        replies = Replies(desk, file, say, {*target.pid, *target.tree, *target.ppid, os.getpid()})
        found: list[Asker] = []
        if self._listener:
            found.append(Server(self._listener, replies))
        if self._choices["answer_with"] is not None:
            found.append(Program(self._choices["answer_with"], replies))
        if screen is not None:
            screen.replies = replies
        elif self._tty is not None:
            found.append(Prompt(self._tty, replies, shared=bool(target.command)))
        return found
