"""Which packages this host lacks for the bench: ``python -m tests.vm.bench.tools [--lenient] [K...]``, for ``make vm``.

What a build needs is asked for only where a chosen kernel has to be built.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from isotrace.errors import IsotraceError

from .boot import QEMU, VIRTIOFSD
from .build import is_built, missing_tools
from .errors import UnavailableError
from .initramfs import busybox
from .matrix import Kernel, load, select
from .stage import explain

#: Commands that every run calls, by the package that has them.
COMMANDS = {QEMU: "qemu-system-x86", "zstd": "zstd", "gpgv": "gpgv", "dpkg-deb": "dpkg", "gcc": "gcc", "make": "make"}
BCC = Path("/usr/lib/python3/dist-packages/bcc")


def missing(kernels: Sequence[Kernel]) -> list[str]:
    """The packages to install before ``kernels`` can be tested here, without repetition."""
    packages = [package for command, package in COMMANDS.items() if not shutil.which(command)]
    try:
        busybox()
    except UnavailableError:
        packages.append("busybox-static")
    if not any(map(os.path.exists, VIRTIOFSD)):
        packages.append(virtiofsd_package())
    if not BCC.exists():
        packages.append("python3-bpfcc")
    if any(map(has_to_be_built, kernels)):
        packages += missing_tools()
    return list(dict.fromkeys(packages))


def virtiofsd_package() -> str:
    """The package with virtiofsd: its own one since Debian 13, part of QEMU before."""
    known = subprocess.run(["apt-cache", "show", "virtiofsd"], capture_output=True).returncode == 0
    return "virtiofsd" if known else "qemu-system-common"


def has_to_be_built(kernel: Kernel) -> bool:
    """Whether a run of ``kernel`` would begin with building it."""
    return bool(kernel.fragment) and not is_built(kernel)


if __name__ == "__main__":
    try:
        words = sys.argv[1:]
        chosen = select(load(), [word for word in words if word != "--lenient"])
        print(*missing([kernel for kernel in chosen if not ("--lenient" in words and kernel.on_demand)]))
    except IsotraceError as error:
        sys.exit(f"vm: {explain(error)}")
