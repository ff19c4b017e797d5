"""isotrace policy test: what of a recording a policy would have refused, what cannot be told, and what is said of it."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from learned import PROGRAM, Run, blob, described, isotrace
from recorded import AT_FDCWD, inet
from records import batch, string

from isotrace.learning.requests import shown
from isotrace.learning.sources import read
from isotrace.recording.asked import Asked
from isotrace.recording.schema import End, Head
from isotrace.recording.writer import Writer
from isotrace.trace import clock, events
from isotrace.trace.events import Blob

HOME = "/home/ann/app"
ONCE = "after its first denial the program might have gone another way"


@pytest.fixture
def tried(tmp_path):
    """``tried(run, 'deny-path = "r:/etc/**"')``: what policy test says, with its status."""

    def attempt(run: Run, rules: str, *options, **head):
        policy = tmp_path / "p.toml"
        policy.write_text(f"version = 1\n[groups.g]\n{rules}\n")
        return isotrace("policy", "test", policy, run.save(tmp_path / "t.arrow", **head), *options)

    return attempt


def requests_of(run: Run, tmp_path: Path) -> dict[str, list[str]]:
    """Call → what its first kind of calls asks for, or why that is not known."""
    found: dict[str, list[str]] = {}
    for asked in read([str(run.save(tmp_path / "t.arrow"))]).calls:
        found.setdefault(asked.call, []).extend([*map(shown, asked.objects), *asked.unknown])
    return found


def test_what_would_have_been_refused_is_folded_and_the_status_is_1(tried):
    run = Run()
    for _ in range(3):
        run.open("/etc/shadow")
    run.open("/etc/motd", os.O_WRONLY)
    run.open("/srv/x")
    found = tried(run, 'action = "EACCES"\ndeny-path = "r:/etc/**"')
    assert found.returncode == 1
    assert found.stdout.split("  (")[0].split() == (
        ["3", "openat", "r", "/etc/shadow", "by", "app", "→", "EACCES", "g:", "deny-path", "r:/etc/**"]
    )
    assert "isotrace: 3 calls would have been denied, 2 calls allowed" in found.stderr
    assert found.stderr.count(ONCE) == 1


def test_nothing_refused_is_status_0(tried):
    run = Run()
    run.open("/etc/motd")
    found = tried(run, 'deny-path = "w:/etc/**"')
    assert (found.returncode, found.stdout) == (0, "")
    assert ONCE not in found.stderr


def test_rows_are_shown_as_strace_has_them(tried):
    run = Run()
    run.open("a")
    run.open("/etc/shadow")
    found = tried(run, 'deny-path = "/etc/**"', "--rows")
    assert found.stdout == (
        't.arrow:2  100 app  openat(AT_FDCWD, "/etc/shadow", O_RDONLY) = 3 → EPERM  g: deny-path /etc/**\n'
    )


def test_json_has_the_refusals_and_a_summary(tried):
    run = Run()
    run.open("/etc/shadow")
    run.call("getppid")
    refused, summary = map(json.loads, tried(run, 'deny-path = "/etc/**"', "--format", "json").stdout.splitlines())
    assert (refused["call"], refused["what"], refused["count"]) == ("openat", "r /etc/shadow", 1)
    assert refused["rows"][0]["row"] == 1
    assert (summary["refused"], summary["allowed"], summary["not_judged"]) == (1, 1, {})


def test_the_object_is_judged_and_not_the_words(tried):
    run = Run()
    run.open("/srv/link", to="/etc/shadow")
    assert "r /etc/shadow" in tried(run, 'deny-path = "/etc/**"').stdout
    assert tried(run, 'deny-path = "/srv/**"').stdout == ""


class TestOperationsOfIoUring:
    def tried(self, tried, rules, name, args=(), blobs=(), result=3):
        run = Run()
        run.call(f"io_uring:{name}", args, result, blobs)
        found = tried(run, rules)
        return found.stdout.split("  (")[0].split(), found

    @pytest.mark.parametrize(
        ("name", "args", "blobs", "what"),
        [
            ("openat", (AT_FDCWD, 1, 0), [string(1, b"/etc/shadow")], "r /etc/shadow"),
            ("openat2", (AT_FDCWD, 1, os.O_RDWR, 0, 0), [string(1, b"/etc/x")], "rw /etc/x"),
            ("unlinkat", (AT_FDCWD, 1, 0), [string(1, b"/etc/x")], "w /etc/x"),
            ("renameat", (AT_FDCWD, 1, AT_FDCWD, 2), [string(1, b"/srv/x"), string(3, b"/etc/x")], "w /etc/x"),
            ("setxattr", (1, 2, 3, 1, 0), [string(0, b"/etc/x")], "w /etc/x"),
            ("connect", (5, 1, 16), [blob(1, events.PART_SELF, inet("10.0.0.1", 80))], "any 10.0.0.1:80"),
            ("send", (5, 1, 9, 0, 1, 16), [blob(4, events.PART_SELF, inet("10.0.0.1", 53))], "any 10.0.0.1:53"),
            ("socket", (17, 3, 3), [], "socket 17,3,3"),
        ],
    )
    def test_are_judged_by_what_they_are_about(self, tried, name, args, blobs, what):
        rules = 'deny-path = "/etc/**"\ndeny-net = "any:"'
        words, found = self.tried(tried, rules, name, args, blobs)
        assert words[1 : 2 + len(what.split())] == [f"io_uring:{name}", *what.split()], found.stderr
        assert (found.returncode, self.tried(tried, 'deny-path = "/opt/**"', name, args, blobs)[1].returncode) == (1, 0)

    def test_relative_paths_begin_where_the_process_is(self, tried):
        run = Run()
        run.open("/srv/first")
        run.call("io_uring:openat", (AT_FDCWD, 1, os.O_WRONLY), 3, [string(1, b"../../../etc/x")])
        assert "io_uring:openat w /etc/x  by app" in tried(run, 'deny-path = "/etc/**"').stdout

    def test_are_not_there_under_a_rule_on_calls_that_closes_io_uring(self, tried):
        words, found = self.tried(tried, 'deny = "open"', "read", (3, 1, 9))
        assert words[:2] == ["1", "io_uring:read"] and "deny open, which closes io_uring" in found.stdout
        assert self.tried(tried, 'deny = "kill"', "read", (3, 1, 9))[1].returncode == 0
        assert "1 call allowed" in self.tried(tried, 'deny = "kill"', "unknown")[1].stderr

    @pytest.mark.parametrize(
        ("name", "args", "blobs", "why"),
        [
            ("unknown", (), [], "an operation of io_uring of which it is not known what it is for"),
            ("uring_cmd", (3, 1, 0), [], "an operation of io_uring of which it is not known what it is for"),
            ("sendmsg", (5, 1, 0), [], "an operation of io_uring of which it is not known what it is for"),
            ("openat", (AT_FDCWD, 1, 0), [], "a path or address could not be read"),
            ("openat", (7, 1, 0), [string(1, b"x")], "a relative path, and its directory is not known"),
            ("fsetxattr", (7, 1, 2, 1, 0), [], "a file by its handle or descriptor, which is not known"),
            ("openat2", (7, 1, 0, 0, 0x10), [string(1, b"/x")], "a path whose directory is its root (RESOLVE_IN_ROOT)"),
            ("listen", (7, 1), [], "a socket's own address is not known"),
        ],
    )
    def test_that_cannot_be_told_are_not_taken_for_allowed(self, tried, name, args, blobs, why):
        words, found = self.tried(tried, 'deny-path = "/etc/**"\ndeny-net = "tcp:"', name, args, blobs)
        assert (found.returncode, words) == (0, [])
        assert f"not judged: 1 call: {why}" in found.stderr and "0 calls allowed" in found.stderr


def test_a_path_of_openat2_in_a_root_of_its_own_is_not_taken_for_that_of_everybody(tried):
    run = Run(cwd=None)
    how = blob(2, events.PART_SELF, (0).to_bytes(16, "little") + (0x10).to_bytes(8, "little"))
    run.call("openat2", (7, 1, 2, 24), 3, [string(1, b"/etc/x"), how])
    found = tried(run, 'deny-path = "/etc/**"')
    assert (found.returncode, found.stdout) == (0, "")
    assert "not judged: 1 call: a path whose directory is its root (RESOLVE_IN_ROOT)" in found.stderr


def test_an_error_before_the_file_is_no_refusal_and_is_said(tried):
    run = Run()
    run.open("/etc/none", result=-2)
    found = tried(run, 'deny-path = "/etc/**"')
    assert found.returncode == 0
    assert "1 call failed before anything could be denied, and would not be allowed" in found.stderr
    assert tried(run, 'deny = "open"').returncode == 1  # the number is judged before anything fails


def test_audit_rules_report(tried):
    run = Run()
    run.open("/etc/shadow")
    found = tried(run, 'action = "audit"\ndeny-path = "/etc/**"')
    assert found.returncode == 0
    assert "→ reported" in found.stdout
    assert "0 calls would have been denied, 0 calls allowed, 1 call reported" in found.stderr


def test_a_rule_on_calls_closes_io_uring(tried):
    run = Run()
    run.call("io_uring_setup", (8, 0x1000), 4)
    assert "deny open, which closes io_uring" in tried(run, 'deny = "open"').stdout
    assert tried(run, 'deny = "kill"').stdout == ""


class TestWhatARecordingCannotTell:
    def not_judged(self, found, why):
        assert found.returncode == 0
        assert f"not judged: 1 call: {why}" in found.stderr
        assert "0 calls would have been denied, 0 calls allowed" in found.stderr

    def test_a_path_that_was_cut(self, tried):
        run = Run(cwd=None)
        run.call("openat", (AT_FDCWD, 0x1000, 0), 3, [Blob(1, 0, events.CUT, 0, b"/etc/a")])
        self.not_judged(tried(run, 'deny-path = "/etc/**"'), "a path was cut")

    def test_a_path_that_could_not_be_read(self, tried):
        run = Run(cwd=None)
        run.call("openat", (AT_FDCWD, 0x1000, 0), 3, [Blob(1, 0, events.FAULT, 0x1000, b"")])
        self.not_judged(tried(run, 'deny-path = "/etc/**"'), "a path or address could not be read")

    def test_a_relative_path_whose_directory_is_not_known(self, tried):
        run = Run(cwd=None)
        run.open("shadow")
        found = tried(run, 'deny-path = "/etc/**"')
        self.not_judged(found, "a relative path, and its directory is not known")
        assert "isotrace record -y" in found.stderr

    def test_it_does_not_matter_where_no_rule_is_on_paths(self, tried):
        run = Run(cwd=None)
        run.open("shadow")
        assert "not judged" not in tried(run, 'deny = "kill"').stderr

    def test_words_whose_links_are_not_known_are_said(self, tried):
        run = Run()
        run.path("unlink", "/srv/a")
        assert "1 call judged by the caller's words" in tried(run, 'deny-path = "/etc/**"').stderr

    def test_a_directory_of_a_known_object_is_no_link(self, tried):
        run = Run()
        run.open("/srv/b")
        run.path("unlink", "/srv/a")
        assert "by the caller's words" not in tried(run, 'deny-path = "/etc/**"').stderr

    def test_code_of_a_file_that_is_not_known(self, tried):
        run = Run(cwd=None)
        run.code(None)
        self.not_judged(tried(run, 'deny-path = "x:/**"'), "code is mapped of a file that is not known")

    def test_a_protocol_that_matters_and_is_not_known(self, tried):
        run = Run()
        run.connect("10.0.0.1", 53, None)
        self.not_judged(tried(run, 'deny-net = "udp:*:53"'), "the protocol of a socket is not known")
        assert tried(run, 'deny-net = "10.0.0.0/8"').returncode == 1

    def test_calls_that_were_lost(self, tried, tmp_path):
        run = Run()
        run.call("getppid")
        found = tried(run, 'deny = "kill"', end=End(seen=3, delivered=1, lost=2))
        assert "2 calls lost when it was recorded: not judged" in found.stderr


class TestDirectories:
    def test_what_y_says_of_the_working_directory_counts_for_calls_before_and_after(self, tmp_path):
        run = Run()
        run.path("mkdir", "before")
        run.open("/etc/motd")
        run.path("mkdir", "../after")
        assert requests_of(run, tmp_path)["mkdir"] == [f"w {HOME}/before", "w /home/ann/after"]

    def test_a_change_of_directory(self, tmp_path):
        run = Run()
        run.open("/etc/motd")
        run.path("chdir", "sub")
        run.path("mkdir", "a")
        run.path("chdir", "/srv")
        run.path("mkdir", "b")
        run.call("fchdir", (3,), 0, [blob(0, events.PART_FILE, described("/opt/x"))])
        run.path("mkdir", "c")
        run.path("chdir", "/nowhere", result=-2)
        run.path("mkdir", "d")
        assert requests_of(run, tmp_path)["mkdir"] == [
            f"w {HOME}/sub/a", "w /srv/b", "w /opt/x/c", "w /opt/x/d",
        ]  # fmt: skip

    def test_a_child_begins_where_its_parent_is(self, tmp_path):
        run = Run(cwd=None)
        run.path("chdir", "/srv")
        run.path("mkdir", "of-the-child", pid=200)  # seen before the record of its birth
        run.call("vfork", (), 200)
        run.path("chdir", "/opt")
        run.path("mkdir", "too", pid=200)
        run.path("mkdir", "unknown", pid=300)
        assert requests_of(run, tmp_path)["mkdir"] == [
            "w /srv/of-the-child", "w /srv/too", "a relative path, and its directory is not known",
        ]  # fmt: skip

    def test_getcwd_tells(self, tmp_path):
        run = Run(cwd=None)
        run.path("mkdir", "a")
        run.call("getcwd", (0x1000, 4096), 5, [blob(0, events.PART_SELF, b"/srv\0")])
        assert requests_of(run, tmp_path)["mkdir"] == ["w /srv/a"]

    def test_a_number_that_is_used_again_is_another_process(self, tmp_path):
        run = Run(cwd=None)
        run.path("chdir", "/srv")
        run.call("", result=0, kind=events.TASK_EXIT)
        run.path("mkdir", "a")
        assert requests_of(run, tmp_path)["mkdir"] == ["a relative path, and its directory is not known"]


class TestRequests:
    def test_of_files(self, tmp_path):
        run = Run()
        run.open("a", os.O_RDWR | os.O_CREAT)
        run.call("rename", (1, 2), 0, [string(0, b"a"), string(1, b"/srv/b")])
        run.execute("/usr/bin/cc")
        run.code("/usr/lib/libc.so.6")
        run.call("fchmod", (3, 0o600), 0, [blob(0, events.PART_FILE, described("/srv/c"))])
        run.call("newfstatat", (AT_FDCWD, 0x1000), 0, [string(1, b"/etc/x")])
        found = requests_of(run, tmp_path)
        assert found["openat"] == [f"rw {HOME}/a"]
        assert found["rename"] == [f"rwx {HOME}/a", "w /srv/b"]
        assert found["execve"] == ["x /usr/bin/cc"]
        assert found["mmap"] == ["x /usr/lib/libc.so.6"]
        assert found["fchmod"] == ["w /srv/c"]
        assert found["newfstatat"] == []

    def test_of_addresses(self, tmp_path):
        run = Run()
        run.open("a")
        run.connect("10.0.0.1", 443, "TCP")
        run.connect("10.0.0.2", 53, "UDP", "bind")
        run.connect_unix("/run/x")
        run.connect_unix("s.sock", "bind")
        run.call("socket", (socket.AF_INET, socket.SOCK_STREAM | 0o4000, 0), 3)
        found = requests_of(run, tmp_path)
        assert found["connect"] == ["tcp 10.0.0.1:443", "unix /run/x"]
        assert found["bind"] == ["udp 10.0.0.2:53", f"unix {HOME}/s.sock", f"w {HOME}/s.sock"]
        assert found["socket"] == ["socket 2,1,0"]


class TestExpected:
    @pytest.mark.parametrize(
        ("lines", "status", "said"),
        [
            ("# comment\nopenat r /etc/shadow\nkill\n", 0, ""),
            ("openat r /etc/*\nkill\n", 0, ""),
            ("openat r /etc/shadow\n", 1, "not expected: kill"),
            ("openat\nkill\nptrace\n", 1, "expect.txt:3: expected, and not denied: ptrace"),
        ],
    )
    def test_the_status_is_that_of_the_comparison(self, tried, tmp_path, lines, status, said):
        run = Run()
        run.open("/etc/shadow")
        run.call("kill", (1, 15))
        (tmp_path / "expect.txt").write_text(lines)
        found = tried(run, 'deny-path = "/etc/**"\ndeny = "=kill"', "--expect", tmp_path / "expect.txt")
        assert found.returncode == status
        assert said in found.stderr


class TestAnIncompleteRecording:
    """Is no proof that nothing would have been refused, nor that there is nothing new."""

    SAID = "some of the run is not in the recording, so the status is 1: --incomplete-ok takes what there is"

    @pytest.fixture
    def whole(self, tmp_path, monkeypatch):
        """A recording of two batches, and a policy that refuses nothing of it."""
        monkeypatch.chdir(tmp_path)
        Path("p.toml").write_text('version = 1\n[groups.g]\ndeny = "kill"\n')
        run = Run()
        run.call("getppid")
        return run.save(Path("whole.arrow")), run

    def verbs(self, name):
        return (
            ("policy", "test", "p.toml", name),
            ("diff", "whole.arrow", name),
            ("diff", name, "whole.arrow"),
            ("learn", name),
        )

    def check(self, name, *said):
        for words in self.verbs(name):
            found = isotrace(*words)
            assert (found.returncode, found.stderr.count(self.SAID)) == (1, 1), (words, found.stderr)
            assert all(one in found.stderr for one in said), found.stderr
            accepted = isotrace(*words, "--incomplete-ok")
            assert accepted.returncode == 0 and self.SAID not in accepted.stderr, words
            assert all(one in accepted.stderr for one in said), accepted.stderr

    def test_whole_ones_are_status_0(self, whole):
        for words in self.verbs("whole.arrow"):
            found = isotrace(*words)
            assert found.returncode == 0 and self.SAID not in found.stderr, found.stderr

    def test_without_its_end(self, whole):
        out = Writer(Asked("endless.arrow"), Head(target="-- app", host="elsewhere", descriptors=True))
        out.write(replace(batch(*whole[1].records), wall=clock.offset()))
        out.close()
        self.check("endless.arrow", "'endless.arrow' has no end")
        Path("cut.arrow").write_bytes(Path("endless.arrow").read_bytes() + b"\xff\xff\xff\xff\x10")
        self.check("cut.arrow", "'cut.arrow' is cut within a batch")

    @pytest.mark.parametrize("lack", [{"lost": 2}, {"missed": 1}, {"not_followed": 1}])
    def test_with_losses(self, whole, lack):
        whole[1].save(Path("lossy.arrow"), end=End(seen=3, delivered=1, **lack))
        self.check("lossy.arrow")

    def test_without_a_part(self, whole):
        whole[1].save(Path("part.arrow"), end=End(seen=1, delivered=1, continued=True))
        self.check("part.arrow", "the run goes on in a part that was not given")

    def test_says_so_in_json(self, whole):
        whole[1].save(Path("lossy.arrow"), end=End(seen=3, delivered=1, lost=2))
        for name, incomplete in (("whole.arrow", False), ("lossy.arrow", True)):
            found = isotrace("policy", "test", "p.toml", name, "--format", "json")
            assert json.loads(found.stdout.splitlines()[-1])["incomplete"] is incomplete

    def test_with_nothing_left_is_called_cut_and_not_empty(self, whole):
        data = whole[0].read_bytes()
        begins = [at for at in range(0, len(data), 8) if data[at : at + 4] == b"\xff\xff\xff\xff"]
        for at in (3, 40, *(begin + 16 for begin in begins[1:-2])):
            Path("cut.arrow").write_bytes(data[:at])
            for words in self.verbs("cut.arrow"):
                found = isotrace(*words)
                first = found.stderr.splitlines()[0]
                assert found.returncode == 1 and "'cut.arrow' is cut " in first, (at, found.stderr)
                assert "hint: record it again" in found.stderr or "no call is in it" in found.stderr, found.stderr
        Path("other.arrow").write_bytes(b"abc")
        assert "is not a recording of isotrace" in isotrace("learn", "other.arrow").stderr


def test_a_directory_is_no_recording_and_there_is_a_hint(tmp_path):
    (tmp_path / "p.toml").write_text('version = 1\n[groups.g]\ndeny = "kill"\n')
    for words in (
        *(("learn", "."), ("policy", "test", "p.toml", "."), ("diff", ".", "."), ("sql", ".", "SELECT 1 ")),
        *(
            ("log", "--from", "."),
            ("top", "--once", "--from", "."),
            ("export", ".", "--to", "csv"),
            ("calls", "--from", "."),
        ),
    ):
        found = isotrace(*words, cwd=tmp_path)
        assert found.returncode == 1, words
        assert found.stderr == (
            "isotrace: cannot read '.': is a directory\n"
            "  hint: name the recordings in it: a pattern such as 'DIR/*.arrow' will do\n"
        ), words


class TestInvalid:
    @pytest.mark.parametrize(
        ("words", "status", "said"),
        [
            (["test", "p.toml", "none.arrow"], 2, "no such recording: 'none.arrow'"),
            (["test", "none.toml", "t.arrow"], 1, "cannot read none.toml"),
            (["test", "p.toml", "empty.arrow"], 1, "no call was recorded"),
            (["test", "p.toml", "p.toml"], 1, "not a recording of isotrace"),
            (["test", "p.toml", "t.arrow", "--expect", "none"], 1, "cannot read 'none'"),
            (["test", "p.toml", "t.arrow", "--rows", "--format", "json"], 2, "--rows prints text"),
        ],
    )
    def test_is_one_line_with_a_hint(self, tmp_path, monkeypatch, words, status, said):
        monkeypatch.chdir(tmp_path)
        Path("p.toml").write_text('version = 1\n[groups.g]\ndeny = "kill"\n')
        run = Run()
        run.call("getppid")
        run.save(Path("t.arrow"))
        Run().save(Path("empty.arrow"))
        found = isotrace("policy", *words)
        assert found.returncode == status
        assert said in found.stderr.splitlines()[0]
        assert "hint:" in found.stderr


NAMES = st.sampled_from(["etc", "srv", "a", "b", "key"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
RULES = st.tuples(st.booleans(), st.sampled_from(["r", "w", "rw", "rwx"]), PATHS, st.sampled_from(["", "/**", "/*"]))


@given(st.lists(RULES, max_size=6), st.lists(st.tuples(PATHS, st.sampled_from([0, 1, 2])), min_size=1, max_size=8))
def test_each_open_is_judged_as_decide_judges_it(tmp_path_factory, rules, opens):
    from isotrace.learning.judging import Judge
    from isotrace.policy import Group, PathRequest, Policy, decide, paths

    parsed = [paths.parse(f"{access}:{path}{tail}", allow=allow) for allow, access, path, tail in rules]
    policy = Policy((Group("g", tuple(parsed)),))
    run = Run()
    for path, flags in opens:
        run.open(path, flags, pid=PROGRAM)
    judged = Judge(policy).judge(read([str(run.save(tmp_path_factory.mktemp("r") / "t.arrow"))]).calls, None)
    letters = {0: "r", 1: "w", 2: "rw"}
    denied = [n for n, (path, flags) in enumerate(opens)
              if decide(policy, PathRequest(path, frozenset(letters[flags]))).denied]  # fmt: skip
    assert sorted(at.row for tally in judged.refused.values() for at in tally.first) == denied
    assert judged.allowed == len(opens) - len(denied)
