"""Which packages a kernel is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.bench.archive import Package
from tests.vm.bench.errors import UnavailableError
from tests.vm.bench.find import find, newest, resolve
from tests.vm.bench.matrix import Kernel
from tests.vm.host.archive_fixture import Archive

KERNEL = Kernel("7.x", r"7\..*", ("main", "extra"), frozenset(), image=r"linux-image-7\.\d+-amd64")


def package(name: str, version: str, *depends: str) -> Package:
    return Package(name, version, f"http://m/{name}_{version}.deb", 1, "0" * 64, depends)


def test_newest_is_in_the_order_of_dpkg() -> None:
    versions = ["6.1.9-1", "6.1.10-1~bpo12+1", "6.1.10-1", "6.1.10-1~rc1"]
    found = newest([package("a", version) for version in versions])
    assert found and found.version == "6.1.10-1"
    assert newest([]) is None


def test_a_split_image_is_found_with_its_parts_and_headers() -> None:
    packages = [
        package("linux-image-7.2-amd64", "7.2-1", "kmod", "linux-binary-7.2-amd64"),
        package(
            "linux-image-7.3-amd64", "7.3-1", "kmod", "linux-binary-7.3-amd64", "linux-modules-7.3-amd64"
        ),
        package("linux-image-7.3-amd64-dbg", "7.3-1"),
        package("linux-binary-7.3-amd64", "7.3-1", "linux-base-7.3-amd64"),
        package("linux-base-7.3-amd64", "7.3-1"),
        package("linux-modules-7.3-amd64", "7.2-9"),
        package("linux-modules-7.3-amd64", "7.3-1", "linux-base-7.3-amd64", "linux-base"),
        package("linux-modules-7.3-amd64", "7.3-2"),
        package("linux-base", "4"),
        package("linux-headers-7.3-amd64", "7.3-1", "linux-headers-7.3-common", "linux-kbuild-7.3", "gcc-14"),
        package("linux-headers-7.3-common", "7.3-1"),
        package("linux-kbuild-7.3", "7.3-4"),
    ]
    found = resolve(KERNEL, packages)
    assert (found.main.name, found.main.version) == ("linux-image-7.3-amd64", "7.3-1")
    parts = [(part.name, part.version) for part in found.parts]
    assert parts == [
        ("linux-binary-7.3-amd64", "7.3-1"),
        ("linux-modules-7.3-amd64", "7.3-1"),
        ("linux-base-7.3-amd64", "7.3-1"),
    ]
    assert [part.name for part in found.headers] == [
        "linux-headers-7.3-amd64",
        "linux-headers-7.3-common",
        "linux-kbuild-7.3",
    ]


def test_no_match_names_the_pattern_and_the_suites() -> None:
    with pytest.raises(UnavailableError, match=r"no package matches .* in main, extra"):
        resolve(KERNEL, [package("linux-image-6.1-amd64", "6.1-1")])


def test_the_newest_of_all_suites_is_taken(mirror: Archive, said: list[str]) -> None:
    mirror.add("main", "linux-image-7.3-amd64", "7.3-1")
    mirror.add("extra", "linux-image-7.4-amd64", "7.4-1")
    assert find(KERNEL, said.append).main.version == "7.4-1"


def test_one_suite_that_vanished_leaves_the_other(mirror: Archive, said: list[str]) -> None:
    mirror.add("extra", "linux-image-7.4-amd64", "7.4-1")
    assert find(KERNEL, said.append).main.version == "7.4-1"
    assert any("dists/main/InRelease is not there" in line for line in said)


def test_when_all_suites_vanished_that_is_the_error(mirror: Archive, said: list[str], tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="dists/main/InRelease is not there"):
        find(KERNEL, said.append)
