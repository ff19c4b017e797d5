"""``isotrace block``: say no to calls, paths and addresses of the target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from isotrace.commands.enforcing import asked_of, best_effort_option, enforced_target, guard_from, prepare, rule_options
from isotrace.commands.keeping import record_options
from isotrace.commands.options import FOR, kept_target_options
from isotrace.errors import UsageError
from isotrace.process.interrupts import import_in_one_thread
from isotrace.sinks.output import Output
from isotrace.trace.target import Target

if TYPE_CHECKING:
    from isotrace.enforce.findings import KernelFindings
    from isotrace.enforce.plan import EnforcementPlan
    from isotrace.policy.model import Policy

_EPILOG = """\b
EXPR is read left to right. A plain word covers related calls: open is also
openat, openat2, creat and open_by_handle_at. ! takes away, = is one call, and
%process is a family:
  --deny open    --deny 'connect,%process,!wait4'    --deny =openat
  see: isotrace calls

\b
GLOB is an absolute path. * is any part of a name, ** any number of
directories, / at the end the whole directory. r:, w: or x: chooses accesses:
  --deny-path /etc/shadow
  --deny-path 'w:/etc/**' --allow-path w:/etc/motd

\b
ADDRESS is [tcp:|udp:|any:]ADDRESS[/BITS][:PORT[-PORT]], unix:PATH,
unix:@NAME, or unix: for every unix socket:
  --deny-net tcp:10.0.0.0/8:443    --deny-net '[::1]:80'    --deny-net :53
  --deny-net unix:/run/docker.sock

\b
The most specific rule wins, and a tie denies. Before anything is denied,
standard error says for each rule what enforces it:
  mechanism · TOCTOU-safe? · io_uring? · 32-bit?
If a rule cannot be enforced, nothing starts (status 3). isotrace says why,
and what would help.

\b
Examples:
  isotrace block --deny connect -- make      a build without network; needs no
                                             root
  isotrace block --deny-path 'w:/**' --allow-path "w:$PWD/**" -- make
                                             writes nowhere else; no root
  isotrace block --policy @agent -- ./agent  writes here and in /tmp, reads no
                                             keys (isotrace policy show)
  isotrace block --ppid 1234 --deny open     children of 1234, from their next
                                             call on
  isotrace block --tree 1234 --policy worker.toml --for 10m
  isotrace block --audit --deny %network -- ./script
                                             only report what it would deny

\b
BPF at the kernel's security hooks enforces rules on paths and addresses. For
-- CMD Landlock can enforce rules on paths and TCP ports: it allows what is
there when CMD starts, and counts nothing (docs/landlock.md).

\b
Guarantees and their limits: docs/threat-model.md.

\b
With -- CMD the exit status is that of CMD. CMD has the terminal: Ctrl-C goes
to CMD, and kill ends isotrace. Only a command can get a seccomp filter, and
nobody can lift it: if isotrace is killed, the denied calls fail with ENOSYS
for as long as the command's processes live.
"""


@click.command(epilog=_EPILOG)
@kept_target_options
@rule_options
@click.option("--policy", metavar="FILE|@NAME", help="Also use the rules of a TOML file or a preset.")
@click.option("--errno", metavar="NAME", help="The error of a denied call.  [default: EPERM]")
@click.option("--kill", is_flag=True, help="Kill the process instead of returning an error.")
@click.option("--audit", is_flag=True, help="Deny nothing, only report; this includes the rules of --policy.")
@FOR
@click.option(
    "--backend",
    type=click.Choice(["auto", "lsm", "override", "landlock", "seccomp", "signal", "lkm"]),
    default="auto",
    show_default=True,
    help="Use only this mechanism.",
)
@best_effort_option
@click.option("--verify", is_flag=True, help="Attack the rules first, and start only if no attack gets through.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Write denials there instead of to standard output.")
@record_options
def block(**choices: Any) -> int:
    """Deny calls, files and addresses to the target, from its next call on, until this command ends.

    Each denial is a line; repeated ones are folded into a count.
    """
    import_in_one_thread()
    from isotrace.policy import assemble

    target = enforced_target(choices, "denied anything")
    if choices["kill"] + choices["audit"] + (choices["errno"] is not None) > 1:
        raise UsageError("--errno, --kill and --audit exclude each other", "give one of them")
    words = {key: choices[key] for key in ("deny", "deny_path", "allow_path", "deny_net", "allow_net")}
    action = assemble.action(choices["errno"], choices["kill"], choices["audit"])
    policy = assemble.policy(words, action, choices["policy"])
    if policy.asks:
        raise UsageError("the policy has rules that ask, and block cannot ask", "use isotrace ask --policy FILE")
    guard_from(target)
    return _refuse(target, policy, choices)


def _refuse(target: Target, policy: Policy, choices: dict[str, Any]) -> int:
    from isotrace.run.refusals import Refusals

    asked = asked_of(target, choices, "the denials'")
    best_effort = choices["best_effort"]

    def check(plan: EnforcementPlan, findings: KernelFindings) -> None:
        if choices["verify"]:
            from isotrace.verify.run import must_hold

            must_hold(plan, findings, choices["backend"], best_effort)

    found = prepare(target, policy, choices, asked, lambda: Output(choices["output"]), check)
    part = Refusals(target, found.plan, found.enforcers, found.sink, best_effort, found.recorder)
    return found.go(part, choices["seconds"])
