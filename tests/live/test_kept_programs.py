"""Programs that were kept are loaded as those that were compiled, without BCC."""

from __future__ import annotations

import os
import shlex
import sys

import pytest

from isotrace.backends import loader
from isotrace.errors import IsotraceError, KernelError
from isotrace.kernel import bcc
from isotrace.kernel.facts import facts
from isotrace.trace.plan import Options, make
from isotrace.trace.target import Target


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOTRACE_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def _load():
    target = Target(pid=os.getpid())
    plan = make(Options(target), facts(), target.defines())
    child = loader.Loader()
    child.start("trace.c", plan.constants, plan.programs, plan.maps)
    return child.result()


def test_the_second_time_needs_no_compiler(place, monkeypatch):
    first = _load()
    monkeypatch.delenv("ISOTRACE_COMPILER", raising=False)
    monkeypatch.setattr(bcc, "_SYSTEM_PACKAGES", ())
    second = _load()
    assert first.programs.keys() == second.programs.keys() and first.maps.keys() == second.maps.keys()
    first.close()
    second.close()
    for file in place.iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(KernelError, match="BCC"):
        _load()


def test_a_program_that_the_kernel_refuses_is_told_in_a_line(place, monkeypatch, tmp_path):
    (tmp_path / "bad.c").write_text("int bad(void *ctx) { return *(int *)0x10; }\n")
    headers = loader.SOURCES / "include"
    monkeypatch.delenv("ISOTRACE_COMPILER", raising=False)  # it would not find what is only here
    monkeypatch.setattr(loader, "SOURCES", tmp_path)
    (tmp_path / "include").symlink_to(headers)
    child = loader.Loader()
    child.start("bad.c", [], {"bad": "RAW_TRACEPOINT"}, [])
    with pytest.raises(KernelError, match="cannot load the program 'bad'") as error:
        child.result()
    assert error.value.hint and "\n" not in error.value.hint


def test_another_command_may_compile(place, monkeypatch):
    monkeypatch.setenv("ISOTRACE_COMPILER", shlex.join([sys.executable, "-m", "isotrace.backends.serve"]))
    monkeypatch.setattr(loader, "load_bcc", lambda: pytest.fail("compiled here"))
    first = _load()
    second = _load()
    assert first.programs.keys() == second.programs.keys() and len(list(place.iterdir())) == 1
    first.close()
    second.close()


@pytest.mark.parametrize("command", ["/no/such/program", "'", " ", "true", "cat", "head -c 100000 /dev/urandom"])
def test_a_compiler_that_gives_no_programs_is_told_in_a_line(command, place, monkeypatch):
    monkeypatch.setenv("ISOTRACE_COMPILER", command)
    with pytest.raises(IsotraceError) as error:
        _load()
    assert error.value.hint and "\n" not in error.value.message + error.value.hint
    assert not place.exists()
