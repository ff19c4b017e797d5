"""isotrace ask of processes that run already, by fanotify: opens of what is named literally wait.

Marks are on files and directories of the tests' own, and the targets are processes that the tests started.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from asked import Asked
from asks import ASK, ENVIRONMENT, answering, background, shown_at, wait_for

from isotrace.kernel import fanotify

pytestmark = pytest.mark.skipif(
    fanotify.permissions().verdict != "yes", reason=f"needs fanotify: {fanotify.permissions().why}"
)

#: Does what it is told, one expression a line; says what came of it, of an error its name.
OBEYING = """
import errno, os, sys, threading, time
def read(name, flags=0): return os.read(os.open(name, flags), 99).decode()
def execute(name):
    pid = os.posix_spawn('/bin/sh', ['sh', '-c', 'exec "$0"', name], os.environ)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def child(code):
    pid = os.fork()
    if pid == 0:
        try: eval(code)
        except OSError as error: os._exit(error.errno)
        os._exit(0)
    seen = []
    while not seen or not (os.WIFEXITED(seen[-1]) or os.WIFSIGNALED(seen[-1])):
        seen.append(os.waitpid(pid, os.WUNTRACED | os.WCONTINUED)[1])
    assert len(seen) == 1, seen
    return os.waitstatus_to_exitcode(seen[0])
def orphan(code, out):
    if (pid := os.fork()) == 0:
        if os.fork() == 0:
            while os.getppid() != 1: time.sleep(0.01)
            try: found = eval(code)
            except OSError as error: found = errno.errorcode[error.errno]
            os.write(os.open(out, os.O_CREAT | os.O_WRONLY), f'{found}'.encode())
        os._exit(0)
    os.waitpid(pid, 0)
for line in sys.stdin:
    try: print(eval(line), flush=True)
    except OSError as error: print(errno.errorcode[error.errno], flush=True)
"""


@pytest.fixture
def target(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/key").write_text("secret")
    found = Asked([sys.executable, "-c", OBEYING], cwd=tmp_path / "here")
    yield found
    found.end()


class Run:
    """isotrace ask of the target, answered by a program or by ``isotrace answer``; it never outlives the test."""

    def __init__(self, tmp_path, target, *words, answer=None, tree=True):
        self.questions_file, self.socket = tmp_path / "questions", tmp_path / "ask.sock"
        asked = ("--socket", self.socket) if answer is None else ("--answer-with", self._script(answer))
        whom = ("--tree", target.process.pid) if tree else ()
        command = map(str, (*ASK, "--format", "json", *whom, *asked, "--backend", "fanotify", *words))
        self.process = subprocess.Popen(
            list(command), stdout=-1, stderr=-1, text=True, env=ENVIRONMENT, cwd=tmp_path, start_new_session=True
        )

    def _script(self, answer):
        return f"cat >> {self.questions_file}; {answer if ' ' in answer and ';' in answer else f'echo {answer}'}"

    def __enter__(self):
        self.err = ""
        while "enforcing from now on" not in self.err:
            line = self.process.stderr.readline()
            assert line, self.err
            self.err += line
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.communicate()

    def end(self):
        """Ends it, and returns who answered what."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=100)
        self.err += err
        lines = [json.loads(line) for line in out.splitlines()]
        lines = [one for one in lines if one["type"] in ("refused", "repeated")]
        return [(said.get("by"), said.get("verdict")) for one in lines for said in (one.get("answer") or {},)]

    @property
    def questions(self):
        return [json.loads(line) for line in self.questions_file.read_text().splitlines()]

    def question(self):
        wait_for(lambda: shown_at(self.socket))
        return shown_at(self.socket)[0]

    def answer(self, *words):
        return answering(self.socket, words[0], self.question()["id"], *words[1:])

    @property
    def warden(self):
        """The process that has the marks."""
        children = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(self.process.pid)], capture_output=True)
        return next(int(line.split()[0]) for line in children.stdout.splitlines() if b"isotrace-open" in line)


def later(target, expression):
    """Have the target do it, and return what reads the answer."""
    target.process.stdin.write(expression + "\n")
    target.process.stdin.flush()
    return target.process.stdout.readline


WAYS = {
    "read('key')": ("r:{}/key", "secret", "openat", "r"),
    "read('../here/./key')": ("r:{}/*", "secret", "openat", "r"),
    "os.listdir('.')[:0]": ("r:{}", "[]", "openat", "r"),
    "os.listdir('/proc/self/cwd')[:0]": ("r:{}/**", "[]", "openat", "r"),
    "os.write(os.open('key', os.O_WRONLY | os.O_APPEND), b'x')": ("w:{}/key", "1", "openat", "w"),
    "os.open('new', os.O_CREAT | os.O_EXCL | os.O_RDWR) > 0": ("w:{}/n*", "True", "openat", "rw"),
    "execute('./program')": ("x:{}/program", "0", "execve", "x"),
}


@pytest.mark.parametrize("end", ["allow", "deny", "timeout"])
def test_an_open_gets_what_was_answered(tmp_path, target, end):
    rules = [word for rule, *_ in WAYS.values() for word in ("--ask-path", rule.format(tmp_path / "here"))]
    timeout = ("--timeout", "300ms") if end == "timeout" else ()
    (tmp_path / "here/program").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "here/program").chmod(0o755)
    with Run(
        tmp_path, target, *rules, "--best-effort", *timeout, answer="sleep 50;" if end == "timeout" else end
    ) as run:
        for way, (_, wanted, call, access) in WAYS.items():
            before = len(run.questions) if run.questions_file.exists() else 0
            found = target.ask(way)
            if end == "allow":
                assert found == wanted, way
            else:
                assert found == ("126" if way.startswith("execute") else "EPERM"), way
            if end == "timeout":  # the program may be killed before it has read the question
                continue
            asked = [(one["call"], one["line"].split("(")[0], one["access"]) for one in run.questions[before:]]
            assert (call, call, access) in asked, way
        ends = set(run.end())
    assert ends == {("nobody", "deny") if end == "timeout" else ("program", end)}
    assert (tmp_path / "here/new").exists() and "what is denied leaves a file that it has made, empty" in run.err


def test_to_kill_kills_and_the_open_does_not_happen(tmp_path, target):
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/key", answer="kill") as run:
        assert target.ask("child('read(\"key\")')") == "-9"
        assert run.end() == [("program", "kill")]


def test_a_parent_sees_nothing_of_a_child_that_waits(tmp_path, target):
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/key", answer="allow") as run:
        assert target.ask("child('read(\"key\")')") == "0"  # child() has seen one status
        assert run.end() == [("program", "allow")]


def test_bystanders_go_on_while_a_question_waits_and_are_not_asked_about(tmp_path, target):
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/*", "--best-effort") as run:
        answer = later(target, "read('key')")
        run.question()
        assert (tmp_path / "here/key").read_text() == "secret" and os.listdir(tmp_path / "here") == ["key"]
        assert len(shown_at(run.socket)) == 1
        assert run.answer("allow").returncode == 0 and answer() == "secret\n"


def test_descendants_are_asked_about_also_once_they_have_another_parent(tmp_path, target):
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/key", answer="deny") as run:
        target.ask(f"orphan('read(\"key\")', {str(tmp_path / 'said')!r})")
        wait_for(lambda: (tmp_path / "said").exists() and (tmp_path / "said").read_text())
        assert (tmp_path / "said").read_text() == "EPERM" and run.end() == [("program", "deny")]


@pytest.mark.parametrize("whom", ["pid", "ppid", "uid", "comm"])
def test_whoever_else_can_be_a_target(tmp_path, target, whom):
    expression, pid = "child('read(\"key\")')", target.process.pid
    if whom == "uid":
        (tmp_path / "here/key").chmod(0o644)
        for place in (tmp_path, *tmp_path.parents[:-2]):
            place.chmod(place.stat().st_mode | 0o055)
        expression = "child('os.setuid(64999), read(\"key\")')"
    value = {"pid": pid, "ppid": pid, "uid": 64999, "comm": "obeying"}[whom]
    if whom == "comm":
        expression = 'child(\'os.write(os.open("/proc/self/comm", 1), b"obeying") and read("key")\')'
    with Run(tmp_path, target, f"--{whom}", value, "--ask-path", f"r:{tmp_path}/here/key", answer="deny", tree=False):
        found = [target.ask("read('key')"), target.ask(expression)]
    assert found == (["EPERM", "0"] if whom == "pid" else ["secret", "1"])


def test_a_question_goes_with_a_process_that_is_killed(tmp_path, target):
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/key") as run:
        answer = later(target, "child('read(\"key\")')")
        os.kill(run.question()["pid"], signal.SIGKILL)
        assert answer() == "-9\n"
        wait_for(lambda: not shown_at(run.socket))
        assert run.end() == []


def test_a_question_goes_with_a_thread_whose_process_ends(tmp_path, target):
    code = "[threading.Thread(target=read, args=('key',)).start(), time.sleep(3), os._exit(7)]"
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/key") as run:
        answer = later(target, f"child({code!r})")
        one = run.question()
        assert one["tid"] != one["pid"] and answer() == "7\n"
        wait_for(lambda: not shown_at(run.socket))


@pytest.mark.parametrize("stopped", [False, True])
def test_when_isotrace_is_killed_what_waits_is_denied_and_nothing_is_marked_any_more(tmp_path, target, stopped):
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/key") as run:
        answer = later(target, "read('key')")
        run.question()
        warden = run.warden
        os.kill(warden, signal.SIGSTOP if stopped else 0)
        run.process.kill()
        assert answer() == "EPERM\n" and target.ask("read('key')") == "secret"
        wait_for(lambda: not os.path.exists(f"/proc/{warden}"))
    assert "if isotrace is killed: denied, and allowed from then on" in run.err


def test_when_it_ends_what_waits_is_denied_and_nothing_is_asked_any_more(tmp_path, target):
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/key") as run:
        answer = later(target, "read('key')")
        run.question()
        assert run.end() == [("end", "deny")]
        assert answer() == "EPERM\n" and target.ask("read('key')") == "secret"


def test_while_isotrace_is_stopped_bystanders_go_on_and_the_target_waits(tmp_path, target):
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/*", "--best-effort", answer="allow") as run:
        run.process.send_signal(signal.SIGSTOP)
        answer = later(target, "read('key')")
        assert (tmp_path / "here/key").read_text() == "secret"
        time.sleep(1)
        assert not run.questions_file.exists()
        run.process.send_signal(signal.SIGCONT)
        assert answer() == "secret\n" and run.end() == [("program", "allow")]


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_where_what_serves_it_is_stopped_or_killed_all_go_on_and_isotrace_ends_and_says_so(tmp_path, target, how):
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/key") as run:
        os.kill(run.warden, how)
        assert target.ask("read('key')") == "secret"
        _, err = run.process.communicate(timeout=100)
    assert run.process.returncode == 1 and "the process that serves fanotify" in err and "Traceback" not in err


def test_a_file_that_is_moved_or_replaced_is_asked_about_all_the_same(tmp_path, target):
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/key", answer="deny") as run:
        assert target.ask("[os.rename('key', 'moved'), read('moved')]") == "EPERM"
        assert target.ask("[os.link('moved', 'other'), read('other')]") == "EPERM"
        (tmp_path / "here/key").write_text("anew")
        wait_for(lambda: target.ask("read('key')") == "EPERM")
        assert {one["what"] for one in run.questions} == {f"{tmp_path}/here/key"}


def test_a_file_of_a_directory_is_not_met_elsewhere_and_that_is_said(tmp_path, target):
    os.link(tmp_path / "here/key", tmp_path / "hard")
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/*", "--best-effort", answer="deny") as run:
        assert target.ask("read('key')") == "EPERM"
        assert target.ask("read('../hard')") == "secret"
        assert target.ask("[os.rename('key', '../moved'), read('../moved')][1]") == "secret"
        assert run.end() == [("program", "deny")]
    assert f"LESS THAN ASKED: files in {tmp_path}/here are covered only there" in run.err


def test_a_directory_that_a_link_leads_to_is_the_one_that_the_rule_names(tmp_path, target):
    (tmp_path / "link").symlink_to(tmp_path / "here")
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/link/*", "--best-effort", answer="deny") as run:
        assert target.ask("read('key')") == "EPERM"
        assert run.questions[0]["what"] == f"{tmp_path}/link/key"


def test_what_no_rule_is_about_and_what_one_refuses_or_excepts_is_not_asked(tmp_path, target):
    (tmp_path / "here/free").write_text("free")
    (tmp_path / "here/shut").write_text("shut")
    (tmp_path / "here/sub").mkdir()
    (tmp_path / "here/sub/deep").write_text("deep")
    rules = (
        *("--ask-path", f"r:{tmp_path}/here/**", "--allow-path", f"r:{tmp_path}/here/free"),
        *("--deny-path", f"r:{tmp_path}/here/shut", "--best-effort"),
    )
    with Run(tmp_path, target, *rules, answer="deny") as run:
        names = ("free", "shut", "sub/deep", "/etc/hostname")
        assert [target.ask(f"len(read({name!r}))") != "EPERM" for name in names] == [True, False, True, True]
        assert target.ask("os.close(os.open('key', os.O_WRONLY))") == "None"
        assert run.end() == [(None, None)]
    assert "LESS THAN ASKED: only what is in" in run.err and "what is deeper is not asked about" in run.err


def test_hostile_names_and_files_without_a_name(tmp_path, target):
    name = "x\x1b[2J\n\u202e\udcff (deleted)"
    (tmp_path / "here" / name).write_text("x")
    expression = f"[f := os.open({name!r}, os.O_PATH), os.unlink({name!r}), read(f'/proc/self/fd/{{f}}')]"
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/*", "--best-effort", answer="deny") as run:
        assert target.ask(f"read({name!r})") == "EPERM" and target.ask(expression) == "EPERM"
        text = run.questions_file.read_text()
        assert text.isascii() and text.replace("\n", "").isprintable() and r"\33[2J" in run.questions[0]["what"]
        assert run.end() == [("program", "deny")] * 2


def test_two_that_ask_about_one_target_are_both_asked_and_a_denial_counts(tmp_path, target):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    words = ("--ask-path", f"r:{tmp_path}/here/key")
    with Run(tmp_path / "one", target, *words) as one, Run(tmp_path / "two", target, *words) as two:
        for first, second, wanted in (("allow", "allow", "secret\n"), ("allow", "deny", "EPERM\n")):
            answer = later(target, "read('key')")
            wait_for(lambda: shown_at(one.socket) or shown_at(two.socket))
            before, after = (one, two) if shown_at(one.socket) else (two, one)
            assert before.answer(first).returncode == 0 and after.answer(second).returncode == 0
            assert answer() == wanted
        answer = later(target, "read('key')")
        wait_for(lambda: shown_at(one.socket) or shown_at(two.socket))
        before, after = (one, two) if shown_at(one.socket) else (two, one)
        assert before.answer("deny").returncode == 0 and answer() == "EPERM\n" and not shown_at(after.socket)


def test_always_is_written_and_a_second_run_does_not_ask_again(tmp_path, target):
    words = ("--ask-path", f"r:{tmp_path}/here/*", "--best-effort", "--policy", tmp_path / "p.toml")
    with Run(tmp_path, target, *words, answer="deny always") as run:
        assert [target.ask("read('key')") for _ in range(3)] == ["EPERM"] * 3 and len(run.questions) == 1
    with Run(tmp_path, target, *words, answer="allow") as run:
        assert target.ask("read('key')") == "EPERM" and len(run.questions) == 1
        assert run.end() == [(None, None)]


def test_isotrace_and_what_it_runs_may_open_what_is_marked(tmp_path, target):
    script = tmp_path / "here/decide"
    script.write_text("#!/bin/sh\ncat > asked; cat key > /dev/null; echo deny always\n")
    script.chmod(0o755)
    words = ("--ask-path", f"rx:{tmp_path}/here/*", "--policy", "here/p.toml", "--best-effort")
    with Run(tmp_path, target, *words, answer="cd here; ./decide;") as run:
        assert target.ask("read('key')") == "EPERM" and run.end() == [("program", "deny")]
    assert "deny-path" in (tmp_path / "here/p.toml").read_text()


def test_many_threads_that_ask_the_same_are_one_question_and_one_answer_is_enough(tmp_path, target):
    code = "[[one.start() for one in all], [one.join() for one in all]] and len(got)"
    tried = (
        "globals().update(got=[], all=[threading.Thread(target=lambda: got.append(read('key'))) for _ in range(300)])"
    )
    with Run(tmp_path, target, "--ask-path", f"r:{tmp_path}/here/key", "--timeout", "5m") as run:
        target.ask(tried)
        answer = later(target, code)
        wait_for(lambda: (shown := shown_at(run.socket)) and shown[0]["waiting"] == 300)
        assert len(shown_at(run.socket)) == 1 and run.answer("allow", "program").stdout == "allowed 300 calls\n"
        assert answer() == "300\n"


def test_a_command_is_asked_about_by_fanotify_where_that_is_chosen(tmp_path):
    (tmp_path / "key").write_text("secret")
    words = ("--backend", "fanotify", "--ask-path", f"r:{tmp_path}/key", "--answer-with", "echo deny")
    done = subprocess.run(
        list(map(str, (*ASK, *words, "--", "cat", tmp_path / "key"))), capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 1 and "secret" not in done.stdout and "Operation not permitted" in done.stderr


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("r:{}/none", "No such file or directory"),
        ("r:{}/here/key/*", "no directory"),
        ("r:/proc/self/*", "isotrace reads /proc itself"),
        ("r:{}/*/key", "only what is named literally is marked"),
        ("{}/here/key", "of executing only execve"),
        ("{}/here/key", "removing, renaming"),
        ("r:{}/here/**", "--best-effort"),
        ("r:{}/here/*", "--best-effort"),
    ],
)
def test_what_cannot_be_marked_and_what_is_less_than_asked_is_said_before_anything_is(tmp_path, target, rule, says):
    words = (*ASK, "--tree", str(target.process.pid), "--backend", "fanotify", "--answer-with", "echo deny")
    less = ("--best-effort",) if rule.endswith("/*") and says != "--best-effort" else ()
    command = (*words, "--ask-path", rule.format(tmp_path), *less)
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode in (1, 3) and says in done.stderr and "Traceback" not in done.stderr


#: Ways of tests/progs/escape.c that do not read the file, or are about something else.
ELSEWHERE = re.compile(r"creat|connect|connect_mapped|fastopen|ring_connect|unix.*")


def test_there_is_no_way_to_read_a_file_past_the_question(tmp_path, compiled):
    (tmp_path / "f").write_text("secret")
    (tmp_path / "place").mkdir()
    command = [compiled("escape"), tmp_path / "f", tmp_path / "place", "9"]
    escaping = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
    words = (
        "--tree",
        escaping.pid,
        "--backend",
        "fanotify",
        "--ask-path",
        f"r:{tmp_path}/f",
        "--answer-with",
        "echo deny",
    )
    with background(*words, cwd=tmp_path) as run:
        try:
            while "enforcing from now on" not in (line := run.stderr.readline()):
                assert line
            out, _ = escaping.communicate("\n", timeout=200)
        finally:
            escaping.kill()
    ways = dict(line.split(" ", 1) for line in out.splitlines())
    assert len(ways) > 30 and all(
        said.startswith(("refused EPERM", "untried")) for way, said in ways.items() if not ELSEWHERE.fullmatch(way)
    ), out
    assert [ways[way] for way in ("openat2", "int80", "handle", "ring_open", "ring_worker")] == ["refused EPERM"] * 5
