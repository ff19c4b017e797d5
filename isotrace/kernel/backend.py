"""Which backend logs: BPF, or the kernel module where BPF cannot."""

from __future__ import annotations

import logging

from isotrace.errors import KernelError
from isotrace.kernel import features
from isotrace.process.telling import say

_LOG = logging.getLogger(__package__)


def choose(wanted: str) -> str:
    """``bpf`` or ``lkm`` for ``auto``, ``bpf`` or ``lkm``. Raises ``KernelError`` where that cannot be had.

    The module is never loaded by this, and is taken unasked only where it is loaded and BPF cannot serve.
    """
    if wanted == "lkm":
        _require_module()
        _LOG.debug("backend: lkm, because of --backend")
        return "lkm"
    try:
        features.require_log()
    except KernelError as error:
        if wanted == "bpf" or features.check("privileges").verdict != "yes":
            raise
        if features.check("lkm").verdict != "yes":
            raise KernelError(
                error.message, f"{error.hint}; or the kernel module: {features.check('lkm').remedy}"
            ) from None
        _LOG.debug("backend: lkm: BPF is not available (%s) and the module is loaded", error.message)
        say(f"{error.message}: the kernel module logs instead")
        return "lkm"
    why = "because of --backend" if wanted == "bpf" else "available; the kernel module is the fallback"
    _LOG.debug("backend: bpf, %s", why)
    return "bpf"


def _require_module() -> None:
    found = features.check("lkm")
    if found.verdict != "yes":
        raise KernelError(f"isotrace's kernel module is {found.why}", found.remedy)
    if features.check("privileges").verdict != "yes":
        raise KernelError("only root can use the kernel module", "sudo isotrace log --backend lkm …")
