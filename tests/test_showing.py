"""The options on how arguments are shown, where lines are rendered and where none are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import recorded

from isotrace.catalog import names
from isotrace.commands import qualifiers
from isotrace.commands.showing import CONSTANTS
from isotrace.decode import style

ROOT = Path(__file__).parents[1]


def isotrace(*args: object, status: int = 0) -> str:
    """What it prints; its errors where ``status`` is not 0."""
    done = subprocess.run(
        [sys.executable, "-m", "isotrace", *map(str, args)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
        timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT), "LC_ALL": "C"}, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
    return done.stderr if status else re.sub(" += ", " = ", done.stdout)


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    return recorded.record(tmp_path_factory.mktemp("showing") / "t.arrow")


def test_constants_and_strings_of_every_kind_of_lines(recording):
    path = '"' + "".join(f"\\x{byte:02x}" for byte in b"/etc/late") + '"'
    failed = f"openat(-100 /* AT_FDCWD */, {path}, 0x241 /* O_WRONLY|O_CREAT|O_TRUNC */, 000) = -1 ENOENT "
    for line in (
        ("log", "--from", recording),
        ("log", "--from", recording, "--format", "strace"),
        ("export", recording, "--to", "strace"),
    ):
        assert failed in isotrace(*line, "-xx", "-X", "verbose")
        assert 'openat(-100, "/etc/late", 0x241, 000) = ' in isotrace(*line, "-X", "raw")
        assert 'openat(AT_FDCWD, "/etc/late", O_WRONLY|O_CREAT|O_TRUNC, 000) = ' in isotrace(*line)
        assert 'openat(AT_FDCWD, "\\x2f\\x74\\x6d\\x70\\x2f\\x6f\\xff\\x74", O_W' in isotrace(*line, "-x")
    assert '"value":"-100 /* AT_FDCWD */"' in isotrace("log", "--from", recording, "--format", "json", "-X", "verbose")


@pytest.mark.parametrize("option", [("-xx",), ("-X", "raw")], ids=" ".join)
def test_what_has_no_lines_says_so(recording, option):
    said = isotrace("export", recording, "--to", "csv", *option, status=2)
    assert "is only for lines of text" in said
    assert "hint: leave it out with --to csv" in said


def test_the_styles_are_those_that_there_are():
    assert CONSTANTS == style.CONSTANTS


def test_a_style_that_there_is_not(recording):
    assert "'names' is not one of 'abbrev', 'raw', 'verbose'" in isotrace(
        "log", "--from", recording, "-X", "names", status=2
    )


def taken(*given: str, **values: object) -> dict[str, object]:
    found = {"calls": None, "signals": None, "status": None, "fd": None, "descriptors": 0} | values
    qualifiers.take(found, given)
    return {name: value for name, value in found.items() if value not in (None, 0)}


def test_qualifiers_are_the_options_that_ask_the_same():
    assert taken("trace=open,close") == {"calls": "open,close"}
    assert taken("!open,close") == {"calls": "!open,!close"}, "strace's ! is for the whole set"
    assert taken("%file,/^get") == {"calls": "%file,/^get/"}
    assert taken("trace=all") == {}
    assert taken("signal=!SIGCHLD,int", "status=failed", "fd=3,4") == {
        "signals": "!SIGCHLD,!int",
        "status": "failed",
        "fd": "3,4",
    }
    assert taken("decode-fds=path") == {"descriptors": 1}
    assert taken("decode-fds=socket,path") == {"descriptors": 2}
    assert taken("t=read", "s=none") == {"calls": "read", "signals": "none"}


def test_qualifiers_on_how_calls_are_shown():
    assert taken("abbrev=none")["abbreviated"] == frozenset()
    assert taken("verbose=!stat")["followed"] == frozenset(names()) - {"stat"}
    assert taken("raw=read,write")["raw"] == {"read", "write"}
    assert "abbreviated" not in taken("abbrev=all")


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (("-e", "abbrv=read"), 'unknown qualifier "abbrv"', "did you mean abbrev?"),
        (("-e", "foo=bar"), 'unknown qualifier "foo"', "write -e trace=SET"),
        (("-e", "inject=open:error=EPERM"), "isotrace has no -e inject", "isotrace block denies calls"),
        (("-e", "write=1"), "isotrace has no -e write", "--string-limit"),
        (("-e", "raw=opne"), 'unknown system call "opne"', "did you mean"),
        (("-e", "trace=read", "--calls", "write"), "-e trace and --calls are the same", "join the terms"),
        (("-e", "decode-fds=xyz"), 'unknown detail of descriptors "xyz"', "give path"),
        (("-e", "signal=SIGX"), "'SIGX' is not a signal", "SIGINT"),
        (("--signals", "none", "--signals", "all"), "--signals is given 2 times", ""),
        (("--fd", "x"), "'x' is not a descriptor", "--fd 3"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_a_hint(recording, args, message, hint):
    said = isotrace("log", "--from", recording, *args, status=2).splitlines()
    assert message in said[0]
    assert hint in "".join(said[1:])


def test_a_recording_that_lacks_what_v_would_show_is_said_to(recording):
    for line in (("log", "--from", recording, "-v"), ("export", recording, "--to", "strace", "-v")):
        done = subprocess.run(
            [sys.executable, "-m", "isotrace", *map(str, line)], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "LC_ALL": "C"}, timeout=60,
        )  # fmt: skip
        assert "has at most 32 arguments of an execve, and no environment" in done.stderr
        assert "openat(AT_FDCWD, " in done.stdout


def test_raw_and_chosen_calls_of_a_recording(recording):
    found = isotrace("log", "--from", recording, "-e", "raw=openat", "-e", "read,openat", "-e", "status=successful")
    assert found.splitlines() == [
        "101 cat  openat(0xffffff9c, 0x1000, 0x241, 0) = 0x3",
        "101 cat  openat(0xffffff9c, 0x1000, 0x241, 0) = 0x4",
        '101 cat  read(3, "hello", 5) = 5',
        "101 cat  *** 2 read calls lost here ***",
    ]
