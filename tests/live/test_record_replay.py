"""What is read from a recording is what the run that made it showed, byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tracer import PATIENCE, environment, log, replay, started, until

Compile = Callable[..., Path]

#: Every program of tests/progs that a test of `isotrace log` runs, with its flags and arguments.
PROGRAMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys(("files", "buffers", "sockets", "numbers", "execs", "tasks", "signals"), ((), ("expected",))),
    "native32": (("-m32",), ("expected",)),
    "misc": ((), ()),
    "storm": ((), ("20", "4")),
    "hammer": ((), ("200",)),
    "types": ((), ()),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_text_from_the_recording_is_the_live_text(compiled: Compile, tmp_path: Path, name: str) -> None:
    flags, arguments = PROGRAMS[name]
    file, shown = tmp_path / "t.arrow", ["-t", "-T"]
    program = compiled(name, *flags)
    live = log(*shown, "--string-limit", 32, "--record", file, "--", program, *arguments, cwd=tmp_path)
    assert live.counts[0] > 10, live.err
    assert replay(file, *shown) == live.file.encode()


@pytest.mark.parametrize(
    "options",
    [
        ("--format", "json"),
        ("--format", "isolates"),
        ("--format", "strace", "-ttt", "-r", "-T"),
        ("--format", "strace", "--failed"),
        ("--failed",),
        ("-P", "/no/*", "-P", "*/cat", "--format", "strace"),
        ("--status", "ENOENT,successful"),
        ("--calls", "%file,!openat", "--failed", "--format", "json"),
        ("--calls", "%process", "-T"),
        ("-q",),
    ],
    ids=" ".join,
)
def test_every_format_and_filter_gives_the_same(compiled: Compile, tmp_path: Path, options: tuple[str, ...]) -> None:
    file = tmp_path / "t.arrow"
    script = f"{compiled('files')} expected; {compiled('tasks')} expected; cat /no/such/file"
    live = log(*options, "--record", file, "--", "sh", "-c", script, cwd=tmp_path)
    assert live.file
    assert replay(file, *options) == live.file.encode()


def test_conditions_on_a_recording_of_everything_choose_what_a_live_run_would(tmp_path: Path) -> None:
    file = tmp_path / "t.arrow"
    script = "cat /etc/hostname; (cat /no/such/file; ls /); true"
    whole = log("--record", file, "--", "sh", "-c", script)
    for pid in {line.tid for line in whole.lines}:
        own = "".join(line for line in whole.file.splitlines(True) if line.startswith(f"{pid} "))
        assert replay(file, "--pid", pid).decode() == own
    assert replay(file, "--tree", whole.lines[0].tid).decode() == whole.file
    cats = [line for line in whole.file.splitlines() if line.split()[1] == "cat"]
    found = replay(file, "--comm", "cat").decode().splitlines()
    # As in a live run the arguments of an execve are its caller's, who has another name.
    assert [line for line in found if "execve(" not in line] == [line for line in cats if "execve(" not in line]
    assert len(found) == len(cats)


def test_calls_that_a_process_was_inside_of_are_in_it(tmp_path: Path) -> None:
    file = tmp_path / "t.arrow"
    with started(["sleep", "60"]) as sleeper:
        until(lambda: "nanosleep" in Path(f"/proc/{sleeper.pid}/wchan").read_text(), "it sleeps")
        live = log("--pid", sleeper.pid, "--for", "300ms", "--record", file)
    assert "<unfinished ...>" in live.file
    assert replay(file) == live.file.encode()


def test_a_recording_that_grows_is_followed_to_its_end(tmp_path: Path) -> None:
    file, shown = tmp_path / "t.arrow", tmp_path / "shown"
    with started(["sh", "-c", "while :; do /bin/true; sleep 0.1; done"]) as busy:
        command = [sys.executable, "-m", "isotrace", "record", "-f", "--pid", str(busy.pid), "-o", str(file)]
        with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as recorder:
            until(file.exists, "the file is there")
            follow = threading.Thread(target=lambda: shown.write_bytes(replay(file, "--follow-file", "-q")))
            follow.start()
            until(lambda: file.stat().st_size > 20_000, "some batches")
            recorder.terminate()
        follow.join(PATIENCE)
    assert shown.read_bytes() == replay(file, "-q") != b""


def test_top_counts_a_recording_as_it_counted_the_run(compiled: Compile, tmp_path: Path) -> None:
    file = tmp_path / "t.arrow"
    work = [
        "sh",
        "-c",
        f"{compiled('files')} expected; {compiled('buffers')} expected; cat /no/such/file; ls -lR /etc/default",
    ]
    top = [sys.executable, "-m", "isotrace", "top", "--once", "--format", "json"]
    options = {"capture_output": True, "text": True, "timeout": PATIENCE, "check": False, "env": environment()}
    live = subprocess.run([*top, "--record", str(file), "--", *work], cwd=tmp_path, **options)
    past = subprocess.run([*top, "--from", str(file)], **options)
    assert live.stdout and past.stdout, live.stderr + past.stderr
    found = [json.loads(done.stdout.splitlines()[-1]) for done in (live, past)]
    assert len(found[0]["calls"]) > 20, live.stderr
    for view, columns in (("calls", ("call", "calls", "errors", "bytes")), ("errors", ("errno", "call", "count"))):
        counted = [sorted(tuple(row[name] for name in columns) for row in one[view]) for one in found]
        assert counted[0] == counted[1]
    totals = [sorted((row["process"], row["total"]) for row in one["processes"]) for one in found]
    assert totals[0] == totals[1]
