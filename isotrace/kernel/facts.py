"""What a plan has to know of this kernel, asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isotrace.kernel import btf, namespaces, perf, programs
from isotrace.kernel.namespaces import PidNamespace
from isotrace.kernel.rings import Layout


@dataclass(frozen=True)
class Facts:
    """What the kernel is.

    ``offsets`` of structure members by constant name (kernel.btf.constants); whether a program on a raw tracepoint can be
    preempted (kernel.programs); whether perf offers kprobes; whether programs may read the current task by plain loads;
    how it tells of io_uring, where that is asked for; isotrace's own pid namespace, where that is not the initial one.
    """

    offsets: Mapping[str, int] = field(default_factory=dict)
    preemptible: bool = False
    kprobes: bool = False
    typed_task: bool = False
    rings: Layout | None = None
    space: PidNamespace | None = None

    def constants(self) -> list[str]:
        """``-D`` constants for the compiler."""
        found = [f"{name}={value}" for name, value in self.offsets.items()]
        found += [one for one in self.space.constants() if one not in found] if self.space else []
        return [*found, *(["PERF_TRACEPOINTS"] if self.preemptible else []), *(["DIRECT"] if self.typed_task else [])]


def facts(
    descriptors: bool = False,
    messages: bool = False,
    stacks: bool = False,
    pids: bool = False,
    containers: bool = False,
) -> Facts:
    """Offsets, preemption, kprobes, typed loads. Raises ``KernelError``.

    ``descriptors``: also to say what one is; ``messages``: to know a netlink socket, where this kernel says how;
    ``stacks``: to copy these; ``pids``: to know whose numbers they are; ``containers``: and
    those that processes have themselves.
    """
    offsets = btf.constants() | (btf.file_constants() if descriptors else {})
    offsets |= btf.netlink_constants() if messages else {}
    offsets |= btf.stack_constants() if stacks else {}
    offsets |= btf.pid_constants() if pids else {}
    offsets |= btf.required(btf.WHEREABOUTS) if containers else {}
    typed = programs.typed_task(offsets["OFF_TGID"])
    return Facts(
        offsets, programs.tracepoints_preemptible(), perf.has_kprobes(), typed, space=namespaces.pid_namespace()
    )
