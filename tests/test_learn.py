"""isotrace learn: the policy that allows what was recorded and little else, its evidence, and learning again."""

from __future__ import annotations

import json
import os
import socket
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from learned import PROGRAM, Run, blob, isotrace
from recorded import AT_FDCWD, inet
from records import string

from isotrace import catalog
from isotrace.enforce import Answered, Enforced, Guarantees, Refused
from isotrace.learning import answers, coverage, merging, refused, rules, shapes, sources, writing
from isotrace.learning.base import base
from isotrace.learning.judging import Judge
from isotrace.learning.raising import NEVER
from isotrace.learning.requests import shown
from isotrace.policy import Action, CallRequest, NetRequest, PathRequest, PathRule, decide, names, paths
from isotrace.policy.decide import SocketRequest
from isotrace.policy.file import read as policy_of
from isotrace.recording.schema import End
from isotrace.trace import events

HOME = "/home/ann/app"
OWN = "/home/ann/app"


def learned(run: Run, tmp_path: Path, *, never=(), **head):
    """The sources and the lesson."""
    read = sources.read([str(run.save(tmp_path / "t.arrow", **head))])
    lesson = rules.learn(read.calls, coverage.wish_for(read, never))
    answers.apply(lesson, read.folded, read.calls)
    return read, lesson


def own(lesson) -> list[str]:
    """Its rules on files that are not of the base set, and allow."""
    return [one.word for one in lesson.files if one.kind == "allow-path" and not one.why]


def text_of(read, lesson, wish=None) -> str:
    wish = wish or coverage.wish_for(read, ())
    return writing.text(read, lesson, list(coverage.lines(read, wish)), coverage.sources_of(read))


class TestRaising:
    def test_several_siblings_are_their_directory(self, tmp_path):
        run = Run()
        for name in ("one", "two", "three", "four", "five", "six"):
            run.open(f"data/{name}")
        read, lesson = learned(run, tmp_path)
        assert own(lesson) == [f"r:{OWN}/data/*"]
        assert "# raised from 6 paths: five, four, one, ..." in text_of(read, lesson)

    def test_few_stay_what_they_are(self, tmp_path):
        run = Run()
        run.open("a")
        run.open("b", os.O_WRONLY)
        assert own(learned(run, tmp_path)[1]) == [f"r:{OWN}/a", f"w:{OWN}/b"]

    def test_with_what_is_below_it_is_the_whole_tree(self, tmp_path):
        run = Run()
        for name in ("one", "two/a", "three", "four", "five"):
            run.open(f"data/{name}")
        assert own(learned(run, tmp_path)[1]) == [f"r:{OWN}/data/**"]

    def test_each_access_is_raised_by_itself(self, tmp_path):
        run = Run()
        for number in range(6):
            run.open(f"data/{'abcdef'[number]}")
        run.open("data/a", os.O_WRONLY)
        assert own(learned(run, tmp_path)[1]) == [f"r:{OWN}/data/*", f"w:{OWN}/data/a"]

    @pytest.mark.parametrize("directory", ["/etc", "/home/ann", "/", "/root", "/home", "/var/lib", "/home/ann/.ssh"])
    def test_never_to_what_is_everybodys(self, tmp_path, directory):
        run = Run()
        for name in ("q1", "q2", "q3", "q4", "q5", "q6", "q7"):
            run.open(f"{directory.rstrip('/')}/{name}x")
        found = own(learned(run, tmp_path)[1])
        assert len(found) == 7
        assert not any("*" in word for word in found)

    def test_never_to_what_the_user_names_or_above(self, tmp_path):
        run = Run()
        for name in ("a", "b", "c", "d", "e", "f"):
            run.open(f"/srv/app/{name}")
            run.open(f"/srv/app/sub/{name}")
        found = own(learned(run, tmp_path, never=("/srv/app",))[1])
        assert "r:/srv/app/sub/*" in found
        assert len(found) == 7

    def test_a_temporary_directory_is_its_makers(self, tmp_path):
        run = Run()
        run.open("/tmp/tmp.Qa83kd9x/a", os.O_WRONLY)
        run.open("/tmp/mine/a", os.O_WRONLY)
        assert own(learned(run, tmp_path)[1]) == ["w:/tmp/mine/a", "w:/tmp/tmp.*/**"]

    def test_a_family_of_temporary_directories_is_one_rule(self, tmp_path):
        run = Run()
        for name in ("pip-build-a1b2c3d4", "pip-unpack-a1b2c3d4/x", "pip-wheel-a1b2c3d4/y/z", "tool-a1b2c3d4/x"):
            run.open(f"/tmp/{name}", os.O_WRONLY)
        assert own(learned(run, tmp_path)[1]) == ["w:/tmp/pip-*/**", "w:/tmp/tool-*/**"]

    def test_a_file_made_for_a_moment_in_tmp_may_have_any_name(self, tmp_path):
        run = Run()
        run.open("/tmp/letterss", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        run.path("unlink", "/tmp/letterss")
        run.open("/tmp/staysput", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        assert own(learned(run, tmp_path)[1]) == ["rw:/tmp/*", "rw:/tmp/staysput"]

    def test_more_is_raised_where_there_would_be_too_many(self, tmp_path):
        run = Run()
        for directory in range(40):
            run.open(f"/srv/x/d{directory}x/a")
            run.open(f"/srv/x/d{directory}x/b")
        _, lesson = learned(run, tmp_path)
        assert len(lesson.rules) <= rules.MOST

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/proc/1234/maps", "/proc/*/maps"),
            ("/tmp/tmp.Xa83kd9Q/f", "/tmp/tmp.*/f"),
            ("/tmp/ccG7kQz1.s", "/tmp/cc*.s"),
            ("/tmp/pip-unpack-k3_x9a2f/x.whl", "/tmp/pip-unpack-*/x.whl"),
            ("/srv/x/0123abcd4567ef89", "/srv/x/*"),
            ("/srv/x/lib-3f2a9c71bd.so", "/srv/x/lib-*.so"),
            ("/srv/x/name-1.2.3.dist-info", "/srv/x/name-*.dist-info"),
            ("/srv/x/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "/srv/x/*"),
            ("/dev/pts/3", "/dev/pts/*"),
            ("/tmp/pip-egg-info-i_k3x9a2/f", "/tmp/pip-egg-info-*/f"),
            ("/srv/x/INSTALLERagosri65.tmp", "/srv/x/INSTALLER*.tmp"),
            ("/srv/x/.git/tJ5AdR5", "/srv/x/.git/t*"),
            ("/tmp/ol23cxuq", "/tmp/*"),
            ("/srv/ol23cxuq", "/srv/ol23cxuq"),
            ("/srv/backup/facade/added.py", "/srv/backup/facade/added.py"),
            ("/srv/x/a*b", "/srv/x/a\\*b"),
            ("/srv/x/a\nb", "/srv/x/a*b"),
            ("/srv/x/test_suite_helper", "/srv/x/test_suite_helper"),
        ],
    )
    def test_names_that_vary(self, path, expected):
        assert str(shapes.pattern(path)) == expected
        assert shapes.pattern(path).matches(path)


class TestRules:
    def test_calls_are_words_and_every_other_is_refused(self, tmp_path):
        run = Run()
        run.open("a")
        run.path("unlink", "/srv/x")
        _, lesson = learned(run, tmp_path)
        assert list(lesson.words) == ["open", "unlink"]
        policy = rules.policy_of(lesson)
        assert not decide(policy, CallRequest("openat2")).denied
        assert decide(policy, CallRequest("mount")).denied
        assert decide(policy, CallRequest("socket")).denied

    def test_what_every_program_does_is_the_base_sets(self, tmp_path):
        run = Run()
        run.open("/usr/lib/x86_64-linux-gnu/libc.so.6")
        run.code("/usr/lib/x86_64-linux-gnu/libc.so.6")
        run.open("/etc/passwd")
        run.open("/proc/77/maps")
        _, lesson = learned(run, tmp_path)
        assert own(lesson) == []
        assert {one.word for one in lesson.files if one.kind == "allow-path"} == {
            "r:/usr/lib/**", "x:/usr/lib/**/*.so*", "r:/etc/passwd", "r:/proc/*/maps",
        }  # fmt: skip

    def test_addresses(self, tmp_path):
        run = Run()
        run.call("socket", (socket.AF_INET, socket.SOCK_STREAM, 0), 5)
        run.connect("10.0.0.1", 443)
        run.connect("127.0.0.1", 53, "UDP", result=-111)
        run.connect("0.0.0.0", 8000, "TCP", "bind")
        run.connect("10.1.1.1", 80, None)
        run.connect("127.0.0.1", 45678)
        for host in range(1, 6):
            run.connect(f"192.0.2.{host}", 80)
        run.connect_unix("/run/x.sock")
        _, lesson = learned(run, tmp_path)
        assert [one.word for one in lesson.addresses if one.kind == "allow-net"] == [
            "any:10.1.1.1:80", "tcp:*:80", "tcp:0.0.0.0/32:8000", "tcp:10.0.0.1:443",
            "tcp:127.0.0.1:32768-60999", "udp:127.0.0.1:53",
            "unix:/run/x.sock",
        ]  # fmt: skip
        policy = rules.policy_of(lesson)
        assert decide(policy, NetRequest("unix", path="/run/docker.sock")).denied
        assert not decide(policy, NetRequest("unix")).denied  # a pair of sockets, which nobody else reaches

    def test_a_socket_that_no_exception_is_for_is_said(self, tmp_path):
        run = Run()
        run.call("socket", (socket.AF_PACKET, socket.SOCK_RAW, 3), 5)
        _, lesson = learned(run, tmp_path)
        assert "sockets were made that no rule on addresses excepts" in lesson.said[0]

    def test_what_is_renamed_onto_a_file_may_find_one_there_the_next_time(self, tmp_path):
        run = Run()
        run.call("rename", (1, 2), 0, [string(0, b"/srv/app/new"), string(1, b"/srv/app/old")])
        assert own(learned(run, tmp_path)[1]) == ["/srv/app/new", "/srv/app/old"]

    def test_hostile_names_stay_in_their_comments_and_strings(self, tmp_path):
        run = Run(comm=b"x\n[groups.y]\n#")
        run.open('a\n"]\n[groups.evil]\nallow = "open')
        run.open("b\x1b[31m", os.O_WRONLY)
        read, lesson = learned(run, tmp_path)
        text = text_of(read, lesson)
        assert list(tomllib.loads(text)["groups"]) == ["calls", "files", "network"]
        assert "\x1b" not in text

    def test_a_star_for_what_no_rule_can_have_is_said_and_one_that_means_itself_is_none(self, tmp_path):
        run = Run()
        run.open("/srv/a\nb/c")
        run.open("/srv/\udcff")
        run.open("/opt/q*r")
        run.connect_unix("/run/d\x1be")
        (tmp_path / "p.toml").unlink(missing_ok=True)
        found = isotrace("learn", run.save(tmp_path / "t.arrow"), cwd=tmp_path)
        lines = [line.strip() for line in found.stdout.splitlines()]
        for word in ('"r:/srv/a*b/c",', '"r:/srv/*",', '"unix:/run/d*e",'):
            above = lines[: lines.index(word)][::-1]
            comments = above[: next(at for at, line in enumerate(above) if not line.startswith("#"))]
            assert f"# {shapes.UNWRITABLE}" in comments, word
        at = lines.index('"r:/opt/q\\\\*r",')
        assert lines[at - 1] == "# 1 call by app: openat; first t.arrow:3"
        assert f"isotrace: in 3 rules {shapes.UNWRITABLE}" in found.stderr

    def test_operations_of_io_uring_are_learned_from_as_calls_are(self, tmp_path):
        run = Run()
        run.call("io_uring:openat", (AT_FDCWD, 1, os.O_WRONLY), 3, [string(1, b"/srv/x")])
        run.call("io_uring:connect", (5, 1, 16), 0, [blob(1, events.PART_SELF, inet("10.0.0.1", 80))])
        run.call("io_uring:renameat", (AT_FDCWD, 1, AT_FDCWD, 2), 0, [string(1, b"/opt/a"), string(3, b"/opt/b")])
        read, lesson = learned(run, tmp_path, calls="all,%io_uring")
        words = {one.word for one in lesson.files + lesson.addresses}
        assert {"w:/srv/x", "any:10.0.0.1:80", "/opt/a", "/opt/b"} <= words and lesson.calls
        found = Judge(rules.policy_of(lesson)).judge(read.calls, 5).refused
        assert {one.closed for one in found} == {True}, "by rules on calls alone"
        origin = merging.Origin(read.name, ["again"])
        text = text_of(read, lesson)
        assert merging.merge(text, "p.toml", read.calls, coverage.wish_for(read, ()), origin).text == text

    def test_what_was_not_recorded_is_not_ruled_on(self, tmp_path):
        run = Run()
        run.open("a")
        _, lesson = learned(run, tmp_path, calls="openat")
        assert not lesson.rules
        run = Run(cwd=None)
        run.open("/srv/a")
        _, lesson = learned(run, tmp_path)
        assert "rw:/**" in [one.word for one in lesson.files]


class TestAnswers:
    def recording(self, tmp_path, verdict, path=b"/srv/secret", opened=False):
        from learned import Asked, Head, Writer, batch, clock, replace

        run = Run()
        run.open("a")
        if opened:
            run.open(os.fsdecode(path))
        out = Writer(Asked(str(tmp_path / "t.arrow")), Head(descriptors=True, host="elsewhere"))
        out.write(replace(batch(*run.records), wall=clock.offset()))
        rule = paths.parse("r:/**", allow=False, action=Action("ask"))
        enforced = Enforced(0, rule, "seccomp", Guarantees(False, "closed", True))
        answer = Answered(verdict, "person", "ann\x1b", 1000, "")
        denied = Refused(
            clock.offset(), PROGRAM, PROGRAM, b"app", "openat", "x86_64", (0, 0, 0), 0, os.fsdecode(path), answer
        )
        out.refused([denied], {0: enforced})
        out.close(End(seen=1, delivered=1))
        read = sources.read([str(tmp_path / "t.arrow")])
        lesson = rules.learn(read.calls)
        answers.apply(lesson, read.folded, read.calls)
        return read, lesson

    def test_a_denial_is_a_rule(self, tmp_path):
        read, lesson = self.recording(tmp_path, "deny")
        assert ("deny-path", "/srv/secret") in [(one.kind, one.word) for one in lesson.files]
        assert "denied by ann\\33 when asked" in text_of(read, lesson)

    def test_what_was_allowed_is_evidence(self, tmp_path):
        read, lesson = self.recording(tmp_path, "allow", opened=True)
        assert "allowed by ann\\33 when asked" in text_of(read, lesson)

    def test_a_denial_of_what_was_allowed_at_another_time_is_said(self, tmp_path):
        _, lesson = self.recording(tmp_path, "deny", opened=True)
        assert "denied by ann\\33, and allowed at another time: /srv/secret" in lesson.said


class TestCoverage:
    def lines(self, run, tmp_path, **head):
        read, _ = learned(run, tmp_path, **head)
        return list(coverage.lines(read, coverage.wish_for(read, ())))

    def test_what_was_lost_and_what_ran_before(self, tmp_path):
        run = Run()
        run.call("getppid")
        found = self.lines(run, tmp_path, end=End(seen=9, delivered=1, lost=8, missed=2, not_followed=1))
        assert "8 calls lost while it was recorded" in found
        assert "the kernel skipped isotrace's programs 2 times" in found
        assert any("1 birth of processes missed" in line for line in found)

    def test_io_uring_cut_paths_and_failures(self, tmp_path):
        run = Run()
        run.call("io_uring_setup", (8, 0x1000), 4)
        run.open("gone", result=-2)
        run.call("unlink", (1,), 0, [events_cut()])
        found = "\n".join(self.lines(run, tmp_path))
        assert "io_uring was used" in found
        assert "1 call left out: a path was cut" in found
        assert "1 call failed (ENOENT 1): what they were for is not allowed by that" in found

    def test_io_uring_whose_operations_were_recorded_or_not(self, tmp_path):
        run = Run()
        run.call("io_uring_setup", (8, 0x1000), 4)
        assert any("(--calls all,%io_uring)" in line for line in self.lines(run, tmp_path))
        run.call("io_uring:openat", (AT_FDCWD, 1, 0), 3, [string(1, b"/srv/x")])
        run.call("io_uring:sendmsg", (5, 1, 0))
        found = self.lines(run, tmp_path, calls="all,%io_uring")
        assert not any("--calls" in line for line in found)
        assert (
            "2 operations of io_uring: their files and addresses are learned, and rules on calls close io_uring"
            in found
        )
        assert any(line.startswith("1 call left out: an operation of io_uring of which") for line in found)

    def test_without_y(self, tmp_path):
        run = Run(cwd=None)
        run.open("/srv/a")
        found = "\n".join(self.lines(run, tmp_path))
        assert "recorded without -y" in found
        assert "there is no rule on executing" in found


def events_cut():
    return blob(0, 0, b"/srv/x")._replace(state=events.CUT)


class TestAgain:
    EDITED = """\
# mine: keep this
version = 1

[groups.first]  # of my own
deny-path = ["/srv/app/secret"]

[groups.calls]
deny = "!open,!read" # few

[groups.files]
deny-path = "/**"
allow-path = [
    # why not
    "r:/srv/app/a",
]
"""

    def merged(self, run, tmp_path, text=EDITED):
        read = sources.read([str(run.save(tmp_path / "t.arrow"))])
        origin = merging.Origin(read.name, list(coverage.sources_of(read)), ["something"])
        return merging.merge(text, "p.toml", read.calls, coverage.wish_for(read, ()), origin), read

    def test_comments_order_and_other_rules_stay(self, tmp_path):
        run = Run()
        run.open("/srv/app/a")
        run.open("/srv/app/b", os.O_WRONLY)
        run.path("mkdir", "/srv/app/d")
        found, read = self.merged(run, tmp_path)
        for line in self.EDITED.splitlines():
            if line and not line.startswith(("deny =", "]", "allow")):
                assert line in found.text
        assert list(tomllib.loads(found.text)["groups"]) == ["first", "calls", "files"]
        assert [one.word for one in found.added] == ["w:/srv/app/b", "w:/srv/app/d"]
        assert found.words == ["mkdir"]
        assert not Judge(policy_of(found.text)).judge(read.calls, 5).refused
        assert "+ calls: mkdir" in list(merging.difference(found, read.name))

    def test_the_head_says_of_each_run_what_it_could_not_know(self, tmp_path):
        runs = Run(), Run(), Run()
        for number, run in enumerate(runs):
            run.open(f"/srv/app/{number}")
            run.open("/srv/gone", result=-2)
        runs[1].open("/srv/gone", result=-2)
        policy = tmp_path / "p.toml"
        for number, run in enumerate(runs):
            isotrace("learn", "-o", policy, run.save(tmp_path / f"{number}.arrow"))
        head = policy.read_text().partition("version = 1")[0].splitlines()
        assert [line[:14] for line in head if ".arrow" in line] == [f"#   '{tmp_path}"[:14]] * 3
        assert ["0.arrow" in head[1], head[0]] == [True, "# Learned by isotrace learn from"]
        assert head.count("# Learned later from") == 2 and head.count("# What that could not know:") == 3
        failed = [line[4:13] for line in head if "failed (ENOENT" in line]
        assert failed == ["1 call fa", "2 calls f", "1 call fa"], "each run's own"
        assert head.count("# What stands above a rule is of the run that it was added for.") == 1
        before = policy.read_text()
        isotrace("learn", "-o", policy, tmp_path / "2.arrow")
        assert policy.read_text() == before

    def test_a_head_of_somebodys_own_stays_above_what_is_said_of_a_run(self, tmp_path):
        run = Run()
        run.open("/srv/b")
        found, _ = self.merged(run, tmp_path)
        lines = found.text.splitlines()
        assert lines[:2] == ["# mine: keep this", "# Learned later from"] and "t.arrow" in lines[2]
        assert lines[3:7] == [
            "# What that could not know:", "#   something",
            "# What stands above a rule is of the run that it was added for.", "version = 1",
        ]  # fmt: skip

    def test_nothing_new_changes_nothing(self, tmp_path):
        run = Run()
        run.open("/srv/app/a")
        found, _ = self.merged(run, tmp_path)
        assert found.text == self.EDITED
        assert not found.added

    def test_a_rule_of_somebodys_own_is_not_undone(self, tmp_path):
        run = Run()
        run.open("/srv/app/secret")
        found, _ = self.merged(run, tmp_path)
        assert found.text == self.EDITED
        assert [one.rule.title for one in found.left] == ["deny-path /srv/app/secret"]

    def test_files_of_earlier_runs_are_siblings(self, tmp_path):
        text = self.EDITED.replace('"r:/srv/app/a",', '"r:/srv/app/a", "r:/srv/app/b", "r:/srv/app/c", "r:/srv/app/e",')
        run = Run()
        run.open("/srv/app/f")
        found, _ = self.merged(run, tmp_path, text)
        assert [one.word for one in found.added] == ["r:/srv/app/*"]

    def test_the_command_shows_the_difference(self, tmp_path):
        first, second = Run(), Run()
        first.open("/srv/app/a")
        second.open("/srv/app/b")
        policy = tmp_path / "p.toml"
        made = isotrace("learn", "-o", policy, first.save(tmp_path / "1.arrow"))
        assert (made.returncode, made.stdout) == (0, "")
        again = isotrace("learn", "-o", policy, second.save(tmp_path / "2.arrow"))
        assert again.stdout.startswith("+ allow-path r:/srv/app/b  (1 call by app: openat; first 2.arrow:1)")
        assert isotrace("policy", "test", policy, tmp_path / "1.arrow", tmp_path / "2.arrow").returncode == 0
        assert "allows all of it already" in isotrace("learn", "-o", policy, tmp_path / "2.arrow").stderr


class TestRefused:
    """What isotrace block has refused is learned, as it says it."""

    def lines(self, *refusals) -> list[str]:
        found = []
        for call, what, asked, args in refusals:
            said = {"type": "refused", "call": call, "what": what, "asked": asked, "abi": "x86_64", "comm": "app"}
            found.append(json.dumps({**said, "group": "files", "count": 2, "args": args}))
        own_rule = {"type": "refused", "call": "kill", "what": None, "asked": "protects isotrace", "abi": "x86_64"}
        found.append(json.dumps({**own_rule, "comm": "app", "group": None, "count": 1, "args": []}))
        return [*found, '{"type": "summary"}']

    def test_calls_files_and_addresses(self):
        flags = [{"name": "dfd", "raw": 0}, {"name": "flags", "raw": os.O_WRONLY}]
        found = refused.calls(
            self.lines(
                ("openat", "/srv/x", "deny-path /**", flags),
                ("unlink", "/srv/y", "deny-path w:/**", []),
                ("connect", "10.0.0.1:80", "deny-net any:", []),
                ("connect", "[::1]:80", "deny-net any:", []),
                ("connect", "/run/x", "deny-net unix:/**", []),
                ("mount", None, "deny !open", []),
            )
        )
        assert [(one.call, [shown(request) for request in one.objects]) for one in found] == [
            ("openat", ["w /srv/x"]), ("unlink", ["w /srv/y"]), ("connect", ["any 10.0.0.1:80"]),
            ("connect", ["any [::1]:80"]), ("connect", ["unix /run/x"]), ("mount", []),
        ]  # fmt: skip
        assert {tally.count for tally in found.values()} == {2}

    def test_they_are_added_to_the_policy(self):
        flags = [{"name": "flags", "raw": os.O_WRONLY}]
        found = refused.calls(
            self.lines(("openat", "/srv/x", "deny-path /**", flags), ("mount", None, "deny !open", []))
        )
        merged = merging.merge(TestAgain.EDITED, "p.toml", found, rules.Wish(), merging.Origin(lambda at: "", ["x"]))
        assert list(merging.difference(merged, lambda at: "")) == [
            "+ calls: mount", "+ allow-path w:/srv/x  (2 calls by app: openat)",
        ]  # fmt: skip


class TestCommand:
    def test_why_shows_the_rows(self, tmp_path):
        run = Run()
        run.open("a")
        run.open("/srv/x")
        file = run.save(tmp_path / "t.arrow")
        for rule in ("r:/srv/x", "allow-path r:/srv/x"):
            found = isotrace("learn", file, "--why", rule)
            assert found.stdout == 't.arrow:2  100 app  openat(AT_FDCWD, "/srv/x", O_RDONLY) = 3\n'
        assert isotrace("learn", file, "--why", "open").stdout.count("openat(") == 2

    def test_paths_of_another_machine_are_mapped(self, tmp_path):
        run = Run(cwd="/home/ci/app")
        run.open("a")
        found = isotrace("learn", run.save(tmp_path / "t.arrow"), "--map", "/home/ci=/home/ann")
        assert '"r:/home/ann/app/a"' in found.stdout
        assert "/home/ci" not in found.stdout.partition("[groups.files]")[2]

    def test_several_recordings_are_one_policy(self, tmp_path):
        first, second = Run(), Run()
        first.open("a")
        second.open("b")
        files = [first.save(tmp_path / "1.arrow"), second.save(tmp_path / "2.arrow")]
        found = isotrace("learn", *files).stdout
        assert f'"r:{OWN}/a"' in found
        assert f'"r:{OWN}/b"' in found

    @pytest.mark.parametrize(
        ("words", "status", "said"),
        [
            (["learn"], 2, "a recording or a command is needed"),
            (["learn", "t.arrow", "--", "true"], 2, "a recording or a command is needed"),
            (["learn", "t.arrow", "--map", "x"], 2, "--map 'x' is not OLD=NEW"),
            (["learn", "t.arrow", "--map", "/a=/b\nc"], 2, "--map '/a=/b\\nc': a rule cannot have that name in it"),
            (["learn", "t.arrow", "--map", "/a=/\x1bc"], 2, "a rule cannot have that name in it"),
            (["learn", "t.arrow", "--map", "/a=/\udcffc"], 2, "a rule cannot have that name in it"),
            (["learn", "t.arrow", "--never-above", "x"], 2, "--never-above 'x' is not absolute"),
            (["learn", "t.arrow", "--why", "r:/x"], 2, "no rule 'r:/x' was learned"),
            (["learn", "t.arrow", "--record", "x"], 2, "--record is for a command"),
            (["learn", "t.arrow", "--verify", "-o", "x"], 2, "--verify is for a command"),
            (["learn", "--verify", "--", "true"], 2, "--verify changes the policy"),
            (["learn", "none.arrow"], 2, "no such recording"),
            (["learn", "empty.arrow"], 1, "no call was recorded"),
            (["learn", "some.arrow"], 1, "nothing can be learned from this"),
            (["learn", "t.arrow", "-o", "wrong.toml"], 2, "wrong.toml:1: version: missing"),
            (["learn", "t.arrow", "-o", "none/x.toml"], 1, "cannot write 'none/x.toml'"),
            (["learn", "--", "no-such-program"], 127, "no-such-program"),
        ],
    )
    def test_invalid_requests_are_one_line_with_a_hint(self, tmp_path, words, status, said):
        run = Run()
        run.open("a")
        run.save(tmp_path / "t.arrow")
        run.save(tmp_path / "some.arrow", calls="openat")
        Run().save(tmp_path / "empty.arrow")
        (tmp_path / "wrong.toml").write_text("x = 1\n")
        found = isotrace(*words, cwd=tmp_path)
        assert found.returncode == status
        assert said in found.stderr
        assert "hint:" in found.stderr
        assert "Traceback" not in found.stderr


def test_the_base_set_is_of_rules_and_calls_that_there_are():
    shipped = base()
    assert shipped.calls <= catalog.names()
    assert all(rule.allow for rule, _ in shipped.files)
    for word in shipped.words:
        assert names.parse(word).calls


# ---- for any recording --------------------------------------------------------------------------------------------------

_NAME = st.sampled_from(
    ["a", "b", "c", "srv", "etc", "home", "ann", "tmp", "lib", "tmp.Qa83kd9x", "1234", "x y", "*", "\\"]
)
_PATH = st.lists(_NAME, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
_ERROR = st.sampled_from([0, 0, 0, -2, -13, -17])


@st.composite
def _runs(draw) -> Run:
    run = Run(cwd=draw(st.sampled_from([None, "/home/ann/app", "/"])))
    for _ in range(draw(st.integers(1, 12))):
        kind, path, error = draw(st.integers(0, 9)), draw(_PATH), draw(_ERROR)
        if kind <= 2:
            flags = draw(st.sampled_from([0, 1, 2, 0o101, 0o1102]))
            run.open(draw(st.sampled_from([path, path[1:]])), flags, result=error or 3)
        elif kind == 3:
            run.path(draw(st.sampled_from(["unlink", "mkdir", "chdir", "rmdir"])), path, result=error)
        elif kind == 4:
            run.call("rename", (1, 2), error, [string(0, path.encode()), string(1, draw(_PATH).encode())])
        elif kind == 5:
            run.execute(path)
        elif kind == 6:
            run.code(draw(st.sampled_from([path, None])))
        elif kind == 7:
            kinds = draw(st.sampled_from(["TCP", "UDP", "RAW", None]))
            name = draw(st.sampled_from(["connect", "bind"]))
            host = f"{draw(st.sampled_from(['10.0.0', '0.0.0']))}.{draw(st.integers(0, 9))}"
            run.connect(host, draw(st.sampled_from([0, 53, 443])), kinds, name)
        elif kind == 8:
            run.connect_unix(path, draw(st.sampled_from(["connect", "bind"])))
        else:
            families = st.sampled_from([(2, 1, 0), (2, 3, 1), (17, 3, 3), (16, 3, 0), (40, 1, 0), (2, 2, 17)])
            run.call("socket", draw(families), 3)
    return run


_SLOWLY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)


@_SLOWLY
@given(_runs())
def test_what_is_learned_allows_all_that_was_recorded(tmp_path_factory, run):
    read, lesson = learned(run, tmp_path_factory.mktemp("r"))
    policy = policy_of(text_of(read, lesson)) if lesson.rules else rules.policy_of(lesson)
    assert not Judge(policy).judge(read.calls, 5).refused
    assert policy == rules.policy_of(lesson) or [one.title for one in policy.rules] == [
        one.title for one in rules.policy_of(lesson).rules
    ]


@_SLOWLY
@given(_runs(), _PATH, st.sampled_from("rwx"))
def test_no_path_is_allowed_whose_directory_nothing_touched(tmp_path_factory, run, path, letter):
    read, lesson = learned(run, tmp_path_factory.mktemp("r"))
    policy = rules.policy_of(lesson)
    rule = decide(policy, PathRequest(path, frozenset(letter))).rule
    if not isinstance(rule, PathRule) or not rule.allow or rule.asked in {one.asked for one, _ in base().files}:
        return
    touched = [one.path for one in rules.collected(read.calls) if isinstance(one, PathRequest) and letter in one.access]
    assert any(shapes.pattern(one).matches(path) or _are_together(one, path) for one in touched)


def _are_together(one: str, other: str) -> bool:
    """Whether a directory that is one program's has both."""
    common = os.path.commonpath([one, other])
    return not any(fnmatchcase(common, never) and common.count("/") == never.count("/") for never in NEVER)


@_SLOWLY
@given(_runs(), _runs())
def test_learning_again_allows_both_runs(tmp_path_factory, first, second):
    where = tmp_path_factory.mktemp("r")
    read, lesson = learned(first, where)
    if not lesson.calls or not lesson.files or not lesson.addresses:
        return
    later = sources.read([str(second.save(where / "2.arrow"))])
    wish = coverage.wish_for(later, ())
    origin = merging.Origin(later.name, ["2.arrow"])
    text = merging.merge(text_of(read, lesson), "p.toml", later.calls, wish, origin).text
    left = Judge(policy_of(text))
    assert not left.judge(read.calls, 5).refused
    still = [(one.request, one.rule.title) for one in left.judge(later.calls, 5).refused]
    assert [pair for pair in still if not isinstance(pair[0], SocketRequest)] == []  # no rule excepts those: it is said
