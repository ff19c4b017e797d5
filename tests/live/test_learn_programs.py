"""isotrace learn on real programs: few rules, and a second run that all of them allow."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from learned import isotrace
from records import open_directory

from isotrace.enforce import Enforced, Guarantees
from isotrace.enforce.calls import notify
from isotrace.enforce.hooks import lsm
from isotrace.enforce.hooks.objects import Anchors, Mount
from isotrace.enforce.tables import RuleTable
from isotrace.learning.rules import MOST
from isotrace.policy import PathRequest, PathRule, Rule, decide
from isotrace.policy.file import load

PYTHON = "/usr/bin/python3"
SERVER = """
import functools, http.server, sys, threading, urllib.request
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for name in ("a", "b", "none"):
    try:
        urllib.request.urlopen("http://127.0.0.1:%d/%s" % (server.server_port, name)).read()
    except OSError:
        pass
server.shutdown()
"""


def needs(*names: str) -> None:
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"needs {name}: the program that is learned from")


def a_clone(where: Path) -> list[str]:
    needs("git")
    script = "git init -q a; cd a; echo 1 >f; git add f; git -c user.name=a -c user.email=a@b commit -q -m x"
    subprocess.run(["sh", "-c", script], cwd=where, check=True)
    return ["git", "clone", "-q", str(where / "a"), str(where / "made")]


def a_build(where: Path) -> list[str]:
    needs("make", "gcc")
    for name in "abc":
        (where / f"{name}.c").write_text(f'#include <stdio.h>\nint {name}(void) {{ return puts("{name}"); }}\n')
    (where / "main.c").write_text("int a(void); int main(void) { return a() < 0; }\n")
    program = "$(D)/prog: $(addprefix $(D)/,main.o a.o b.o c.o)\n\tgcc -o $@ $^\n"
    (where / "Makefile").write_text(program + "$(D)/%.o: %.c\n\t@mkdir -p $(D)\n\tgcc -c -o $@ $<\n")
    return ["make", "-s", "-C", str(where), f"D={where}/made"]


def an_installation(where: Path) -> list[str]:
    if subprocess.run([PYTHON, "-c", "import setuptools, wheel, pip"], capture_output=True, check=False).returncode:
        pytest.skip("needs pip, setuptools and wheel: of the distribution's Python")
    package = where / "package"
    package.mkdir()
    (package / "small.py").write_text("X = 1\n")
    (package / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='small', version='1.0', py_modules=['small'])\n"
    )
    quiet = ["-q", "--no-build-isolation", "--no-deps", "--no-index", "--root-user-action=ignore"]
    return [PYTHON, "-m", "pip", "install", *quiet, "--target", str(where / "made"), str(package)]


def a_server(where: Path) -> list[str]:
    (where / "made").mkdir(exist_ok=True)
    for name in "ab":
        (where / name).write_text(name)
    return [PYTHON, "-c", SERVER, str(where)]


def an_npm_installation(where: Path) -> list[str]:
    needs("npm")
    package = where / "package"
    package.mkdir()
    (package / "package.json").write_text(
        '{"name": "small", "version": "1.0.0", "scripts": {"postinstall": "node made.js"}}'
    )
    (package / "made.js").write_text('require("fs").writeFileSync("made", "1");\n')
    quiet = ["--silent", "--offline", "--no-audit", "--no-fund", "--no-update-notifier", "--install-links"]
    made = where / "made"
    return ["npm", "install", *quiet, "--cache", str(made / "cache"), "--prefix", str(made), str(package)]


NGINX = """
daemon on; user root; worker_processes 2; pid {0}/pid; error_log {0}/errors;
events {{ worker_connections 64; }}
http {{
  access_log {0}/requests; root {1};
  client_body_temp_path {0}/1; proxy_temp_path {0}/2; fastcgi_temp_path {0}/3; uwsgi_temp_path {0}/4; scgi_temp_path {0}/5;
  server {{ listen 127.0.0.1:{2}; }}
}}
"""


def nginx(where: Path) -> list[str]:
    """It serves two files, and a third that is not there, and is stopped."""
    program, made = "/usr/sbin/nginx", where / "made"
    needs(program, "curl")
    for name in "ab":
        (where / name).write_text(name)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (where / "nginx.conf").write_text(NGINX.format(made, where, port))
    serve = f"{program} -q -e {made}/errors -p {made} -c {where}/nginx.conf"
    fetch = " ".join(f"http://127.0.0.1:{port}/{name}" for name in ("a", "b", "none"))
    stop = f"pid=$(cat {made}/pid); {serve} -s stop; while kill -0 $pid 2>&-; do sleep 0.05; done"
    return ["sh", "-c", f"mkdir -p {made}; {serve} && curl -s {fetch} >{made}/got; {stop}"]


def fit_the_tables(rules: Sequence[Rule]) -> None:
    """Raises ``TooMuch`` where the kernel's tables of rules on files have no room for them."""
    on_files = [rule for rule in rules if isinstance(rule, PathRule)]
    numbered = [Enforced(n, rule, "lsm", Guarantees(True, "judged", True)) for n, rule in enumerate(on_files)]
    Anchors(lsm._anchor_rules(numbered, RuleTable()), [Mount(1, "/", "/")])


@pytest.mark.parametrize("program", [a_clone, a_build, an_installation, an_npm_installation, a_server, nginx])
def test_a_second_run_is_allowed_by_few_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable[[Path], list[str]]
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    policy, second = tmp_path / "p.toml", tmp_path / "2.arrow"
    with open_directory() as where:
        command = program(where)
        first = isotrace("learn", "-o", policy, "--", *command)
        assert first.returncode == 0, first.stderr
        rules = load(str(policy)).rules
        assert len(rules) <= MOST
        fit_the_tables(rules)
        shutil.rmtree(where / "made")
        assert isotrace("record", "-y", "-q", "-o", second, "--", *command).returncode == 0
        tried = isotrace("policy", "test", policy, second)
        assert (tried.returncode, tried.stdout) == (0, "")
        if notify.listens().verdict == "yes":
            shutil.rmtree(where / "made", ignore_errors=True)
            if program is a_server:
                (where / "made").mkdir()
            held = isotrace("block", "--backend", "seccomp", "--best-effort", "--policy", policy, "--", *command)
            assert held.returncode == 0, held.stderr
            assert re.search(r"^isotrace: calls: deny .*: 0", held.stderr, re.MULTILINE), held.stderr


def test_a_command_is_learned_as_it_ends(tmp_path: Path) -> None:
    policy, kept = tmp_path / "p.toml", tmp_path / "t.arrow"
    done = isotrace("learn", "-o", policy, "--record", kept, "--", "sh", "-c", f"echo 1 >{tmp_path}/f; exit 3")
    assert done.returncode == 0
    assert "the command ended with status 3: what it did not come to is not learned" in done.stderr
    assert f"w:{tmp_path}/f" in policy.read_text()
    assert isotrace("policy", "test", policy, kept).returncode == 0
    assert f"{tmp_path}/f" in isotrace("learn", kept, "--why", f"w:{tmp_path}/f").stdout


def test_the_interpreter_of_a_script_is_executed_too(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{sys.base_prefix}/bin/python3\n")
    script.chmod(0o755)
    policy = tmp_path / "p.toml"
    assert isotrace("learn", "-o", policy, "--", script).returncode == 0
    for path in (script, (Path(sys.base_prefix) / "bin/python3").resolve()):
        rule = decide(load(str(policy)), PathRequest(str(path), frozenset("x"))).rule
        assert rule is not None
        assert rule.allow


@pytest.mark.skipif(notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}")
class TestVerify:
    def learned(self, tmp_path: Path, script: str) -> tuple[int, list[str], list[str]]:
        """Status, what was added, what was said of the rounds. What Landlock refuses, where that holds files, is not told:
        the programs and the file of the number are those of the first run.
        """
        policy = tmp_path / "p.toml"
        (tmp_path / "n").write_text("0\n")
        programs = "; ".join(f"{name} --version >/dev/null" for name in ("ln", "mkfifo", "mkdir"))
        body = f"cd {tmp_path}; {programs}; n=$(cat n); echo $((n+1)) >n; {script}; true"
        done = isotrace("learn", "--verify", "-o", policy, "--", "sh", "-c", body)
        rounds = re.findall(r"^isotrace: (round .*|the policy still.*)", done.stderr, re.MULTILINE)
        return done.returncode, done.stdout.splitlines(), rounds

    def test_what_is_refused_is_shown_and_added_until_nothing_is(self, tmp_path: Path) -> None:
        status, added, rounds = self.learned(tmp_path, "[ $n -ge 1 ] && ln -sf x l")
        assert status == 0
        assert "+ calls: symlink" in added
        assert re.match(r"round 1: \d calls? denied", rounds[0])
        assert rounds[-1].startswith("round 2: nothing denied")
        assert "# learned later: symlink: 1 call by ln: symlinkat" in (tmp_path / "p.toml").read_text()

    def test_a_command_that_does_something_else_each_time_is_given_up_after_three(self, tmp_path: Path) -> None:
        each = "case $n in 1) ln -s x l;; 2) mkfifo p;; 3) kill -0 $$; mkdir d;; esac"
        status, _, rounds = self.learned(tmp_path, each)
        assert status == 1
        assert [line[:8] for line in rounds] == ["round 1:", "round 2:", "round 3:", "the poli"]
