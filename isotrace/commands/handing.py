"""``isotrace policy export`` and ``isotrace policy import``: policies handed to other enforcers, and taken from Docker."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import click

from isotrace.catalog.expr import show
from isotrace.errors import IsotraceError, UsageError
from isotrace.process.telling import say_raw, tell
from isotrace.units import many

if TYPE_CHECKING:
    from isotrace.policy.model import Policy

_TARGETS = ("seccomp", "oci", "systemd", "apparmor", "landlock", "tetragon", "kubearmor")

_EPILOG = """\b
seccomp    the profile that Docker and Podman take:
           docker run --security-opt seccomp=FILE
oci        linux.seccomp, maskedPaths and readonlyPaths of a container's
           config.json
systemd    a drop-in for a unit: SystemCallFilter=, InaccessiblePaths=,
           ReadOnlyPaths=, NoExecPaths=, IPAddressDeny=, …
apparmor   a profile for apparmor_parser
landlock   JSON for Landlock Config: what is allowed, where everything else is
           denied
tetragon   a TracingPolicy; not tried with Tetragon
kubearmor  KubeArmorPolicies, for pods with the label app=NAME; not tried with
           KubeArmor

\b
Standard error has a line for each rule, with the reason. "Exactly held": the
target denies the same. "Held more widely": it denies more, or denies what an
exception allows. "Held in part" and "not expressible": it denies less. In
these two cases nothing is written and the status is 1, unless --lossy accepts
that.

\b
Examples:
  isotrace policy export worker.toml --to seccomp -o worker.json
  isotrace policy export learned.toml --to seccomp --group calls
  isotrace policy export worker.toml --to oci --lossy --report json
"""

_REPORT = click.option(
    "--report", type=click.Choice(["text", "json", "none"]), default="text", show_default=True,
    help="The format of the report on standard error.",
)  # fmt: skip


@click.command(short_help="Write a policy in another enforcer's format.", epilog=_EPILOG)
@click.argument("file", metavar="POLICY")
@click.option("--to", "target", type=click.Choice(_TARGETS), required=True, help="The enforcer to write for.")
@click.option("-o", "--output", metavar="FILE", help="Where it goes, instead of standard output.")
@click.option("--name", default="isotrace", show_default=True, help="The name of the profile there.")
@click.option("--group", "chosen", multiple=True, metavar="NAME", help="Export only this group of rules.")
@click.option("--lossy", is_flag=True, help="Write it even if rules are held in part or not expressible.")
@_REPORT
def export(
    file: str, target: str, output: str | None, name: str, chosen: tuple[str, ...], lossy: bool, report: str
) -> int:
    """Write POLICY in another enforcer's format, and say for each rule how much of it is enforced there."""
    from isotrace.handover import report as reports
    from isotrace.handover import targets
    from isotrace.handover.model import Setting
    from isotrace.policy.file import load

    handed = targets.export(_chosen(load(file), chosen), target, Setting(_name(name), _kind))
    if report == "json":
        say_raw("".join(f"{one.decode()}\n" for one in reports.objects(handed, target)))
    elif report == "text":
        tell(reports.lines(handed, target))
    if handed.holds_nothing:
        raise IsotraceError(f"{target} can enforce no rule of {file}", "the report says why")
    if handed.losses and not lossy:
        what = f"{many(len(handed.losses), 'rule')} of {file} would be held only in part, or not at all"
        raise IsotraceError(what, "--lossy writes the policy all the same")
    _write(handed.text, output)
    return 0


_TAKING = """\b
The meaning of a profile depends on the container's capabilities, the kernel
and the processor. --cap-add and --cap-drop are those of docker run. Kernel
and processor are this machine's. A policy cannot test arguments: a call that
is allowed with some arguments is denied, or, with --lossy, allowed.
Standard error says what could not be taken over as it is.

\b
Examples:
  isotrace policy import default.json -o container.toml
  isotrace policy import default.json --cap-add SYS_PTRACE --lossy
"""


@click.command(name="import", short_help="Make a policy from a Docker or Podman profile.", epilog=_TAKING)
@click.argument("file", metavar="PROFILE")
@click.option("-o", "--output", metavar="FILE", help="Where it goes, instead of standard output.")
@click.option("--cap-add", multiple=True, metavar="CAP", help="A capability that the container has, or ALL.")
@click.option("--cap-drop", multiple=True, metavar="CAP", help="A capability that it does not have, or ALL.")
@click.option("--lossy", is_flag=True, help="Allow calls that the profile allows with some arguments.")
@_REPORT
def take(
    file: str, output: str | None, cap_add: tuple[str, ...], cap_drop: tuple[str, ...], lossy: bool, report: str
) -> int:
    """Make a policy from PROFILE: the seccomp JSON of Docker and Podman, or a container's config.json."""
    import orjson

    from isotrace.handover import docker

    container = docker.Container(docker.capabilities(cap_add, cap_drop), _kernel(), _arch())
    try:
        with open(file, "rb") as profile:
            data = profile.read(docker.MAX_BYTES + 1)
    except OSError as error:
        raise IsotraceError(f"cannot read {file}: {error.strerror}") from None
    taken = docker.take(data, file, container, lossy)
    if report == "json":
        say_raw(
            "".join(
                f"{orjson.dumps({'held': held.name.lower(), 'what': what}).decode()}\n" for held, what in taken.said
            )
        )
    elif report == "text":
        tell(f"{held.value:16}  {what}" for held, what in taken.said)
    _write(taken.text, output)
    return 0


def _chosen(policy: Policy, wanted: tuple[str, ...]) -> Policy:
    names = [group.name for group in policy.groups]
    if missing := [name for name in wanted if name not in names]:
        raise UsageError(f"the policy has no group {missing[0]!r}", f"one of {', '.join(names)}")
    return replace(policy, groups=tuple(group for group in policy.groups if not wanted or group.name in wanted))


def _name(text: str) -> str:
    """As Kubernetes has it, which all others take."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise UsageError(
            f"{show(text)} cannot be the name of a profile", "use small letters, digits, and - inside the name"
        )
    return text


def _kind(path: str) -> Literal["file", "directory"] | None:
    """What is there on this machine, where a form has to know it."""
    if os.path.isdir(path):
        return "directory"
    return "file" if os.path.exists(path) else None


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor)) or 0)


def _arch() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def _write(text: str, output: str | None) -> None:
    from isotrace.policy import file

    if output is None:
        click.echo(text, nl=False)
    else:
        file.write(output, text)
