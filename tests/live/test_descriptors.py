"""What descriptors are: ``log -y`` and ``-yy``."""

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

#: What tests/progs/descriptors.c writes down; it makes others to know what to.
CALLS = (
    "openat,close,pread64,pwrite64,write,dup2,fcntl,unlinkat,copy_file_range,fchdir,fsync,pipe2,socketpair,epoll_create1,"
    "epoll_ctl,eventfd2,memfd_create,pidfd_open,socket,bind,listen,connect,accept,sendto,shutdown"
)


def expected(program: Path, directory: Path, level: str) -> tuple[list[str], tracer.Run, Path]:
    """What the program wants to see, the trace, and the recording beside it."""
    directory.mkdir()
    command = [program, "expected", *(["details"] if level == "-yy" else [])]
    record = directory / "t.arrow"
    run = tracer.log(level, "--record", record, "--calls", f"{CALLS},chdir", "--", *command, cwd=directory)
    assert run.status == 0 and run.counts[2] == 0, run.err
    return (directory / "expected").read_text().splitlines(), run, record


def between_marks(lines: list[tracer.Line]) -> list[str]:
    """The lines of what is under test: of the preparations there are those of directories."""
    marks = [i for i, line in enumerate(lines) if line.text.startswith('chdir("/isotrace/')]
    found = [line.call for line in lines[marks[0] + 1 : marks[1]] if line.name != "chdir"]
    return [call for call in found if '"deep", ' not in call and not re.search(r', "d{250}", ', call)]


def compare(found: list[str], wanted: list[str]) -> None:
    """Up to 5.14 the kernel has no other name for a stream of the family unix than for its other sockets."""
    found, wanted = ([line.replace("UNIX-STREAM", "UNIX") for line in lines] for lines in (found, wanted))
    assert found == wanted, "\n".join(difflib.unified_diff(wanted, found, "expected", "isotrace", lineterm="", n=0))


@pytest.mark.parametrize("level", ["-y", "-yy"])
def test_descriptors_are_what_they_were_at_the_time_of_the_call(compiled: Compile, tmp_path: Path, level: str) -> None:
    wanted, run, record = expected(compiled("descriptors"), tmp_path / "run", level)
    compare(between_marks(run.lines), wanted)
    again = tracer.parse(tracer.replay(record, level).decode())
    compare(between_marks(again), wanted)
    plain = between_marks(tracer.parse(tracer.replay(record).decode()))
    assert not re.search(r"\d<", "".join(plain))


TURNS = 100
FILE = r"f\d+"
PLACE = "|".join(f"here{n}|a-longer-name-than-fits-into-a-dentry-there{n}" for n in range(1, 9))
#: Of tests/progs/shuffle.c: which lines, and what they must be; what the caller knows is HERE/f1007 by the same number.
TRUTHS = (
    (r"pread64\(.*, \d+000\) .*", r"pread64\(\d+<HERE/f(?P<file>\d+)>, .*, (?P=file)000\) = \d+"),
    (rf'openat\(.*, "{FILE}", .*', rf'openat\(AT_FDCWD<HERE>, "({FILE})", .*\) = \d+<HERE/\1>'),
    (r"dup\(.*", rf"dup\(\d+(<HERE/{FILE}>)\) = \d+\1"),
    (r"lseek\(60[1-8].*", rf"lseek\(60[1-8]<(\?|HERE/({PLACE})/inside)>, .*"),
    (r"lseek\(600.*", rf"lseek\(600<(\?|HERE/{FILE})>, .*"),
)


def test_no_descriptor_gets_another_ones_name(compiled: Compile, tmp_path: Path) -> None:
    """Eight threads shuffle the same numbers. What a number is said to be, its caller knows better."""
    calls = "openat,pread64,dup,dup2,close,lseek"
    run = tracer.log("-y", "--calls", calls, "--", compiled("shuffle"), TURNS, cwd=tmp_path)
    assert run.status == 0 and run.counts[2] == 0, run.err
    lines = [line.call.replace(str(tmp_path), "HERE") for line in run.lines]
    for which, truth in TRUTHS:
        found = [line for line in lines if re.fullmatch(which, line)]
        assert len(found) >= 8 * TURNS
        assert [line for line in found if not re.fullmatch(truth, line)] == []


def test_json_has_them_in_the_values(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    run = tracer.log("-y", "--format", "json", "--calls", "openat,read", "--", "cat", tmp_path / "file", cwd=tmp_path)
    calls = [
        call for call in run.objects if call.get("call") == "openat" and str(tmp_path / "file") in str(call["args"])
    ]
    assert [call["value"] for call in calls] == [f"3<{tmp_path}/file>"]
    assert calls[0]["args"][0] == {"name": "dfd", "raw": calls[0]["args"][0]["raw"], "value": f"AT_FDCWD<{tmp_path}>"}


@pytest.mark.native
def test_what_they_are_is_asked_of_a_recording_and_chosen_by_path(tmp_path: Path) -> None:
    file, recording = tmp_path / "é file", tmp_path / "t.arrow"
    file.write_text("text")
    isotrace = [sys.executable, "-m", "isotrace"]
    command = ["sh", "-c", f"exec 7<'{file}'; head -c1 <&7; echo | cat; cd {tmp_path}; head -c9 '{file.name}'"]
    subprocess.run(
        [*isotrace, "record", "-y", "-o", str(recording), "--", *command], check=True, env=tracer.environment()
    )

    def asked(*arguments: str) -> list[str]:
        done = subprocess.run(
            [*isotrace, *arguments], check=True, capture_output=True, text=True, env=tracer.environment()
        )
        return done.stdout.splitlines()

    where = f"file = '{file}' AND name = 'read'"
    assert asked("sql", str(recording), f"SELECT bytes FROM calls WHERE {where} ORDER BY time")[1:] == ["1", "4", "0"]
    made = f"SELECT name, file, path FROM calls WHERE made = '{file}' AND path NOT LIKE '/%'"
    assert asked("sql", str(recording), made)[1:] == [f"openat,{tmp_path},{file.name}"]
    pipe = "SELECT DISTINCT file SIMILAR TO 'pipe:.[0-9]+.' FROM calls WHERE comm = 'cat' AND fd = 0 AND name = 'read'"
    assert asked("sql", str(recording), pipe)[1:] == ["True"]
    shown = tracer.replay(recording, "-P", f"{file}").decode()
    assert [line.name for line in tracer.parse(shown)].count("read") == 3
    lines = asked("export", str(recording), "--to", "strace", "-P", f"{file}")
    assert sum(" read(" in line for line in lines) == 3
    live = tracer.log("-y", "-P", f"{file}", "--", *command)
    assert len(live.named("read")) == 3 and not tracer.log("-P", f"{file}", "--", *command).named("read")


def test_a_recording_without_them_has_none_to_show(tmp_path: Path) -> None:
    record = tmp_path / "t.arrow"
    assert tracer.log("--record", record, "--", "true").status == 0
    command = [sys.executable, "-m", "isotrace", "log", "-y", "--from", str(record)]
    done = subprocess.run(command, capture_output=True, text=True, env=tracer.environment(), check=False)
    assert done.returncode == 2 and "record -y" in done.stderr


def test_a_call_that_takes_long_has_them_from_its_beginning(tmp_path: Path) -> None:
    """In strace's form it is written while it is under way; what it waits for is another file's number by the end."""
    script = (
        "import os, threading as t, time; r, w = os.pipe(); other = os.open('other', os.O_CREAT | os.O_WRONLY);"
        "waits = t.Thread(target=os.read, args=(r, 77)); waits.start(); time.sleep(1.5);"
        "os.dup2(other, r); os.fsync(other);"
        "time.sleep(0.5); os.write(w, b'x'); waits.join()"
    )
    command = ["/usr/bin/python3", "-c", script]
    run = tracer.log("-y", "--format", "strace", "--calls", "read,fsync,dup2", "--", *command, cwd=tmp_path)
    lines = [line for line in run.file.splitlines() if ", 77)" in line or "dup2(" in line or "read(" in line]
    (began,) = [line for line in lines if re.search(r"read\(\d+<pipe:\[\d+\]>,  ?<unfinished \.\.\.>", line)]
    (replaced,) = [line for line in lines if re.search(rf"dup2\(\d+<{tmp_path}/other>, \d+<pipe:", line)]
    assert run.file.index(began) < run.file.index(replaced)
    assert re.search(r"<\.\.\. read resumed>\"x\", 77\) += 1$", run.file, re.M)
