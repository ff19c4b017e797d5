"""What the path of a rule leads through stays where it is, and what no rule is about moves: as npm and git move it, too."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from isotrace.policy import paths
from isotrace.trace.target import Target
from tests.live.tracer import PATIENCE
from tests.vm.enforced import AUDIT, DENIED, PROGS, Worker, enforced, need_for

OBJECTS = ("lsm", "fmod_ret")
THROUGH, REFUSED = 0, 1


@pytest.fixture(scope="module")
def attacks(tmp_path_factory):
    program = tmp_path_factory.mktemp("attacks") / "ancestors"
    subprocess.run(["gcc", "-O1", "-Wall", "-o", program, PROGS / "attacks" / "ancestors.c"], check=True)
    return program


def rules_of(texts):
    return [paths.parse(text.lstrip("+"), allow=text.startswith("+"), action=DENIED) for text in texts]


@contextmanager
def refused(mechanism, texts):
    """A process that the rules are on: (ask it for an expression, the enforcer)."""
    worker = Worker()
    try:
        with enforced(mechanism, rules_of(texts), Target(tree=worker.pid)) as enforcer:
            yield worker.ask, enforcer
    finally:
        worker.end()


@pytest.mark.parametrize("mechanism", OBJECTS)
def test_what_the_path_of_a_rule_leads_through_stays(mechanism, attacks, tmp_path):
    """All ways in one process, as compiling takes long: those on directories, then those on links."""
    need_for(mechanism)
    ways = {"swapped": "app", "exchanged": "app", "removed": "empty", "unlinked": "link", "pointed_elsewhere": "link"}
    for place in ("bare", "held"):
        for way in ways:
            (tmp_path / place / way / "app" / "deep").mkdir(parents=True)
            (tmp_path / place / way / "app" / "config").write_text("good")
            (tmp_path / place / way / "empty").mkdir()
            (tmp_path / place / way / "link").symlink_to("app")

    def script(place):
        lines = [f"{attacks} {way} {tmp_path / place / way / what} config; echo {way} $?" for way, what in ways.items()]
        return "read x; " + "; ".join(lines)

    bare = subprocess.run(
        ["sh", "-c", script("bare")], input="\n", stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert all(f"{way} {THROUGH}\n" in bare for way in ways), bare
    held = [f"w:{tmp_path}/held/{way}/{what}/config" for way, what in ways.items()]
    with subprocess.Popen(
        ["sh", "-c", script("held")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process, enforced(mechanism, rules_of(held), Target(tree=process.pid)):  # fmt: skip
        said, _ = process.communicate("\n", timeout=PATIENCE)
    assert all(f"{way} {REFUSED}\n" in said for way in ways), said
    assert said.count("cross-device") == len(ways), said
    for way in ways:
        assert (tmp_path / "held" / way / "app" / "config").read_text() == "good"


@pytest.mark.parametrize("mechanism", OBJECTS)
def test_directories_move_where_patterns_match_the_same(mechanism, tmp_path):
    need_for(mechanism)
    srv, out = tmp_path / "srv", tmp_path / "out"
    for path in ("node_modules/.pkg-x1/lib", "conf", "pub", "a/b"):
        (srv / path).mkdir(parents=True)
    out.mkdir()
    (srv / "node_modules" / ".pkg-x1" / "key").write_text("secret")
    rules = [f"r:{srv}/**/key", f"r:{srv}/**/conf/secret", f"+r:{srv}/pub/**"]

    def move(old, new):
        return f"os.rename({str(old)!r}, {str(new)!r})"

    with refused(mechanism, rules) as (ask, _):
        assert ask(move(srv / "node_modules/.pkg-x1", srv / "node_modules/pkg")) == "ok"
        assert ask(f"open({str(srv / 'node_modules/pkg/key')!r})") == "EXDEV"
        assert ask(move(srv / "node_modules/pkg", srv / "a/b/pkg")) == "ok"
        assert ask(move(srv / "a", srv / "node_modules/a")) == "ok"
        assert ask(f"open({str(srv / 'node_modules/a/b/pkg/key')!r})") == "EXDEV"
        assert ask(move(srv / "node_modules", out / "node_modules")) == "EXDEV"
        assert ask(move(srv / "node_modules", srv / "pub" / "node_modules")) == "EXDEV"
        assert ask(move(srv / "conf", srv / "other")) == "EXDEV"
        assert ask(move(srv, tmp_path / "elsewhere")) == "EXDEV"
        assert ask(move(srv / "pub", srv / "pub2")) == "EXDEV"
        assert ask(f"os.mkdir({str(srv / 'new')!r})") == "ok"
        assert ask(move(srv / "new", srv / "conf2")) == "ok"
        assert ask(move(out, tmp_path / "out2")) == "ok"


@pytest.mark.parametrize("mechanism", OBJECTS)
def test_an_exception_for_a_directory_alone_lets_nothing_out_of_a_tree(mechanism, tmp_path):
    """What is in it is denied where it is, and would not be elsewhere; so with one that is made only then."""
    need_for(mechanism)
    srv, kept = tmp_path / "srv", tmp_path / "kept"
    (srv / "pub").mkdir(parents=True)
    kept.mkdir()
    (srv / "pub" / "key").write_text("secret")
    rules = [f"+r:{srv}/pub", f"r:{srv}/**", f"+rw:{kept}/late", f"r:{kept}/late/**"]

    def move(old, new):
        return f"os.rename({str(old)!r}, {str(new)!r})"

    with refused(mechanism, rules) as (ask, _):
        assert ask(f"len(os.listdir({str(srv / 'pub')!r}))") != "EXDEV"
        assert ask(f"open({str(srv / 'pub' / 'key')!r})") == "EXDEV"
        assert ask(move(srv / "pub", tmp_path / "free")) == "EXDEV"
        assert ask(f"os.mkdir({str(kept / 'late')!r})") == "ok"
        assert ask(move(kept / "late", tmp_path / "free")) == "EXDEV"
        assert ask(f"os.mkdir({str(tmp_path / 'other')!r})") == "ok"
        assert ask(move(tmp_path / "other", tmp_path / "free")) == "ok"


@pytest.mark.parametrize("mechanism", OBJECTS)
def test_git_works_below_a_pattern(mechanism, tmp_path):
    need_for(mechanism)
    if not shutil.which("git"):
        pytest.fail("git is not installed")
    srv = tmp_path / "srv"
    srv.mkdir()
    script = """read x; set -e; cd "$0"; git init -q one; cd one; mkdir -p src/deep; echo 1 > src/deep/file; git add .
    git -c user.name=a -c user.email=a@b commit -qm 1; git mv src lib; git -c user.name=a -c user.email=a@b commit -qm 2
    git gc -q; cd ..; git clone -q one two; mv two/lib two/moved; git -C two status --short; echo done"""
    rules = rules_of([f"r:{srv}/**/.env", f"rw:{srv}/**/key"])
    with subprocess.Popen(
        ["sh", "-c", script, srv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"HOME": str(tmp_path)},
    ) as process, enforced(mechanism, rules, Target(tree=process.pid)):  # fmt: skip
        said, _ = process.communicate("\n", timeout=PATIENCE)
    assert said.endswith("done\n"), said


@pytest.mark.parametrize("mechanism", OBJECTS)
def test_an_audit_of_a_pattern_reports_a_move_and_lets_it_be(mechanism, tmp_path):
    need_for(mechanism)
    (tmp_path / "srv" / "a").mkdir(parents=True)
    worker = Worker()
    rules = [paths.parse(f"r:{tmp_path}/srv/**/key", allow=False, action=AUDIT)]
    try:
        with enforced(mechanism, rules, Target(tree=worker.pid)) as enforcer:
            assert worker.ask(f"os.rename({str(tmp_path / 'srv/a')!r}, {str(tmp_path / 'b')!r})") == "ok"
            assert worker.ask(f"os.rename({str(tmp_path / 'srv')!r}, {str(tmp_path / 'c')!r})") == "ok"
            assert enforcer.counts().hits[0] == 2
    finally:
        worker.end()
