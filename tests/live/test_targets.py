"""Who is watched: each way to name a target, on processes that the test starts."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tracer
from tracer import Run, attached, started, until

Compile = Callable[..., Path]
NOBODY = 65534


class Shell:
    """A bash that runs what the test types."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self._count = process, 0
        self.pid = process.pid

    def run(self, line: str) -> None:
        """Type a line and wait until it has run."""
        self._count += 1
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{line}\necho done {self._count}\n")
        self._process.stdin.flush()
        while self._process.stdout.readline() != f"done {self._count}\n":
            assert self._process.poll() is None, "the shell ended"


@contextmanager
def shell(**options: object) -> Iterator[Shell]:
    """A new bash, with no start-up files and no job control."""
    with started(["bash", "--norc", "--noprofile"], **options) as process:
        yield Shell(process)


def touched(run: Run) -> set[str]:
    """The names below /x that a trace shows: who was seen. "ready" may be among them or not: that is how the tests know
    that isotrace is attached, and any call tells."""
    return set(re.findall(r'"/x/(\w+)"', run.file)) - {"ready"}


#: What every shell of these tests does. `; :` keeps bash from replacing itself by the last command.
WORK = "cat /x/child; bash -c 'cat /x/grandchild; :'; (bash -c 'cat /x/orphan; :' &); cd /x/itself"


def watch(target: Callable[[Shell], list[object]], work: Callable[[Shell, Shell], None], **options: object) -> Run:
    """Trace a target named after a first shell while this and a second one work."""
    with (
        shell(**options) as one,
        shell() as two,
        attached(*target(one), ready=lambda: one.run("cat /x/ready; cd /x/ready")) as live,
    ):
        work(one, two)
        one.run("sleep 0.2; wait")
        return live.stop()


def both(one: Shell, two: Shell) -> None:
    """The same work in both, under names that tell them apart."""
    one.run(WORK)
    two.run(re.sub(r"/x/(\w+)", r"/x/other_\1", WORK))


def test_ppid_logs_the_children_and_neither_siblings_nor_the_shell() -> None:
    run = watch(lambda shell: ["--ppid", shell.pid], both)
    assert touched(run) == {"child"}
    assert run.status == 0
    assert run.counts[2] == 0


def test_ppid_with_f_logs_the_children_and_all_that_they_start() -> None:
    assert touched(watch(lambda shell: ["-f", "--ppid", shell.pid], both)) == {"child", "grandchild", "orphan"}


def test_pid_logs_one_process() -> None:
    run = watch(lambda shell: ["--pid", shell.pid], both)
    assert touched(run) == {"itself"}
    assert {line.comm for line in run.lines} == {"bash"}


def test_pid_with_f_logs_what_it_starts_from_now_on() -> None:
    assert touched(watch(lambda shell: ["-f", "--pid", shell.pid], both)) == {
        "itself",
        "child",
        "grandchild",
        "orphan",
    }


def test_tree_has_children_from_before_and_grandchildren_whose_parent_is_gone(tmp_path: Path) -> None:
    waits = f"until [ -e {tmp_path}/go ]; do sleep 0.1; done"
    with shell() as one, shell() as two:
        one.run(f"bash -c '{waits}; cat /x/before; :' & (bash -c '{waits}; cat /x/orphan_before; :' >/dev/null &)")
        with attached("--tree", one.pid, ready=lambda: one.run("cat /x/ready")) as live:
            (tmp_path / "go").touch()
            both(one, two)
            one.run("wait; sleep 0.5")
            run = live.stop()
    seen = touched(run)
    # The orphan of before was no descendant any more when isotrace came: nothing in the kernel remembers it.
    assert seen == {"before", "itself", "child", "grandchild", "orphan"}


@pytest.mark.native
def test_tree_catches_up_with_processes_that_fork_while_it_is_attached(compiled: Compile, tmp_path: Path) -> None:
    """Four lines of processes that live a moment each: once one of a line is seen, none after it may be missing."""
    storm = started([compiled("storm"), 2_000_000, 4], cwd=tmp_path)
    with storm as process, attached("--calls", "getpgid", "--tree", process.pid, ready=lambda: None) as live:
        until(lambda: len(live.text()) > 20_000, "some hundred children are seen")
        run = live.stop()
    numbers = sorted(int(line.args) for line in run.lines if line.name == "getpgid")
    assert run.counts[2] == 0
    # The last ones may be under way when isotrace ends, as the first when it begins; of four lines one may wait for a
    # processor while the others go on.
    missing = set(range(numbers[40], numbers[-40])) - set(numbers)
    assert not missing


@pytest.mark.native
def test_a_chain_of_orphans_does_not_get_away(compiled: Compile, tmp_path: Path) -> None:
    with started([compiled("chain"), 3], cwd=tmp_path) as process:
        with attached("--calls", "getpgid", "-f", "--comm", "chain", ready=lambda: None) as live:
            until(lambda: len(live.text()) > 20_000, "some hundred processes are seen")
            (tmp_path / "stop").touch()
            until(lambda: len(list(tmp_path.glob("last.*"))) == 3, "the chains end")
            run = live.stop()
        assert process.poll() is None
    for line in range(3):
        last = int((tmp_path / f"last.{line}").read_text())
        numbers = [
            int(c.args) % 1_000_000 for c in run.lines if c.name == "getpgid" and int(c.args) // 1_000_000 == line + 1
        ]
        assert numbers == list(range(numbers[0], last + 1))


def test_uid_and_user_name() -> None:
    name = pwd.getpwuid(NOBODY).pw_name
    run = watch(lambda shell: ["--uid", name], both, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/")
    assert touched(run) == {"child", "grandchild", "orphan", "itself"}
    own = watch(
        lambda shell: ["--uid", NOBODY, "--comm", "cat"], both, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/"
    )
    assert touched(own) == {"child", "grandchild", "orphan"}
    assert {line.comm for line in own.lines} == {"cat"}


def test_conditions_combine_with_and() -> None:
    def work(one: Shell, two: Shell) -> None:
        one.run("cat /x/child; ls /x/listed")
        two.run("cat /x/other")

    run = watch(lambda shell: ["--ppid", shell.pid, "--comm", "cat"], work)
    assert touched(run) == {"child"}


def test_a_long_name_is_known_by_what_the_kernel_keeps_of_it(tmp_path: Path) -> None:
    long = tmp_path / "a-name-of-more-than-fifteen"
    shutil.copy(shutil.which("cat") or "", long)

    with (
        shell() as one,
        attached("--comm", long.name[:15], ready=lambda: one.run(f"{long} /x/ready")) as live,
        shell() as two,
    ):
        two.run(f"{long} /x/long; cat /x/short")
        assert touched(live.stop()) == {"long"}


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of the test's own, with one below it."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    root = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    if root is None:
        pytest.skip("needs cgroup2: the unified hierarchy is not mounted")
    path = root / f"isotrace-test-{os.getpid()}"
    try:
        (path / "below").mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"needs cgroup2: cannot make {path}: {error.strerror}")
    yield path
    (path / "below").rmdir()
    path.rmdir()


def test_cgroup_with_those_below_it(cgroup: Path) -> None:
    with shell() as one, shell() as two, shell() as outside:
        (cgroup / "cgroup.procs").write_text(str(one.pid))
        (cgroup / "below" / "cgroup.procs").write_text(str(two.pid))
        with attached("--cgroup", f"/{cgroup.name}", ready=lambda: one.run("cat /x/ready")) as live:
            one.run("cat /x/inside")
            two.run("cat /x/below")
            outside.run("cat /x/outside")
            run = live.stop()
        root = cgroup.parent / "cgroup.procs"
        root.write_text(str(one.pid))
        root.write_text(str(two.pid))
    assert touched(run) == {"inside", "below"}


def test_a_call_that_a_process_is_stuck_in_is_shown_at_attach_and_at_exit() -> None:
    with started([sys.executable, "-c", "import os; os.read(0, 77); os.getpgid(0); os.read(0, 78)"]) as process:
        until(lambda: Path(f"/proc/{process.pid}/syscall").read_text().startswith("0 0x0 "), "the process is in read")
        with attached("--pid", process.pid, ready=lambda: None) as live:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
            until(lambda: "getpgid" in live.text(), "the process goes on")
            until(lambda: Path(f"/proc/{process.pid}/syscall").read_text().startswith("0 0x0 "), "it is in read again")
            run = live.stop()
    texts = [line.text for line in run.lines if line.text.startswith(("read(0,", "getpgid"))]
    assert re.fullmatch(r"read\(0, 0x[0-9a-f]+, 77 <unfinished \.\.\.>", texts[0])
    assert re.fullmatch(r'read\(0, "go\\n", 77\) += 3', texts[1])
    assert texts[2].startswith("getpgid(0)")
    assert re.fullmatch(r"read\(0, 0x[0-9a-f]+, 78 <unfinished \.\.\.>", texts[3])
    assert len(texts) == 4


def test_what_a_call_that_a_process_is_stuck_in_was_given_is_shown() -> None:
    program = "import os; r, w = os.pipe(); os.write(w, bytes(1 << 16)); os.writev(w, [b'one', b'two'])"
    with started([sys.executable, "-c", program]) as process:
        until(lambda: Path(f"/proc/{process.pid}/syscall").read_text().startswith("20 "), "the process is in writev")
        with attached("--pid", process.pid, ready=lambda: None) as live:
            until(lambda: "writev" in live.text(), "it is shown")
            run = live.stop()
    texts = {line.text for line in run.lines if line.text.startswith("writev")}
    vector = '[{iov_base="one", iov_len=3}, {iov_base="two", iov_len=3}]'
    assert texts == {f"writev(4, {vector}, 2 <unfinished ...>"}


def test_a_process_that_ends_ends_the_trace() -> None:
    with shell() as one, attached("--pid", one.pid, ready=lambda: one.run("cd /x/ready")) as live:
        one._process.stdin.write("exit 4\n")
        one._process.stdin.flush()
        one._process.wait(tracer.PATIENCE)
        run = live.wait()
    assert run.status == 0
    assert f"process {one.pid} ended" in run.err
    assert run.lines[-1].text == "+++ exited with 4 +++"


# ---- several of a kind, patterns, threads ------------------------------------------------------------------------------


def test_several_processes_are_watched_together(backend: str) -> None:
    if backend == "lkm":
        pytest.skip("needs btf: the kernel module takes one of each")
    run = watch_two(lambda one, two: ["--pid", one.pid, "--pid", two.pid])
    assert touched(run) == {"itself", "other_itself"}
    run = watch_two(lambda one, two: ["--ppid", one.pid, "--ppid", two.pid])
    assert touched(run) == {"child", "other_child"}
    run = watch_two(lambda one, two: ["--tree", one.pid, "--tree", two.pid])
    assert {"itself", "child", "grandchild", "other_itself", "other_child", "other_grandchild"} <= touched(run)


def watch_two(target: Callable[[Shell, Shell], list[object]]) -> Run:
    """Trace a target named after two shells while they, and a third one, work."""
    with shell() as one, shell() as two, shell() as third:

        def ready() -> None:
            one.run("cat /x/ready; cd /x/ready")

        with attached(*target(one, two), ready=ready) as live:
            both(one, two)
            third.run(re.sub(r"/x/(\w+)", r"/x/third_\1", WORK))
            one.run("sleep 0.2; wait")
            two.run("sleep 0.2; wait")
            return live.stop()


def test_names_and_patterns_of_names(tmp_path: Path, backend: str) -> None:
    if backend == "lkm":
        pytest.skip("needs btf: the kernel module takes one of each")
    for name in ("isot-abc", "isot-x1", "isot-y1", "other"):
        shutil.copy("/bin/cat", tmp_path / name)
    work = "; ".join(
        f"{tmp_path}/{name} /x/{name.replace('-', '_')}" for name in ("isot-abc", "isot-x1", "isot-y1", "other")
    )
    with (
        shell() as one,
        attached(
            "--comm", "isot-[a-w]*", "--comm", "isot-?1", ready=lambda: one.run(f"{tmp_path}/isot-abc /x/ready")
        ) as live,
    ):
        one.run(work)
        run = live.stop()
    assert touched(run) == {"isot_abc", "isot_x1", "isot_y1"}
    with shell() as one, attached("--comm", "*-x*", ready=lambda: one.run(f"{tmp_path}/isot-x1 /x/ready")) as live:
        one.run(work)
        run = live.stop()
    assert touched(run) == {"isot_x1"}


CHANGES_ITS_NAME = """
import os, sys, threading, time
reader, writer = os.pipe()
def call(tid, name):
    with open(f"/proc/self/task/{tid}/comm", "w") as comm: comm.write(name)
def waiter():
    os.write(2, b"as before")
    call(threading.get_native_id(), "isot-out")  # it is watched when this begins, and is not when it ends
    ready.set()
    os.write(writer, bytes(1 << 20))  # the other way round
    os.write(2, b"and after")
ready = threading.Event()
thread = threading.Thread(target=waiter)
call(os.getpid(), "isot-in")  # which a new thread has from whoever makes it
thread.start()
call(os.getpid(), "main")
ready.wait()
time.sleep(0.2)
call(thread.native_id, "isot-in")
left = 1 << 20
while left: left -= len(os.read(reader, left))
thread.join()
"""


@pytest.mark.parametrize("extra", [(), ("-y",)])
def test_a_call_during_which_the_name_changes_gets_no_other_calls_time(backend: str, extra: tuple[str, ...]) -> None:
    if backend == "lkm" and extra:
        pytest.skip("needs btf: the kernel module does not look at descriptors")
    options = ("--comm", "isot-in", "--calls", "write", "-T", *extra)
    run = tracer.log(*options, "--", sys.executable, "-c", CHANGES_ITS_NAME)
    own = [line.text for line in run.lines if "as before" in line.text or "and after" in line.text]
    assert len(own) == 2 and all(re.search(r" <0\.\d+>$", text) for text in own), run.file
    (large,) = [line.text for line in run.lines if "1048576" in line.text]
    assert large.endswith("= 1048576 <?>"), "isotrace did not see it begin"


def test_the_number_of_a_thread_is_refused_with_its_process() -> None:
    program = "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()"
    with started([sys.executable, "-c", program]) as process:
        until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1, "it has threads")
        thread = next(int(name) for name in os.listdir(f"/proc/{process.pid}/task") if int(name) != process.pid)
        for option in ("--pid", "--ppid", "--tree"):
            run = tracer.log(option, thread)
            assert run.status != 0
            assert f"{option} {thread}: that is a thread of process {process.pid}" in run.err
            assert f"{option} {process.pid} has all of its threads" in run.err


def test_an_option_that_is_given_twice_is_an_error() -> None:
    for words in (
        ["--uid", "0", "--uid", "1"],
        ["--calls", "open", "--calls", "read"],
        ["--cgroup", "/", "--cgroup", "/x"],
    ):
        run = tracer.log(*words, "--", "true")
        assert run.status == 2
        assert f"{words[0]} is given 2 times" in run.err


def test_a_call_of_one_abi_is_asked_for_by_name_and_abi(tmp_path: Path) -> None:
    source = 'int main(void) { int r = 64; __asm__ volatile("int $0x80" : "+a"(r)); return getppid() < 0; }'
    (tmp_path / "both.c").write_text(f"#include <unistd.h>\n{source}\n")
    if subprocess.run(["gcc", "-o", tmp_path / "both", tmp_path / "both.c"], check=False).returncode:
        pytest.skip("needs gcc: the test's program is C")
    command = ["--format", "json", "--calls"]
    asked = {
        words: [call["abi"] for call in tracer.log(*command, words, "--", tmp_path / "both").objects if "abi" in call]
        for words in ("getppid", "getppid@x86_64", "getppid@i386", "getppid,!getppid@64")
    }
    if "i386" not in asked["getppid"]:
        pytest.skip("needs ia32: this kernel runs no 32-bit calls")
    assert asked["getppid"] == ["i386", "x86_64"]
    assert asked["getppid@x86_64"] == ["x86_64"]
    assert asked["getppid@i386"] == asked["getppid,!getppid@64"] == ["i386"]


def test_what_a_part_of_a_tree_has_started_is_shown_in_the_calls_that_it_is_inside_of(
    tmp_path: Path, backend: str
) -> None:
    """--tree N --comm X -f: who has the name, and what descends from it, from before isotrace came."""
    if backend == "lkm":
        pytest.skip("needs btf: the kernel module has one map of both")
    shutil.copy("/bin/bash", tmp_path / "isot-mid")
    with shell() as one:
        one.run(f"{tmp_path}/isot-mid --norc -c 'sleep 601; :' >/dev/null 2>&1 & sleep 602 >/dev/null 2>&1 &")
        try:
            until(lambda: {"sleep 601 ", "sleep 602 "} <= set(_below(one.pid).values()), "both sleep")
            run = tracer.log("--tree", one.pid, "--comm", "isot-mid", "-f", "--for", "1s")
        finally:
            for pid in _below(one.pid):
                os.kill(pid, signal.SIGKILL)
    assert {line.comm for line in run.lines if line.text.endswith("<unfinished ...>")} == {"isot-mid", "sleep"}
    assert not [line for line in run.lines if "tv_sec=602" in line.text]


def _below(pid: int) -> dict[int, str]:
    """The descendants of a process, with their command lines."""
    found: dict[int, str] = {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        found |= {child: Path(f"/proc/{child}/cmdline").read_text().replace("\0", " "), **_below(child)}
    return found
