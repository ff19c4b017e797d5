"""The package index: parsed, verified, remembered, and what is said when it cannot be had."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.vm.bench.archive import (
    KEYRINGS,
    Package,
    parse_packages,
    parse_release,
    pick_mirror,
    suite_packages,
    transfer_error,
)
from tests.vm.bench.errors import BenchError, UnavailableError
from tests.vm.host.archive_fixture import Archive

INDEX = """Package: linux-image-1
Version: 1.2-3
Depends: kmod, linux-base (>= 4.3~) | other, linux-binary-1 (= 1.2-3)
Description: text
 Package: not this
Filename: pool/linux-image-1.deb
Size: 123
SHA256: abc

Package: without-a-file
Version: 1

Package: last
Version: 2
Filename: pool/last.deb
Size: 4
SHA256: def
"""

LISTING = """https://packages.example/apt stable Example
http://mirror.example/debian/ bookworm Debian
http://mirror.example/debian-security/ bookworm-security Debian
"""


def names(packages: list[Package]) -> list[str]:
    return [package.name for package in packages]


def test_stanzas_become_packages() -> None:
    first, last = parse_packages(INDEX.splitlines(keepends=True), "http://m")
    depends = ("kmod", "linux-base", "linux-binary-1")
    assert first == Package("linux-image-1", "1.2-3", "http://m/pool/linux-image-1.deb", 123, "abc", depends)
    assert last == Package("last", "2", "http://m/pool/last.deb", 4, "def", ())


def test_a_release_file_lists_hashes_of_sha256_only() -> None:
    text = "MD5Sum:\n aa 1 x\nSHA256:\n bb 1 x\n cc 2 main/y\nSHA512:\n dd 1 x\n"
    assert parse_release(text) == {"x": "bb", "main/y": "cc"}
    assert parse_release("Suite: x\n") == {}


def test_the_mirror_is_the_one_that_apt_uses() -> None:
    assert pick_mirror(LISTING, security=False) == "http://mirror.example/debian"
    assert pick_mirror(LISTING, security=True) == "http://mirror.example/debian-security"


def test_without_an_archive_in_apt_the_error_says_how_to_name_one() -> None:
    with pytest.raises(UnavailableError) as caught:
        pick_mirror("https://packages.example/apt stable Example\n", security=False)
    assert "ISOTRACE_DEBIAN_MIRROR" in caught.value.hint


def test_a_suite_is_read_from_the_mirror_and_remembered(mirror: Archive, said: list[str]) -> None:
    mirror.add("stable", "linux-image-6.1.0-1-amd64", "6.1.1-1")
    mirror.add("stable", "vim", "9")
    assert names(suite_packages("stable", said.append)) == ["linux-image-6.1.0-1-amd64"]
    shutil.rmtree(mirror.root)
    assert names(suite_packages("stable", said.append)) == ["linux-image-6.1.0-1-amd64"]
    assert said.count("index of stable") == 1


def test_a_stale_answer_is_asked_for_anew(mirror: Archive, said: list[str], own_cache: Path) -> None:
    mirror.add("stable", "linux-image-6.1.0-1-amd64", "6.1.1-1")
    suite_packages("stable", said.append)
    mirror.add("stable", "linux-image-6.1.0-2-amd64", "6.1.2-1")
    assert len(suite_packages("stable", said.append)) == 1
    make_stale(own_cache)
    assert len(suite_packages("stable", said.append)) == 2


def test_a_stale_answer_serves_when_the_mirror_is_gone(
    mirror: Archive, said: list[str], own_cache: Path
) -> None:
    mirror.add("stable", "linux-image-6.1.0-1-amd64", "6.1.1-1")
    suite_packages("stable", said.append)
    make_stale(own_cache)
    shutil.rmtree(mirror.root)
    assert names(suite_packages("stable", said.append)) == ["linux-image-6.1.0-1-amd64"]
    assert "using the answer of" in said[-1]


def make_stale(own_cache: Path) -> None:
    (kept,) = (own_cache / "index").glob("*.json")
    month_ago = time.time() - 30 * 86400
    os.utime(kept, (month_ago, month_ago))


def test_a_suite_that_vanished_is_named(mirror: Archive, said: list[str]) -> None:
    mirror.add("stable", "linux-image-6.1.0-1-amd64", "6.1.1-1")
    with pytest.raises(UnavailableError, match="dists/gone/InRelease is not there"):
        suite_packages("gone", said.append)


def test_no_network_is_called_that(mirror: Archive, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOTRACE_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")
    with pytest.raises(UnavailableError, match="no network"):
        suite_packages("stable", said.append)


def test_an_index_that_differs_from_its_hash_is_refused(
    mirror: Archive, said: list[str], own_cache: Path
) -> None:
    mirror.add("stable", "linux-image-6.1.0-1-amd64", "6.1.1-1")
    with mirror.index("stable").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(BenchError, match=r"Packages\.xz: SHA-256 is"):
        suite_packages("stable", said.append)
    assert list((own_cache / "index").iterdir()) == []


@pytest.mark.skipif(
    not shutil.which("gpgv") or not KEYRINGS[0].exists(), reason="gpgv or its keyring is missing"
)
def test_an_archive_without_a_valid_signature_is_refused(
    mirror: Archive, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.add("stable", "linux-image-6.1.0-1-amd64", "6.1.1-1")
    monkeypatch.setattr("tests.vm.bench.archive.KEYRINGS", KEYRINGS)
    with pytest.raises(BenchError, match="signature is not valid"):
        suite_packages("stable", said.append)


def test_where_nothing_can_check_the_signature_it_says_so(mirror: Archive, said: list[str]) -> None:
    mirror.add("stable", "linux-image-6.1.0-1-amd64", "6.1.1-1")
    suite_packages("stable", said.append)
    assert any("signature not checked" in line for line in said)


@pytest.mark.parametrize(
    ("stderr", "says"),
    [
        (
            "E: Failed to fetch http://m/x  404  Not Found [IP: 192.0.2.1 80]\nE: Download Failed\n",
            "http://m/x is not there",
        ),
        ("E: Failed to fetch http://m/x  Temporary failure resolving 'm'\n", "no network: http://m/x"),
        ("E: Failed to fetch http://m/x  Could not connect to m:80 (192.0.2.1)\n", "no network: http://m/x"),
        (
            "E: Failed to fetch http://m/x  Error writing to file - write (28: No space left on device)\n",
            "no space left",
        ),
        ("E: Something {new}\n", "http://m/x: Something {new}"),
        ("", "http://m/x: no reason given"),
    ],
)
def test_what_apt_says_becomes_one_line_and_a_hint(stderr: str, says: str) -> None:
    error = transfer_error("http://m/x", stderr)
    assert error.message.startswith(says)
    assert error.hint and "\n" not in error.message
