"""`isotrace top` on the running kernel: exact counts, the summaries, the live table in a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tracer
from held import attached_by
from terminal import PATIENCE, Terminal
from tracer import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: isotrace loads BPF programs")

ROOT = Path(__file__).parents[2]
TOP = [sys.executable, "-m", "isotrace", "top"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def top(*arguments):
    """Run it without a terminal; returns (stdout, stderr, status)."""
    done = subprocess.run(
        [*TOP, *arguments],
        capture_output=True,
        text=True,
        timeout=tracer.PATIENCE,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout, done.stderr, done.returncode


def report(*arguments):
    """The JSON summary, and its calls by name."""
    out, err, status = top("--format", "json", *arguments)
    assert status == 0, err
    found = json.loads(out.splitlines()[-1])
    return found, {row["call"]: row for row in found["calls"]}


@pytest.fixture(scope="session")
def hammer(tmp_path_factory):
    if not shutil.which("gcc"):
        pytest.skip("needs gcc: to build tests/progs/hammer.c")
    target = tmp_path_factory.mktemp("progs") / "hammer"
    subprocess.run(["gcc", "-O2", "-pthread", "-o", target, ROOT / "tests/progs/hammer.c"], check=True)
    return str(target)


def test_a_hundred_thousand_calls_of_eight_threads_are_counted_exactly(hammer):
    found, calls = report("--", hammer, "8", "12500")
    assert calls["getppid"]["calls"] == 100_000
    assert (calls["close"]["errors"], calls["getppid"]["errors"]) == (100_000, 0)
    assert (calls["write"]["calls"], calls["write"]["bytes"]) == (100_000, 1_000_000)
    # the dynamic loader has read a library's head as well
    assert calls["read"]["calls"] - 100_000 == pytest.approx(1, abs=1)
    assert sum(found["lost"].values()) == 0
    (process,) = found["processes"]
    assert process["process"] == "hammer" and process["errors"]["EBADF"] == 100_000
    assert next(e for e in found["errors"] if e["errno"] == "EBADF")["latest"] == "close(-1)"


def test_many_short_processes_are_counted_exactly(hammer):
    script = f"i=0; while [ $i -lt 200 ]; do {hammer} 1 5; i=$((i+1)); done"
    found, calls = report("--interval", "250ms", "--", "sh", "-c", script)
    assert calls["getppid"]["calls"] == 1000 + 1, f"200 × 5, and the shell's own; lost: {found['lost']}"
    assert calls["close"]["errors"] == 1000
    group = next(row for row in found["processes"] if row["process"] == "hammer")
    assert group["ended"] == 200
    assert sum(found["lost"].values()) == 0


def test_several_processes_at_once_are_counted_exactly(hammer):
    script = " ".join(f"{hammer} 4 2500 &" for _ in range(10)) + " wait"
    _, calls = report("--", "sh", "-c", script)
    assert calls["close"]["errors"] == 100_000
    assert calls["write"]["bytes"] == 1_000_000


def test_latencies_are_those_of_the_calls():
    _, calls = report("--", "sleep", "0.3")
    sleep = calls["clock_nanosleep"]
    assert 300e6 <= sleep["max_ns"] < 450e6
    assert sleep["p50_ns"] == pytest.approx(sleep["max_ns"], rel=0.5)
    assert calls["execve"]["calls"] == 1 and calls["exit_group"]["calls"] == 1


def test_only_the_calls_asked_for(hammer):
    _, calls = report("--calls", "getppid", "--", hammer, "2", "50")
    assert {name: row["calls"] for name, row in calls.items()} == {"getppid": 100}


def test_what_socketcall_and_ipc_are_is_counted(tmp_path):
    headers = ["-idirafter", "/usr/include/x86_64-linux-gnu"]
    source = ROOT / "tests/progs/multiplexed.c"
    built = subprocess.run(
        ["gcc", "-m32", *headers, "-o", tmp_path / "several", source], capture_output=True, check=False
    )
    if built.returncode:
        pytest.skip("needs gcc: no libraries for -m32")
    command = ["--", "sh", "-c", f"cd {tmp_path} && ./several expected"]
    _, calls = report(*command)
    own = {name.removesuffix(" [i386]"): row for name, row in calls.items() if name.endswith(" [i386]")}
    assert (own["connect"]["calls"], own["connect"]["errors"]) == (2, 1), "and one whose arguments cannot be read"
    assert own["sendto"]["bytes"] == own["send"]["bytes"] == 3 and own["msgget"]["calls"] == 1
    assert own["socketcall"]["calls"] == own["socketcall"]["errors"] == 2
    found, calls = report("--calls", "connect,semop", *command)
    expected = {"connect [i386]": 2, "semop [i386]": 1, "socketcall [i386]": 2}
    assert {name: row["calls"] for name, row in calls.items()} == expected
    latest = {error["errno"]: error["latest"] for error in found["errors"]}
    assert re.fullmatch(r"connect\(-1, 0x[0-9a-f]+, 16\)", latest["EBADF"])
    assert latest["EFAULT"] == "socketcall(SYS_CONNECT, 0x8)"
    out, err, _ = top("--by", "file", "--calls", "connect", *command)
    assert re.search(r"^door .* connect \[i386\]", out, re.MULTILINE), (out, err)


SET_OWN = "__import__('ctypes').CDLL(None).prctl(15, b'isot-own', 0, 0, 0)"
RENAMED = """
import os, threading, time
os.getppid()  # so the process is in the table by the name that it has
own = threading.Thread(target=lambda: open(f"/proc/{os.getpid()}/comm", "w").write(NAME))
own.start(); own.join()
os.getppid()
"""


@pytest.mark.parametrize("calls", ["getppid", "all"])
def test_a_process_is_called_what_its_leader_is_by_whatever_means(calls):
    program = RENAMED.replace("NAME", "'isot-new'")
    found, _ = report("--calls", calls, "--", sys.executable, "-c", program)
    assert [process["process"] for process in found["processes"]] == ["isot-new"], "written to /proc/PID/comm"
    program = RENAMED.replace('open(f"/proc/{os.getpid()}/comm", "w").write(NAME)', SET_OWN)
    found, _ = report("--calls", calls, "--", sys.executable, "-c", program)
    (process,) = found["processes"]
    assert process["process"] != "isot-own", "that is a thread's, which is not the leader"
    found, _ = report(
        "--calls", "getppid", "--", sys.executable, "-c", "import os; os.getppid(); os.execvp('true', ['true'])"
    )
    assert [process["process"] for process in found["processes"]] == ["true"], "by a call that is not counted"


def test_a_call_that_seccomp_refuses_is_counted(tmp_path):
    code = tmp_path / "refused.c"
    code.write_text(
        "#include <linux/filter.h>\n#include <linux/seccomp.h>\n#include <sys/prctl.h>\n#include <sys/syscall.h>\n"
        "#include <stddef.h>\n#include <unistd.h>\n"
        "int main(void) { struct sock_filter f[] = {BPF_STMT(BPF_LD|BPF_W|BPF_ABS, 0),"
        "BPF_JUMP(BPF_JMP|BPF_JEQ|BPF_K, SYS_getppid, 0, 1), BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_ERRNO|1),"
        "BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_ALLOW)}; struct sock_fprog p = {4, f};"
        "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); if (prctl(PR_SET_SECCOMP, 2, &p)) return 1;"
        "for (int i = 0; i < 10; i++) syscall(SYS_getppid);"
        "for (int i = 32; i < 64; i++) syscall(1ul << i | SYS_getppid); return 0; }\n"
    )
    if not shutil.which("gcc"):
        pytest.skip("needs gcc: to build the program")
    subprocess.run(["gcc", "-o", tmp_path / "refused", code], check=True)
    _, calls = report("--", str(tmp_path / "refused"))
    assert (calls["getppid"]["calls"], calls["getppid"]["errors"]) == (42, 42), "a number has 32 bits"


def test_what_stands_above_a_number_hides_no_call(tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("needs gcc: to build tests/progs/refuse.c")
    flags = ["-m64", "-O1", "-nostdlib", "-static", "-fno-stack-protector"]
    subprocess.run(["gcc", *flags, "-o", tmp_path / "tries", ROOT / "tests/progs/refuse.c"], check=True)
    tries = f"{tmp_path}/tries"
    _, calls = report("--", "sh", "-c", f"{tries} 0 1 64+ 102; {tries} 0 1 x32+ 102; exit 0")
    assert calls["getuid"]["calls"] - 72 == pytest.approx(1, abs=1), "36 of x86-64, 36 of x32, and the shell's own"


def test_summary_as_text(hammer):
    out, err, status = top("--once", "--", hammer, "2", "500")
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["%", "time", "seconds"]
    close = next(line for line in lines if line.split()[-1] == "close")
    assert close.split()[4] == "1000"
    assert lines[-1].split()[-1] == "total"


def test_files_and_errors(tmp_path):
    name = tmp_path / "a\x1b[31m\nfile"
    name.write_text("x")
    out, _, _ = top("--by", "file", "--", "cat", str(name), "/no/such/file")
    assert "/no/such/file" in out and "a\\33[31m\\nfile" in out and "\x1b" not in out
    out, err, _ = top("--by", "error", "--calls", "openat", "--", "sh", "-c", "exec </no/such/file")
    assert re.search(r'ENOENT +openat .*openat\(AT_FDCWD, "/no/such/file", O_RDONLY\)', out), (out, err)


def test_time_is_up_and_the_command_is_ended():
    out, err, status = top("--once", "--for", "1s", "--", "sleep", "1234")
    assert "is ended" in err and "execve" in out and status == 0
    pid = int(re.search(r"process (\d+)", err)[1])
    assert not Path(f"/proc/{pid}/cmdline").exists() or b"1234" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_status_is_the_commands_own():
    assert top("--once", "--", "sh", "-c", "exit 7")[2] == 7
    _, err, status = top("--once", "--", "/no/such/program")
    assert status == 127 and "no such command" in err


def test_a_process_that_is_there_already_and_ends(tmp_path):
    waits = f"until [ -e {tmp_path}/go ]; do sleep 0.1; done"
    with (
        subprocess.Popen(["sh", "-c", f"{waits}; sleep 0.5; :"]) as child,
        subprocess.Popen(
            [*TOP, "--format", "json", "-f", "--pid", str(child.pid)],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=ENVIRONMENT,
        ) as running,
    ):
        try:
            until(lambda: attached_by(running.pid) or running.poll() is not None, "isotrace is attached")
        finally:
            (tmp_path / "go").touch()
        threading.Thread(target=child.wait, daemon=True).start()
        found = json.loads(running.communicate(timeout=tracer.PATIENCE)[0])
    assert found["ended"] == f"process {child.pid} ended"
    assert {row["process"] for row in found["processes"]} >= {"sh", "sleep"}


def test_nothing_of_isotraces_own_is_counted():
    arguments = [*TOP, "--format", "json", "--for", "1500ms", "--uid", "0"]
    with (
        subprocess.Popen(["sh", "-c", "while :; do :; sleep 0.1; done"]) as other,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=ENVIRONMENT) as running,
    ):
        try:
            found = json.loads(running.communicate(timeout=tracer.PATIENCE)[0])
        finally:
            running.kill()
            other.kill()
    pids = {row.get("pid") for row in found["processes"]}
    assert other.pid in pids
    assert running.pid not in pids


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--once"], "nothing to trace was named"),
        (["--interval", "10ms", "--pid", "1"], "at most four times a second"),
        (["--by", "file", "--no-files", "--pid", "1"], "exclude each other"),
        (["--once", "-o", "x", "--pid", "1"], "--output is for the live table"),
        (["--calls", "nosuchcall", "--pid", "1"], "nosuchcall"),
    ],
)
def test_what_cannot_be_meant(arguments, message):
    _, err, status = top(*arguments)
    assert status == 2 and message in err and "Traceback" not in err


# ---- in a terminal ------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(tmp_path):
    if not shutil.which("tmux"):
        pytest.skip("needs tmux: to press keys and read the screen")
    found = Terminal(tmp_path / "tmux")
    yield found
    found.close()


LOOP = '-- sh -c "while :; do ls -l /usr/share >/dev/null; cat /no/such/file; done"'


def test_keys_in_a_terminal(terminal):
    terminal.start(LOOP)
    screen = terminal.wait(r"^statx +\d")
    assert "No such file" not in screen, "what the command writes does not get onto the screen"
    assert "calls/s▼" in screen
    terminal.keys("2")
    assert re.search(r"^[├└]─ ls", terminal.wait(r"^sh +\d+"), re.MULTILINE)
    terminal.keys("3")
    terminal.wait(r"^/usr/share +")
    terminal.keys("/")
    terminal.wait("filter: type")
    terminal.keys("such")
    terminal.wait(r"/such\s*$")
    terminal.keys("Enter")
    terminal.wait(r"^/no/such/file +")
    terminal.keys("4")
    terminal.wait(r"^ENOENT +openat")
    terminal.keys("/")
    terminal.wait("filter: type")
    terminal.keys("statfs")
    terminal.wait(r"/statfs\s*$")
    assert "openat" not in terminal.screen()
    terminal.keys("Enter")
    terminal.keys("Escape")
    terminal.wait(r"^ENOENT +openat")
    terminal.keys("?")
    terminal.wait("any key closes this")
    terminal.keys("x", "x")
    terminal.wait(r"^ENOENT +openat")
    terminal.keys("1", "d")
    terminal.wait("any other key")
    terminal.keys("x")
    terminal.gone("any other key")
    terminal.keys("Enter")
    terminal.wait("inside the kernel now")
    terminal.keys("q")
    screen = terminal.wait(r"^STATUS=")
    assert "is ended" in screen
    assert terminal.ask("#{alternate_on}#{mouse_any_flag}#{cursor_flag}") == "001"


def test_resizing_a_terminal(terminal):
    terminal.start(LOOP)
    terminal.wait(r"^statx +\d")
    terminal.resize(200, 50)
    terminal.wait("in call +of time")
    terminal.resize(50, 10)
    terminal.wait("needs 60×12")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_terminal_is_restored_after_a_signal(terminal, number):
    terminal.start(LOOP)
    terminal.wait(r"^statx +\d")
    assert terminal.ask("#{alternate_on}") == "1"
    os.kill(terminal.pid, number)
    terminal.wait(r"^STATUS=")
    assert terminal.ask("#{alternate_on}#{mouse_any_flag}#{cursor_flag}") == "001"
    terminal.wait(r"(^| )icanon")
    terminal.wait(r" echo ")


def test_it_ends_when_the_terminal_hangs_up(terminal):
    terminal.start(LOOP)
    terminal.wait(r"^statx +\d")
    pidfd = os.pidfd_open(terminal.pid)
    terminal.hang_up()
    assert select.select([pidfd], [], [], PATIENCE)[0], "isotrace waits for a terminal that is gone"
    os.close(pidfd)


@pytest.mark.parametrize("recorded", [False, True], ids=["live", "recorded"])
def test_it_ends_when_the_terminal_is_gone_and_no_signal_says_so(recorded, tmp_path, living):
    recording, (mine, its) = tmp_path / "x.isolog", pty.openpty()
    if recorded:
        command = [sys.executable, "-m", "isotrace", "record", "-q", "-o", recording, "--", "true"]
        subprocess.run(command, check=True, env=ENVIRONMENT, timeout=tracer.PATIENCE)
    what = ["--from", str(recording)] if recorded else ["--pid", str(living)]
    deaf = "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    deaf += "signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-c", deaf, *TOP, *what]
    environment = {**ENVIRONMENT, "TERM": "xterm"}
    shown = b""
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True, env=environment) as top:
        os.close(its)
        while b"calls/s" not in shown and select.select([mine], [], [], PATIENCE)[0]:
            shown += os.read(mine, 1 << 16)
        os.close(mine)
        try:
            assert top.wait(PATIENCE) == 0
        finally:
            top.kill()
    assert b"calls/s" in shown


@pytest.fixture
def living():
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


def test_stopping_and_going_on_leaves_one_that_writes(terminal):
    terminal.start(LOOP)
    terminal.wait(r"^statx +\d")
    tasks = Path(f"/proc/{terminal.pid}/task")
    threads = len(list(tasks.iterdir()))
    os.kill(terminal.pid, signal.SIGSTOP)
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.keys("4")
    terminal.wait(r"^ENOENT +openat")
    assert len(list(tasks.iterdir())) == threads
    terminal.keys("q")
    terminal.wait(r"^STATUS=")


def test_the_table_stays_when_the_target_ends(terminal, tmp_path):
    with subprocess.Popen(["sh", "-c", f"until [ -e {tmp_path}/go ]; do sleep 0.1; done"]) as child:
        try:
            terminal.start(f"--pid {child.pid}")
            terminal.wait("1 process ")
        finally:
            (tmp_path / "go").touch()
        child.wait()
        terminal.wait(f"process {child.pid} ended")
        terminal.wait(r"^wait4|^exit_group")


def test_the_commands_output_goes_to_a_file(terminal, tmp_path):
    terminal.start(f'-o {tmp_path}/out -- sh -c "echo hello; cat; sleep 100"')
    terminal.wait(r"^(execve|read) +")
    assert (tmp_path / "out").read_text() == "hello\n"


def test_no_colour(terminal):
    terminal.start(LOOP, NO_COLOR="1")
    terminal.wait(r"^statx +\d")
    done = subprocess.run([*terminal._tmux, "capture-pane", "-pe"], capture_output=True, text=True, check=True)
    assert not re.search(r"\x1b\[[0-9;]*(38|48);", done.stdout)
