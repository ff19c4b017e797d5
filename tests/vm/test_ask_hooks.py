"""Rules that ask at the security hooks: a call waits unseen for its verdict, and happens once, or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from asked import Asked

from isotrace.enforce.throttle import scheduling, started
from isotrace.kernel import bpf
from isotrace.policy import names, nets, paths
from isotrace.policy.model import Action
from isotrace.trace.target import Target
from tests.vm.enforced import DENIED, enforced, need_for

ASK = Action("ask", DENIED.errno)
HOOKS = ("lsm", "fmod_ret")
PATIENCE = 120  # seconds, under emulation
DEADLINE, IDLE = 6, 5  # SCHED_…
BY_ID = 13  # BPF_PROG_GET_FD_BY_ID


class Worker(Asked):
    """A process to be asked about; it answers "" when it ended of it."""

    def __init__(self):
        super().__init__([sys.executable, "-S", Path(__file__).with_name("asked_worker.py")])
        assert self.process.stdout.readline().strip() == "ready"
        self.pid = self.process.pid


@pytest.fixture
def worker():
    one = Worker()
    yield one
    one.end()


def asking(*texts):
    return [paths.parse(text.lstrip("+"), allow=text.startswith("+"), action=ASK) for text in texts]


def until(found):
    """What it returns once that is true."""
    end = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.01)
    return result


class Conversation:
    """A call of the worker's, made in a thread of its own, and the questions about it."""

    def __init__(self, enforcer, worker):
        self.enforcer, self.worker, self.asked, self.gone = enforcer, worker, [], []
        self.result = None

    def begin(self, expression):
        def run():
            self.result = self.worker.ask(expression)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def look(self):
        self.asked += self.enforcer.questions()
        self.gone += self.enforcer.gone()
        return self.asked

    def questions(self, count):
        """So many, the oldest first."""
        return until(lambda: len(self.look()) >= count and self.asked)

    def slowed(self, question):
        """Once it is, the policy that it has."""
        return until(lambda: (policy := scheduling(question.tid).policy) in (DEADLINE, IDLE) and policy)

    def turns(self, question):
        return self.enforcer._waiting[question.id].turns

    def end(self):
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return self.result

    def ask(self, expression, verdict):
        """The question and the worker's answer; there is no other question."""
        before = len(self.asked)
        self.begin(expression)
        question = self.questions(before + 1)[-1]
        self.slowed(question)
        assert self.enforcer.answer(question.id, verdict)
        result = self.end()
        assert len(self.look()) == before + 1 and not self.gone
        return question, result

    def refused(self):
        """The paths and addresses of what was refused since the last look."""
        return [one.what for batch in self.enforcer.batches() for one in batch]


@contextmanager
def conversation(mechanism, rules, worker, whole=False):
    need_for(mechanism)
    with enforced(mechanism, rules, Target(tree=(worker.pid,)), whole) as enforcer:
        yield Conversation(enforcer, worker)


@pytest.mark.parametrize("mechanism", HOOKS)
def test_an_open_waits_and_is_allowed_or_denied_each_time_anew(mechanism, worker, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    had = scheduling(worker.pid)
    opening = f"os.close(os.open('{secret}', 0))"
    with conversation(mechanism, asking(f"r:{tmp_path}/**"), worker) as talk:
        question, result = talk.ask(opening, "allow")
        assert (result, question.pid, question.tid) == ("ok", worker.pid, worker.pid)
        assert (question.call, question.what, question.rule, question.access) == ("openat", str(secret), 0, "r")
        assert talk.ask(opening, "deny")[1] == "EXDEV"
        assert talk.ask(opening, "allow")[1] == "ok"
        assert talk.refused() == [str(secret)]
        assert talk.enforcer.counts().hits == {0: 1}
        assert scheduling(worker.pid) == had
        assert worker.ask("os.close(os.open('/etc/passwd', 0))") == "ok"
        assert talk.ask(opening, "kill")[1] == ""


class Calls:
    """Calls that wait, by name: an expression, and how often it has happened."""

    def __init__(self, directory, outside):
        self.directory, self.outside = directory, outside
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(1)
        self.victim = Worker()
        self.victim.ask("on(signal.SIGUSR1, 'signals')")
        self.count = 0

    def rules(self):
        port = self.listener.getsockname()[1]
        address = nets.parse(f"tcp:127.0.0.1:{port}", allow=False, action=ASK)
        return [*asking(f"{self.directory}/**"), address, names.parse("kill,=mount", action=ASK)]

    def _new(self):
        self.count += 1
        return self.directory / str(self.count)

    def _made(self, text=""):
        path = self._new()
        path.write_text(text)
        return path

    def open(self):
        path = self._made()
        return f"os.open('{path}', 0)", lambda: None

    def append(self):
        path = self._made()
        return f"os.write(os.open('{path}', os.O_WRONLY | os.O_APPEND), b'x')", lambda: len(path.read_text())

    def create(self):
        path = self._new()
        return f"os.open('{path}', os.O_CREAT | os.O_RDWR, 0o600)", lambda: int(path.exists())

    def create_new(self):
        path = self._new()
        return f"os.open('{path}', os.O_CREAT | os.O_EXCL | os.O_WRONLY)", lambda: int(path.exists())

    def exec(self):
        path, told = self._new(), self.outside / f"told-{self.count}"
        shutil.copy("/bin/sh", path)
        return f"os.execv('{path}', ['x', '-c', 'echo x >>{told}'])", lambda: told.read_text() if told.exists() else ""

    def connect(self):
        def accepted():
            count = 0
            try:
                while True:
                    self.listener.accept()[0].close()
                    count += 1
            except TimeoutError:
                return count

        return f"connect({self.listener.getsockname()[1]})", accepted

    def unlink(self):
        path = self._made()
        return f"os.unlink('{path}')", lambda: int(not path.exists())

    def rename(self):
        path, other = self._made(), self._new()
        return f"os.rename('{path}', '{other}')", lambda: int(other.exists())

    def link(self):
        path, other = self._made(), self._new()
        return f"os.link('{path}', '{other}')", lambda: path.stat().st_nlink - 1

    def symlink(self):
        path = self._new()
        return f"os.symlink('x', '{path}')", lambda: int(path.is_symlink())

    def chmod(self):
        path = self._made()
        path.chmod(0o600)
        return f"os.chmod('{path}', 0o640)", lambda: int(path.stat().st_mode & 0o777 == 0o640)

    def mkdir(self):
        path = self._new()
        return f"os.mkdir('{path}')", lambda: int(path.exists())

    def rmdir(self):
        path = self._new()
        path.mkdir()
        return f"os.rmdir('{path}')", lambda: int(not path.exists())

    def kill(self):
        before = int(self.victim.ask("SEEN['signals']"))
        return f"os.kill({self.victim.pid}, signal.SIGUSR1)", lambda: int(self.victim.ask("SEEN['signals']")) - before

    def mount(self):
        path = self.outside / f"mounted-{self.count}"
        self.count += 1
        path.mkdir()
        return f"mount('{path}')", lambda: Path("/proc/self/mountinfo").read_text().count(f" {path} ")

    def close(self):
        self.listener.close()
        self.victim.end()


CALLS = [name for name in vars(Calls) if not name.startswith("_") and name not in ("rules", "close")]


@pytest.mark.parametrize("mechanism", HOOKS)
def test_a_call_happens_once_or_not_at_all_and_its_parent_sees_nothing(mechanism, worker, tmp_path):
    need_for(mechanism)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    calls = Calls(tmp_path / "in", tmp_path / "out")
    outcomes = {"allow": ("ok 0 0", 1), "deny": ("EXDEV 0 0", 0), "kill": ("signal-9 0 0", 0)}
    found, wanted = {}, {}
    with conversation(mechanism, calls.rules(), worker) as talk:
        for name in CALLS:
            for verdict, (ending, count) in outcomes.items():
                expression, happened = getattr(calls, name)()
                print(name, verdict)
                _, result = talk.ask(f"apart(lambda: {expression})", verdict)
                done = happened()
                made = {"exec": "x\n" * count, "open": None}.get(name, count)
                wanted[name, verdict] = ending, made
                found[name, verdict] = result, done
        assert found == wanted
        hits = talk.enforcer.counts().hits
        assert sum(hits.values()) == 2 * len(CALLS) == len(talk.refused())
    calls.close()


@pytest.mark.parametrize("mechanism", HOOKS)
def test_who_waits_is_slow_and_has_its_scheduling_back(mechanism, worker, tmp_path):
    (tmp_path / "file").touch()
    opening = f"os.close(os.open('{tmp_path}/file', 0))"
    os.sched_setscheduler(worker.pid, os.SCHED_BATCH, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, worker.pid, 3)
    had = scheduling(worker.pid)
    with conversation(mechanism, asking(f"r:{tmp_path}/**"), worker) as talk:
        talk.begin(opening)
        (question,) = talk.questions(1)
        assert talk.slowed(question) == DEADLINE
        until(lambda: talk.turns(question) > 1)
        turns, began, spent = talk.turns(question), time.monotonic(), cpu(worker.pid)
        time.sleep(5)
        turns, took, spent = talk.turns(question) - turns, time.monotonic() - began, cpu(worker.pid) - spent
        print(f"{turns / took:.0f} turns a second, {spent / took:.2%} of a processor")
        assert 0 < turns < 200 * took
        assert talk.enforcer.answer(question.id, "allow")
        assert (talk.end(), scheduling(worker.pid)) == ("ok", had)
        # With processors of its own choosing there is no deadline policy.
        os.sched_setaffinity(worker.pid, {min(os.sched_getaffinity(worker.pid))})
        _, result = talk.ask(opening, "deny")
        assert (result, scheduling(worker.pid)) == ("EXDEV", had)


def cpu(pid):
    """Seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("mechanism", HOOKS)
def test_threads_signals_and_forks(mechanism, worker, tmp_path):
    (tmp_path / "file").write_text("it")
    path = tmp_path / "file"
    with conversation(mechanism, [*asking(f"r:{tmp_path}/**"), names.parse("fork", action=ASK)], worker) as talk:
        # Sixteen threads: a fork each, to begin with, and then an open.
        talk.begin(f"together(16, '{path}')")
        allowed = set()

        def all_but(count):
            for question in talk.look():
                if question.call != "openat" and question.id not in allowed:
                    assert talk.enforcer.answer(question.id, "allow")
                    allowed.add(question.id)
            return len([one for one in talk.asked if one.call == "openat"]) >= count

        until(lambda: all_but(16))
        opens = [one for one in talk.asked if one.call == "openat"]
        assert len({one.tid for one in opens}) == 16 and len(allowed) == 16
        for question in opens:
            assert talk.enforcer.answer(question.id, "allow")
        assert talk.end() == "16"
        # A fork that waits is let go with the scheduling that it had: none with a deadline can fork.
        assert talk.ask("forked()", "allow")[1] == "5"
        assert talk.ask("forked()", "deny")[1] == "EXDEV"
        # A handler runs while the call waits, and the call goes on waiting.
        assert worker.ask("on(signal.SIGUSR1, 'signals')") == "ok"
        before = len(talk.asked)
        talk.begin(f"os.close(os.open('{path}', 0)) or SEEN['signals']")
        question = talk.questions(before + 1)[-1]
        talk.slowed(question)
        os.kill(worker.pid, signal.SIGUSR1)
        time.sleep(0.3)
        assert talk.enforcer.answer(question.id, "allow")
        assert talk.end() == "1" and len(talk.look()) == before + 1
        # And one that ends it takes the question away.
        talk.begin(f"os.close(os.open('{path}', 0))")
        question = talk.questions(before + 2)[-1]
        os.kill(worker.pid, signal.SIGTERM)
        assert talk.end() == ""
        until(lambda: talk.look() and question.id in talk.gone)
        assert not talk.enforcer.answer(question.id, "allow")


@pytest.mark.parametrize("mechanism", HOOKS)
def test_what_was_allowed_is_what_is_opened(mechanism, worker, tmp_path):
    for name in ("one", "two", "free"):
        (tmp_path / name).write_text(name)
    with conversation(mechanism, asking(f"r:{tmp_path}/**", f"+r:{tmp_path}/free"), worker) as talk:
        assert worker.ask(f"begin('{tmp_path}/one')") == "ok"
        (first,) = talk.questions(1)
        assert worker.ask(f"change('{tmp_path}/two')") == "ok"
        second = talk.questions(2)[-1]
        assert (first.what, second.what) == (f"{tmp_path}/one", f"{tmp_path}/two")
        assert talk.enforcer.answer(first.id, "allow")
        assert talk.enforcer.answer(second.id, "deny")
        assert worker.ask("found()") == "EXDEV"
        worker.ask(f"begin('{tmp_path}/one')")
        third = talk.questions(3)[-1]
        worker.ask(f"change('{tmp_path}/free')")
        assert worker.ask("found()") == "free"
        until(lambda: talk.look() and third.id in talk.gone)
        assert not talk.enforcer.answer(third.id, "allow")
        assert worker.ask("RACE.clear()") == "ok"


@pytest.mark.parametrize("mechanism", HOOKS)
def test_what_is_refused_is_not_asked_and_who_catches_sigcont_gets_the_default(mechanism, worker, tmp_path):
    for name in ("file", "other"):
        (tmp_path / name).touch()
    refused = paths.parse(f"w:{tmp_path}/file", allow=False, action=Action("errno", 13))
    with conversation(mechanism, [*asking(f"rw:{tmp_path}/**"), refused], worker, whole=True) as talk:
        refusing, own = (part._loaded for part in talk.enforcer._parts)
        for fd in own.programs.values():
            key = struct.pack("=II", bpf.program_id(fd), BY_ID)
            assert bpf.map_lookup(refusing.maps["guarded_objects"], key, 4) is not None
        assert worker.ask(f"os.open('{tmp_path}/file', os.O_RDWR)") == "EACCES"
        assert worker.ask("on(signal.SIGCONT, 'signals')") == "ok"
        assert worker.ask(f"os.open('{tmp_path}/other', os.O_RDWR)") == "EXDEV"
        assert not talk.look()
        assert sorted(talk.refused()) == [f"{tmp_path}/file", f"{tmp_path}/other"]
        assert worker.ask("signal.signal(signal.SIGCONT, signal.SIG_DFL) and None") == "ok"
        assert talk.ask(f"os.close(os.open('{tmp_path}/other', os.O_RDWR))", "allow")[1] == "ok"
        # At the end who waits is not let go, but given the default.
        talk.begin(f"os.open('{tmp_path}/other', os.O_RDWR)")
        talk.slowed(talk.questions(2)[-1])
        talk.enforcer.lift()
        assert (talk.end(), talk.refused()) == ("EXDEV", [f"{tmp_path}/other"])
        assert worker.ask(f"os.close(os.open('{tmp_path}/other', os.O_RDWR))") == "ok"


HOLDS = """
import sys, time
from pathlib import Path
from tests.vm.test_ask_hooks import asking, enforced, Target
mechanism, pid, pattern = sys.argv[1:]
with enforced(mechanism, asking(pattern), Target(pid=int(pid))) as enforcer:
    print("ready", flush=True)
    while True:
        for question in enforcer.questions():
            print(question.what, flush=True)
        time.sleep(0.01)
"""


@pytest.mark.parametrize("mechanism", HOOKS)
def test_killed_it_leaves_nobody_slow(mechanism, worker, tmp_path):
    need_for(mechanism)
    (tmp_path / "file").touch()
    had, began = scheduling(worker.pid), started(worker.pid, worker.pid)
    command = [sys.executable, "-c", HOLDS, mechanism, str(worker.pid), f"r:{tmp_path}/**"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout.readline() == "ready\n"
        talk = Conversation(None, worker)
        talk.begin(f"os.close(os.open('{tmp_path}/file', 0))")
        assert holder.stdout.readline() == f"{tmp_path}/file\n"
        until(lambda: scheduling(worker.pid) != had)
        holder.kill()
    assert talk.end() == "ok"
    until(lambda: scheduling(worker.pid) == had)
    assert started(worker.pid, worker.pid) == began


@pytest.mark.parametrize("mechanism", HOOKS)
def test_a_rule_on_calls_asks_by_the_path_and_not_where_that_is_excepted(mechanism, worker, tmp_path):
    for name in ("one", "free"):
        (tmp_path / name).write_text(name)
    rules = [names.parse("open,mkdir", action=ASK), *asking(f"+{tmp_path}/free")]
    with conversation(mechanism, rules, worker) as talk:
        assert worker.ask(f"os.close(os.open('{tmp_path}/free', 0))") == "ok"
        question, result = talk.ask(f"os.close(os.open('{tmp_path}/one', os.O_RDWR))", "allow")
        assert (result, question.what, question.access, question.rule) == ("ok", f"{tmp_path}/one", "rw", 0)
        question, result = talk.ask(f"os.close(os.open('{tmp_path}/new', os.O_CREAT | os.O_EXCL | os.O_RDWR))", "allow")
        assert (result, question.what) == ("ok", f"{tmp_path}/new")
        question, result = talk.ask("os.close(os.open('/etc/passwd', 0))", "allow")  # on an overlay: one question
        assert (result, question.what) == ("ok", "/etc/passwd")
        assert talk.ask(f"os.mkdir('{tmp_path}/made')", "deny")[1] == "EXDEV"
        assert worker.ask(f"os.rename('{tmp_path}/one', '{tmp_path}/other')") == "ok"
        assert worker.ask(f"os.unlink('{tmp_path}/other')") == "ok"
        assert talk.refused() == [f"{tmp_path}/made"] and talk.enforcer.counts().hits == {0: 1}
