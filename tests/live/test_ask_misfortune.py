"""isotrace ask where things go wrong: nothing is allowed for that, and nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess

import pytest
from asks import ASK, Person, Running, answering, background, python, shown_at, wait_for

from isotrace.enforce.calls import notify

pytestmark = pytest.mark.skipif(
    notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}"
)


def test_an_answer_program_and_all_that_it_has_started_end_with_isotrace_whatever_ends_that(tmp_path):
    pids = tmp_path / "pids"
    program = f"echo $$ > {pids}; sleep 1000 & echo $! >> {pids}; wait"
    with background("--ask", "mkdir", "--answer-with", program, "--", "mkdir", "new", cwd=tmp_path) as run:
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        run.kill()
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids.read_text().split()))
    assert not (tmp_path / "new").exists()


def test_an_answer_program_reads_a_question_and_has_no_descriptor_of_isotraces(tmp_path):
    program = f"ls /proc/self/fd > {tmp_path}/fds; cat > {tmp_path}/asked; echo deny"
    with background("--ask", "mkdir", "--answer-with", program, "--", "mkdir", "new", cwd=tmp_path) as run:
        run.communicate(timeout=300)
    assert json.loads((tmp_path / "asked").read_text())["call"] == "mkdir"
    assert set((tmp_path / "fds").read_text().split()) <= {"0", "1", "2", "3"}  # 3 is the directory that ls reads


def test_a_terminal_that_is_gone_answers_nothing(tmp_path):
    script = f"trap '' HUP; mkdir {tmp_path}/new; echo $? > {tmp_path}/status"
    with Person(tmp_path, "--timeout", "6s", "--ask", "mkdir", "--", "sh", "-c", script) as person:
        person.read("> ")
        person.hang_up()
        wait_for(lambda: (tmp_path / "status").exists() and (tmp_path / "status").read_text())
        assert (tmp_path / "status").read_text() == "1\n" and not (tmp_path / "new").exists()
        assert person.status() == 0


def test_a_question_goes_with_a_thread_whose_process_ends(tmp_path):
    code = (
        "import os, threading, time\n"
        "threading.Thread(target=os.mkdir, args=('new',)).start()\n"
        f"while not os.path.exists({str(tmp_path / 'asked')!r}): time.sleep(0.05)\n"
        "os._exit(7)\n"
    )
    with Running(tmp_path, "--ask", "mkdir", "--", *python(code), timeout="10m") as run:
        one = run.question()
        out, err = run.end()
    assert one["tid"] != one["pid"] and run.process.returncode == 7
    assert "mkdir(" not in out and "1 asked about" in err and not (tmp_path / "new").exists()


def test_one_isotrace_inside_another_cannot_ask_and_says_so(tmp_path):
    inner = (*ASK, "--ask", "mkdir", "--answer-with", "echo allow", "--", "mkdir", str(tmp_path / "new"))
    outer = ("--ask", "rmdir", "--answer-with", "echo allow", "--", *inner)
    with background(*outer, cwd=tmp_path) as run:
        _, err = run.communicate(timeout=300)
    assert run.returncode == 3 and "cannot ask: " in err and "Traceback" not in err and not (tmp_path / "new").exists()


def test_a_policy_that_cannot_be_written_is_said_and_the_answer_holds(tmp_path):
    (tmp_path / "gone").mkdir()
    words = ("--ask", "mkdir", "--policy", tmp_path / "gone/p.toml", "--answer-with", "echo deny always")
    with background(*words, "--", "sh", "-c", "rmdir gone; mkdir new; mkdir new", cwd=tmp_path) as run:
        out, err = run.communicate(timeout=300)
    assert "cannot write" in err and "holds for this run only" in err and not (tmp_path / "new").exists()
    assert "denied by --answer-with" in out and "an earlier answer" in out


OPENING = """
#include <errno.h>
#include <stdio.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	return syscall(SYS_open, argv[1], O_WRONLY | O_CREAT, 0600) < 0 ? errno : 0;
}
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs i386 calls")
@pytest.mark.parametrize(("answer", "status"), [("allow", 0), ("deny", errno.EPERM)])
def test_32_bit_callers_are_asked_about(tmp_path, built32, answer, status):
    asked = tmp_path / "asked"
    words = ("--ask-path", f"w:{tmp_path}/new", "--answer-with", f"cat > {asked}; echo {answer}")
    with background(*words, "--", built32(OPENING), tmp_path / "new", cwd=tmp_path) as run:
        _, err = run.communicate(timeout=300)
    one = json.loads(asked.read_text())
    assert run.returncode == status, err
    assert (one["call"], one["abi"], one["what"]) == ("open", "i386", f"{tmp_path}/new")
    assert one["line"].startswith("open(") and (tmp_path / "new").exists() == (answer == "allow")


@pytest.fixture
def built32(tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("needs gcc: the test's program is C")

    def build(source):
        command = [
            "gcc",
            "-m32",
            "-idirafter",
            "/usr/include/x86_64-linux-gnu",
            "-x",
            "c",
            "-",
            "-o",
            tmp_path / "program",
        ]
        done = subprocess.run(command, input=source, capture_output=True, text=True)
        if done.returncode:
            pytest.skip("needs gcc: no libraries for -m32")
        return tmp_path / "program"

    return build


def test_a_storm_of_questions_gets_the_default_and_little_memory(compiled, tmp_path):
    def peak(count, awaited):
        """In KiB. Who waits once that has come is denied, and nobody is allowed."""
        where, out = tmp_path / "socket", tmp_path / f"out-{count}"
        words = ("--ask", "getpgid", "--socket", where, "-o", out, "--", compiled("storm"), count, count)
        with background(*words, cwd=tmp_path) as run:
            wait_for(lambda: awaited(where, out))
            (first, *_) = shown_at(where)
            answering(where, "deny", first["id"], "program")
            said, (_, status, used) = run.stderr.read(), os.wait4(run.pid, 0)
        assert status == 0 and f"{count} asked about" in said, said
        assert sum(map(int, re.findall(r"(\d+) denied", said))) == count, said
        return used.ru_maxrss

    few = peak(20, lambda where, _: len(shown_at(where)) == 20)
    many = peak(10_000, lambda _, out: out.exists() and "too many questions wait" in out.read_text())
    assert many - few < 32 << 10, (few, many)
