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
from dataclasses import replace
from pathlib import Path

import pytest
from asked import Asked

from isotrace.enforce import kept
from isotrace.enforce.throttle import scheduling, started
from isotrace.kernel import bpf, features, procfs
from isotrace.policy import names, nets, paths
from isotrace.policy.model import Action
from isotrace.trace.target import Target
from tests.vm.enforced import DENIED, enforced, guarantees_of, need_for

ASK = Action("ask", DENIED.errno)
KEPT = replace(ASK, kept=True)
STOPS = replace(ASK, stops=True)
#: fmod_ret where the kernel does not skip its programs: elsewhere what it asks is less than what was asked (below).
WHOLE = features.check("unpreempted").verdict == "yes"
HOOKS = ("lsm", "fmod_ret") if WHOLE else ("lsm",)
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


def asking(*texts, action=ASK):
    return [paths.parse(text.lstrip("+"), allow=text.startswith("+"), action=action) for text in texts]


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
        try:
            return until(lambda: len(self.look()) >= count and self.asked)
        except AssertionError:
            pytest.fail(f"not asked; the call: {self.result}; refused: {self.refused()}")

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
        assert self.enforcer.answer(question.id, verdict), self.result
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


def test_hooks_whose_programs_are_skipped_ask_less_than_was_asked():
    need_for("fmod_ret")
    (rule,) = asking("r:/etc/**")
    assert bool(guarantees_of("fmod_ret", rule).short) != WHOLE


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
        assert not talk.refused()  # what was answered is reported by whoever answered
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
                try:
                    _, result = talk.ask(f"apart(lambda: {expression})", verdict)
                except BaseException as error:
                    error.args = (f"{name} {verdict}: {error}",)
                    raise
                done = happened()
                made = {"exec": "x\n" * count, "open": None}.get(name, count)
                wanted[name, verdict] = ending, made
                found[name, verdict] = result, done
        assert found == wanted
        hits = talk.enforcer.counts().hits
        assert sum(hits.values()) == 2 * len(CALLS) and not talk.refused()
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
def test_what_an_open_is_to_do_is_asked_about_again_when_that_changes(mechanism, worker, tmp_path):
    file = tmp_path / "file"
    file.write_text("hidden")
    with conversation(mechanism, asking(f"rw:{tmp_path}/**"), worker) as talk:
        assert worker.ask(f"begin_how('{file}', os.O_RDONLY)") == "ok"
        first = talk.questions(1)[-1]
        assert worker.ask("change_how(os.O_RDWR | os.O_TRUNC)") == "ok"
        second = talk.questions(2)[-1]
        assert (first.access, second.access) == ("r", "rw")
        talk.enforcer.answer(first.id, "allow")
        assert talk.enforcer.answer(second.id, "deny")
        assert worker.ask("found()") == "EXDEV" and file.read_text() == "hidden"
        flags = "os.O_CREAT | os.O_RDWR"  # one question, though it is made and then opened
        assert talk.ask(f"os.close(os.open('{tmp_path}/new', {flags}))", "allow")[1] == "ok"


@pytest.mark.parametrize("mechanism", HOOKS)
def test_a_stop_that_is_blocked_is_neither_taken_back_nor_brought_about(mechanism, worker, tmp_path):
    (tmp_path / "file").touch()
    opening = f"os.close(os.open('{tmp_path}/file', 0))"
    with conversation(mechanism, asking(f"r:{tmp_path}/**"), worker) as talk:
        for name in ("SIGTSTP", "SIGTTIN"):
            for send in (f"os.kill(os.getpid(), signal.{name})", f"signal.raise_signal(signal.{name})"):
                assert worker.ask(f"(signal.pthread_sigmask(signal.SIG_BLOCK, [signal.{name}]), None)[1]") == "ok"
                assert worker.ask(send) == "ok" and worker.ask(opening) == "EXDEV"
                assert state(worker) != "T" and not talk.look()
                assert worker.ask(f"signal.sigtimedwait([signal.{name}], 0).si_signo == signal.{name}") == "True"
                assert worker.ask(f"(signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.{name}]), None)[1]") == "ok"
        assert talk.ask(opening, "allow")[1] == "ok"


@pytest.mark.parametrize("mechanism", HOOKS)
def test_a_file_of_which_the_place_is_not_known_is_not_named_as_if_it_were(mechanism, worker, tmp_path):
    for name in ("x", "y", "low", "up", "work", "merged"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={tmp_path}/low,upperdir={tmp_path}/x/up,workdir={tmp_path}/x/work"
    try:
        for name in ("x", "y"):
            subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / name], check=True)
            (tmp_path / name / "file").write_text("hidden")
        (tmp_path / "low/key").write_text("hidden")
        (tmp_path / "x/up").mkdir()
        (tmp_path / "x/work").mkdir()
        subprocess.run(["mount", "-t", "overlay", "-o", layers, "none", tmp_path / "merged"], check=True)
        with conversation(mechanism, asking(f"w:{tmp_path}/y/**", f"r:{tmp_path}/low/**"), worker) as talk:
            question, result = talk.ask(f"os.truncate('{tmp_path}/y/file', 3)", "deny")
            assert (question.what, result) == (".../file", "EXDEV")
            talk.begin(f"os.close(os.open('{tmp_path}/merged/key', os.O_RDWR))")
            answered = []
            while talk.thread.is_alive():
                for one in talk.look()[len(answered) + 1 :]:
                    answered.append(one.what)
                    talk.enforcer.answer(one.id, "allow")
                time.sleep(0.01)
            assert talk.end() == "ok"
            assert all(what.startswith(".../") or os.path.exists(what) for what in answered), answered
    finally:
        for name in ("merged", "x", "y"):
            subprocess.run(["umount", tmp_path / name], check=False)


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


@pytest.mark.parametrize("mechanism", HOOKS)
def test_who_catches_sigcont_is_stopped_where_that_is_wanted_and_goes_on_with_the_answer(mechanism, worker, tmp_path):
    (tmp_path / "file").touch()
    opening = f"os.close(os.open('{tmp_path}/file', 0))"
    with conversation(mechanism, asking(f"r:{tmp_path}/**", action=STOPS), worker) as talk:
        assert talk.ask(opening, "allow")[1] == "ok"  # it does not catch it yet
        assert worker.ask("on(signal.SIGCONT, 'signals')") == "ok"
        for number, (verdict, result) in enumerate((("allow", "ok"), ("deny", "EXDEV")), 2):
            talk.begin(opening)
            question = talk.questions(number)[-1]
            until(lambda: state(worker) == "T")
            assert talk.enforcer.answer(question.id, verdict) and talk.end() == result
            assert int(worker.ask("SEEN['signals']")) >= number - 1
        talk.begin(f"apart(lambda: {opening})")
        child = talk.questions(4)[-1]
        until(lambda: procfs.stat(procfs.read(child.pid, "stat")).state == "T")
        os.kill(child.pid, signal.SIGCONT)  # of somebody else: it stops again
        until(lambda: talk.enforcer._asking.turns(talk.enforcer._waiting[child.id].posed) > 1)
        assert talk.enforcer.answer(child.id, "allow")
        end, stops, _ = talk.end().split()  # that it went on is seen only if it does not end at once
        assert end == "ok" and int(stops) >= 1 and len(talk.look()) == 4
        talk.begin(opening)
        talk.questions(5)
        until(lambda: state(worker) == "T")
        talk.enforcer.lift()
        assert talk.end() == "EXDEV"
    assert worker.ask(opening) == "ok"


def state(worker):
    return procfs.stat(procfs.read(worker.pid, "stat")).state


@pytest.mark.parametrize("mechanism", HOOKS)
def test_killed_it_leaves_nobody_stopped(mechanism, worker, tmp_path):
    need_for(mechanism)
    (tmp_path / "file").touch()
    assert worker.ask("on(signal.SIGCONT, 'signals')") == "ok"
    with_its_holder_killed(mechanism, worker, tmp_path, "stops", "ok", lambda: state(worker) == "T")
    assert state(worker) != "T"


HOLDS = """
import sys, time
from pathlib import Path
from tests.vm.test_ask_hooks import ASK, KEPT, STOPS, asking, enforced, Target
mechanism, pid, pattern, how = sys.argv[1:]
action = {"": ASK, "closed": KEPT, "stops": STOPS}[how]
with enforced(mechanism, asking(pattern, action=action), Target(tree=(int(pid),))) as enforcer:
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
    began = started(worker.pid, worker.pid)
    with_its_holder_killed(mechanism, worker, tmp_path, "", "ok")
    assert started(worker.pid, worker.pid) == began


def with_its_holder_killed(mechanism, worker, tmp_path, how, result, held=None):
    """The end of a call that waited meanwhile; the worker has its scheduling again."""
    had, opening = scheduling(worker.pid), f"os.close(os.open('{tmp_path}/file', 0))"
    command = [sys.executable, "-c", HOLDS, mechanism, str(worker.pid), f"r:{tmp_path}/**", how]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout.readline() == "ready\n"
        talk = Conversation(None, worker)
        talk.begin(opening)
        assert holder.stdout.readline() == f"{tmp_path}/file\n"
        until(held or (lambda: scheduling(worker.pid) != had))
        holder.kill()
    assert talk.end() == result
    until(lambda: scheduling(worker.pid) == had)
    assert worker.ask(opening) == result


@pytest.mark.parametrize("mechanism", HOOKS)
def test_killed_it_keeps_refusing_where_that_was_asked_until_it_is_back_or_the_target_has_ended(
    mechanism, worker, tmp_path
):
    need_for(mechanism)
    (tmp_path / "file").touch()
    opening = f"os.close(os.open('{tmp_path}/file', 0))"
    if not any(mount.kind == "bpf" for mount in procfs.mounts()):
        subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=True)
    with_its_holder_killed(mechanism, worker, tmp_path, "closed", "EXDEV")
    (left,) = kept.left()
    assert left.members() == {worker.pid} and not left.over()
    assert worker.ask(f"apart(lambda: {opening})") == "EXDEV 0 0"  # and its children
    (tmp_path / "file").read_text()  # nobody else
    with conversation(mechanism, asking(f"r:{tmp_path}/**"), worker) as talk:
        assert not [*kept.left()]
        assert talk.ask(opening, "allow")[1] == "ok"
    assert worker.ask(opening) == "ok"
    with_its_holder_killed(mechanism, worker, tmp_path, "closed", "EXDEV")
    worker.end()
    until(lambda: not [*kept.left()])


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
        assert not talk.refused() and talk.enforcer.counts().hits[0] == 1


@pytest.mark.parametrize("mechanism", HOOKS)
def test_the_first_read_of_what_was_open_before_is_asked_about(mechanism, worker, tmp_path):
    for name in ("read", "denied", "sent", "mapped", "free", "now"):
        (tmp_path / name).write_text(name)
        if name != "now":
            assert worker.ask(f"RACE.update({name}=os.open('{tmp_path / name}', os.O_RDWR))") == "ok"
    assert worker.ask(f"RACE.update(directory=os.open('{tmp_path}', 0), pipe=os.pipe(), m=__import__('mmap'))") == "ok"
    rules = [paths.parse_read(f"{tmp_path}/**", action=ASK), *asking(f"+r:{tmp_path}/free")]
    with conversation(mechanism, rules, worker) as talk:
        assert worker.ask("os.read(RACE['free'], 9)") == "b'free'"
        assert worker.ask("os.write(RACE['read'], b'R')") == "1"
        question, result = talk.ask("os.pread(RACE['read'], 9, 0)", "allow")
        assert (question.call, question.what, question.access, result) == (
            "pread64",
            f"{tmp_path}/read",
            "r",
            "b'Read'",
        )
        assert worker.ask("os.read(RACE['read'], 9)") == "b'ead'"  # it was the first read of it
        for _ in range(2):
            assert talk.ask("os.read(RACE['denied'], 9)", "deny")[1] == "EXDEV"
        assert talk.ask("os.read(RACE['denied'], 9)", "allow")[1] == "b'denied'"
        assert talk.ask("os.sendfile(RACE['pipe'][1], RACE['sent'], 0, 4)", "allow")[1] == "4"
        assert worker.ask("os.read(RACE['pipe'][0], 9)") == "b'sent'"
        mapping = "bytes(RACE['m'].mmap(RACE['mapped'], 3, prot=1))"
        assert talk.ask(mapping, "deny")[1] == "EXDEV"
        question, result = talk.ask(mapping, "allow")
        assert (question.call, question.access, result) == ("mmap", "r", "b'map'")
        assert talk.ask("len(os.listdir(RACE['directory']))", "allow")[1] == "6"
        question, _ = talk.ask(f"RACE.update(now=os.open('{tmp_path}/now', 0))", "allow")
        assert question.call == "openat"
        assert worker.ask("os.read(RACE['now'], 9)") == "b'now'"
        assert not talk.gone
        notes = talk.enforcer._asking._loaded.maps["read_before"]
        before = len(bpf.map_keys(notes, 8))
        assert worker.ask("[os.close(RACE.pop(name)) for name in ('read', 'now', 'free')]")
        until(lambda: len(bpf.map_keys(notes, 8)) == before - 3)  # what was closed is forgotten
