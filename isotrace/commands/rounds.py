"""``isotrace learn --verify``: the command once more under the policy, which learns from what it refused."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from isotrace.errors import IsotraceError
from isotrace.process import itself
from isotrace.process.telling import say, tell
from isotrace.units import many

if TYPE_CHECKING:
    from isotrace.enforce.plan import EnforcementPlan

#: How often the command is run under the policy at most.
ROUNDS = 3


def verify(policy: str, command: Sequence[str], wish: Any) -> int:
    """Run the command under the policy file, add what was refused, and so again; returns 1 if the last round refused.

    Raises ``IsotraceError``.
    """
    planned = _planned(policy, command)
    partly = bool(planned.unenforceable) or any(one.guarantees.short for one in planned.all_enforced)
    silent = "landlock" in planned.by_mechanism()
    if partly:
        say("not all of the policy can be enforced here: the rounds say nothing of the rest")
    if silent:
        say(
            "Landlock, which holds files and ports here, tells nobody what it denies: of that the command's status tells"
        )
    for number in range(1, ROUNDS + 1):
        refused, status = _round(policy, command, partly)
        count = sum(tally.count for tally in refused.values())
        ended = f", and the command ended with status {status}" if status else ""
        nothing = "nothing denied that is told" if silent else "nothing denied"
        found = f"{many(count, 'call')} denied" if count else nothing
        say(f"round {number}: {found}{ended}")
        if not refused and silent and status:
            say(
                "Landlock may have denied the command something: isotrace block --policy FILE -- CMD shows how it fails"
            )
            return 1
        if not refused:
            return 0
        added = _learn(policy, refused, wish, f"what was denied, in round {number}, to: {' '.join(command)}")
        for line in added:
            click.echo(line)
        if not added:
            break
    say("the policy still denies what the command does: look at it before you use it")
    return 1


def _planned(policy: str, command: Sequence[str]) -> EnforcementPlan:
    from isotrace.enforce import plan
    from isotrace.enforce.findings import KernelFindings
    from isotrace.policy.file import load
    from isotrace.trace.target import Target

    planned = plan.make(load(policy), KernelFindings(), Target(command=tuple(command)), "auto", best_effort=True)
    if not planned.enforced:
        raise IsotraceError("nothing of the policy can be enforced here", "isotrace policy explain FILE says why")
    return planned


def _round(policy: str, command: Sequence[str], partly: bool) -> tuple[dict[Any, Any], int]:
    """What was refused, and the command's status."""
    from isotrace.learning import refused

    with tempfile.TemporaryDirectory(prefix="isotrace-") as directory:
        said = os.path.join(directory, "refused")
        effort = ["--best-effort"] if partly else []
        status = itself.run(["block", *effort, "--policy", policy, "--format", "json", "-o", said, "--", *command])
        try:
            with open(said, encoding="utf-8") as file:
                lines = file.readlines()
        except OSError:
            lines = []
    if not lines:  # the last line is a summary, whatever was refused
        raise IsotraceError("the command was not run under the policy", "isotrace block --policy FILE -- CMD says why")
    return refused.calls(lines), status


def _learn(policy: str, refused: dict[Any, Any], wish: Any, about: str) -> list[str]:
    """Add what was refused, as the head says it (``about``); what was added, a line each."""
    from isotrace.decode.quote import escape_text
    from isotrace.learning import merging
    from isotrace.policy.file import replace_whole

    with open(policy, encoding="utf-8") as file:
        text = file.read()
    origin = merging.Origin(lambda at: "", [escape_text(about)])
    merged = merging.merge(text, policy, refused, wish, origin)
    tell(f"left denied by {one.rule.title}: {one.asked.call}" for one in merged.left)
    replace_whole(policy, merged.text)
    return list(merging.difference(merged, lambda at: ""))
