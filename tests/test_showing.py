"""The options on how arguments are shown, where lines are rendered and where none are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import recorded

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
    assert "is about lines of text" in said
    assert "hint: leave it out with --to csv" in said


def test_the_styles_are_those_that_there_are():
    assert CONSTANTS == style.CONSTANTS


def test_a_style_that_there_is_not(recording):
    assert "'names' is not one of 'abbrev', 'raw', 'verbose'" in isotrace(
        "log", "--from", recording, "-X", "names", status=2
    )
