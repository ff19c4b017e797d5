"""Operations of io_uring: tests/progs/rings.c asks for them, and writes down what a trace of them must have."""

from __future__ import annotations

import difflib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tracer

from isotrace.kernel import btf
from isotrace.kernel.rings import Layout, layout
from isotrace.policy import PathRequest, decide
from isotrace.policy.file import load
from isotrace.trace import rings

Compile = Callable[..., Path]
SCENES = ("files", "sockets", "chains", "several", "overflow", "untold", "changed", "polled", "outlived")
LATER = " /* read later */"


@pytest.fixture(scope="module")
def told() -> Layout:
    """How this kernel tells of them."""
    return layout(btf.vmlinux(), rings.places())


@pytest.fixture(scope="module")
def program(compiled: Compile) -> Path:
    return compiled("rings")


def expected(file: Path, told: Layout) -> list[str]:
    """The lines that the program wrote down, as this kernel can tell them."""
    lines = file.read_text().splitlines()
    if "COMPLETED_REQUEST" not in told.arguments:
        lines = [line.replace(":nop()", ":unknown()") if line[0] == "~" else line for line in lines]
    return [line.lstrip("!~") for line in lines if line[0] != "!" or "FAILED_REQUEST" in told.arguments]


def shown(lines: list[tracer.Line]) -> list[str]:
    """The operations, without marks of when arguments were read."""
    return [line.call.replace(LATER, "") for line in lines if line.name.startswith("io_uring:")]


def compare(found: list[str], wanted: list[str]) -> None:
    found, wanted = sorted(found), sorted(wanted)
    assert found == wanted, "\n".join(difflib.unified_diff(wanted, found, "expected", "isotrace", lineterm="", n=0))


@pytest.mark.parametrize("more", [(), ("--show-containers",)], ids=["alone", "containers"])
def test_operations_are_shown_as_they_were(program: Path, tmp_path: Path, told: Layout, more: tuple[str, ...]) -> None:
    """Each scene has a directory of its own, all of them one trace."""
    script = (
        f"for scene in {' '.join(SCENES)}; do mkdir $scene; (cd $scene; exec {program} $scene expected) || exit; done"
    )
    run = tracer.log(*more, "--calls", "%io_uring", "--", "sh", "-c", script, cwd=tmp_path)
    assert run.status == 0 and run.counts[2] == 0, run.err
    compare(shown(run.lines), [line for scene in SCENES for line in expected(tmp_path / scene / "expected", told)])
    assert {line.comm for line in run.lines if line.name} == {"rings"}


def test_a_path_is_the_one_that_the_kernel_used(program: Path, tmp_path: Path, told: Layout) -> None:
    """The program has another in the same place by then: see `changed` there."""
    run = tracer.log("--calls", "io_uring:openat", "--", program, "changed", tmp_path / "expected", cwd=tmp_path)
    (line,) = run.named("io_uring:openat")
    assert told.fields[18][1].name is not None, "no kernel copies no path"
    assert line.args == 'AT_FDCWD, "first", O_RDONLY|O_LARGEFILE'


def test_only_the_targets_are_shown_also_by_the_rings_thread(program: Path, tmp_path: Path) -> None:
    """The thread that polls has a name of its own; the process's counts."""
    other = shutil.copy(program, tmp_path / "other")
    script = f"{other} files {tmp_path}/a; {program} polled {tmp_path}/b"
    run = tracer.log("--comm", "rings", "--calls", "%io_uring", "--", "sh", "-c", script, cwd=tmp_path)
    operations = [line for line in run.lines if line.name]
    assert shown(operations) == (tmp_path / "b").read_text().splitlines()
    assert [line.comm for line in operations] == ["rings"]


def test_what_was_under_way_before_is_shown_as_far_as_it_is_known(program: Path, tmp_path: Path, told: Layout) -> None:
    """Tracing has begun once the call is shown that the process is in."""
    with tracer.started([program, "before", tmp_path / "expected"]) as process:
        assert process.stdout and process.stdin and process.stdout.readline() == "ready\n"
        options = ("--pid", process.pid, "--calls", "io_uring:read,read")
        with tracer.attached(*options, ready=lambda: None) as live:
            process.stdin.write("x")
            process.stdin.flush()
            process.wait(tracer.PATIENCE)
            run = live.wait()
    compare(shown(run.lines), expected(tmp_path / "expected", told))


def test_json_has_what_is_known_beside(program: Path, tmp_path: Path, told: Layout) -> None:
    wanted = tmp_path / "expected"
    run = tracer.log("--format", "json", "--calls", "%io_uring", "--", program, "files", wanted, cwd=tmp_path)
    found = {one["io_uring"]["user_data"]: one for one in run.objects if one["type"] == "call"}
    missing, read = found[2], found[5]
    assert (missing["call"], missing["error"], missing["number"]) == ("io_uring:openat", "ENOENT", 426)
    assert missing["args"][1]["name"] == "filename" and missing["args"][1]["value"] == '"missing"'
    beside = {"user_data": 5, "opcode": 22, "flags": "IOSQE_ASYNC", "completion": "", "buffer": None, "sqpoll": False}
    assert read["io_uring"] == beside and read["result"] == 5
    untold = tracer.log("--format", "json", "--calls", "%io_uring", "--", program, "untold", wanted, cwd=tmp_path)
    results = [one["result"] for one in untold.objects if one.get("call") == "io_uring:mkdirat"]
    assert results == ([None] if "FAILED_REQUEST" in told.arguments else [])


def test_a_recording_has_them(program: Path, tmp_path: Path, told: Layout) -> None:
    record, wanted = tmp_path / "t.arrow", tmp_path / "expected"
    live = tracer.log("--record", record, "--calls", "all,%io_uring", "--", program, "files", wanted, cwd=tmp_path)
    assert live.status == 0 and live.counts[2] == 0, live.err
    again = tracer.parse(tracer.replay(record).decode())
    assert [line.text for line in again] == [line.text for line in live.lines]
    compare(shown(again), expected(wanted, told))
    only = tracer.parse(tracer.replay(record, "--calls", "io_uring:write").decode())
    assert [line.name for line in only if line.name] == ["io_uring:write"]


def test_what_is_not_asked_for_is_not_shown(program: Path, tmp_path: Path) -> None:
    run = tracer.log("--", program, "files", tmp_path / "expected", cwd=tmp_path)
    assert run.status == 0 and not shown(run.lines)


def test_straces_form_has_none_of_them(program: Path, tmp_path: Path) -> None:
    run = tracer.log(
        "--format", "strace", "--calls", "all,%io_uring", "--", program, "files", tmp_path / "expected", cwd=tmp_path
    )
    assert run.status == 0 and "io_uring_enter(" in run.file and not re.search(r"^\d+ +io_uring:", run.file, re.M)


def test_the_signal_that_ends_a_process_leaves_its_requests_to_be_told(program: Path, tmp_path: Path) -> None:
    """What is cancelled when the process has gone is its own still."""
    script = (
        f"import os, signal, subprocess as s; p = s.Popen(['{program}', 'before', 'x'], stdin=s.PIPE, stdout=s.PIPE);"
    )
    script += f"p.stdout.readline(); os.kill(p.pid, {int(signal.SIGKILL)}); p.wait()"
    run = tracer.log("--calls", "io_uring:read", "--", "/usr/bin/python3", "-c", script, cwd=tmp_path)
    (line,) = run.named("io_uring:read")
    assert line.result.startswith("-1 ECANCELED") and line.comm == "rings"


def test_top_counts_them(program: Path, tmp_path: Path, told: Layout) -> None:
    """A summary has as many of each as the program says that it asked for."""
    command = [sys.executable, "-m", "isotrace", "top", "--once", "--format", "json", "--calls", "%io_uring"]
    command += ["--", str(program), "files", str(tmp_path / "expected")]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=tracer.environment(), check=True,
        timeout=tracer.PATIENCE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    found = {call["call"]: (call["calls"], call["errors"]) for call in json.loads(done.stdout)["calls"]}
    reads = (2, 1) if "FAILED_REQUEST" in told.arguments else (1, 0)  # that of a closed descriptor is refused at once
    assert (found["io_uring:openat"], found["io_uring:read"]) == ((2, 1), reads)
    assert (found["io_uring:write"], found["io_uring:close"]) == ((1, 0), (1, 0))


def test_a_policy_is_learned_from_them_and_tried_on_them(program: Path, tmp_path: Path, told: Layout) -> None:
    """What it opened, renamed and removed by its ring is allowed, and would be refused by a rule on that directory."""
    (tmp_path / "work").mkdir()
    file, policy, denial = tmp_path / "t.arrow", tmp_path / "learned.toml", tmp_path / "denial.toml"
    denial.write_text(f'version = 1\n[groups.g]\ndeny-path = "w:{tmp_path}/work/**"\n')
    isotrace = [sys.executable, "-m", "isotrace"]
    scene = ("--", program, "files", tmp_path / "expected")
    run = [*isotrace, "record", "-y", "-q", "--calls", "all,%io_uring", "-o", file, *scene]
    subprocess.run(run, check=True, cwd=tmp_path / "work", timeout=tracer.PATIENCE, env=tracer.environment())
    learned, tried = (
        subprocess.run([*isotrace, *words], capture_output=True, text=True, timeout=60, env=tracer.environment())
        for words in (("learn", "-o", policy, file), ("policy", "test", denial, file))
    )
    assert learned.returncode == 0 and "operations of io_uring: their files and addresses are learned" in learned.stderr
    allowed = PathRequest(f"{tmp_path}/work/file", frozenset("rw"))
    assert not decide(load(str(policy)), allowed).denied and "io_uring:openat" in policy.read_text()
    refused = {line.split()[1] for line in tried.stdout.splitlines()}
    assert tried.returncode == 1 and {"io_uring:openat", "io_uring:renameat", "io_uring:unlinkat"} <= refused
