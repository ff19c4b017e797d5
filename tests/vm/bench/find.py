"""Which packages a kernel of the matrix is made of today: the newest image that matches, and what it depends
on."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from .archive import Package, Say, suite_packages
from .errors import BenchError, UnavailableError
from .matrix import Kernel
from .stage import each

#: The dependencies that are parts of the kernel, rather than what it takes to install one.
PARTS = re.compile(r"linux-(binary|modules|base|headers|kbuild)-\d.*")


@dataclass(frozen=True)
class Found:
    """``main`` is the image or source package, ``parts`` the packages it is split into, ``headers`` those for
    modules."""

    main: Package
    parts: tuple[Package, ...]
    headers: tuple[Package, ...]


def find(kernel: Kernel, say: Say) -> Found:
    """Look ``kernel`` up in its suites. Raises ``UnavailableError`` when no suite that answers has it."""
    packages: list[Package] = []
    faults: list[BenchError] = []
    for suite in kernel.suites:
        try:
            packages += suite_packages(suite, say)
        except UnavailableError as error:
            faults.append(error)
    try:
        found = resolve(kernel, packages)
    except UnavailableError:
        raise next(iter(faults), UnavailableError(*_absent(kernel))) from None
    for fault in faults:
        say(f"{fault.message}; using what {' and '.join(kernel.suites)} otherwise have")
    return found


def _absent(kernel: Kernel) -> tuple[str, str]:
    message = f"no package matches {kernel.image or kernel.source} in {', '.join(kernel.suites)}"
    return message, "correct the pattern or the suite in tests/vm/kernels.toml"


def resolve(kernel: Kernel, packages: Sequence[Package]) -> Found:
    """The newest match among ``packages`` with its parts and headers. Raises ``UnavailableError`` when there
    is none."""
    pattern = re.compile(kernel.image or kernel.source)
    main = newest([package for package in packages if pattern.fullmatch(package.name)])
    if main is None:
        raise UnavailableError(*_absent(kernel))
    if kernel.source:
        return Found(main, (), ())
    headers = _pick(main.name.replace("-image-", "-headers-"), main.version, packages)
    return Found(main, _closure([main], packages)[1:], _closure([headers] if headers else [], packages))


def newest(packages: Sequence[Package]) -> Package | None:
    """The package with the highest version as dpkg orders them."""
    return max(packages, key=functools.cmp_to_key(_compare), default=None)


def _compare(one: Package, other: Package) -> int:
    if one.version == other.version:
        return 0
    later = subprocess.run(["dpkg", "--compare-versions", one.version, "gt", other.version]).returncode == 0
    return 1 if later else -1


def _pick(name: str, version: str, packages: Sequence[Package]) -> Package | None:
    named = [package for package in packages if package.name == name]
    return newest([package for package in named if package.version == version] or named)


def _closure(start: Sequence[Package], packages: Sequence[Package]) -> tuple[Package, ...]:
    found = list(start)
    for package in found:  # grows while it is walked
        names = {each_found.name for each_found in found}
        for name in package.depends:
            if PARTS.fullmatch(name) and name not in names:
                part = _pick(name, package.version, packages)
                found += [part] if part else []
    return tuple(found)


def _show(kernel: Kernel, say: Say) -> None:
    found = find(kernel, say)
    for role, packages in (("main", (found.main,)), ("part", found.parts), ("headers", found.headers)):
        for package in packages:
            say(f"{role:8}{package.name} {package.version} {package.size / 1e6:.1f} MB")


if __name__ == "__main__":
    each(_show)
