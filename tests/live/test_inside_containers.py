"""isotrace in a container that runc runs: it logs, counts, records, and refuses and asks where the kernel lets it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import runc
import tracer
from runc import Container
from tracer import until

_FEATURES = os.environ.get("ISOTRACE_VM_FEATURES", "").split(",")
#: The container's first process, and a child of it, read a file, and say how that ended.
_LOOP = """
while :; do
    cat /etc/hostname >/dev/null 2>&1 && echo child 0 >>reads || echo child 1 >>reads
    { read -r line </etc/hostname; } 2>/dev/null && echo first 0 >>reads || echo first 1 >>reads
    sleep 0.2
done
"""


def _patiently(holds: Callable[[], object], what: str) -> None:
    """Wait longer than others do: what refuses is compiled first."""
    for _ in range(2):
        with suppress(AssertionError):
            until(holds, what)
    until(holds, what)


class Inside:
    """A container whose first process loops, in a directory that it shares with the test."""

    def __init__(self, path: Path, capabilities: Sequence[str]) -> None:
        self.shared = path / "shared"
        self.shared.mkdir()
        bundle = path / "bundle"
        self.container = Container(path, bundle, runc.of_the_host(bundle, _LOOP, self.shared, capabilities))

    def isotrace(self, words: str) -> tuple[int, str]:
        """Run one in it to its end: status and standard error."""
        self.begin(words)
        return self.end()

    def begin(self, words: str) -> None:
        """Start one in it."""
        for name in ("status", "errors", "pid"):
            (self.shared / name).unlink(missing_ok=True)
        script = f"(sh -c 'echo $PPID' >pid; exec {sys.executable} -m isotrace {words}) 2>errors; echo $? >status"
        assert self.container.runc("exec", "--detach", "web", "/bin/sh", "-c", script).returncode == 0

    def ended(self) -> bool:
        return self.text("status").endswith("\n")

    def end(self, signal: str = "") -> tuple[int, str]:
        """Its status and standard error, once it has ended, by a signal if one is given."""
        if signal:
            script = f"kill -{signal} $(cat pid)"
            assert self.container.runc("exec", "web", "/bin/sh", "-c", script).returncode == 0
        _patiently(self.ended, "isotrace in the container ends")
        return int(self.text("status")), self.text("errors")

    def text(self, name: str) -> str:
        path = self.shared / name
        return path.read_text() if path.exists() else ""

    def reads(self) -> set[str]:
        """How reads end now, of the first process and of its child."""
        (self.shared / "reads").write_text("")
        until(lambda: self.text("reads").count("\n") > 4, "the container reads")
        return set(self.text("reads").splitlines()[1:])


@pytest.fixture
def inside(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Inside]:
    runc.need()
    found = Inside(tmp_path, getattr(request, "param", None) or runc.PRIVILEGED)
    yield found
    found.container.close()


def test_what_the_container_does_is_logged_counted_and_recorded(inside: Inside) -> None:
    status, errors = inside.isotrace("log --ppid 1 --for 2s -o trace")
    assert (status, errors.count(" 0 lost")) == (0, 1), errors
    lines = tracer.parse(inside.text("trace"))
    assert {line.comm for line in lines} <= {"sh", "cat", "sleep"} and 1 not in {line.tid for line in lines}
    assert any('"/etc/hostname"' in line.args for line in lines if line.comm == "cat")
    status, errors = inside.isotrace("log --pid 1 --calls fork,vfork,clone,wait4 --for 2s -o first")
    first = [line for line in tracer.parse(inside.text("first")) if line.name in ("fork", "vfork", "clone")]
    assert status == 0 and first and {line.tid for line in first} == {1}, errors
    status, errors = inside.isotrace("record --tree 1 --for 1s -o t.arrow")
    assert status == 0 and b'"/etc/hostname"' in tracer.replay(inside.shared / "t.arrow"), errors
    status, errors = inside.isotrace("top --once --for 1s --tree 1 --format json >top")
    assert status == 0 and {"sh", "cat"} <= {one["process"] for one in json.loads(inside.text("top"))["processes"]}, (
        errors
    )


@pytest.mark.parametrize("inside", [runc.FEW], indirect=True)
def test_a_few_capabilities_do(inside: Inside) -> None:
    status, errors = inside.isotrace("log --ppid 1 --for 1s -o trace")
    assert status == 0 and '"/etc/hostname"' in inside.text("trace"), errors


def test_a_command_is_refused_in_it(inside: Inside) -> None:
    """By a seccomp filter, which needs nothing of the kernel that a container lacks."""
    status, errors = inside.isotrace("block --deny mkdir -- sh -c 'mkdir made || echo refused >said' >/dev/null")
    assert status == 0 and inside.text("said") == "refused\n" and not (inside.shared / "made").exists(), errors


def _need_hooks() -> None:
    if not {"lsm_bpf", "fmod_ret_security"} & {*_FEATURES}:
        pytest.skip("needs lsm_bpf: to refuse processes that run")


@pytest.mark.parametrize(
    ("inside", "target", "reads"),
    [
        (runc.PRIVILEGED, "--ppid 1", {"child 1", "first 0"}),
        (runc.PRIVILEGED, "--pid 1", {"child 0", "first 1"}),
        (runc.FEW, "--tree 1", {"child 1", "first 1"}),
    ],
    ids=["child", "first", "few"],
    indirect=["inside"],
)
def test_what_runs_in_it_is_refused(inside: Inside, target: str, reads: set[str]) -> None:
    """Its first process is no more spared than others."""
    _need_hooks()
    assert inside.reads() == {"child 0", "first 0"}
    inside.begin(f"block {target} --deny-path r:/etc/hostname --best-effort >refusals")
    _patiently(lambda: "enforcing from now on" in inside.text("errors") or inside.ended(), "it refuses")
    assert inside.reads() == reads, inside.text("errors")
    assert Path("/etc/hostname").read_text()  # nobody outside is concerned
    status, errors = inside.end("INT")
    assert status == 0 and inside.reads() == {"child 0", "first 0"}, errors
    shown = {line.split()[1] for line in inside.text("refusals").splitlines()}
    assert shown and ("1" in shown) == ("first 1" in reads)


def test_what_runs_in_it_is_asked_about(inside: Inside) -> None:
    _need_hooks()
    inside.begin(
        "ask --ppid 1 --ask-path r:/etc/hostname --best-effort --answer-with 'cat >>asked; echo deny' >answers"
    )
    _patiently(lambda: "EPERM" in inside.text("answers") or inside.ended(), "something is asked")
    assert inside.reads() == {"child 1", "first 0"}, inside.text("errors")
    assert inside.end("INT")[0] == 0
    asked = json.JSONDecoder().raw_decode(inside.text("asked"))[0]
    assert asked["what"] == "/etc/hostname" and asked["parents"]


def test_from_outside_the_container_is_refused_as_well(inside: Inside, tmp_path: Path) -> None:
    _need_hooks()
    command = ["block", "--deny-path", "r:/etc/hostname", "--best-effort", *map(str, inside.container.options)]
    said = tmp_path / "said"
    with (
        said.open("w") as errors,
        tracer.started(
            [sys.executable, "-m", "isotrace", *command], env=tracer.environment(), stderr=errors
        ) as process,
    ):
        _patiently(lambda: "enforcing from now on" in said.read_text() or process.poll() is not None, "it refuses")
        assert inside.reads() == {"child 1", "first 1"}
        process.send_signal(2)
        process.communicate(timeout=tracer.PATIENCE)
    assert process.returncode == 0 and inside.reads() == {"child 0", "first 0"}
