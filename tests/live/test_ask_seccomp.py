"""isotrace ask -- CMD on this kernel, by seccomp: calls wait, and what is answered is what they get."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from asks import ASK, ENVIRONMENT, Person, Running, answering, background, python, shown_at, wait_for

from isotrace.enforce.calls import notify

pytestmark = pytest.mark.skipif(
    notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"
)


class Asked:
    """A run of isotrace ask that has ended: its lines as objects, and the questions that the program was asked."""

    def __init__(self, run, questions):
        self.run, self.err, self.out = run, run.stderr, run.stdout
        lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        self.lines = [line for line in lines if line["type"] in ("refused", "repeated")]
        self.questions = [json.loads(line) for line in questions.read_text().splitlines()] if questions.exists() else []

    def ends(self):
        return [
            (one["answer"] and one["answer"]["by"], one["answer"] and one["answer"]["verdict"]) for one in self.lines
        ]


@pytest.fixture
def ask(tmp_path):
    """``ask(answer, rules…, "--", command…)``: ``answer`` is what the program prints, or a command of sh that prints it."""
    questions = tmp_path / "questions"

    def run(answer, *words, status=None, **more):
        script = answer if " " in answer and answer.split()[0] not in ("allow", "deny", "kill") else f"echo {answer}"
        command = (*ASK, "--format", "json", "--answer-with", f"cat >> {questions}; {script}", *map(str, words))
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT, cwd=tmp_path, **more
        )
        assert status is None or done.returncode == status, done.stderr
        return Asked(done, questions)

    return run


#: What is done in a directory of its own, and what shows there that it happened, once.
WAYS = {
    "open": ("os.read(os.open('seen', os.O_RDONLY), 9)", None),
    "create": ("os.open('new', os.O_CREAT | os.O_EXCL | os.O_WRONLY)", "new"),
    "append": ("os.write(os.open('log', os.O_WRONLY | os.O_APPEND), b'x')", "log"),
    "mkdir": ("os.mkdir('new')", "new"),
    "unlink": ("os.unlink('seen')", "-seen"),
    "rename": ("os.rename('seen', 'new')", "new"),
    "link": ("os.link('seen', 'new')", "new"),
    "symlink": ("os.symlink('seen', 'new')", "new"),
    "chmod": ("os.chmod('seen', 0o640)", "mode"),
    "truncate": ("os.truncate('seen', 0)", "size"),
    "exec": ("os.execv('program', ['program'])", "ran"),
}
#: Each in a child of its own, in the directory of its name; says the status that each ended with.
DRIVER = """
import json, os, sys
found = {}
for name, code in json.loads(sys.argv[1]).items():
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(name)
            exec(code)
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    found[name] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print("FOUND " + json.dumps(found), file=sys.stderr)
"""


def drive(codes):
    return *python(DRIVER), json.dumps(codes)


def statuses(done):
    return json.loads(next(line for line in done.err.splitlines() if line.startswith("FOUND "))[6:])


@pytest.mark.parametrize("end", ["allow", "deny", "kill", "timeout"])
def test_each_way_gets_what_was_answered_and_happens_once_or_not_at_all(ask, tmp_path, end):
    for way in WAYS:
        (tmp_path / way).mkdir()
        for name in ("seen", "log"):
            (tmp_path / way / name).write_text("-")
        (tmp_path / way / "program").write_text("#!/bin/sh\necho ran >> ran\n")
        (tmp_path / way / "program").chmod(0o755)
    asked = ("rw:{}/*/seen", "w:{}/*/new", "w:{}/*/log", "x:{}/*/program")
    rules = [word for rule in asked for word in ("--ask-path", rule.format(tmp_path))]
    timeout = ("--timeout", "300ms") if end == "timeout" else ()
    done = ask(
        "sleep 50" if end == "timeout" else end, *rules, *timeout, "--errno", "EROFS", "--",
        *drive({way: code for way, (code, _) in WAYS.items()}), status=0,
    )  # fmt: skip
    wanted = {"allow": 0, "kill": -signal.SIGKILL}.get(end, errno.EROFS)
    assert statuses(done) == dict.fromkeys(WAYS, wanted)
    for way, (_, shows) in WAYS.items():
        here = tmp_path / way
        happened = {
            "new": (here / "new").exists() or (here / "new").is_symlink(),
            "log": (here / "log").read_text() == "-x",
            "-seen": not (here / "seen").exists(),
            "mode": (here / "seen").exists() and (here / "seen").stat().st_mode & 0o777 == 0o640,
            "size": (here / "seen").exists() and (here / "seen").stat().st_size == 0,
            "ran": (here / "ran").exists() and (here / "ran").read_text() == "ran\n",
            None: end == "allow",
        }
        assert happened[shows] == (end == "allow"), way
    wanted = ("nobody", "deny") if end == "timeout" else ("program", end)
    assert done.ends() == [wanted] * len(WAYS), done.out
    for one, way in zip(done.questions, WAYS, strict=True) if end != "timeout" else ():
        assert one["what"].startswith(f"{tmp_path}/{way}/") and one["line"].split("(")[0] == one["call"]


SENDING = {
    "any": "s.connect(('127.0.0.1', {port}))",
    "mapped": "s = socket.socket(socket.AF_INET6); s.connect(('::ffff:127.0.0.1', {port}))",
    "sendto": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.2', {port}))",
    "sendmsg": "socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('127.0.0.3', {port}))",
    "bind": "s.bind(('127.0.0.4', 0))",
    "listen": "s.listen()",
    "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "path": "socket.socket(socket.AF_UNIX).bind('s')",
    "abstract": "socket.socket(socket.AF_UNIX).bind('\\0isotrace-test')",
}


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("end", ["allow", "deny"])
def test_addresses_are_asked_about(ask, tmp_path, listener, end):
    for name in SENDING:
        (tmp_path / name).mkdir()
    begin, port = "import socket; s = socket.socket(); ", listener.getsockname()[1]
    codes = {name: begin + code.format(port=port) for name, code in SENDING.items()}
    done = ask(end, "--ask-net", "any:", "--ask-net", "unix:", "--", *drive(codes), status=0)
    assert statuses(done) == dict.fromkeys(SENDING, 0 if end == "allow" else errno.EPERM)
    assert done.ends() == [("program", end)] * len(SENDING), done.out
    assert [one["what"] for one in done.questions] == [
        f"127.0.0.1:{port}", f"127.0.0.1:{port}", f"127.0.0.2:{port}", f"127.0.0.3:{port}", "127.0.0.4:0", "0.0.0.0:0",
        None, f"{tmp_path}/path/s", "@isotrace-test",
    ]  # fmt: skip


def test_addresses_that_no_rule_asks_about_are_not(ask, listener):
    code = f"import socket; socket.socket().connect(('127.0.0.1', {listener.getsockname()[1]}))"
    assert ask("deny", "--ask-net", "udp:", "--ask-net", "10.0.0.0/8", "--", *python(code), status=0).lines == []


NAMES = (
    "os.open('../here/key', 0)",
    "os.chdir('../here/sub'); os.open('../key', 0)",
    "os.open('../link', 0)",
    "os.open('key', 0, dir_fd=os.open('../here', os.O_PATH))",
    "os.open('/proc/self/cwd/../here/key', 0)",
    "os.open('/proc/thread-self/cwd/../here/key', 0)",
    "os.open(f'/proc/self/root{os.getcwd()}/../here/key', 0)",
    "os.open(f'/proc/self/fd/{os.open(\"../here\", os.O_PATH)}/key', 0)",
    "os.open('../here//./sub/../key', 0)",
    "os.open('../dir/key', 0)",
)


def test_a_file_is_asked_about_by_whatever_name(ask, tmp_path):
    (tmp_path / "here/sub").mkdir(parents=True)
    (tmp_path / "here/key").write_text("x")
    (tmp_path / "link").symlink_to("here/key")
    (tmp_path / "dir").symlink_to(tmp_path / "here")
    for number in range(len(NAMES)):
        (tmp_path / str(number)).mkdir()
    codes = {str(number): code for number, code in enumerate(NAMES)}
    done = ask("deny", "--ask-path", f"r:{tmp_path}/here/key", "--", *drive(codes), status=0)
    assert statuses(done) == dict.fromkeys(codes, errno.EPERM)
    assert [one["what"] for one in done.questions] == [f"{tmp_path}/here/key"] * len(codes), done.err


#: How a command comes to read a file by another root's path, in an own directory ``{}`` of it.
ROOTS = {
    "chroot": "os.chroot('{}'); os.open('/key', 0)",
    "link": "os.chroot('{}'); os.open('/link', 0)",
    "out": "os.open('{}', 0); os.chroot('{}/sub'); os.fchdir(3); os.open('key', 0)",
    "user": "libc.unshare(0x10000000); os.chroot('{}'); os.open('key', 0, dir_fd=os.open('/', 0))",
    "thread": "import threading; one = threading.Thread(target=apart); one.start(); one.join()",
}
APART = """
import ctypes, os
libc = ctypes.CDLL(None)
def apart():
    try:
        libc.unshare(0x200); os.chroot('{}'); os.open('/key', 0)
    except OSError as error:
        os._exit(error.errno)
"""


def test_a_file_is_asked_about_by_whatever_root(ask, tmp_path):
    if os.geteuid():
        pytest.skip("only root may change its root")
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "key").write_text("x")
    (here / "link").symlink_to("/key")
    for name in ROOTS:
        (tmp_path / name).mkdir()
    begin = APART.format(here)
    codes = {name: f"{begin}\n{code.replace('{}', str(here))}" for name, code in ROOTS.items()}
    driver = DRIVER.replace("exec(code)", "exec(code, {})")
    command = (*python(driver), json.dumps(codes))
    done = ask("deny", "--ask-path", f"r:{here}/key", "--", *command, status=0)
    assert statuses(done) == dict.fromkeys(ROOTS, errno.EPERM), done.err
    assert [one["what"] for one in done.questions] == [f"{here}/key"] * len(ROOTS), done.err


def test_files_of_another_mount_namespace_are_asked_about_whatever_they_are_called(ask, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/key").write_text("x")
    script = (
        f"mount -t tmpfs none {tmp_path}/other && cd {tmp_path}/other && mkdir up work all && "
        f"mount -t overlay -o lowerdir={tmp_path}/here,upperdir=up,workdir=work none all && read line < all/key"
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "script").write_text(script)
    made = subprocess.run(("unshare", "-rm", "sh", tmp_path / "script"), capture_output=True, text=True)
    if made.returncode != 1:  # read meets no newline
        pytest.skip(f"no overlay in a namespace: {made.stderr}")
    last = f"tail -n 1 {tmp_path}/questions | grep -q 'all/key'"
    answer = f"if {last}; then echo deny; else echo allow; fi"
    done = ask(answer, "--ask-path", f"r:{tmp_path}/here/key", "--", "unshare", "-rm", "sh", tmp_path / "script")
    asked = [one for one in done.questions if "all/key" in one["line"]]
    assert done.run.returncode == 2 and "not permitted" in done.err and len(asked) == 1, done.err
    assert {one["what"] for one in done.questions} == {None} and asked[0]["covers"] == "calls openat"


def test_openat2_in_a_root_of_its_own_is_asked_about(ask, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/key").write_text("x")
    code = """
import ctypes, os, struct
libc, how = ctypes.CDLL(None, use_errno=True), struct.pack("=QQQ", 0, 0, 0x10)
libc.syscall(437, os.open("here", os.O_PATH), b"/key", how, 24)
assert ctypes.get_errno() == 1, ctypes.get_errno()
"""
    done = ask("deny", "--ask-path", f"r:{tmp_path}/here/key", "--", *python(code), status=0)
    assert [one["what"] for one in done.questions] == [f"{tmp_path}/here/key"]


def test_a_datagram_to_an_address_without_a_family_is_asked_about(ask, tmp_path):
    code = """
import ctypes, socket
libc, sock = ctypes.CDLL(None, use_errno=True), socket.socket(type=socket.SOCK_DGRAM)
name = bytes([0, 0, 0, 9, 127, 0, 0, 1]) + bytes(8)
assert libc.sendto(sock.fileno(), b"x", 1, 0, name, 16) == -1 and ctypes.get_errno() == 1
assert libc.bind(sock.fileno(), bytes(16), 16) == -1 and ctypes.get_errno() == 1
"""
    done = ask("deny", "--ask-net", "udp:", "--", *python(code), status=0)
    assert [one["what"] for one in done.questions] == ["127.0.0.1:9", "0.0.0.0:0"]


def test_a_pipe_by_a_name_in_proc_is_not_asked_about_as_a_file_or_address(ask, tmp_path):
    code = "import os; r, w = os.pipe(); os.write(w, b'x'); assert os.read(os.open(f'/proc/self/fd/{r}', 0), 1) == b'x'"
    done = ask("deny", "--ask-path", "r:/proc/**", "--ask-net", "unix:", "--", *python(code), status=0)
    assert not [one for one in done.questions if "/fd/" in (one["what"] or one["line"])]


def test_what_a_rule_refuses_or_excepts_is_not_asked_about(ask, tmp_path):
    for name in ("asked", "free", "shut"):
        (tmp_path / name).write_text(name)
    rules = (
        "--ask-path",
        f"r:{tmp_path}/**",
        "--allow-path",
        f"r:{tmp_path}/free",
        "--deny-path",
        f"r:{tmp_path}/shut",
    )
    done = ask("allow", *rules, "--best-effort", "--", "cat", "asked", "free", "shut")
    assert "asked" in done.out and "free" in done.out and "Operation not permitted" in done.err
    assert [one["what"] for one in done.questions] == [f"{tmp_path}/asked"]
    assert done.ends() == [("program", "allow"), (None, None)] or done.ends() == [("program", "allow")]


def test_a_rule_that_refuses_and_can_be_deceived_is_less_than_asked(ask, tmp_path):
    done = ask("allow", "--ask", "mkdir", "--deny-path", f"r:{tmp_path}/x", "--", "true", status=3)
    assert "another thread of the command can change them" in done.err and "--best-effort" in done.err


def test_a_slow_answer_keeps_nobody_else_waiting(ask, tmp_path):
    (tmp_path / "slow").mkdir()
    (tmp_path / "fast").mkdir()
    for name in ("slow/x", "fast/x"):
        (tmp_path / name).write_text("x")
    decide = tmp_path / "decide"
    decide.write_text(
        f"#!/bin/sh\nif grep -q slow/x; then while ! test -e {tmp_path}/over; do sleep 0.05; done; fi\necho allow\n"
    )
    decide.chmod(0o755)
    command = (*ASK, "--ask-path", f"r:{tmp_path}/*/x", "--answer-with", str(decide), "--", "sh", "-c")
    script = f"cat slow/x & cat fast/x; touch {tmp_path}/over; wait"
    done = subprocess.run(
        (*command, script), capture_output=True, text=True, timeout=300, env=ENVIRONMENT, cwd=tmp_path
    )
    said = [line for line in done.stdout.splitlines() if "openat" in line]
    assert done.returncode == 0 and len(said) == 2 and "fast/x" in said[0] and "slow/x" in said[1], (
        done.stdout + done.stderr
    )


def test_sixteen_threads_at_once(ask, tmp_path):
    code = f"""
import threading, os
def run(n):
    for _ in range(20):
        os.mkdir(f'{tmp_path}/{{n}}'); os.rmdir(f'{tmp_path}/{{n}}')
threads = [threading.Thread(target=run, args=(n,)) for n in range(16)]
for one in threads: one.start()
for one in threads: one.join()
"""
    done = ask("allow process", "--ask", "mkdir", "--", *python(code), status=0)
    assert sum(one["count"] for one in done.lines) == 320
    assert {verdict for _, verdict in done.ends()} == {"allow"} and len(done.questions) <= 16


def test_a_parent_sees_nothing_of_it(ask, tmp_path):
    code = f"""
import os, time
pid = os.fork()
if pid == 0:
    os.mkdir('{tmp_path}/new'); os._exit(0)
seen = []
while not seen or not os.WIFEXITED(seen[-1]):
    seen.append(os.waitpid(pid, os.WUNTRACED | os.WCONTINUED)[1])
assert seen == [0], seen
"""
    assert ask("sleep 0.5; echo allow", "--ask", "mkdir", "--", *python(code), status=0).ends() == [
        ("program", "allow")
    ]


def test_a_process_that_is_killed_while_it_waits_takes_its_question_along(tmp_path):
    with Running(tmp_path, "--ask", "mkdir", "--", "sh", "-c", "mkdir new; echo status $?") as run:
        os.kill(run.question()["pid"], signal.SIGKILL)
        out, err = run.end()
    assert "status 137" in out and "mkdir(" not in out and "1 asked about" in err and not (tmp_path / "new").exists()


def test_isotrace_that_is_killed_leaves_calls_refused(tmp_path):
    with Running(tmp_path, "--ask", "mkdir", "--", "sh", "-c", f"mkdir new 2>{tmp_path}/error; touch done") as run:
        run.question()
        run.process.kill()
        wait_for(lambda: (tmp_path / "done").exists())
    assert not (tmp_path / "new").exists() and "not implemented" in (tmp_path / "error").read_text()


def test_isotrace_that_is_stopped_keeps_calls_waiting_and_allows_none(tmp_path):
    with Running(tmp_path, "--ask", "mkdir", "--", "sh", "-c", "mkdir new", timeout="8s") as run:
        run.question()
        os.kill(run.process.pid, signal.SIGSTOP)
        time.sleep(9)
        assert not (tmp_path / "new").exists() and run.process.poll() is None
        os.kill(run.process.pid, signal.SIGCONT)
        out, _ = run.end()
    assert not (tmp_path / "new").exists() and "not answered in" in out


def test_a_signal_takes_nothing_past_the_question(tmp_path):
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGALRM, lambda *_: None); signal.setitimer(signal.ITIMER_REAL, .02, .02)\n"
        "os.mkdir('new'); signal.setitimer(signal.ITIMER_REAL, 0)\n"
    )
    with Running(tmp_path, "--ask", "mkdir", "--", *python(code)) as run:
        run.question()
        time.sleep(0.3)
        assert not (tmp_path / "new").exists()
        run.answer("allow")
        run.end()
    assert (tmp_path / "new").exists() and run.process.returncode == 0


def test_a_program_that_hangs_or_prints_rubbish_has_not_answered(ask, tmp_path):
    for answer in ("sleep 50", "yes | head -c 100000", "true no", "echo perhaps", "kill -9 $$"):
        done = ask(answer, "--timeout", "500ms", "--ask", "mkdir", "--", "mkdir", "new", status=1)
        assert done.ends() == [("nobody", "deny")] and not (tmp_path / "new").exists(), answer


def test_the_default_may_be_to_kill_and_nothing_else(ask, tmp_path):
    done = ask(
        "sleep 50", "--timeout", "300ms", "--default", "kill", "--ask", "mkdir", "--", "mkdir", "new", status=137
    )
    assert done.ends() == [("nobody", "kill")] and not (tmp_path / "new").exists()
    assert "--default" in ask("deny", "--default", "allow", "--ask", "mkdir", "--", "mkdir", "new", status=2).err


def test_when_the_time_of_the_run_is_up_what_waits_is_denied_and_nobody_is_asked_any_more(ask, tmp_path):
    done = ask("sleep 500", "--for", "3s", "--ask", "mkdir", "--", "sh", "-c", "mkdir one; mkdir two", status=0)
    assert done.ends() == [("end", "deny")] and "nothing is denied any more" in done.err
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_dir()) == ["two"]


@pytest.mark.parametrize("verdict", ["allow", "deny"])
@pytest.mark.parametrize(
    ("rule", "command"),
    [
        (("--ask-path", "r:{}/k*"), ("cat", "{}/key")),
        (("--ask-path", "r:{}/key"), ("cat", "{}/key")),
        (("--ask", "open", "--allow-path", "/usr/**", "--allow-path", "/etc/**"), ("cat", "{}/key")),
        (("--ask", "kill"), ("sh", "-c", "kill -0 $$ || exit 1")),
        (("--ask-net", "any:"), (*python("import socket; socket.socket(type=2).connect(('127.0.0.1', 9))"),)),
    ],
)
def test_always_is_written_and_a_second_run_does_not_ask_again(ask, tmp_path, rule, command, verdict):
    (tmp_path / "key").write_text("x")
    words = (*(one.format(tmp_path) for one in rule), "--policy", "p.toml", "--")
    command = [one.replace("{}", str(tmp_path)) for one in command]
    first = ask(f"{verdict} always", *words, *command, status=0 if verdict == "allow" else 1)
    assert first.questions and set(first.ends()) <= {("program", verdict), ("earlier", verdict)}
    check = subprocess.run(
        (sys.executable, "-m", "isotrace", "policy", "check", "p.toml"),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=tmp_path,
    )
    assert check.returncode == 0, check.stderr
    count = len(first.questions)
    second = ask("echo perhaps", *words, *command)
    assert len(second.questions) == count, second.questions[count:]


def test_io_uring_cannot_wait_and_gets_the_default(ask, tmp_path):
    code = "import ctypes, os; l = ctypes.CDLL(None, use_errno=True); l.syscall(425, 1, 0); assert ctypes.get_errno() == 30"
    done = ask("allow", "--errno", "EROFS", "--ask-path", f"r:{tmp_path}/x", "--", *python(code), status=0)
    assert done.ends() == [(None, None)] and done.lines[0]["call"] == "io_uring_setup" and done.questions == []


def test_three_hundred_threads_that_ask_the_same_are_one_question(tmp_path):
    """What becomes of more than there is room for is in tests/test_ask_desk.py."""
    code = """
import os, threading
def run(n):
    try: os.mkdir(f'new/{n}')
    except OSError: pass
threads = [threading.Thread(target=run, args=(n,)) for n in range(300)]
for one in threads: one.start()
for one in threads: one.join()
"""
    (tmp_path / "new").mkdir()
    with Running(tmp_path, "--ask-path", f"w:{tmp_path}/new/*", "--", *python(code), timeout="5m") as run:
        pid = run.question()["pid"]
        wait_for(lambda: len(os.listdir(f"/proc/{pid}/task")) == 301)
        run.answer("deny program")
        _, err = run.end()
    assert err.count("300 asked about") == 1 and os.listdir(tmp_path / "new") == []
    assert len(run.asked.read_text().splitlines()) <= 3


def test_nobody_to_ask_is_said_before_anything_starts(tmp_path):
    command = (*ASK, "--ask", "mkdir", "--", "mkdir", "new")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT, cwd=tmp_path, start_new_session=True
    )
    assert done.returncode == 2 and "nobody to ask" in done.stderr and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--deny", "mkdir"), 2, "no rule asks"),
        ((), 2, "no rule asks"),
        (("--ask", "nonsense"), 2, "unknown call or word"),
        (("--ask", "mkdir", "--timeout", "never"), 2, "is not a duration"),
        (("--ask", "mkdir", "--pid", "1"), 2, "pid 1"),
        (("--ask", "mkdir", "--ppid", str(os.getpid())), 3, "works only in a command that isotrace starts"),
    ],
)
def test_what_makes_no_sense_is_one_line_with_a_hint(ask, words, status, says):
    command = () if "--pid" in words or "--ppid" in words else ("--", "true")
    done = ask("allow", *words, *command, status=status)
    assert says in done.err and "Traceback" not in done.err


ALLOWS = r"a (\d\d) allow"


def test_a_person_is_asked_on_the_terminal_and_answers_with_a_line(tmp_path):
    script = "mkdir one; mkdir two; mkdir three; echo status $?"
    with Person(tmp_path, "--ask", "mkdir", "--policy", "p.toml", "--", "sh", "-c", script) as person:
        person.read(r"isotrace asks \(ask mkdir\): mkdir  process \d+ of \w+: mkdir one")
        person.read(r'mkdir\("one", 0777\)')
        code = person.read(ALLOWS)[1]
        person.read("> ")
        person.type("a")
        person.read("to allow this, type its number")
        person.type(f"a {int(code) % 90 + 10 if code != '99' else 10}")
        person.read("to allow this, type its number")
        person.type("perhaps")
        person.read("is no answer")
        person.type(f"a {code}")
        person.read(r"allowed 1 call")
        person.read(r'mkdir\("two", 0777\)')
        assert not (tmp_path / "two").exists()
        person.type("d")
        person.read(r"denied 1 call")
        person.read(r'mkdir\("three", 0777\)')
        code = person.read(ALLOWS)[1]
        person.read(r"w: +allow-path")
        person.type(f"a {code} w1")
        person.read("status 0")
        person.read(r"1 allowed, by a person; 1 denied|2 allowed, by a person; 1 denied")
        assert person.status() == 0
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_dir()) == ["one", "three"]
    assert "three" in (tmp_path / "p.toml").read_text()


def test_what_was_typed_before_the_question_and_what_a_terminal_answers_is_none(tmp_path):
    script = "sleep 1; mkdir new; echo status $?"
    with Person(tmp_path, "--ask", "mkdir", "--", "sh", "-c", script) as person:
        person.read("ask mkdir → ask")
        for number in range(10, 100):
            person.type(f"a {number}")
        code = person.read(ALLOWS)[1]
        person.read("> ")
        os.write(person.tty, b"\x1b[1;1Ra " + code.encode() + b"\n")
        person.read("a control character")
        assert not (tmp_path / "new").exists()
        person.type("d")
        person.read("status 1")
    assert not (tmp_path / "new").exists()


def test_a_hostile_name_reaches_the_screen_quoted(tmp_path):
    name = "x\x1b]0;title\x07\x1b[2J\u202e"
    with Person(tmp_path, "--ask", "mkdir", "--", "mkdir", name) as person:
        said = person.read(r"isotrace asks[^>]*> ")[0]
        person.type("d")
        person.status()
    assert "\x1b" not in said and "\x07" not in said and "\u202e" not in said and "\\33]0;title" in said


def test_a_question_that_is_gone_is_said_to_be_over(tmp_path):
    with Person(tmp_path, "--ask", "mkdir", "--", "sh", "-c", "mkdir new; sleep 3; echo over") as person:
        pid = int(person.read(r"mkdir  process (\d+) of")[1])
        person.read("> ")
        os.kill(pid, signal.SIGKILL)
        person.read("this question is over")
        person.read("over")


def test_somebody_answers_by_a_socket(tmp_path):
    path = tmp_path / "ask.sock"
    script = "mkdir one; mkdir two; mkdir three"
    words = ("--ask", "mkdir", "--socket", path, "--policy", "p.toml", "--format", "json", "--", "sh", "-c", script)
    with background(*words, cwd=tmp_path) as run:
        wait_for(lambda: path.exists() and shown_at(path))
        assert path.stat().st_mode & 0o777 == 0o660
        (one,) = shown_at(path)
        assert one["line"] == 'mkdir("one", 0777)' and one["what"] == f"{tmp_path}/one"
        text = answering(path, "show", one["id"]).stdout
        assert 'mkdir("one", 0777)' in text and f"allow always 1: allow-path w:{tmp_path}/one" in text
        assert answering(path, "list").stdout.startswith(one["id"])
        assert "no question was shown" in answering(path, "allow", "9.9").stderr
        assert "is no answer" in answering(path, "perhaps", one["id"]).stderr
        assert answering(path, "allow", one["id"]).stdout == "allowed 1 call\n"
        wait_for(lambda: [more["id"] for more in shown_at(path)] not in ([], [one["id"]]))
        assert "no longer waits" in answering(path, "deny", one["id"]).stderr
        assert answering(path, "deny", shown_at(path)[0]["id"], "always", "2").stdout == "denied 1 call\n"
        out, err = run.communicate(timeout=300)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(one["answer"]["by"], one["answer"]["verdict"]) for one in lines if one["type"] != "summary"] == [
        ("socket", "allow"), ("socket", "deny"), ("earlier", "deny"),
    ]  # fmt: skip
    assert not path.exists() and sorted(one.name for one in tmp_path.iterdir()) == ["one", "p.toml"]
    assert "by isotrace answer" in err and f"w:{tmp_path}/*" in (tmp_path / "p.toml").read_text()


def test_nobody_else_and_not_who_is_asked_about_answers(tmp_path):
    path = tmp_path / "ask.sock"
    inside = f"mkdir new & sleep 1; {sys.executable} -m isotrace answer {path} list 2> inside; wait"
    words = ("--ask", "mkdir", "--socket", path, "--", "sh", "-c", inside)
    with background(*words, cwd=tmp_path) as run:
        wait_for(lambda: path.exists() and shown_at(path))
        if os.geteuid() == 0:
            nobody = answering(path, "list", user=("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"))
            assert nobody.returncode == 3 and "may not answer" in nobody.stderr
        with background(*words, cwd=tmp_path) as second:
            _, error = second.communicate(timeout=300)
        assert second.returncode == 1 and "another isotrace asks there" in error
        wait_for(
            lambda: "asked about" in (tmp_path / "inside").read_text() if (tmp_path / "inside").exists() else False
        )
        assert answering(path, "deny", shown_at(path)[0]["id"]).returncode == 0
        run.communicate(timeout=300)
    assert "may be the one that is asked about" in (tmp_path / "inside").read_text()
    assert not (tmp_path / "new").exists() and "no isotrace ask listens at" in answering(path, "list").stderr


def test_a_client_that_sends_rubbish_does_no_harm(tmp_path):
    path = tmp_path / "ask.sock"
    with background("--ask", "mkdir", "--socket", path, "--", "mkdir", "new", cwd=tmp_path) as run:
        wait_for(lambda: path.exists() and shown_at(path))
        for rubbish in (
            b"\n",
            b"\xff\n",
            b"[]\n",
            b'{"do": "answer"}\n',
            b'{"do": "answer", "id": 1, "words": "allow"}\n',
            b"{" * 10,
        ):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(rubbish)
                client.shutdown(socket.SHUT_WR)
                assert client.makefile().read().startswith('{"error":')
        assert answering(path, "deny", shown_at(path)[0]["id"]).returncode == 0
        run.communicate(timeout=300)
    assert not (tmp_path / "new").exists()


def test_a_path_that_is_no_socket_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("x")
    done = subprocess.run(
        [*ASK, "--ask", "mkdir", "--socket", str(tmp_path / "file"), "--", "true"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert done.returncode == 1 and "no socket" in done.stderr and (tmp_path / "file").read_text() == "x"
