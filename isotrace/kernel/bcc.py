"""BCC's Python module: the one file that imports it, for children that end (LLVM stays out of isotrace's own process)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from isotrace.errors import KernelError

_INSTALL = {
    "debian": "apt-get install python3-bpfcc",
    "ubuntu": "apt-get install python3-bpfcc",
    "fedora": "dnf install python3-bcc",
    "rhel": "dnf install python3-bcc",
    "arch": "pacman -S python-bcc",
    "suse": "zypper install python3-bcc",
    "alpine": "apk add py3-bcc",
}


def system_packages(root: Path = Path("/usr")) -> tuple[str, ...]:
    """Where distributions keep Python modules, those of this Python first, then the newest.

    BCC's module is pure Python: that of a distribution's own Python (3.9 in RHEL 9) serves a newer one.
    """
    found = [path for lib in ("lib", "lib64") for path in root.glob(f"{lib}/python3*/*-packages")]

    def order(path: Path) -> tuple[bool, int]:
        minor = path.parent.name.removeprefix("python3").removeprefix(".")
        own = minor in ("", str(sys.version_info.minor))  # /usr/lib/python3 is Debian's, for all of its own
        return not own, -int(minor) if minor.isdecimal() else 0

    return tuple(str(path) for path in sorted(found, key=order) if (path / "bcc").is_dir())


_SYSTEM_PACKAGES = system_packages()


def install_hint(os_release: str | None = None) -> str:
    """The command that installs BCC here, from the text of /etc/os-release."""
    if os_release is None:
        try:
            os_release = Path("/etc/os-release").read_text()
        except OSError:
            os_release = ""
    names = re.findall(r"^ID(?:_LIKE)?=(.*)$", os_release, re.MULTILINE)
    for name in " ".join(names).replace('"', "").split():
        if name in _INSTALL:
            return f"as root: {_INSTALL[name]}"
    return "install python3-bpfcc (Debian, Ubuntu), python3-bcc (Fedora, RHEL) or python-bcc (Arch)"


def load_bcc() -> Any:
    """BCC's module, also from the system's packages when this is a virtual environment. Raises ``KernelError``.

    The package called "bcc" on PyPI is an unrelated library: it is recognised and skipped.
    """
    for path in ("", *_SYSTEM_PACKAGES):
        if path:
            sys.path.insert(0, path)
        sys.modules.pop("bcc", None)
        try:
            import bcc

            if hasattr(bcc, "BPF"):
                return bcc
        except ImportError:
            continue
    raise KernelError("BCC's Python module is not installed", install_hint())
