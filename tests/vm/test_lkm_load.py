"""The kernel module as a file: what is loaded, what is not, and what the user is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import kernel_module
import pytest

from tests.vm.enforced import FEATURES

pytestmark = pytest.mark.skipif("lkm" not in FEATURES, reason="needs lkm: the module was not built")


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    assert kernel_module.module("status").returncode == 3
    (tmp_path / "no.ko").write_bytes(b"no module")
    done = kernel_module.module("load", "--file", str(tmp_path / "no.ko"))
    assert done.returncode == 3
    assert "was built for another kernel" in done.stderr
    if "syscall_table" not in FEATURES:
        done = kernel_module.module("load", "--mode", "table")
        assert done.returncode == 3
        assert "cannot do what the module needs (mode table)" in done.stderr
        assert "sys_call_table is bypassed" in subprocess.run(["dmesg"], capture_output=True, text=True).stdout


def test_unloading_twice_and_loading_twice(tmp_path: Path) -> None:
    with kernel_module.loaded():
        again = kernel_module.module("load")
        assert again.returncode == 2 and "loaded already" in again.stderr
    gone = kernel_module.module("unload")
    assert gone.returncode == 2 and "not loaded" in gone.stderr
