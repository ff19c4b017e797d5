"""Loading when something is missing: one line and what would help, from the child process."""

from __future__ import annotations

import re
import sys

import pytest

from isotrace.backends import loader
from isotrace.errors import KernelError
from isotrace.kernel import bcc


def test_without_bcc_the_package_is_named(monkeypatch):
    monkeypatch.setattr(bcc, "_SYSTEM_PACKAGES", ())
    child = loader.Loader()
    child.start("trace.c", [], {"on_exit": "RAW_TRACEPOINT"}, [])
    with pytest.raises(KernelError) as error:
        child.result()
    assert "BCC" in error.value.message
    assert "install" in error.value.hint and error.value.status == 3


def test_the_bcc_of_pypi_is_skipped(monkeypatch, tmp_path):
    (tmp_path / "bcc.py").write_text("lattice = 'body-centred cubic'\n")
    monkeypatch.setattr(bcc, "_SYSTEM_PACKAGES", (str(tmp_path),))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KernelError):
        bcc.load_bcc()


def test_bcc_is_found_for_another_python_of_the_distribution(tmp_path):
    def package(place, name="bcc"):
        (tmp_path / place / name).mkdir(parents=True)
        return str(tmp_path / place)

    own = f"python3.{sys.version_info.minor}"
    old, older = package("lib/python3.9/site-packages"), package("lib64/python3.6/site-packages")
    package("lib/python3.8/site-packages", "another")
    assert bcc.system_packages(tmp_path) == (old, older)
    mine = package(f"lib64/{own}/site-packages")
    assert bcc.system_packages(tmp_path) == (mine, old, older)
    assert bcc.system_packages(tmp_path / "nothing") == ()


def test_a_child_that_is_not_needed_goes_away(monkeypatch):
    monkeypatch.setattr(bcc, "_SYSTEM_PACKAGES", ())
    child = loader.Loader()
    child.close()
    child.close()


@pytest.mark.parametrize(
    ("said", "expected"),
    [("bpf: Failed to load program: Operation not permitted", "does not let"), ("unknown opcode 8d", "cannot load")],
)
def test_what_the_kernel_refused_is_told_in_a_line(said, expected):
    error = loader._explain(b'{"kind": "load", "message": "Failed", "hint": ""}', said)
    assert expected in error.message and "\n" not in error.message


def test_a_compiler_that_died_is_told():
    assert "without an answer" in loader._explain(b"", "").message


def test_a_program_that_is_not_asked_for_is_left_to_the_compiler_to_drop():
    text = loader.expand("trace.c")
    programs = re.findall(r"^int (\w+)\(struct \w+ \*ctx\)$", text, re.MULTILINE)
    assert {"on_exit", "on_enter", "exit_plain", "exit_vector32", "on_fork"} <= set(programs)
    kept = loader.only(text, ["on_exit", "exit_plain"])
    assert re.findall(r"^int (\w+)\(", kept, re.MULTILINE) == ["exit_plain", "on_exit"]
    assert re.findall(r"^static int (\w+)\(", kept, re.MULTILINE) == [
        p for p in programs if p not in ("on_exit", "exit_plain")
    ]
    assert loader.only(text, programs) == text
