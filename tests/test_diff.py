"""isotrace diff and isotrace policy diff: what is new, in which order, and what is no news."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from learned import Run, isotrace
from recorded import AT_FDCWD
from records import string

from isotrace.learning import policies
from isotrace.learning.comparing import KINDS
from isotrace.policy.file import read
from isotrace.recording.schema import End


def old_run() -> Run:
    run = Run()
    run.open("a")
    run.open("/usr/lib/libc.so.6")
    run.open("/tmp/tmp.Qa83kd9x/f", os.O_WRONLY)
    run.execute("/usr/bin/sh")
    return run


@pytest.fixture
def compared(tmp_path):
    """``compared(new, *options)``: what isotrace diff says of the run above and of ``new``."""

    def attempt(new: Run, *options, **head):
        old = old_run().save(tmp_path / "a.arrow", command=("install",))
        later = new.save(tmp_path / "b.arrow", **{"command": ("install",), **head})
        return isotrace("diff", old, later, *options)

    return attempt


def stealing() -> Run:
    run = old_run()
    run.open("b.cfg")
    run.open("out/one", os.O_WRONLY)
    run.open("out/two", os.O_WRONLY)
    run.path("unlink", "/nowhere", result=-2)
    run.execute("/usr/bin/curl")
    run.connect("192.0.2.1", 443)
    run.open("/home/ann/.ssh/id_ed25519")
    run.open("/root/.aws/credentials", result=-13)
    return run


def test_what_is_new_comes_by_how_alarming_it_is(compared):
    found = compared(stealing())
    assert found.returncode == 1
    kinds = [line.partition(":")[0] for line in found.stdout.splitlines() if not line.startswith(" ")]
    assert kinds == ["secrets", "network", "exec", "writes", "reads", "calls", "errors"]
    lines = found.stdout.splitlines()
    assert lines[1] == "  /home/ann/.ssh/id_ed25519  (1 call by app; first b.arrow:15)"
    assert lines[2] == "  /root/.aws/credentials  (1 call by app, which failed; first b.arrow:16)"
    assert "  tcp:192.0.2.1:443  (1 call by app; first b.arrow:14)" in lines
    assert "  /home/ann/app/out/  2 files: one, two  (2 calls by app; first b.arrow:8)" in lines
    assert "  /home/ann/app/b.cfg  (1 call by app; first b.arrow:7)" in lines


def test_the_same_again_is_nothing_new(compared):
    found = compared(old_run())
    assert (found.returncode, found.stdout) == (0, "")
    assert found.stderr == "isotrace: nothing new\n"


def test_what_varies_and_what_every_program_does_is_no_news(compared):
    run = old_run()
    run.open("/tmp/tmp.Zz91mm3K/f", os.O_WRONLY)
    run.open("/usr/lib/libm.so.6")
    run.open("/etc/passwd")
    assert compared(run).stdout == ""


def test_only_some_kinds(compared):
    found = compared(stealing(), "--only", "network,exec")
    assert found.stdout.startswith("network:")
    assert "secrets" not in found.stdout
    assert compared(stealing(), "--only", "sockets").returncode == 0


def test_json(compared):
    found = [json.loads(line) for line in compared(stealing(), "--format", "json").stdout.splitlines()]
    assert found[0]["kind"] == "secrets"
    assert found[0]["first"]["row"] == 15
    written = next(one for one in found if one["kind"] == "writes" and one["files"])
    assert written["files"] == ["one", "two"]
    assert {one["kind"] for one in found} <= set(KINDS)


def test_different_commands_losses_and_other_machines(compared, tmp_path):
    run = Run(cwd="/home/ci/app")
    run.open("a")
    found = compared(run, "--map", "/home/ci=/home/ann", command=("other",), end=End(seen=3, delivered=1, lost=2))
    assert found.stdout == ""
    assert "the two are of different commands" in found.stderr
    assert "2 calls were lost: what these did is not here" in found.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["diff", "a.arrow"], 2, "Missing argument 'REC-B'"),
        (["diff", "a.arrow", "none.arrow"], 2, "no such recording: 'none.arrow'"),
        (["diff", "a.arrow", "a.arrow", "--only", "x"], 2, "--only has no kind 'x'"),
        (["policy", "diff", "none.toml", "none.toml"], 1, "cannot read none.toml"),
    ],
)
def test_invalid_requests(tmp_path, words, status, said):
    old_run().save(tmp_path / "a.arrow")
    found = isotrace(*words, cwd=tmp_path)
    assert found.returncode == status
    assert said in found.stderr
    assert "Traceback" not in found.stderr


OLD = """version = 1
[groups.g]
deny = "!open,!read"
deny-path = "/**"
allow-path = ["r:/srv/**", "rw:/tmp/x"]
deny-net = "any:"
"""


def changes(new: str) -> list[str]:
    return [f"{'+' if one.wider else '-'} {one.kind}: {one.what}" for one in policies.compare(read(OLD), read(new))]


class TestPolicies:
    def test_the_same_is_nothing(self):
        assert changes(OLD) == []

    def test_more_is_allowed(self):
        new = OLD.replace("!read", "!read,!mount").replace('"rw:/tmp/x"', '"rw:/tmp/x", "x:/opt/**", "w:/var/lib/x"')
        new = new.replace('deny-net = "any:"', 'deny-net = "any:"\nallow-net = "tcp:10.0.0.1:80"')
        assert changes(new)[:3] == [
            "+ network: allow-net tcp:10.0.0.1:80", "+ exec: allow-path x:/opt/**", "+ writes: allow-path w:/var/lib/x",
        ]  # fmt: skip
        assert "+ calls: mount" in changes(new)[3:]

    def test_less_is_allowed(self):
        new = OLD.replace('"r:/srv/**", ', "") + '\n[groups.h]\ndeny-path = "/tmp/y"\n'
        assert changes(new) == ["- reads: no longer allow-path r:/srv/**"]

    def test_a_file_that_was_allowed_already_is_no_news(self):
        assert changes(OLD.replace('"rw:/tmp/x"', '"rw:/tmp/x", "r:/srv/a"')) == []

    def test_another_action(self):
        assert changes(OLD.replace("[groups.g]\n", '[groups.g]\naction = "audit"\n'))[0].startswith("+ actions: ")

    def test_the_command(self, tmp_path: Path):
        (tmp_path / "a.toml").write_text(OLD)
        (tmp_path / "b.toml").write_text(OLD.replace('"rw:/tmp/x"', '"rw:/tmp/x", "w:/x"'))
        found = isotrace("policy", "diff", tmp_path / "a.toml", tmp_path / "b.toml")
        assert (found.returncode, found.stdout) == (1, "+ writes: allow-path w:/x\n")
        found = isotrace("policy", "diff", tmp_path / "b.toml", tmp_path / "a.toml", "--format", "json")
        assert found.returncode == 0
        assert json.loads(found.stdout) == {"wider": False, "kind": "writes", "what": "no longer allow-path w:/x"}


def test_what_was_asked_of_io_uring_is_news_as_what_was_called(compared):
    run = old_run()
    run.call("io_uring:openat", (AT_FDCWD, 1, 0), 3, [string(1, b"/home/ann/.ssh/id_ed25519")])
    run.call("io_uring:read", (3, 1, 9), 9)
    found = compared(run).stdout
    assert "secrets: files that keep secrets" in found and "  /home/ann/.ssh/id_ed25519  (1 call by app; first" in found
    assert "  io_uring:openat  (1 call" in found and "  io_uring:read  (1 call" in found
