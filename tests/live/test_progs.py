"""The programs of tests/progs: each writes down what its trace must be, and here is the trace beside it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import tracer

Compile = Callable[..., Path]

#: Programs and the flags that each is compiled with.
PROGRAMS: dict[str, tuple[str, ...]] = {
    "files": (),
    "buffers": (),
    "sockets": (),
    "sized": (),
    "written": (),
    "written-m32": ("-m32",),
    "multiplexed": ("-m32",),
    "numbers": (),
    "execs": (),
    "tasks": (),
    "signals": (),
    "native32": ("-m32",),
    "ioctls": (),
    "ioctls-m32": ("-m32",),
    "signals-m32": ("-m32",),
}
SIGNALS = ("", "kill", "rt_sigpending", "rt_sigsuspend", "rt_sigreturn", "sigreturn", "exit_group")


@dataclass(frozen=True)
class Traced:
    """One trace of all the programs, run one after the other."""

    directory: Path
    lines: list[tracer.Line]

    def between_marks(self, name: str) -> list[tracer.Line]:
        """The lines that the program's part ``name`` and what it started made: all but those of the shell before it."""
        marks = [i for i, line in enumerate(self.lines) if re.match(rf'chdir\("/isotrace/\w+/{name}"\)', line.text)]
        assert len(marks) == 2, f"{len(marks)} marks of {name}"
        return [line for line in self.lines[marks[0] + 1 : marks[1]] if line.tid != self.lines[0].tid]

    def check(self, name: str, *only: str) -> None:
        """Compare with what the program wrote down; with ``only``, the lines of these calls ("" for those of none)."""
        found = [line.call for line in self.between_marks(name) if not only or line.name in only]
        expected = (self.directory / f"{name}.expected").read_text().splitlines()
        assert found == expected, "\n".join(
            difflib.unified_diff(expected, found, "expected", "isotrace", lineterm="", n=0)
        )


@pytest.fixture(scope="module")
def traced(compiled: Compile, tmp_path_factory: pytest.TempPathFactory) -> Traced:
    directory = tmp_path_factory.mktemp("run")
    script = []
    for name, flags in PROGRAMS.items():
        try:
            script.append(f"{compiled(name.partition('-')[0], *flags)} {name}.expected")
        except pytest.skip.Exception:
            if not flags:
                raise
    run = tracer.log("--string-limit", 32, "--", "sh", "-c", "; ".join([*script, "exit 0"]), cwd=directory)
    assert run.status == 0, run.err
    assert run.counts[2] == 0, run.err
    return Traced(directory, run.lines)


def test_every_way_to_execute_shows_what_the_caller_gave(traced: Traced) -> None:
    traced.check("execs", "execve", "execveat")


def test_new_processes_return_once_in_the_parent(traced: Traced) -> None:
    traced.check("tasks", "fork", "vfork", "clone", "clone3", "wait4")


def test_calls_of_threads_are_their_own(traced: Traced) -> None:
    lines = traced.between_marks("threads")
    told = {line.tid: line.args for line in lines if line.name == "getpgid"}
    assert len(told) == 4
    assert told == {tid: str(1000000 + tid) for tid in told}
    assert [line.tid for line in lines if line.name == "gettid"] == [
        int(line.result) for line in lines if line.name == "gettid"
    ]


def test_signals_and_ends(traced: Traced) -> None:
    traced.check("signals", *SIGNALS)


def test_signals_of_a_32_bit_program(traced: Traced, compiled: Compile) -> None:
    compiled("signals", "-m32")
    if not (traced.directory / "signals-m32.expected").exists():
        pytest.skip("needs ia32: this kernel runs no 32-bit programs")
    traced.check("signals-m32", *SIGNALS)


@pytest.mark.parametrize("name", ["files", "buffers", "sockets", "written", "numbers", "ioctls"])
def test_the_trace_is_what_the_program_expects(traced: Traced, name: str) -> None:
    traced.check(name)


def test_what_a_call_did_not_read_or_fill_is_not_shown(traced: Traced) -> None:
    names = ("wait4", "openat2", "rt_sigprocmask", "perf_event_open", "sched_getattr", "sched_setattr")
    names += ("getsockopt", "setsockopt", "recvfrom", "close")
    traced.check("sized", *names, "socket", "socketpair", "sendto", "setgroups", "getgroups")


def test_how_long_a_call_was_to_sleep_that_is_given_one_time_for_both(traced: Traced) -> None:
    traced.check("written-sleep", "nanosleep")


def test_what_a_32_bit_call_was_given(traced: Traced, compiled: Compile) -> None:
    compiled("written", "-m32")
    if (traced.directory / "written-m32.untried").exists():
        pytest.skip("needs time32: this kernel was built without CONFIG_COMPAT_32BIT_TIME")
    if not (traced.directory / "written-m32.expected").exists():
        pytest.skip("needs ia32: this kernel runs no 32-bit programs")
    traced.check("written-m32")


def test_socketcall_and_ipc_are_shown_as_the_calls_behind(traced: Traced, compiled: Compile) -> None:
    compiled("multiplexed", "-m32")
    if not (traced.directory / "multiplexed.expected").exists():
        pytest.skip("needs ia32: this kernel runs no 32-bit programs")
    traced.check("multiplexed")


def test_int_0x80_in_a_64_bit_program_is_named_by_the_32_bit_number(traced: Traced) -> None:
    if not (traced.directory / "i386.expected").exists():
        pytest.skip("needs ia32: this kernel runs no 32-bit calls")
    traced.check("i386")


def test_a_32_bit_program_is_decoded_as_one(traced: Traced, compiled: Compile) -> None:
    compiled("native32", "-m32")
    if not (traced.directory / "native32.expected").exists():
        pytest.skip("needs ia32: this kernel runs no 32-bit programs")
    traced.check("native32")


def test_ioctls_of_a_32_bit_program_point_to_its_own_structs(traced: Traced, compiled: Compile) -> None:
    compiled("ioctls", "-m32")
    if not (traced.directory / "ioctls-m32.expected").exists():
        pytest.skip("needs ia32: this kernel runs no 32-bit programs")
    traced.check("ioctls-m32")
