"""Packages arrive once, whole and right, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm.bench import cache
from tests.vm.bench.archive import suite_packages
from tests.vm.bench.errors import BenchError, UnavailableError, from_oserror
from tests.vm.bench.fetch import fetch
from tests.vm.bench.matrix import ROOT
from tests.vm.host.archive_fixture import Archive

NAME = "linux-image-6.1.0-1-amd64"


def test_a_package_is_fetched_once(mirror: Archive, said: list[str]) -> None:
    mirror.add("stable", NAME, "6.1.1-1", b"the package")
    (package,) = suite_packages("stable", said.append)
    assert fetch(package, said.append).read_bytes() == b"the package"
    shutil.rmtree(mirror.root)
    assert fetch(package, said.append).read_bytes() == b"the package"
    assert sum(line.startswith("fetch") for line in said) == 1


def test_a_package_that_differs_from_its_hash_leaves_nothing(mirror: Archive, said: list[str], own_cache: Path) -> None:
    path = mirror.add("stable", NAME, "6.1.1-1", b"the package")
    (package,) = suite_packages("stable", said.append)
    path.write_bytes(b"something else")
    with pytest.raises(BenchError, match=r"SHA-256 is .* the index says") as caught:
        fetch(package, said.append)
    assert not isinstance(caught.value, UnavailableError)
    assert list((own_cache / "packages").iterdir()) == []


def test_a_package_that_vanished_is_named(mirror: Archive, said: list[str]) -> None:
    mirror.add("stable", NAME, "6.1.1-1").unlink()
    (package,) = suite_packages("stable", said.append)
    with pytest.raises(UnavailableError, match=r"6\.1\.1-1\.deb is not there"):
        fetch(package, said.append)


FULL_DISK = """
mount -t tmpfs -o size=600k tmpfs "$1" || exit 77
exec "$2" -c '
from tests.vm.bench import archive
from tests.vm.bench.matrix import Kernel
from tests.vm.bench.run import run
archive.KEYRINGS = ()
kernel = Kernel("full", ".*", ("stable",), frozenset(), image="linux-image-.*")
row = run(kernel, print)
assert row.unavailable and not row.tested and "no space left" in row.problem, row
'
"""


def test_a_full_disk_is_said_in_a_line(mirror: Archive, tmp_path: Path) -> None:
    mirror.add("stable", NAME, "6.1.1-1", os.urandom(1 << 20))
    small = tmp_path / "small"
    small.mkdir()
    command = ["unshare", "-rm", "sh", "-c", FULL_DISK, "sh", str(small), sys.executable]
    environment = {**os.environ, "XDG_CACHE_HOME": str(small), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip("needs user namespaces: a small tmpfs cannot be mounted")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not tested: no space left on the disk" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_write_to_a_full_device_means_the_same() -> None:
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb", buffering=0) as stream:
        stream.write(b"x")
    error = from_oserror(caught.value)
    assert isinstance(error, UnavailableError) and error.message.startswith("no space left") and error.hint


def test_a_failure_half_way_leaves_no_file(own_cache: Path) -> None:
    place = cache.place("packages")
    with pytest.raises(RuntimeError), cache.staged(place / "x") as part:
        part.write_text("half")
        raise RuntimeError
    assert list(place.iterdir()) == []


def test_a_directory_that_another_was_first_with_stays(own_cache: Path) -> None:
    final = cache.place("kernels") / "k"
    with cache.staged(final) as part:
        part.mkdir()
        final.mkdir()
        (final / "first").touch()
    assert [path.name for path in final.parent.iterdir()] == ["k"]
    assert (final / "first").exists()


def test_a_program_that_is_not_there_is_named_and_no_fault_of_the_cache() -> None:
    with pytest.raises(OSError) as caught:
        subprocess.run(["dpkg-deb-of-nowhere"], check=True)
    error = from_oserror(caught.value)
    assert isinstance(error, UnavailableError)
    assert error.message == "dpkg-deb-of-nowhere is not installed"
