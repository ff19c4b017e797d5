"""isotrace block -- CMD on this kernel: what a seccomp filter refuses, counts, shows, and leaves alone. Needs no root."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from records import open_directory

from isotrace import catalog
from isotrace.enforce.calls import notify
from isotrace.policy import names

PROGS = Path(__file__).parents[1] / "progs"
FLAGS = ["-O1", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie"]
BLOCK = (sys.executable, "-m", "isotrace", "block")
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
ABIS = {"64": "x86_64", "x32": "x32", "32": "i386"}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}

pytestmark = pytest.mark.skipif(
    notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"
)


def block(*words, user=(), text=True):
    """Run isotrace block, give up after a minute."""
    return subprocess.run(
        (*user, *BLOCK, *map(str, words)), capture_output=True, text=text, timeout=60, env=ENVIRONMENT
    )


def unprivileged():
    """How to become somebody without rights, for whom every call that got through would do no harm."""
    if os.geteuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv: to run without privileges")
    return NOBODY


def objects(run):
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def summary(run):
    return objects(run)[-1]["rules"]


@pytest.fixture(scope="session")
def refuse():
    """``refuse("64")`` and ``refuse("32")``: tests/progs/refuse.c as a program of that many bits."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc: the test's program is C")
    with open_directory() as where:
        for bits in ("64", "32"):
            source = PROGS / "refuse.c"
            subprocess.run(["gcc", f"-m{bits}", *FLAGS, "-o", where / bits, source], check=True)
        yield lambda bits: where / bits


def numbers(calls, abi):
    known = catalog.by_name(ABIS[abi])
    return [known[name].number & ~0x40000000 for name in sorted(calls) if name in known]


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("word", names.words())
def test_every_call_of_a_word_is_refused_and_counted(refuse, word, abi):
    rule = names.parse(word)
    called = numbers(rule.calls | names.closes(rule.calls), abi)
    if not called:
        assert abi != "64"
        return
    tried = ("--deny", word, "--errno", "EXFULL", "--format", "json", "--", refuse("64"), errno.EXFULL, 3, abi, *called)
    run = block(*tried, user=unprivileged())
    assert run.returncode == 0, f"{run.returncode} of {called} not refused\n{run.stderr}"
    assert [(rule["tries"], rule["hits"]) for rule in summary(run)] == [(3 * len(called),) * 2]
    assert sum(one["count"] for one in objects(run)[:-1]) == 3 * len(called)
    assert {one["call"] for one in objects(run)[:-1]} == {
        name for name in rule.calls | names.closes(rule.calls) if name in catalog.by_name(ABIS[abi])
    }


def test_a_32_bit_program_is_refused_too(refuse):
    called = numbers(names.parse("open").calls, "32")
    run = block("--deny", "open", "--errno", "EXFULL", "--", refuse("32"), errno.EXFULL, 1, "32", *called)
    assert run.returncode == 0, run.stderr
    assert "openat@i386(" in run.stdout


def test_calls_that_are_not_named_work(refuse):
    run = block("--deny", "mkdir", "--", refuse("64"), errno.EFAULT, 2, "64", *numbers(["open", "stat", "rmdir"], "64"))
    assert run.returncode == 0, run.stderr
    assert "deny mkdir → EPERM: 0 denied" in run.stderr


@pytest.mark.parametrize("user", [(), NOBODY], ids=["as we are", "nobody"])
def test_the_error_is_eperm_and_the_status_the_commands(user, tmp_path):
    if user and os.geteuid() != 0:
        pytest.skip("needs privileges: to become nobody")
    run = block("--deny", "mkdir", "--", "sh", "-c", f"mkdir {tmp_path}/new; exit 7", user=user)
    assert run.returncode == 7
    assert "Operation not permitted" in run.stderr and not (tmp_path / "new").exists()
    assert f'mkdir("{tmp_path}/new") = -1 EPERM  (deny mkdir)' in run.stdout


def test_another_error(tmp_path):
    run = block("--deny", "mkdir", "--errno", "EROFS", "--", "mkdir", tmp_path / "new")
    assert run.returncode == 1 and "Read-only file system" in run.stderr


def test_kill_kills_and_the_call_does_not_happen(tmp_path):
    run = block("--deny", "mkdir", "--kill", "--", "sh", "-c", f"mkdir {tmp_path}/new; echo status $?")
    assert "status 137" in run.stdout and not (tmp_path / "new").exists()
    assert "mkdir(" in run.stdout and "killed  (deny mkdir)" in run.stdout
    assert "deny mkdir → kill: 1 killed" in run.stderr


def test_audit_reports_and_refuses_nothing(tmp_path):
    run = block("--deny", "mkdir", "--audit", "--", "mkdir", tmp_path / "new")
    assert run.returncode == 0 and (tmp_path / "new").is_dir()
    assert f'mkdir("{tmp_path}/new") allowed  (deny mkdir)' in run.stdout
    assert "deny mkdir → audit: 1 would be denied" in run.stderr


def test_descendants_are_refused_and_processes_outside_are_not(tmp_path):
    script = f"(setsid sh -c 'mkdir {tmp_path}/new'); touch {tmp_path}/ready; sleep 1"
    with subprocess.Popen(
        [*BLOCK, "--deny", "mkdir", "--", "sh", "-c", script], env=ENVIRONMENT, stdout=-1, stderr=-1
    ) as run:
        wait_for(lambda: (tmp_path / "ready").exists())
        (tmp_path / "outside").mkdir()
        out, _ = run.communicate(timeout=30)
    assert b"mkdir(" in out and not (tmp_path / "new").exists()


def test_exec_is_refused_but_for_the_command_itself():
    run = block("--deny", "exec", "--", "sh", "-c", "echo began; exec true")
    assert run.returncode == 126 and "began" in run.stdout and 'execve("/' in run.stdout


@pytest.mark.parametrize("word", ["write", "read,write,close,mmap,fork", "all"])
def test_what_python_itself_calls_before_the_command_runs_may_be_refused(refuse, word):
    run = block(
        "--deny", word, "--errno", "EXFULL", "--", refuse("64"), errno.EXFULL, 1, "64", *numbers(["write"], "64")
    )
    assert run.returncode == 0, run.stderr


def test_a_word_with_addresses_lets_a_connected_socket_send():
    script = (
        "import socket\na, b = socket.socketpair()\na.send(b'x')\nprint(b.recv(1))\n"
        "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for go in (lambda: u.sendto(b'x', ('127.0.0.1', 9)), lambda: u.connect(('127.0.0.1', 9))):\n"
        "    try: go()\n    except PermissionError: print('refused')"
    )
    run = block("--deny", "connect", "--", sys.executable, "-c", script)
    assert "b'x'" in run.stdout and run.stdout.count("refused") == 2
    assert 'sendto("127.0.0.1:9") = -1 EPERM' in run.stdout and 'connect("127.0.0.1:9") = -1 EPERM' in run.stdout


def test_repeated_refusals_are_one_line_with_a_count(tmp_path):
    script = f"import os\nfor _ in range(500):\n    try: os.mkdir({str(tmp_path / 'new')!r})\n    except OSError: pass"
    run = block("--deny", "mkdir", "--format", "json", "--", sys.executable, "-c", script)
    lines = objects(run)[:-1]
    assert len(lines) < 10 and sum(line["count"] for line in lines) == 500 == summary(run)[0]["hits"]


def test_a_hostile_name_is_quoted(tmp_path):
    script = (
        "import ctypes, os\nctypes.CDLL(None).prctl(15, b'\\x1b]0;\\n\"x', 0, 0, 0)\n"
        f"try: os.mkdir(b'{tmp_path}/\\x1b[31m\\nroot')\nexcept OSError: pass"
    )
    run = block("--deny", "mkdir", "--", sys.executable, "-c", script)
    assert "\x1b" not in run.stdout and len(run.stdout.splitlines()) == 1
    assert r'"\33]0;\n\"x"' in run.stdout and r"\33[31m\nroot" in run.stdout
    shown = objects(block("--deny", "mkdir", "--format", "json", "--", sys.executable, "-c", script))[0]
    assert shown["comm"] == r"\33]0;\n\"x" and shown["what"].endswith(r"/\33[31m\nroot")


def test_rules_of_a_policy_file_have_their_own_actions(tmp_path):
    policy = tmp_path / "p.toml"
    policy.write_text(
        'version = 1\n[groups.a]\naction = "EROFS"\ndeny = "mkdir"\n'
        '[groups.b]\naction = "audit"\ndeny = ["rmdir", "mkdir"]\n'
    )
    (tmp_path / "old").mkdir()
    run = block("--policy", policy, "--", "sh", "-c", f"mkdir {tmp_path}/new; rmdir {tmp_path}/old")
    assert "Read-only file system" in run.stderr and not (tmp_path / "old").exists()
    assert "a: deny mkdir → EROFS: 1 denied" in run.stderr
    assert "b: deny rmdir → audit: 1 would be denied" in run.stderr
    assert "b: deny mkdir → audit: 0 would be denied" in run.stderr


def test_when_the_time_is_up_nothing_is_refused_any_more(tmp_path):
    script = f"mkdir {tmp_path}/a; sleep 1.2; mkdir {tmp_path}/b; exit 5"
    run = block("--deny", "mkdir", "--for", "500ms", "--", "sh", "-c", script)
    assert run.returncode == 5
    assert not (tmp_path / "a").exists() and (tmp_path / "b").exists()


def test_when_isotrace_is_killed_the_calls_stay_refused(tmp_path):
    pid, end = tmp_path / "pid", tmp_path / "end"
    script = (
        f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getppid()))\n"
        f"while os.getppid() == int(open({str(pid)!r}).read()): time.sleep(0.02)\n"
        f"try: os.mkdir({str(tmp_path / 'new')!r})\nexcept OSError as e: open({str(end)!r}, 'w').write(str(e.errno))"
    )
    run = subprocess.Popen(
        [*BLOCK, "--deny", "mkdir", "--", sys.executable, "-c", script], env=ENVIRONMENT, stdout=-1, stderr=-1
    )
    wait_for(lambda: pid.exists() and pid.read_text())
    run.kill()
    run.wait()
    wait_for(lambda: end.exists() and end.read_text())
    assert end.read_text() == str(errno.ENOSYS) and not (tmp_path / "new").exists()
    run.stdout.close()
    run.stderr.close()


def test_an_output_that_fails_ends_the_lines_and_not_the_refusals(tmp_path):
    script = f"mkdir {tmp_path}/a; mkdir {tmp_path}/b; exit 6"
    run = block("--deny", "mkdir", "-o", "/dev/full", "--", "sh", "-c", script)
    assert run.returncode == 6 and not list(tmp_path.iterdir())
    assert run.stderr.count("Operation not permitted") == 2
    assert "enforcement goes on, without showing it" in run.stderr and "deny mkdir → EPERM: 2 denied" in run.stderr


def test_a_reader_that_leaves_does_not_end_the_refusals(tmp_path):
    script = "import os, time\n"
    script += f"try: os.mkdir({str(tmp_path / 'new')!r})\nexcept PermissionError: pass\n"
    script += "time.sleep(0.3)\nfor i in range(3):\n    try: os.mkdir('/proc/x')\n    except PermissionError: pass"
    command = [*BLOCK, "--deny", "mkdir", "--", sys.executable, "-c", script]
    run = subprocess.Popen(command, env=ENVIRONMENT, stdout=-1, stderr=-1)
    run.stdout.readline()
    run.stdout.close()
    said = run.stderr.read().decode()
    assert run.wait(20) == 0 and "enforcement goes on" in said and "deny mkdir → EPERM: 4 denied" in said
    run.stderr.close()


def test_a_signal_goes_to_the_command():
    script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done"
    command = [*BLOCK, "--deny", "mkdir", "--", "sh", "-c", script]
    run = subprocess.Popen(command, env=ENVIRONMENT, stdout=-1, stderr=-1)
    assert run.stdout.readline() == b"up\n"
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=20)
    assert run.returncode == 9


def test_a_command_that_cannot_be_run_is_said(tmp_path):
    assert block("--deny", "mkdir", "--", "no-such-command-here").returncode == 127
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF, or not")
    broken.chmod(0o755)
    run = block("--deny", "mkdir", "--", broken)
    assert run.returncode == 126 and "cannot run" in run.stderr and "Exec format error" in run.stderr
    broken.write_text("#!/no/such/interpreter\n")
    run = block("--deny", "mkdir", "--", broken)
    assert run.returncode == 126 and "the interpreter that it names is not there" in run.stderr


def test_a_running_target_is_refused_only_where_a_mechanism_serves():
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        run = block("--pid", sleeper.pid, "--deny", "open", "--backend", "seccomp")
        assert run.returncode == 3
        assert "seccomp: works only in a command that isotrace starts" in run.stderr
        assert "nothing was started, nothing is denied" in run.stderr
    finally:
        sleeper.kill()
        sleeper.wait()


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_call_through_socketcall_is_shown_with_its_own_address(tmp_path):
    (tmp_path / "mux.c").write_text(
        "#include <sys/syscall.h>\n#include <sys/socket.h>\n#include <sys/un.h>\n#include <unistd.h>\n"
        'int main(void) { struct sockaddr_un at = { AF_UNIX, "/x/refused" };\n'
        "long args[] = { 9, (long)&at, sizeof(at) }; return syscall(SYS_socketcall, 3, args) == 0; }\n"
    )
    headers = ["-idirafter", "/usr/include/x86_64-linux-gnu"]
    command = ["gcc", "-w", "-m32", *headers, "-o", tmp_path / "mux", tmp_path / "mux.c"]
    if not shutil.which("gcc") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs gcc: no libraries for -m32")
    run = block("--deny", "connect", "--", tmp_path / "mux")
    if "refused" not in run.stdout:
        pytest.skip("needs ia32: this kernel runs no 32-bit programs")
    assert 'connect@i386("/x/refused") = -1 EPERM' in run.stdout


def test_under_another_supervisor_refusals_are_said_not_to_be_counted():
    """One process can have one supervisor: the inner filter refuses, and the kernel tells nobody."""
    inner = (*BLOCK, "--format", "json", "--deny", "rmdir", "--", "rmdir", "/x/refused")
    run = block("--format", "json", "--deny", "mkdir", "--", *inner)
    assert "deny rmdir → EPERM: not counted" in run.stderr
    assert "deny mkdir → EPERM: 0 denied" in run.stderr
    (told,) = [
        one["rules"][0] for one in objects(run) if one["type"] == "summary" and one["rules"][0]["asked"] == "deny rmdir"
    ]
    assert told["hits"] is None
