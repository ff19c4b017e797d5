"""--container on a container that runc runs: what it started with, what is started in it later, and its end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import runc
import tracer
from runc import Container
from tracer import attached, until

_LOOP = "while :; do cat /x/inside; sleep 0.2; done"


def _isotrace(container: Container, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "isotrace", *map(str, words), *map(str, container.options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=tracer.PATIENCE, env=tracer.environment())


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with runc.of_a_script(tmp_path, _LOOP) as made:
        yield made


def test_a_container_with_what_is_started_in_it_later_up_to_its_end(container: Container) -> None:
    with attached(*container.options, ready=lambda: None) as live:
        subprocess.run(["cat", "/x/outside"], stderr=subprocess.DEVNULL)
        assert container.runc("exec", "web", "/bin/cat", "/x/later").returncode == 1
        until(lambda: "/x/inside" in live.text(), "its own process is seen")
        container.runc("kill", "web", "KILL")
        run = live.wait()
    assert run.status == 0 and run.counts[2] == 0
    assert '"/x/inside"' in run.file and '"/x/later"' in run.file and "/x/outside" not in run.file
    assert "isotrace: container web ended\n" in run.err
    done = _isotrace(container, "log")
    assert done.returncode == 1 and done.stderr.startswith("isotrace: runc container web is not running: its process ")


def test_a_container_counted_and_recorded(container: Container, tmp_path: Path) -> None:
    done = _isotrace(container, "top", "--once", "--for", "1s", "--format", "json")
    assert done.returncode == 0
    assert {process["process"] for process in json.loads(done.stdout)["processes"]} <= {"sh", "exe", "cat", "sleep"}
    assert "execve" in {call["call"] for call in json.loads(done.stdout)["calls"]}
    recording = tmp_path / "t.arrow"
    assert _isotrace(container, "record", "-o", recording, "--for", "1s").returncode == 0
    shown = tracer.replay(recording)
    assert b'"/x/inside"' in shown and b"python" not in shown


def test_a_container_is_asked_about_and_nobody_else(container: Container, tmp_path: Path) -> None:
    """By fanotify, where no hook refuses: a file of its root is the host's by another name."""
    (tmp_path / "bundle/rootfs/x").mkdir()
    file = tmp_path / "bundle/rootfs/x/inside"
    file.write_text("read\n")
    words = ["ask", "--ask-path", f"r:{file}", "--answer-with", "cat >/dev/null; echo deny", *container.options]
    command, lines = [sys.executable, "-m", "isotrace", *map(str, words)], tmp_path / "lines"
    with lines.open("w") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=tracer.environment()
        )
    try:
        until(lambda: "= -1 EPERM" in lines.read_text() or process.poll() is not None, "an open is denied")
        assert subprocess.run(["cat", file], capture_output=True, check=True).stdout == b"read\n"
        container.runc("kill", "web", "KILL")
        assert process.wait(tracer.PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    text = lines.read_text()
    assert "cat  openat(" in text and "isotrace: container web ended\n" in text
