"""What ``isotrace -v`` logs goes to standard error, is printable, and never blocks who reads a ring."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isotrace.process import itself, verbose

ROOT = Path(__file__).parents[1]
_BEGIN = """
import fcntl, logging, os, sys, time
from isotrace.decode.quote import safe
from isotrace.process import itself, verbose
log = logging.getLogger("isotrace.backends")
"""


def started(program):
    """A Python program, with what is above before it."""
    return subprocess.Popen(
        [sys.executable, "-c", _BEGIN + program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )


def said(program):
    """Its standard error; it has ended well, and written nothing to standard output."""
    out, err = started(program).communicate(timeout=60)
    assert out == ""
    return err


def test_nothing_is_said_without_it():
    assert said('log.debug("hello"); assert verbose.words() == []; verbose.hold(); verbose.resume()') == ""


def test_a_line_has_the_time_the_package_and_no_character_that_moves_a_terminal():
    err = said(r'verbose.use(safe); log.debug("a process called %s", "\x1b[2J\n\u202e\udcff")')
    assert err.startswith("isotrace: ") and err.count("\n") == 1
    _time, _, rest = err.partition(" s ")
    assert "backends: a process called \\33[2J\\n" in rest and err.rstrip("\n").isprintable()


def test_a_child_says_nothing():
    assert said('verbose.use(safe)\nif os.fork() == 0: log.debug("child"); os._exit(0)\nos.wait()') == ""


def test_isotrace_that_isotrace_runs_says_it_too(monkeypatch):
    assert said('verbose.use(safe); assert verbose.words() == ["-v"]') == ""
    monkeypatch.setattr(verbose, "words", lambda: ["-v"])
    monkeypatch.setattr(itself.subprocess, "Popen", lambda command, **_: command)
    assert itself.start(["record", "-o", "t.arrow"])[-4:] == ["-v", "record", "-o", "t.arrow"]


_FULL = """
os.set_blocking(2, False)
try:
    while True: os.write(2, b"x" * 4096)
except BlockingIOError: os.set_blocking(2, True)
verbose.use(safe)
verbose.hold()
for number in range(100): log.debug("before %d", number)
{}
for number in range(100): log.debug("later %d", number)
print("went on", flush=True)
sys.stdin.readline()
verbose.write_rest()
log.debug("at once")
"""


@pytest.mark.parametrize("then", ["verbose.resume()", ""], ids=["threads", "a screen"])
def test_while_a_ring_is_read_nobody_waits_for_who_reads_standard_error(then):
    process = started(_FULL.format(then))
    assert process.stdout.readline() == "went on\n"
    _out, err = process.communicate("end\n", timeout=60)
    lines = [line.partition("backends: ")[2] for line in err.lstrip("x").splitlines()]
    assert lines == [f"{when} {number}" for when in ("before", "later") for number in range(100)] + ["at once"]


def test_what_is_kept_is_said_when_isotrace_ends():
    assert said('verbose.use(safe); verbose.hold(); log.debug("kept")').endswith("backends: kept\n")


def test_every_package_says_it_by_a_logger_of_its_own_name():
    for file in (ROOT / "isotrace").rglob("*.py"):
        for line in file.read_text().splitlines():
            if "getLogger(" in line and file.name != "verbose.py":
                assert line == "_LOG = logging.getLogger(__package__)", file
