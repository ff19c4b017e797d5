"""log -v: what is abbreviated otherwise, live and of a recording."""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tracer

Compile = Callable[..., Path]
SHOWN = ("execve", "poll", "writev", "uname")


def _between_marks(lines: list[tracer.Line]) -> list[str]:
    marks = [i for i, line in enumerate(lines) if re.match(r'chdir\("/isotrace/\w+/full"\)', line.text)]
    assert len(marks) == 2
    return [line.call for line in lines[marks[0] + 1 : marks[1]] if line.name in SHOWN]


def _same(found: list[str], expected: list[str]) -> None:
    assert found == expected, "\n".join(difflib.unified_diff(expected, found, "expected", "isotrace", lineterm="", n=0))


@pytest.mark.parametrize("flags", [(), ("-m32",)], ids=["64", "32"])
def test_arguments_environment_and_arrays_are_shown_in_full(
    flags: tuple[str, ...], compiled: Compile, tmp_path: Path
) -> None:
    run = tracer.log("-v", "--string-limit", 32, "--", compiled("full", *flags), "full.expected", cwd=tmp_path)
    if flags and not (tmp_path / "full.expected").exists():
        pytest.skip("needs ia32: this kernel runs no 32-bit programs")
    assert run.status == 0, run.err
    assert run.counts[2] == 0, run.err
    _same(_between_marks(run.lines), (tmp_path / "full.expected").read_text().splitlines())


def test_one_qualifier_abbreviates_the_rest(compiled: Compile, tmp_path: Path) -> None:
    run = tracer.log("-v", "-e", "abbrev=execve", "--", compiled("full"), "full.expected", cwd=tmp_path)
    found = _between_marks(run.lines)
    expected = (tmp_path / "full.expected").read_text().splitlines()
    assert [line for line in found if line[:7] != "execve("] == [line for line in expected if line[:7] != "execve("]
    execs = [line for line in found if line[:7] == "execve("]
    counts = [int(match[1]) for line in execs if (match := re.search(r"/\* (\d+) vars? \*/", line))]
    assert counts == [0, 2, 31, 33, 120, 130, 50, 120, 3, 40]
    assert [line.count('", "') for line in execs if '"a0=0"' in line] == [30, 31, 31, 31]


def _record(path: Path, *args: object, cwd: Path) -> None:
    command = [sys.executable, "-m", "isotrace", "record", "-o", path, *args]
    subprocess.run(
        [str(word) for word in command], cwd=cwd, env=tracer.environment(), stdin=subprocess.DEVNULL, check=True,
        capture_output=True, timeout=tracer.PATIENCE,
    )  # fmt: skip


def _shown(path: Path, *args: str) -> tuple[list[str], str]:
    command = [sys.executable, "-m", "isotrace", "log", "--from", str(path), *args]
    done = subprocess.run(command, env=tracer.environment(), capture_output=True, text=True, timeout=tracer.PATIENCE)
    assert done.returncode == 0, done.stderr
    return _between_marks(tracer.parse(done.stdout)), done.stderr


def test_a_recording_has_what_it_was_made_with_and_says_what_it_lacks(compiled: Compile, tmp_path: Path) -> None:
    program = compiled("full")
    _record(tmp_path / "full.arrow", "-v", "--", program, "full.expected", cwd=tmp_path)
    expected = (tmp_path / "full.expected").read_text().splitlines()
    found, said = _shown(tmp_path / "full.arrow", "-v")
    _same(found, expected)
    assert "environment" not in said
    short, _ = _shown(tmp_path / "full.arrow")
    assert any("/* 120 vars */" in line for line in short)

    (tmp_path / "full.expected").unlink()
    _record(tmp_path / "short.arrow", "--", program, "full.expected", cwd=tmp_path)
    found, said = _shown(tmp_path / "short.arrow", "-v")
    assert "has at most 32 arguments of an execve, and no environment; isotrace record -v keeps all of it" in said
    assert any("/* 120 vars */" in line for line in found)
    assert found[-1].count("...") == 1


def test_without_arguments_in_a_recording_there_is_no_environment_either(compiled: Compile, tmp_path: Path) -> None:
    _record(tmp_path / "t.arrow", "-v", "--redact", "argv", "--", compiled("full"), "full.expected", cwd=tmp_path)
    assert b"F1=1" not in (tmp_path / "t.arrow").read_bytes()
    found, _ = _shown(tmp_path / "t.arrow", "-v")
    execs = [line for line in found if '"b0=0"' in line]
    assert execs and not [line for line in execs if '"b1=1"' in line or "F0=0" in line]


def test_nothing_of_strings_and_buffers_is_copied_where_none_is_wanted(tmp_path: Path) -> None:
    """As strace -s 0 has them; what is empty is told apart, and what cannot be read."""
    script = (
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\n"
        "fd = os.open('/dev/null', os.O_RDWR); os.write(fd, b'secret'); os.write(fd, b''); os.read(fd, 9)\n"
        "os.writev(fd, [b'secret', b'']); libc.write(fd, ctypes.c_void_p(0x10), 3)\n"
        "libc.write(-1, ctypes.c_void_p(0x10), 3); os.memfd_create('secret'); os.memfd_create('')\n"
    )
    (tmp_path / "secret.py").write_text(script)
    run = tracer.log(
        "--string-limit", 0, "--calls", "write,read,writev,memfd_create,execve",
        "--", "/usr/bin/python3", "-S", tmp_path / "secret.py",
    )  # fmt: skip
    assert run.status == 0, run.err
    assert 'execve("/usr/bin/python3", [""..., ""..., ""...], ' in run.lines[0].text
    calls = [line.call for line in run.lines]
    for expected in (
        r'write\(\d+, ""\.\.\., 6\) = 6',
        r'write\(\d+, "", 0\) = 0',
        r'read\(\d+, "", 9\) = 0',
        r'writev\(\d+, \[{iov_base=""\.\.\., iov_len=6}, {iov_base="", iov_len=0}\], 2\) = 6',
        r"write\(-1, 0x10<fault>, 3\) = -1 EBADF \(Bad file descriptor\)",
        r'memfd_create\(""\.\.\., MFD_CLOEXEC\) = \d+',
        r'memfd_create\("", MFD_CLOEXEC\) = \d+',
    ):
        assert [call for call in calls if re.fullmatch(expected, call)], f"{expected} in {calls}"
    assert not [call for call in calls if "secret" in call]
