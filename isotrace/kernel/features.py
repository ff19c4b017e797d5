"""What this kernel can do: yes, no or could not tell, and why.

A feature is probed by trying, never by comparing versions, in the manner of cilium/ebpf's
internal/feature.go. Only conclusive answers are kept.
"""

from __future__ import annotations

import logging
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from isotrace.errors import KernelError
from isotrace.kernel import namespaces, probe_bpf, probe_system
from isotrace.kernel.answer import Answer, Verdict, no, unknown
from isotrace.kernel.probes import PROBES, Probe, Use


@dataclass(frozen=True)
class Feature:
    """The answer about one feature. ``remedy``, what would change the answer, is "" when that is yes."""

    name: str
    verdict: Verdict
    why: str
    remedy: str
    needed_for: tuple[Use, ...]
    what: str


@dataclass(frozen=True)
class LogVerdict:
    """Whether ``isotrace log`` can run; else the first reason why not, and what to do."""

    ok: bool
    why: str
    hint: str = ""


_LOG = logging.getLogger(__package__)
_kept: dict[str, Feature] = {}


def _ask(probe: Callable[[], Answer]) -> Answer:
    """A probe's own troubles are an answer, too."""
    try:
        return probe()
    except KernelError as error:
        return no(error.message)
    except (OSError, LookupError, ValueError, struct.error) as error:
        return unknown(f"the probe failed: {type(error).__name__}: {error}")


def examine(probe: Probe) -> Feature:
    """The answer to one row of the table, from memory if it was conclusive before."""
    if probe.name in _kept:
        return _kept[probe.name]
    answer = _ask(probe.probe)
    _LOG.debug("feature %s: %s (%s)", probe.name, answer.verdict, answer.why)
    remedy = "" if answer.verdict == "yes" else answer.remedy or probe.remedy
    feature = Feature(probe.name, answer.verdict, answer.why, remedy, probe.needed_for, probe.what)
    if feature.verdict != "unknown":
        _kept[probe.name] = feature
    return feature


def check(name: str) -> Feature:
    """The answer about the feature ``name``. Raises ``KeyError`` when there is no such row."""
    return examine({probe.name: probe for probe in PROBES}[name])


def report() -> tuple[Feature, ...]:
    """The answers to the whole table, in its order."""
    return tuple(examine(probe) for probe in PROBES)


def log_verdict(features: Mapping[str, Feature]) -> LogVerdict:
    """What ``features`` mean for ``isotrace log``. The first requirement that is not met decides."""
    for probe in PROBES:
        feature = features[probe.name]
        if probe.required and feature.verdict != "yes":
            doubt = "cannot tell about " if feature.verdict == "unknown" else ""
            return LogVerdict(False, f"{doubt}{feature.name}: {feature.why}", feature.remedy)
    return LogVerdict(True, "every requirement is met")


@dataclass(frozen=True)
class _Requirement:
    """A requirement as seen at a glance, and how to say that it is missing."""

    name: str
    probe: Callable[[], Answer]
    message: str


_AT_A_GLANCE = (
    _Requirement("privileges", probe_system.privileges, "isotrace needs root"),
    _Requirement("bpf_syscall", probe_bpf.bpf_syscall, "this kernel does not let isotrace use BPF"),
    _Requirement("btf", probe_bpf.btf_is_there, "this kernel carries no readable BTF type information"),
    _Requirement("raw_tracepoint", probe_bpf.raw_tracepoint_loads, "this kernel refuses BPF tracing programs"),
    _Requirement("ringbuf", probe_bpf.ringbuf, "this kernel has no BPF ring buffer"),
    _Requirement("probe_read_kernel", probe_bpf.probe_read_kernel, "BPF may not read kernel memory here"),
)
_BECOME = ("sudo", "doas", "run0")


def _without_privileges() -> str:
    """What helps whoever may not trace, with what there is on this machine."""
    if not namespaces.is_initial("user"):
        return "run isotrace on the host: a rootless container cannot have these privileges"
    if os.geteuid() == 0:
        return "in a container: docker run --privileged, or --cap-add BPF,PERFMON,SYS_PTRACE"
    become = next((name for name in _BECOME if shutil.which(name)), "")
    hint = f"{become} isotrace …" if become else "become root: su -c 'isotrace …'"
    hint += ", or give it CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE (README: Without root)"
    return hint + ("; strace -f CMD needs no root, and stops CMD at each call" if shutil.which("strace") else "")


_HINTS = {"privileges": _without_privileges}


def require_log() -> None:
    """Raise ``KernelError`` for the first thing that ``isotrace log`` lacks, before time goes into compiling.

    Takes a few milliseconds: attaches nothing, reads no BTF, does not import BCC; what these lack shows when
    they are used.
    """
    remedies = {probe.name: probe.remedy for probe in PROBES}
    for requirement in _AT_A_GLANCE:
        answer = _ask(requirement.probe)
        _LOG.debug("requirement %s: %s (%s)", requirement.name, answer.verdict, answer.why)
        if answer.verdict != "yes":
            own = _HINTS.get(requirement.name)
            hint = own() if own else answer.remedy or remedies[requirement.name]
            raise KernelError(f"{requirement.message}: {answer.why}", hint)
