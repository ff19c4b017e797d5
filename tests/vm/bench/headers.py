"""What a module is built against: a kernel's headers and kbuild tools, unpacked so that they work where
they lie.

Kept beside the kernel in the cache, outside the packages' own places, so nothing is installed on the host.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import cache
from .archive import Package, Say, suite_packages
from .build import target
from .errors import BenchError, UnavailableError
from .fetch import fetch
from .find import find, newest
from .matrix import Kernel
from .stage import each
from .unpack import ELF

#: What kbuild's tools are linked with; each is the newest of the alternatives that the suites have.
LIBRARIES = (("libc6",), ("libelf1t64", "libelf1"), ("zlib1g",), ("libzstd1",))
WRAPPER = '#!/bin/sh\nexec {directory}/ld-linux-x86-64.so.2 --library-path {directory} {program} "$@"\n'


def headers(kernel: Kernel, say: Say) -> Path:
    """The directory for ``make -C``. Raises ``UnavailableError`` for a kernel whose headers are in no
    package."""
    if kernel.fragment:
        return _own(kernel)
    found = find(kernel, say).headers
    if not found:
        raise UnavailableError(f"no package has headers to build a module for {kernel.name}")
    release = found[0].name.removeprefix("linux-headers-")
    final = cache.place("headers") / f"{release}_{found[0].sha256[:16]}"
    if not final.is_dir():
        with cache.staged(final) as part:
            _extract(found, part, say)
            _relocate(part, final)
            _make_tools_run(kernel, part, final, say)
    return final / "usr" / "src" / found[0].name


def _own(kernel: Kernel) -> Path:
    """Those that the bench kept when it built the kernel."""
    kept = target(kernel) / "headers"
    if not kept.is_dir():
        raise UnavailableError(f"{kernel.name} was built elsewhere, and without the headers for modules")
    return kept


def _extract(packages: Sequence[Package], to: Path, say: Say) -> None:
    for package in packages:
        command = ["dpkg-deb", "-x", str(fetch(package, say)), str(to)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"{package.name} cannot be unpacked: {done.stderr.strip()}")


def _relocate(part: Path, final: Path) -> None:
    """The makefiles name each other by their installed place."""
    for makefile in part.glob("usr/src/linux-headers-*/Makefile"):
        text = makefile.read_text()
        makefile.write_text(re.sub(r"(?<=[= ])/usr/src/", f"{final}/usr/src/", text))


def _make_tools_run(kernel: Kernel, part: Path, final: Path, say: Say) -> None:
    """A newer release's tools want its C library: where they do not start here, give them that one, beside
    them."""
    foreign = [tool for tool in _programs(part) if not starts(tool)]
    if not foreign:
        return
    packages = [package for suite in kernel.library_suites for package in suite_packages(suite, say)]
    chosen = [newest([package for package in packages if package.name in names]) for names in LIBRARIES]
    if None in chosen:
        raise UnavailableError("kbuild's tools do not run on this host", "add library_suites in kernels.toml")
    _extract([package for package in chosen if package], part / "libraries", say)
    directory = part / "lib-run"
    directory.mkdir()
    for library in part.glob("libraries/**/*.so*"):
        if not library.is_dir():
            shutil.copy(library.resolve(), directory / library.name)
    shutil.rmtree(part / "libraries")
    for tool in foreign:
        _wrap(tool, part, final)


def _programs(tree: Path) -> Iterator[Path]:
    for path in tree.glob("usr/lib/linux-kbuild-*/**/*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o100:
            with path.open("rb") as stream:
                if stream.read(4) == ELF:
                    yield path


def starts(program: Path) -> bool:
    """Whether the C library here is new enough for the program. (What signs modules wants more, and is not
    needed.)"""
    linked = subprocess.run(["ldd", str(program)], capture_output=True, text=True)
    return "version `GLIBC_" not in linked.stdout + linked.stderr


def _wrap(tool: Path, part: Path, final: Path) -> None:
    real = tool.with_name(f"{tool.name}.bin")
    tool.rename(real)
    place = final / real.relative_to(part)
    tool.write_text(WRAPPER.format(directory=final / "lib-run", program=place))
    tool.chmod(0o755)


if __name__ == "__main__":
    each(lambda kernel, say: say(str(headers(kernel, say))))
