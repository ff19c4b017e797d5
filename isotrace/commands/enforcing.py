"""What isotrace block and isotrace ask share: the rules, where their lines go, and the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from isotrace.backends.loader import Loader
from isotrace.commands.keeping import take_beside
from isotrace.commands.options import SHOW_CONTAINERS, Function, containers_to_show, take_target, with_options
from isotrace.errors import UsageError
from isotrace.kernel import namespaces
from isotrace.process import children
from isotrace.process.launch import Command, find
from isotrace.sinks.output import Output
from isotrace.trace.target import Target

if TYPE_CHECKING:
    from isotrace.enforce import Enforcer
    from isotrace.enforce.findings import KernelFindings
    from isotrace.enforce.plan import EnforcementPlan
    from isotrace.policy.model import Policy
    from isotrace.recording.asked import Asked
    from isotrace.run.lifecycle import Part
    from isotrace.run.recorder import Recorder
    from isotrace.run.refusals import Refusals
    from isotrace.sinks.refusals import RefusalSink

_RULES = (
    click.option("--deny", multiple=True, metavar="EXPR", help="Deny these calls."),
    click.option("--deny-path", multiple=True, metavar="[rwx:]GLOB", help="Deny these files."),
    click.option("--allow-path", multiple=True, metavar="[rwx:]GLOB", help="Exempt these files from --deny-path."),
    click.option("--deny-net", multiple=True, metavar="ADDRESS", help="Deny these addresses."),
    click.option("--allow-net", multiple=True, metavar="ADDRESS", help="Exempt these addresses from --deny-net."),
)
_HOW = (
    click.option(
        "--best-effort",
        "--weaker-ok",
        "best_effort",
        is_flag=True,
        help="Start even if some rules cannot be enforced, or not fully; also leaves out the rule 'no detour by others'.",
    ),
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        help="Say each limit in full, and for a rule that cannot be enforced what every mechanism lacks.",
    ),
    SHOW_CONTAINERS,
)


def rule_options(function: Function) -> Function:
    """--deny, --deny-path, --allow-path, --deny-net, --allow-net."""
    return with_options(_RULES, function)


def best_effort_option(function: Function) -> Function:
    """--best-effort, --verbose, --show-containers."""
    return with_options(_HOW, function)


@dataclass(frozen=True)
class Prepared:
    """All that there is before anything is started, but for the part that enforces."""

    target: Target
    plan: EnforcementPlan
    findings: KernelFindings
    enforcers: dict[str, Enforcer]
    sink: RefusalSink
    recorder: Recorder | None
    loader: Loader | None
    containers: bool = False

    def go(
        self,
        part: Refusals,
        seconds: float | None,
        beside: Callable[[Command | None], Sequence[Part]] = lambda _command: (),
        output: int | None = None,
    ) -> int:
        """Run, with the parts ``beside`` it; returns the exit status. Raises ``IsotraceError``.

        With ``output``, a descriptor that the command writes to, it has no terminal, and ends with the run.
        """
        from isotrace.enforce.calls import terminal
        from isotrace.run.lifecycle import Run
        from isotrace.run.records import recording

        command = None
        if self.target.command:
            take_away = partial(terminal.take_away, terminal.program(os.uname().machine))
            command = Command(self.target.command, part.starter(), output, take_away)

        def parts() -> list[Part]:
            """What records opens first: what it has in the kernel is then protected like all that is isotrace's."""
            recorder, loader = self.recorder, self.loader
            first: list[Part] = (
                [recording(self.target, None, loader, recorder, self.containers)] if loader and recorder else []
            )
            return [*first, part, *beside(command)]

        return Run(self.target, parts, command, seconds, ends_command=output is not None).go()


def enforced_target(choices: dict[str, Any], spared: str) -> Target:
    """The target; ``spared`` is what to say of the machine's init, which no rule is for. Raises ``UsageError``."""
    choices["show_containers"] = containers_to_show(choices)
    target = take_target(choices, keep=True)
    if namespaces.machine_init() & {*target.pid}:
        raise UsageError(f"pid 1 is never {spared}", "use --ppid 1 for its children, --tree 1 for everybody")
    return target


def guard_from(target: Target) -> None:
    """Close isotrace's memory to the command, which may be of the same user. Raises ``NotStarted`` where there is none."""
    children.dumpable(False)
    if target.command:
        find(target.command)


def asked_of(target: Target, choices: dict[str, Any], lines: str) -> Asked | None:
    """The recording beside; standard output may be the command's, or have ``lines``. Raises ``UsageError``."""
    whose = "the command's" if target.command else "" if choices["output"] else lines
    return take_beside(choices, choices["output"], whose)


def prepare(
    target: Target,
    policy: Policy,
    choices: dict[str, Any],
    asked: Asked | None,
    output: Callable[[], Output],
    check: Callable[[EnforcementPlan, KernelFindings], object] = lambda _plan, _findings: None,
) -> Prepared:
    """Plan the policy, say the plan, ``check`` it, and make what enforces it. Raises ``IsotraceError``."""
    from isotrace.enforce import registry
    from isotrace.run.recorder import Recorder
    from isotrace.run.refusals import plan_for
    from isotrace.sinks.refusals import Json, Lines, RefusalSink

    plan, findings = plan_for(policy, target, choices["backend"], choices["best_effort"], choices["verbose"])
    if choices["seconds"] and "landlock" in plan.by_mechanism():
        raise UsageError(
            "--for cannot lift the rules of Landlock", "leave --for out, or end the command: timeout 10m CMD"
        )
    out = output()
    check(plan, findings)
    enforcers = {name: registry.make(name, rules, target) for name, rules in plan.by_mechanism().items()}
    containers = choices["show_containers"]
    style = (Json if choices["style"] == "json" else Lines)(containers)
    sink = RefusalSink(out, plan.all_enforced, style, containers)
    recorder = Recorder(asked, rules=sink.rules) if asked else None
    return Prepared(target, plan, findings, enforcers, sink, recorder, Loader() if recorder else None, containers)
