"""Building and loading the kernel module, as far as that goes without a kernel: what is missing, and what refusals mean."""

from __future__ import annotations

import errno
import os
import shutil

import pytest
from click.testing import CliRunner

from isotrace import __version__
from isotrace.commands.module import module
from isotrace.errors import IsotraceError, KernelError
from isotrace.kmod import SOURCES, build, load

RELEASE = "6.1.0-isotrace-test"


@pytest.mark.parametrize(
    ("os_release", "hint"),
    [
        ("ID=debian\n", "apt-get install linux-headers-6.1"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "apt-get install linux-headers-6.1"),
        ("ID=fedora\n", "dnf install kernel-devel-6.1"),
        ("ID=arch\n", "pacman -S linux-headers"),
        ("ID=nowhere\n", "install the headers of 6.1"),
        ("", "install the headers of 6.1"),
    ],
)
def test_the_package_with_the_headers_is_named_as_the_distribution_calls_it(os_release, hint):
    assert hint in build.headers_hint("6.1", os_release)


def test_headers_that_are_not_there_are_said(tmp_path):
    with pytest.raises(KernelError, match=f"no headers to build a module for Linux {RELEASE}"):
        build.find_headers(RELEASE)
    with pytest.raises(KernelError, match="has no Makefile"):
        build.find_headers(RELEASE, tmp_path)


def test_the_kernels_own_compiler_is_taken_where_there_is_one(monkeypatch):
    config = 'CONFIG_CC_VERSION_TEXT="x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14) 12.2.0"\n'
    there = {"gcc-12", "gcc", "make"}
    monkeypatch.setattr(shutil, "which", lambda name: name if name in there else None)
    assert build.compiler(config) == "gcc-12"
    there.remove("gcc-12")
    assert build.compiler(config) == "gcc"
    with pytest.raises(KernelError, match="clang is not installed"):
        build.compiler("CONFIG_CC_IS_CLANG=y\n")
    there.remove("make")
    with pytest.raises(KernelError, match="make is not installed"):
        build.compiler(config)


@pytest.mark.skipif(not shutil.which("make") or not shutil.which("gcc"), reason="needs make and gcc: to fail with")
def test_a_build_that_fails_gives_its_first_error_and_keeps_the_rest(tmp_path):
    headers = tmp_path / "headers"
    headers.mkdir()
    (headers / "Makefile").write_text(
        "modules:\n\t@echo all is well; echo 'main.c:1: error: no such thing' >&2; false\n"
    )
    with pytest.raises(IsotraceError) as caught:
        build.build(RELEASE, tmp_path / "to", headers)
    assert caught.value.message == "the module cannot be built: main.c:1: error: no such thing"
    assert "all is well" in (tmp_path / "to" / "build.log").read_text()


def test_sources_are_copied_whole_and_never_built_in_place():
    with build.copied() as work:
        assert {path.name for path in work.iterdir()} == {path.name for path in SOURCES.iterdir() if path.is_file()}
        assert work != SOURCES
    assert not work.exists()


@pytest.fixture
def dkms(tmp_path, monkeypatch):
    """A ``dkms`` that writes down how it is called and fails where a file ``fail`` lies beside it, and headers."""
    tool = tmp_path / "bin/dkms"
    tool.parent.mkdir()
    tool.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ ! -e {tmp_path}/fail ] || {{ echo Error! >&2; exit 9; }}\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(build, "_DKMS_TREE", tmp_path)
    monkeypatch.setattr(build, "find_headers", lambda release: tmp_path)
    return tmp_path


def test_dkms_gets_the_sources_and_builds_them_anew_before_it_installs(dkms):
    build.dkms(RELEASE)
    name = f"isotrace/{__version__}"
    assert (dkms / "calls").read_text().splitlines() == [
        f"build --force {name} -k {RELEASE}",
        f"install --force {name} -k {RELEASE}",
    ]
    tree = dkms / name.replace("/", "-")
    assert {path.name for path in tree.iterdir()} == {path.name for path in SOURCES.iterdir() if path.is_file()}
    assert f'PACKAGE_VERSION="{__version__}"' in (tree / "dkms.conf").read_text()


def test_a_dkms_that_fails_is_told_with_the_command_to_see_more(dkms):
    (dkms / "fail").touch()
    with pytest.raises(IsotraceError) as caught:
        build.dkms(RELEASE)
    assert caught.value.message == "DKMS: Error!" and caught.value.hint.startswith("dkms build --force")


def test_dkms_takes_no_place_and_no_headers_of_the_users():
    result = CliRunner().invoke(module, ["build", "--dkms", "--to", "/nowhere"])
    assert result.exit_code == 2 and "--dkms excludes --headers and --to" in result.output


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOKEY, "signature"),
        (errno.EKEYREJECTED, "signature"),
        (errno.ENOEXEC, "was built for another kernel"),
        (errno.EOPNOTSUPP, "mode table"),
        (errno.ENOSYS, "no loadable modules"),
        (errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_what_a_refusal_of_the_kernel_means(tmp_path, code, said):
    error = load.refusal(code, tmp_path / "isotrace.ko", "table")
    assert said in error.message and "\n" not in error.message and error.hint


def test_a_module_that_nobody_built_is_not_loaded():
    with pytest.raises(KernelError, match=f"no module has been built for Linux {RELEASE}"):
        load.find(RELEASE)


@pytest.mark.parametrize("words", [["build", "--headers", "/nowhere"], ["build", "--release", RELEASE]])
def test_bad_input_is_an_error_in_a_line(words):
    result = CliRunner().invoke(module, words)
    assert isinstance(result.exception, KernelError) and result.exception.status == 3
    assert "\n" not in result.exception.message and result.exception.hint
