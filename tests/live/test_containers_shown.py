"""In which container each process is, and under which number there: in lines, objects, recordings, tables, refusals."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import runc
import tracer
from runc import Container
from tracer import attached, until

_LOOP = "while :; do cat /x/inside; (cat /x/deeper); sleep 0.2; done"
_SPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with runc.of_a_script(tmp_path, _LOOP) as made:
        yield made


def _isotrace(*words: object) -> str:
    command = [sys.executable, "-m", "isotrace", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=tracer.PATIENCE, env=tracer.environment())
    assert done.returncode == 0, done.stderr
    return done.stdout


def _objects(container: Container, ready: str, *words: object) -> list[dict[str, Any]]:
    """The JSON of a log of the container, up to when that is in it.

    Who has ended when isotrace looks at what is under way is not known to have been in the container: that is left out.
    """
    with attached(*container.options, "--format", "json", *words, ready=lambda: None) as live:
        until(lambda: ready in live.text(), f"{ready} is seen")
        return [one for one in live.stop().objects if one["type"] != "unfinished"]


def test_every_record_says_the_container_and_the_numbers_there(container: Container) -> None:
    found = _objects(container, "/x/deeper")
    assert {one["container"] for one in found} == {"web"}
    assert all(one["pid_inside"] < one["pid"] and one["tid_inside"] == one["pid_inside"] for one in found)
    first = [one for one in found if one["pid_inside"] == 1]
    born = {one["result"] for one in first if one["type"] == "call" and one["call"] in ("fork", "vfork", "clone")}
    assert born and born <= {one["pid_inside"] for one in found}


def test_lines_and_recordings_say_the_same(container: Container, tmp_path: Path) -> None:
    recording = tmp_path / "t.arrow"
    with attached(*container.options, "--record", recording, ready=lambda: None) as live:
        until(lambda: "/x/deeper" in live.text(), "it is seen")
        shown = live.stop().file
    assert re.search(r"^\d+ \(1 in web\) sh  ", shown, re.M) and re.search(r"^\d+ \(\d+ in web\) cat  ", shown, re.M)
    assert tracer.replay(recording, "--show-containers").decode() == shown
    rows = list(csv.DictReader(io.StringIO(_isotrace("export", recording, "--to", "csv"))))
    assert {row["container"] for row in rows if "<unfinished" not in row["text"]} == {"web"}
    assert {row["comm"] for row in rows if row["pid_inside"] == "1"} == {"sh"}
    assert "cat" in {row["comm"] for row in rows}
    table = _isotrace("top", "--once", "--by", "container", "--from", recording)
    assert [line.split()[0] for line in table.splitlines()] == ["container", "web"]


def test_a_recording_without_them_says_so(tmp_path: Path) -> None:
    _isotrace("record", "-o", tmp_path / "t.arrow", "--", "true")
    command = [sys.executable, "-m", "isotrace", "log", "--show-containers", "--from", tmp_path / "t.arrow"]
    done = subprocess.run(command, capture_output=True, text=True, env=tracer.environment())
    assert done.returncode == 2 and "does not say which containers processes are in" in done.stderr


def test_the_table_shows_a_container_from_outside(container: Container) -> None:
    words = ["top", "--once", "--for", "2s", "--format", "json", *container.options]
    found = json.loads(_isotrace(*words))
    assert [one["container"] for one in found["containers"]] == ["web"]
    assert {one["container"] for one in found["processes"]} == {"web"}
    assert 1 in {one.get("pid_inside") for one in found["processes"]}
    text = _isotrace("top", "--once", "--for", "2s", "--by", "process", *container.options)
    assert re.search(r"^sh +web +\d+ +1 ", text, re.M)


def test_processes_in_a_container_and_outside_of_it_are_told_apart(container: Container, tmp_path: Path) -> None:
    """A shell that is in no container and runs something in one: by its name, by which the log finds both."""
    script = f"cat /x/outside; runc --root {container.root}/run/runc exec web /bin/cat /x/exec; true"
    words = ("--show-containers", "--container-root", container.root, "--format", "json", "--", "sh", "-c", script)
    run = tracer.log(*words)
    assert run.status == 0 and run.counts[2] == 0, run.err
    found = {
        path: one
        for one in run.objects
        for path in ("/x/outside", "/x/exec")
        if one["comm"] == "cat" and path in str(one)
    }
    assert len(found) == 2, (run.err, sorted({one["comm"] for one in run.objects}))
    outside, inside = found["/x/outside"], found["/x/exec"]
    assert outside["container"] == "" and outside["pid_inside"] == outside["pid"]
    assert inside["container"] == "web" and inside["pid_inside"] < inside["pid"]


def _kinds(run: tracer.Run) -> Counter[tuple[str, str, str]]:
    """What programs did, without what differs from run to run."""
    assert run.status == 0 and run.counts[2] == 0, run.err
    lines = tracer.parse("".join(line + "\n" for line in run.file.splitlines() if not line.startswith(" > ")))
    errors = (re.search(r"= -1 (E[A-Z]+)", line.call) for line in lines)
    return Counter(
        (line.comm, line.name or line.text.split()[1], error[1] if error else "")
        for line, error in zip(lines, errors, strict=True)
        if line.name or line.text.startswith(("+++", "---"))
    )


@pytest.mark.parametrize("options", [("-q",), ("-T",), ("-y",), ("-k",), ("-v",), ("--resolve",)], ids=" ".join)
def test_nothing_else_is_shown_otherwise(options: tuple[str, ...]) -> None:
    script = "sh -c 'kill -USR1 $$'; cat /nowhere; (exec cat /etc/hostname) >/dev/null; exec true"
    if options == ("-q",):
        options = ()
    run = tracer.log(*options, "--show-containers", "--", *_SPACE, "sh", "-c", script)
    assert _kinds(run) == _kinds(tracer.log(*options, "--", *_SPACE, "sh", "-c", script))
    inside = [line for line in run.file.splitlines() if re.match(r"\d+ \(\d+ inside\) ", line)]
    signal = "--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=2, "
    for what in (signal, "+++ killed by SIGUSR1", 'execve("', '"/nowhere"'):
        assert any(what in line for line in inside), what


def test_operations_of_io_uring_say_it_of_who_asked(compiled: Callable[..., Path], tmp_path: Path) -> None:
    program = compiled("rings")
    script = "".join(
        f"(mkdir {scene}; cd {scene}; {program} {scene} expected);" for scene in ("files", "polled", "several")
    )
    words = ("--show-containers", "--format", "json", "--calls", "%io_uring", "--", *_SPACE, "sh", "-c", script)
    run = tracer.log(*words, cwd=tmp_path)
    assert run.counts[2] == 0
    found = [one for one in run.objects if one.get("call", "").startswith("io_uring:")]
    numbers = {one["pid"]: one["pid_inside"] for one in found}
    assert len(numbers) == 3 == len(set(numbers.values())) and all(inside < pid for pid, inside in numbers.items())
    assert all(one["pid_inside"] == numbers[one["pid"]] for one in found)


def test_denials_say_it_of_those_who_are_denied(tmp_path: Path) -> None:
    """Who is denied waits until that is said: of who has ended nothing is known."""
    lines = tmp_path / "lines"
    words = ["block", "--show-containers", "--deny", "kill", "--format", "json", "-o", lines, "--", *_SPACE, "sh", "-c"]
    _isotrace(*words, f"kill -0 $$ 2>/dev/null; until grep -q refused {lines}; do sleep 0.1; done")
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    (denied,) = [one for one in found if one["type"] == "refused"]
    assert denied["container"] == "" and denied["pid_inside"] == 1 < denied["pid"]
