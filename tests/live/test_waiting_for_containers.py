"""--wait on containers that runc runs: one that is not there yet is found, ends, and is found again in the same run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import runc
import tracer
from runc import Container
from tracer import until

from isotrace.kernel import procfs

_FEATURES = os.environ.get("ISOTRACE_VM_FEATURES", "").split(",")


class Waiting:
    """An isotrace that waits: what it says, and what it writes to standard output."""

    def __init__(self, path: Path, words: tuple[object, ...]) -> None:
        self.said, self.output = path / "said", path / "output"
        with self.said.open("w") as errors, self.output.open("w") as output:
            command = [sys.executable, "-m", "isotrace", *map(str, words)]
            nowhere = subprocess.DEVNULL
            self.process = subprocess.Popen(
                command, stdin=nowhere, stdout=output, stderr=errors, env=tracer.environment()
            )

    @property
    def lines(self) -> list[str]:
        return [line.removeprefix("isotrace: ") for line in self.said.read_text().splitlines()]

    def until_said(self, begin: str, times: int = 1) -> None:
        """Wait longer than others do: what refuses is compiled first."""

        def said() -> bool:
            assert self.process.poll() is None, self.said.read_text()
            return sum(line.startswith(begin) for line in self.lines) >= times

        for _ in range(2):
            with suppress(AssertionError):
                until(said, begin)
        until(said, begin)

    def end(self) -> int:
        """As Ctrl-C does; the status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(tracer.PATIENCE)


@contextmanager
def waiting(path: Path, *words: object) -> Iterator[Waiting]:
    """It is entered once it waits."""
    found = Waiting(path, (*words, "--wait"))
    try:
        found.until_said("waiting for ")
        yield found
    finally:
        if found.process.poll() is None:
            found.process.kill()
        found.process.wait()


class Bundle:
    """A container that is not started yet: its script says in which of its lives it is."""

    def __init__(self, path: Path) -> None:
        runc.need()
        self.path, self._config = path, runc.of_busybox(path / "bundle", "")
        self._config["root"]["readonly"] = False
        self.rounds = path / "bundle/rootfs/rounds"

    @contextmanager
    def runs(self, life: str, below: str = "web", command: Sequence[str] = ("run", "--detach")) -> Iterator[Container]:
        """It runs, in a cgroup below the test's own, and reads a file of the name of this life again and again."""
        loop = f"while :; do cat /x/{life}; echo {life} >>/rounds; sleep 0.05; done"
        config: dict[str, Any] = self._config
        config["process"]["args"] = ["/bin/sh", "-c", f"cat /x/{life}-first; {loop}"]
        self.rounds.write_text("")
        container = Container(self.path, self.path / "bundle", config, below, command)
        try:
            yield container
        finally:
            container.close()

    def goes_on(self) -> None:
        """It has made some rounds from now on."""
        self.rounds.write_text("")
        until(lambda: self.rounds.read_text().count("\n") > 3, "the container makes rounds")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path)


@pytest.mark.parametrize("follow", [[], ["-f"]], ids=["cgroup", "followed"])
def test_a_container_is_seen_when_it_comes_and_when_it_comes_again(
    bundle: Bundle, tmp_path: Path, follow: list[str]
) -> None:
    trace = tmp_path / "trace"
    with waiting(tmp_path, "log", "-o", trace, *follow, *runc.options(tmp_path)) as run:
        subprocess.run(["cat", "/x/outside"], stderr=subprocess.DEVNULL)
        for count, (life, below) in enumerate({"one": "web", "two": "deeper/below/other"}.items(), 1):
            with bundle.runs(life, below) as container:
                run.until_said("container web runs: ", count)
                until(lambda life=life: f'"/x/{life}"' in trace.read_text(), "its calls are seen")
                assert container.runc("exec", "web", "/bin/cat", f"/x/{life}-later").returncode == 1
                container.runc("kill", "web", "KILL")
                run.until_said("container web ended", count)
            run.until_said("waiting for container web", count + 1)
        assert run.end() == 0
    text = trace.read_text()
    assert all(f'"/x/{life}-later"' in text for life in ("one", "two")) and "/x/outside" not in text
    runs = [line for line in run.lines if line.startswith("container web runs: ")]
    assert f"/{runc.group()}/web" in runs[0] and f"/{runc.group()}/deeper/below/other" in runs[1]
    assert " 0 lost" in run.lines[-1]


def test_its_program_is_seen_from_its_first_call_on_where_it_is_created_before_it_is_started(
    bundle: Bundle, tmp_path: Path
) -> None:
    """As Docker, podman and containerd do."""
    trace = tmp_path / "trace"
    with waiting(tmp_path, "log", "-o", trace, *runc.options(tmp_path)) as run:
        with bundle.runs("one", command=["create"]) as container:
            run.until_said("container web runs: ")
            container.runc("start", "web")
            until(lambda: '"/x/one"' in trace.read_text(), "its calls are seen")
        assert run.end() == 0
    text = trace.read_text()
    assert text.index('execve("/bin/sh", ["/bin/sh", "-c", ') < text.index('"/x/one-first"')


def test_a_container_that_comes_again_is_recorded(bundle: Bundle, tmp_path: Path) -> None:
    recording = tmp_path / "t.arrow"
    with waiting(tmp_path, "record", "-o", recording, *runc.options(tmp_path)) as run:
        for count, life in enumerate(("one", "two"), 1):
            with bundle.runs(life) as container:
                run.until_said("container web runs: ", count)
                bundle.goes_on()
                container.runc("kill", "web", "KILL")
                run.until_said("container web ended", count)
        assert run.end() == 0
    shown = tracer.replay(recording)
    assert b'"/x/one"' in shown and b'"/x/two"' in shown


def test_a_container_that_comes_is_counted(bundle: Bundle, tmp_path: Path) -> None:
    with waiting(tmp_path, "top", "--once", "--format", "json", *runc.options(tmp_path)) as run:
        with bundle.runs("one"):
            run.until_said("container web runs: ")
            bundle.goes_on()
        run.until_said("container web ended")
        assert run.end() == 0
    found = json.loads(run.output.read_text())
    assert {"sh", "cat", "sleep"} <= {process["process"] for process in found["processes"]}


def test_of_one_that_is_found_late_is_said_how_late(bundle: Bundle, tmp_path: Path) -> None:
    """Here the runtime's file comes only when the container runs."""
    trace = tmp_path / "trace"
    with waiting(tmp_path, "log", "-o", trace, *runc.options(tmp_path)) as run, bundle.runs("one"):
        state, hidden = tmp_path / "run/runc/web", tmp_path / "hidden"
        run.until_said("container web runs: ")
        state.rename(hidden)
        with waiting(hidden, "log", "-o", hidden / "trace", *runc.options(tmp_path)) as late:
            bundle.goes_on()
            hidden_state = tmp_path / "again"
            hidden_state.mkdir()
            (hidden / "state.json").rename(hidden_state / "state.json")
            hidden_state.rename(state)
            late.until_said("container web runs: ")
            until(lambda: '"/x/one"' in (hidden / "trace").read_text(), "its calls are seen")
            assert late.end() == 0
        line = next(line for line in late.lines if line.startswith("container web runs: "))
        assert "; its first process had run for " in line and line.endswith(": its calls until now were not seen")
        assert '"/x/one-first"' not in (hidden / "trace").read_text()
        assert run.end() == 0


def test_a_container_below_a_command_of_the_run(bundle: Bundle, tmp_path: Path) -> None:
    """Of what isotrace starts only what is in the container; the run ends with the command, and has its status."""
    with bundle.runs("none"):  # its configuration is written
        pass
    config = json.loads((tmp_path / "bundle/config.json").read_text())
    config["process"]["args"] = ["/bin/sh", "-c", "until [ -e /stop ]; do cat /x/inside; sleep 0.05; done; exit 7"]
    (tmp_path / "bundle/config.json").write_text(json.dumps(config))
    trace = tmp_path / "trace"
    command = ["runc", "--root", tmp_path / "run/runc", "run", "--bundle", tmp_path / "bundle", "web"]
    run = Waiting(tmp_path, ("log", "-o", trace, *runc.options(tmp_path), "--wait", "--", *command))
    try:
        run.until_said("container web runs: ")
        until(lambda: '"/x/inside"' in trace.read_text(), "its calls are seen")
        (tmp_path / "bundle/rootfs/stop").touch()
        assert run.process.wait(tracer.PATIENCE) == 7
    finally:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
        for mount in procfs.mounts():
            if mount.kind in ("cgroup", "cgroup2"):
                with suppress(OSError):
                    Path(mount.point, runc.group()).rmdir()
    assert run.lines[0] == "waiting for container web" and "state.json" not in trace.read_text()


def test_a_cgroup_by_its_path(tmp_path: Path) -> None:
    runc.need()
    place = Path(str(procfs.mounted("cgroup2")), runc.group(), "by-path")
    trace = tmp_path / "trace"
    with waiting(tmp_path, "log", "-o", trace, "--cgroup", f"/{runc.group()}/by-path") as run:
        try:
            for count, life in enumerate(("one", "two"), 1):
                place.mkdir(parents=True)
                run.until_said(f"cgroup /{runc.group()}/by-path is there: {place}", count)
                script = f"echo $$ >{place}/cgroup.procs; cat /x/{life}"
                subprocess.run(["sh", "-c", script], stderr=subprocess.DEVNULL)
                until(lambda life=life: f'"/x/{life}"' in trace.read_text(), "its calls are seen")
                place.rmdir()
                run.until_said(f"cgroup /{runc.group()}/by-path ended", count)
        finally:
            for path in (place, place.parent):
                with suppress(OSError):
                    path.rmdir()
        assert run.end() == 0
    assert "its first process" not in run.said.read_text()


def test_a_container_that_comes_is_asked_about_and_nobody_else(bundle: Bundle, tmp_path: Path) -> None:
    """By fanotify, which judges in a process of its own, forked before the container was there."""
    (tmp_path / "bundle/rootfs/x").mkdir()
    files = [tmp_path / "bundle/rootfs/x" / life for life in ("one", "two")]
    for file in files:
        file.write_text("read\n")
    asked = [word for file in files for word in ("--ask-path", f"r:{file}")]
    words = ["ask", *asked, "--backend", "fanotify", "--answer-with", "cat >/dev/null; echo deny"]
    with waiting(tmp_path, *words, *runc.options(tmp_path)) as run:
        for count, (file, below) in enumerate(zip(files, ("web", "deeper/other"), strict=True), 1):
            with bundle.runs(file.name, below):
                run.until_said("container web runs: ", count)
                until(lambda file=file: f"{file}" in run.output.read_text(), "an open is denied")
                assert subprocess.run(["cat", file], capture_output=True, check=True).stdout == b"read\n"
            run.until_said("container web ended", count)
        assert run.end() == 0
    assert "--wait: what the container does before isotrace finds it is not denied" in run.said.read_text()


@pytest.mark.parametrize("how", [[], ["-f"], ["--comm", "cat"]], ids=["cgroup", "followed", "kept"])
def test_what_runs_in_a_container_that_comes_is_refused(tmp_path: Path, how: list[str]) -> None:
    """Twice, in another cgroup; a child of its first process, and nobody outside."""
    if not {"lsm_bpf", "fmod_ret_security"} & {*_FEATURES}:
        pytest.skip("needs lsm_bpf: to refuse processes that run")
    runc.need()
    shared = tmp_path / "shared"
    shared.mkdir()
    loop = "while :; do cat /etc/hostname >/dev/null 2>&1 && echo 0 >>reads || echo 1 >>reads; sleep 0.2; done"
    config = runc.of_the_host(tmp_path / "bundle", loop, shared, runc.FEW)
    reads = shared / "reads"

    def now() -> set[str]:
        reads.write_text("")
        until(lambda: reads.read_text().count("\n") > 4, "the container reads")
        return set(reads.read_text().split()[1:])

    words = ["block", "--deny-path", "r:/etc/hostname", "--best-effort", *how, *runc.options(tmp_path)]
    with waiting(tmp_path, *words) as run:
        assert "enforcing from now on" in run.lines
        for count, below in enumerate(("web", "deeper/below/other"), 1):
            container = Container(tmp_path, tmp_path / "bundle", config, below)
            try:
                run.until_said("container web runs: ", count)
                assert now() == {"1"}, run.said.read_text()
                assert Path("/etc/hostname").read_text()
            finally:
                container.close()
            run.until_said("container web ended", count)
        container = Container(tmp_path, tmp_path / "bundle", config)
        try:
            run.until_said("container web runs: ", 3)
            assert now() == {"1"}
            assert run.end() == 0 and now() == {"0"}
        finally:
            container.close()
    assert "--wait: what the container does before isotrace finds it is not denied" in run.said.read_text()
