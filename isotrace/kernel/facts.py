"""What a plan has to know of this kernel, asked of it."""

from __future__ import annotations

from isotrace.kernel import btf, perf, programs
from isotrace.trace.plan import Facts


def facts() -> Facts:
    """Offsets, preemption, kprobes, typed loads. Raises ``KernelError``."""
    offsets = btf.constants()
    typed = programs.typed_task(offsets["OFF_TGID"])
    return Facts(offsets, programs.tracepoints_preemptible(), perf.has_kprobes(), typed)
