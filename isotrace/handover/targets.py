"""The targets by name, and an export to one of them that says what it loses."""

from __future__ import annotations

from collections.abc import Callable

from isotrace.handover import apparmor, kubearmor, landlock, oci, seccomp, systemd, tetragon
from isotrace.handover.model import Handed, Setting
from isotrace.policy.model import Policy
from isotrace.policy.settle import settled

TARGETS: dict[str, Callable[[Policy, Setting], Handed]] = {
    "seccomp": lambda policy, _: seccomp.export(policy),
    "oci": lambda policy, _: oci.export(policy),
    "systemd": systemd.export,
    "apparmor": apparmor.export,
    "landlock": landlock.export,
    "tetragon": tetragon.export,
    "kubearmor": kubearmor.export,
}


def export(policy: Policy, target: str, setting: Setting | None = None) -> Handed:
    """The policy in the form of ``target``, one of ``TARGETS``."""
    return TARGETS[target](settled(policy), setting or Setting())
