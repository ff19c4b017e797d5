"""Building the module against a kernel's headers, in a directory of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isotrace import __version__
from isotrace.errors import IsotraceError, KernelError
from isotrace.kmod import FILE, SOURCES

#: The package with a kernel's headers, by the distribution's ID in os-release.
_PACKAGES = {
    "debian": "apt-get install linux-headers-{release}",
    "ubuntu": "apt-get install linux-headers-{release}",
    "fedora": "dnf install kernel-devel-{release}",
    "rhel": "dnf install kernel-devel-{release}",
    "amzn": "dnf install kernel-devel-{release}",
    "arch": "pacman -S linux-headers",
    "suse": "zypper install kernel-default-devel",
}
_DKMS_TREE = Path("/usr/src")


def headers_hint(release: str, os_release: str | None = None) -> str:
    """The command that installs a kernel's headers here, from the text of /etc/os-release."""
    if os_release is None:
        path = Path("/etc/os-release")
        os_release = path.read_text() if path.exists() else ""
    names = " ".join(re.findall(r"^ID(?:_LIKE)?=(.*)$", os_release, re.MULTILINE)).replace('"', "").split()
    known = next((_PACKAGES[name] for name in names if name in _PACKAGES), None)
    if known is None:
        return f"install the headers of {release}: linux-headers (Debian, Arch), kernel-devel (Fedora, RHEL)"
    return "as root: " + known.format(release=release)


def find_headers(release: str, given: Path | None = None) -> Path:
    """The directory for ``make -C``. Raises ``KernelError``."""
    path = given or Path("/lib/modules", release, "build")
    if not (path / "Makefile").exists():
        raise KernelError(
            f"no headers to build a module for Linux {release}: {path} has no Makefile", headers_hint(release)
        )
    return path


def compiler(config: str) -> str:
    """The compiler that the kernel was built with where that is installed, else gcc or clang. Raises ``KernelError``.

    ``config`` is the text of the kernel's .config.
    """
    named = re.search(r'^CONFIG_CC_VERSION_TEXT="(?:\S*-linux-gnu-)?([\w.-]+)', config, re.MULTILINE)
    kind = "clang" if re.search("^CONFIG_CC_IS_CLANG=y", config, re.MULTILINE) else "gcc"
    found = next((name for name in (named[1] if named else kind, kind) if shutil.which(name)), None)
    if found is None or not shutil.which("make"):
        missing = "make" if found else kind
        raise KernelError(f"{missing} is not installed", f"as root: apt-get install {missing} (or dnf, zypper, pacman)")
    return found


def variables(headers: Path) -> list[str]:
    """What ``make`` has to be told: the compiler, and which options of the kernel's configuration cannot be kept here."""
    path = headers / ".config"
    config = path.read_text() if path.exists() else ""
    chosen = compiler(config)
    found = [f"CC={chosen}"] + (["LLVM=1"] if chosen.startswith("clang") else [])
    # An older compiler than the kernel's: kbuild would pass an option that it does not know (gcc 14 is the first).
    probe = [chosen, "-fmin-function-alignment=16", "-x", "c", "-c", os.devnull, "-o", os.devnull]
    if "CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=y" in config and subprocess.run(probe, capture_output=True).returncode:
        found.append("CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=")
    # The module needs no type information, and what pahole here makes of it the kernel may not understand.
    found.append("CONFIG_DEBUG_INFO_BTF_MODULES=")
    return found


@contextmanager
def copied() -> Iterator[Path]:
    """The sources in a directory that may be written to."""
    with tempfile.TemporaryDirectory(prefix="isotrace-module-") as name:
        for source in SOURCES.iterdir():
            if source.is_file():
                shutil.copyfile(source, Path(name, source.name))
        yield Path(name)


def build(release: str, to: Path, headers: Path | None = None) -> Path:
    """Build the module into the directory ``to``; returns the file. Raises ``IsotraceError``."""
    tree = find_headers(release, headers)
    with copied() as work:
        command = ["make", "-C", str(tree), f"M={work}", *variables(tree), "modules"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode or not (work / FILE).exists():
            raise _failure(done.stdout + done.stderr, to)
        subprocess.run(["strip", "--strip-debug", str(work / FILE)], capture_output=True)
        to.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(work / FILE, to / f".{FILE}")
        return (to / f".{FILE}").replace(to / FILE)


def _failure(said: str, to: Path) -> IsotraceError:
    to.mkdir(parents=True, exist_ok=True)
    log = to / "build.log"
    log.write_text(said)
    errors = [line for line in said.splitlines() if re.search(r"\b(error|Error)\b", line)] or said.splitlines()[-1:]
    return IsotraceError(
        f"the module cannot be built: {errors[0].strip() if errors else 'make said nothing'}",
        f"all that make said is in {log}",
    )


def dkms(release: str) -> None:
    """Hand the sources to DKMS, which builds and installs the module now and for every kernel to come.

    Raises ``IsotraceError``.
    """
    if not shutil.which("dkms"):
        raise IsotraceError("DKMS is not installed", "as root: apt-get install dkms (or dnf, zypper, pacman)")
    find_headers(release)
    tree = _DKMS_TREE / f"isotrace-{__version__}"
    with copied() as work:
        conf = work / "dkms.conf"
        conf.write_text(conf.read_text().replace("@VERSION@", __version__))
        shutil.copytree(work, tree, dirs_exist_ok=True)
    # Of one version the sources may have changed: install alone would take what was built of the former ones.
    for step in "build", "install":
        command = ["dkms", step, "--force", f"isotrace/{__version__}", "-k", release]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise IsotraceError(f"DKMS: {said[0] if said else 'failed'}", " ".join(command))
