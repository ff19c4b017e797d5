"""The kernel that no distribution ships: built from its source package with a configuration fragment, once.

The result is kept under the fragment's hash. Where ``../shared/kernels/*/fragment`` beside the checkout has
the same hash, what was built from it is used instead (``ISOTRACE_VM_PREBUILT`` names another directory).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from . import cache
from .archive import Say
from .errors import BenchError, UnavailableError
from .fetch import fetch
from .find import find
from .matrix import ROOT, Kernel
from .stage import each
from .unpack import Artefacts, unpacked, unzstd

PREBUILT = Path(os.environ.get("ISOTRACE_VM_PREBUILT", ROOT.parent / "shared" / "kernels"))
#: What a build calls, by the package that has it.
TOOLS = {
    "make": "make", "gcc": "gcc", "flex": "flex", "bison": "bison", "bc": "bc", "cpio": "cpio",
    "pahole": "dwarves", "zstd": "zstd", "xz": "xz-utils",
}  # fmt: skip
HEADERS = {"/usr/include/gelf.h": "libelf-dev", "/usr/include/openssl/opensslv.h": "libssl-dev"}
ROOM = 6 << 30  # bytes that source and objects take
#: Keeps the names of people and machines out of the kernel.
STAMP = {
    "KBUILD_BUILD_TIMESTAMP": "2026-01-01",
    "KBUILD_BUILD_USER": "isotrace",
    "KBUILD_BUILD_HOST": "isotrace",
}


def artefacts(kernel: Kernel, say: Say) -> Artefacts:
    """The kernel ready to boot: fetched and unpacked, or built."""
    return built(kernel, say) if kernel.fragment else unpacked(kernel, say)


def built(kernel: Kernel, say: Say) -> Artefacts:
    """The kernel of ``kernel.fragment``: from the cache, from a prebuilt one, or built now (a quarter of an
    hour)."""
    final = target(kernel)
    if not final.is_dir():
        ready = prebuilt(fragment_hash(kernel))
        if ready:
            say(f"prebuilt for the same fragment: {ready.name}")
            _adopt(ready, final)
        else:
            _build(kernel, final, say)
    return Artefacts(final)


def fragments(kernel: Kernel) -> list[Path]:
    """The files that the configuration is merged from, the last word last."""
    return [path for path in (kernel.extends, kernel.fragment) if path]


def fragment_hash(kernel: Kernel) -> str:
    """The SHA-256 of the kernel's configuration fragments, one after the other."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in fragments(kernel))).hexdigest()


def target(kernel: Kernel) -> Path:
    """Where the built kernel is kept."""
    return cache.place("kernels") / f"{kernel.name}_{fragment_hash(kernel)[:16]}"


def is_built(kernel: Kernel) -> bool:
    """Whether ``built`` would find the kernel ready."""
    return target(kernel).is_dir() or prebuilt(fragment_hash(kernel)) is not None


def prebuilt(sha256: str) -> Path | None:
    """A directory with a kernel that was built from the fragment with that hash."""
    for fragment in sorted(PREBUILT.glob("*/fragment")):
        if hashlib.sha256(fragment.read_bytes()).hexdigest() == sha256:
            return fragment.parent
    return None


def _adopt(ready: Path, final: Path) -> None:
    with cache.staged(final) as part:
        part.mkdir()
        (part / "vmlinux").write_bytes(unzstd((ready / "vmlinux.zst").read_bytes()))
        with tarfile.open(ready / "modules.tar.gz") as tar:
            tar.extractall(part / "tree")
        _take_modules(part / "tree", part / "modules")
        shutil.copy(ready / "kheaders_data.tar.xz", part)
        shutil.copy(ready / "config", part)


def _take_modules(tree: Path, to: Path) -> None:
    (release,) = (tree / "lib" / "modules").iterdir()
    for link in (release / "build", release / "source"):
        link.unlink(missing_ok=True)
    release.rename(to)
    shutil.rmtree(tree)


def missing_tools() -> list[str]:
    """The packages to install before a kernel can be built here."""
    commands = [package for command, package in TOOLS.items() if not shutil.which(command)]
    return commands + [package for header, package in HEADERS.items() if not Path(header).exists()]


def _build(kernel: Kernel, final: Path, say: Say) -> None:
    if missing := missing_tools():
        raise UnavailableError("a kernel cannot be built here", f"apt-get install {' '.join(missing)}")
    if shutil.disk_usage(final.parent).free < ROOM:
        raise UnavailableError("too little room on the disk to build a kernel", f"it takes {ROOM >> 30} GiB")
    deb = fetch(find(kernel, say).main, say)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=final.parent) as work, cache.staged(final) as part:
        log = cache.place("logs") / f"build-{kernel.name}.log"
        part.mkdir()
        say(f"build with -j{os.cpu_count()}, about a quarter of an hour on two cores; log in {log}")
        with log.open("w") as out:
            source = _source(deb, Path(work), out)
            _configure(kernel, source, out)
            _run(["make", f"-j{os.cpu_count()}", "bzImage", "modules"], source, out)
            _collect(source, part, out)


def _source(deb: Path, work: Path, log: IO[str]) -> Path:
    _run(["dpkg-deb", "-x", str(deb), str(work)], work, log)
    (tarball,) = (work / "usr" / "src").glob("linux-source-*.tar.xz")
    _run(["tar", "-xf", str(tarball)], work, log)
    tarball.unlink()
    return work / tarball.name.removesuffix(".tar.xz")


#: A sanitized kernel ends in a triple fault at its PVH entry, whose C code is instrumented, as is what that calls.
BEFORE_KASAN = {"arch/x86/platform/pvh/Makefile": "KASAN_SANITIZE := n", "lib/Makefile": "KASAN_SANITIZE_string.o := n"}


def _configure(kernel: Kernel, source: Path, log: IO[str]) -> None:
    for makefile, line in BEFORE_KASAN.items():
        with (source / makefile).open("a") as stream:
            stream.write(f"{line}\n")
    _run(["make", "tinyconfig"], source, log)
    _run(["scripts/kconfig/merge_config.sh", "-m", ".config", *map(str, fragments(kernel))], source, log)
    _run(["make", "olddefconfig"], source, log)
    wanted = "".join(path.read_text() for path in fragments(kernel))
    if refused := refused_options(wanted, (source / ".config").read_text()):
        raise BenchError(f"the kernel's configuration does not take {', '.join(refused)}", f"correct {kernel.fragment}")


def refused_options(fragment: str, config: str) -> list[str]:
    """The options of ``fragment`` that ``config`` does not have as asked: a dependency is missing, or a name
    is gone."""
    return [name for name, value in _options(fragment).items() if _options(config).get(name, "n") != value]


def _options(text: str) -> dict[str, str]:
    unset = dict.fromkeys(re.findall(r"^# (CONFIG_\w+) is not set$", text, re.MULTILINE), "n")
    return unset | dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))


def _collect(source: Path, part: Path, log: IO[str]) -> None:
    _run(["objcopy", "-S", "-R", ".comment", "vmlinux", str(part / "vmlinux")], source, log)
    _run(["make", "INSTALL_MOD_STRIP=1", f"INSTALL_MOD_PATH={part / 'tree'}", "modules_install"], source, log)
    _take_modules(part / "tree", part / "modules")
    _take_headers(source, part / "headers", log)
    shutil.copy(source / ".config", part / "config")


#: What building a module takes of the tree, as the kernel's own packages pick it (scripts/package/builddeb).
HEADER_FILES = (
    "find . arch/x86 -maxdepth 1 -name 'Makefile*' -o -path './arch/x86/Makefile*';"
    "find include scripts -type f -o -type l;"
    "find arch/x86/include -type f -o -type l;"
    "find arch/x86 -maxdepth 2 -name module.lds -o -maxdepth 2 -name Kbuild.platforms;"
    "find tools/objtool -maxdepth 1 -type f -name objtool;"
    "ls .config Module.symvers Kbuild Kconfig System.map"
)


def _take_headers(source: Path, to: Path, log: IO[str]) -> None:
    to.mkdir()
    _run(["sh", "-c", f"({HEADER_FILES}) | sort -u | tar -c -T - -f - | tar -x -C {to} -f -"], source, log)


def _run(command: Sequence[str], where: Path, log: IO[str]) -> None:
    environment = {**os.environ, **STAMP, "KCONFIG_CONFIG": ".config"}
    done = subprocess.run(command, cwd=where, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    if done.returncode:
        raise BenchError(f"{' '.join(command[:2])} failed with {done.returncode}", f"see the end of {log.name}")


if __name__ == "__main__":
    each(lambda kernel, say: say(str(artefacts(kernel, say).path)))
