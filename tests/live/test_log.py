"""What isotrace log prints and how it ends."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import kernel_module
import pytest
import tracer
from held import held_by, still_there
from signalled import signalled
from tracer import Run, argv, attached, environment, log, started, until

Compile = Callable[..., Path]

STORM = 5000


# ---- nothing missed --------------------------------------------------------------------------------------------------


def test_a_fork_storm_is_logged_to_the_last_child(compiled: Compile) -> None:
    run = log("--calls", "getpgid,fork,clone,clone3,vfork,exit_group", "--", compiled("storm"), STORM, 16)
    assert run.status == 0
    assert run.counts == (run.counts[0], run.counts[0], 0)
    assert Counter(line.args for line in run.named("getpgid")) == Counter(str(1_000_000 + i) for i in range(STORM))
    children = Counter(line.tid for line in run.named("getpgid"))  # where pid_max is 4096 some have the same
    ends = Counter(line.tid for line in run.lines if line.text == "+++ exited with 0 +++")
    assert ends.total() == STORM + 1
    assert children <= ends
    made = [line for line in run.named("fork", "clone", "clone3", "vfork") if line.result.isdecimal()]
    assert Counter(int(line.result) for line in made) == children


def _children(pid: int) -> list[str]:
    """The states of a process's children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{child}/stat").read_text().rpartition(") ")[2][0] for child in children]


def test_calls_that_do_not_fit_the_ring_are_counted_by_name(compiled: Compile) -> None:
    """isotrace stands still for a while, so that the smallest ring overflows: a line in its place says what is lost."""
    command = argv("--ring", "64k", "--strict", "--", compiled("storm"), 3000, 8)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), stdin=subprocess.DEVNULL
    )
    select.select([process.stdout], [], [], tracer.PATIENCE)
    process.send_signal(signal.SIGSTOP)
    until(lambda: "Z" in _children(process.pid), "the command has ended")
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=tracer.PATIENCE)
    run = Run(process.returncode, out, err)
    seen, delivered, lost = run.counts
    assert lost > 0
    assert seen == delivered + lost
    assert delivered == sum(1 for line in run.lines if line.name)
    named = re.search(r"isotrace: lost: ([^;]*);", err)
    assert named
    by_call = {name: int(count) for name, count in (part.split() for part in named[1].split(", "))}
    assert sum(by_call.values()) == lost
    told = [re.fullmatch(r"\*\*\* (\d+) (\w+) calls? lost here \*\*\*", line.text) for line in run.lines]
    in_place: Counter[str] = Counter()
    for one in filter(None, told):
        in_place[one[2]] += int(one[1])
    assert in_place == by_call
    logged = Counter(line.name for line in run.lines)
    assert logged["getpgid"] + by_call.get("getpgid", 0) == 3000
    assert run.status == 1
    assert f"{lost} calls were lost and --strict asks for all" in err


def test_an_output_that_nobody_reads_for_a_while_loses_nothing() -> None:
    """What waits meanwhile is more than the ring holds."""
    read, write = os.pipe()
    script = "i=0; while [ $i -lt 400 ]; do /bin/true; i=$((i+1)); done"
    process = subprocess.Popen(
        argv("--ring", "1m", "--", "sh", "-c", script), stdin=subprocess.DEVNULL, stdout=write,
        stderr=subprocess.PIPE, env=environment(), text=True,
    )  # fmt: skip
    os.close(write)
    until(lambda: select.select([read], [], [], 0)[0], "the first line")
    until(lambda: not _children(process.pid), "the command has ended")
    with os.fdopen(read, errors="replace") as stream:
        lines = tracer.parse(stream.read())
    said = process.stderr.read()
    assert process.wait() == 0 and ", 0 lost" in said, said
    assert sum(line.text == "+++ exited with 0 +++" for line in lines) == 401


@contextmanager
def stuck() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """isotrace, which traces a busy target and has filled the pipe that it writes to, and the end that nobody reads yet."""
    read, write = os.pipe()
    with started(["sh", "-c", "while :; do /bin/true; done"]) as busy:
        process = subprocess.Popen(
            argv("-f", "--pid", busy.pid), stdin=subprocess.DEVNULL, stdout=write, stderr=subprocess.PIPE,
            env=environment(), text=True,
        )  # fmt: skip
        os.close(write)
        until(lambda: _blocked_in_write(process.pid), "the pipe is full")
        time.sleep(1)
        yield process, read


def test_ctrl_c_stops_tracing_at_once_and_says_what_is_still_to_be_written() -> None:
    """The reader of the pipe comes late: by then no call is traced any more, and all that were are written."""
    with stuck() as (process, read):
        process.send_signal(signal.SIGINT)
        said = process.stderr.readline()
        with os.fdopen(read, errors="replace") as stream:
            calls = sum(bool(line.name) for line in tracer.parse(stream.read()))
        rest = process.stderr.read()
        assert process.wait() == 0
    assert re.fullmatch(r"isotrace: writing [\d,]+ calls that were already seen; Ctrl-C again drops them\n", said)
    assert f"{calls} calls, {calls} delivered, 0 lost" in rest


def test_a_second_ctrl_c_drops_what_is_still_to_be_written() -> None:
    with stuck() as (process, read):
        process.send_signal(signal.SIGINT)
        assert "Ctrl-C again drops them" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(tracer.PATIENCE) == 130
    os.close(read)


def test_lossless_holds_the_target_up_and_loses_nothing(backend: str, compiled: Compile) -> None:
    """Sixteen threads that do nothing but calls, ten times what the ring holds."""
    run = log("--lossless", "--ring", "4m", "--format", "none", "--", compiled("hammer"), 16, 4000)
    if backend == "lkm":
        assert run.status == 3 and "the kernel module cannot slow its target down" in run.err
        return
    seen, delivered, lost = run.counts
    assert (run.status, lost) == (0, 0) and seen == delivered >= 16 * 4000 * 4


def test_who_is_held_up_goes_on_when_isotrace_is_killed(backend: str, compiled: Compile) -> None:
    if backend == "lkm":
        pytest.skip("the kernel module cannot slow its target down")
    with started([compiled("hammer"), 2, 100000]) as busy:
        command = argv("--lossless", "--ring", "64k", "--pid", busy.pid)
        tracing = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), stdin=subprocess.DEVNULL)
        select.select([tracing.stdout], [], [], tracer.PATIENCE)
        tracing.send_signal(signal.SIGSTOP)  # the ring fills, and every call waits its time
        time.sleep(0.5)
        tracing.kill()
        tracing.communicate()
        assert busy.wait(tracer.PATIENCE) == 0


# ---- servers ---------------------------------------------------------------------------------------------------------


def _served(run: Run, port: int, *calls: tuple[str, ...]) -> None:
    assert run.counts[2] == 0, run.err
    for names in calls:
        assert run.named(*names), f"no {names}"
    bound = [line for line in run.named("bind") if 'inet_addr("127.0.0.1")' in line.args]
    assert bound
    connected = run.named("accept4")[-1].result
    heard = [line for line in run.named("read", "recvfrom") if line.args.startswith(f"{connected}, ")]
    told = [line for line in run.named("write", "sendto") if line.args.startswith(f"{connected}, ")]
    assert any('"GET / HTTP/1.1\\r\\nAccept-Encoding' in line.args for line in heard)
    assert any('"HTTP/1.0 200 OK\\r\\n' in line.args for line in told)
    assert any(line.args == connected and line.result == "0" for line in run.named("close"))


_CALLS = (("socket",), ("bind",), ("listen",), ("accept4",), ("read", "recvfrom"), ("write", "sendto"), ("close",))


def test_python_http_server(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello")
    server = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=0, bind='127.0.0.1')"
    output = tmp_path / "trace"
    command = argv("-o", output, "--calls", "%network,%desc", "--", sys.executable, "-u", "-c", server)
    with started(command, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout
        port = int(re.findall(r"port (\d+)", process.stdout.readline())[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=tracer.PATIENCE) as answer:
            assert answer.read() == b"hello"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=tracer.PATIENCE)
    assert process.returncode == 0
    _served(Run(0, out, err, output.read_text()), port, *_CALLS)


def test_a_statically_linked_server(compiled: Compile, tmp_path: Path) -> None:
    output = tmp_path / "trace"
    command = argv("-o", output, "--", compiled("server", "-static"))
    with started(command, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stdout
        port = int(process.stdout.readline().split()[1])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=tracer.PATIENCE) as answer:
            assert answer.read() == b"yes"
        out, err = process.communicate(timeout=tracer.PATIENCE)
    run = Run(0, out, err, output.read_text())
    _served(run, port, *_CALLS)
    assert not [line for line in run.named("openat") if ".so" in line.args]


# ---- what is shown ---------------------------------------------------------------------------------------------------


def test_the_first_line_is_the_execve_and_nothing_of_isotrace_follows() -> None:
    run = log("--", "/bin/sh", "-c", "exit 3")
    assert run.lines[0].text.startswith('execve("/bin/sh", ["/bin/sh", "-c", "exit 3"], 0x')
    assert run.lines[0].result == "0"
    assert len({line.tid for line in run.lines}) == 1
    assert [line.call for line in run.lines[-2:]] == ["exit_group(3) = ?", "+++ exited with 3 +++"]
    assert run.status == 3
    assert run.counts == (len(run.lines) - 1, len(run.lines) - 1, 0)


def test_a_parent_that_ignores_sigchld_costs_neither_calls_nor_the_status() -> None:
    done = subprocess.run(
        argv("--format", "none", "--", "false"), capture_output=True, text=True, env=environment(),
        timeout=tracer.PATIENCE, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"\b0 lost$", done.stderr.strip()), done.stderr


def test_the_command_gets_the_environment_and_the_streams_as_they_are() -> None:
    done = subprocess.run(
        argv("-q", "--calls", "execve", "-o", "/dev/null", "--", "sh", "-c", "env; cat; echo err >&2"),
        input="typed", capture_output=True, text=True, env=environment(MARK="1"), timeout=tracer.PATIENCE,
    )  # fmt: skip
    variables = {line.partition("=")[0] for line in done.stdout.splitlines() if "=" in line} - {
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    }
    assert variables == set(environment(MARK="1")) - {"PWD", "OLDPWD", "SHLVL", "_"}
    assert done.stdout.endswith("typed")
    assert done.stderr == "err\n"


def test_only_the_calls_that_were_asked_for() -> None:
    run = log("--calls", "openat,%clock,!clock_gettime", "-q", "--", "cat", "/dev/null")
    assert {line.name for line in run.lines if line.name} == {"openat"}
    assert run.err == ""


def test_only_failed_calls() -> None:
    run = log("--failed", "--", "sh", "-c", "cat /x/missing; exec /x/not-there")
    assert (
        run.named("openat")[-1].call
        == 'openat(AT_FDCWD, "/x/missing", O_RDONLY) = -1 ENOENT (No such file or directory)'
    )
    assert any(line.args.startswith('"/x/not-there", ["/x/not-there"]') for line in run.named("execve"))
    assert all(line.result.startswith("-1 E") for line in run.lines)


def test_durations_and_the_clock() -> None:
    run = log("-T", "--", "sleep", "0.1")
    times = {
        line.name: re.search(r" <(\d+\.\d{6})>$", line.result)
        for line in run.lines
        if line.name and line.name != "exit_group"
    }
    assert None not in times.values()
    assert float(times["clock_nanosleep"][1]) >= 0.1
    clocked = log("-t", "--", "true")
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{6} \d+ true  ", line) for line in clocked.file.splitlines())


_HEAD = {"type", "time_ns", "pid", "tid", "ppid", "uid", "comm"}
KEYS = {
    "call": _HEAD | {"abi", "call", "number", "args", "result", "value", "error", "duration_ns"},
    "exit": _HEAD | {"result", "value"},
    "signal": _HEAD | {"result", "value"},
}
#: With --show-containers.
CONTAINED = {"container", "pid_inside", "tid_inside"}
STACKED = {"stack", "stack_ends"}  # with -k: test_stack_traces.py
RINGED = {"io_uring"}  # of its operations: test_ring_operations.py


def test_json_has_raw_and_decoded_values() -> None:
    before = time.time_ns()
    run = log("--format", "json", "-T", "--", "sh", "-c", "trap : USR1; kill -USR1 $$; cat /x/missing; exit 2")
    objects = run.objects
    for entry in objects:
        assert set(entry) == KEYS[entry["type"]]
    assert {entry["type"] for entry in objects} == set(KEYS)
    assert run.counts[0] == sum(entry["type"] == "call" for entry in objects)
    opened = next(
        entry for entry in objects if entry.get("call") == "openat" and "missing" in entry["args"][1]["value"]
    )
    assert (opened["abi"], opened["number"]) == ("x86_64", 257)
    assert [arg["name"] for arg in opened["args"]][:3] == ["dfd", "filename", "flags"]
    assert opened["args"][0] == {"name": "dfd", "raw": opened["args"][0]["raw"], "value": "AT_FDCWD"}
    assert opened["args"][0]["raw"] & 0xFFFFFFFF == 0xFFFFFF9C
    assert opened["args"][2] == {"name": "flags", "raw": 0, "value": "O_RDONLY"}
    assert (opened["result"], opened["error"]) == (-2, "ENOENT")
    assert opened["value"] == "-1 ENOENT (No such file or directory)"
    assert opened["duration_ns"] > 0
    assert before - 60e9 < opened["time_ns"] < time.time_ns() + 60e9
    last = [entry for entry in objects if entry["type"] == "exit"][-1]
    assert (last["result"] >> 8, last["value"]) == (2, "+++ exited with 2 +++")


def test_the_json_keys_are_those_that_are_documented() -> None:
    text = (tracer.ROOT / "docs" / "json.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert documented == set().union(*KEYS.values()) | {"name", "raw"} | STACKED | RINGED | CONTAINED


def test_isolates_lines() -> None:
    run = log("--format", "isolates", "--calls", "openat", "--", "cat", "/dev/null")
    assert re.fullmatch(r"(ISOLATES:openat,cat,\d+,0\n){2,}", run.file)


def test_format_none_only_counts() -> None:
    run = log("--format", "none", "--", "true")
    assert run.file == ""
    assert run.counts[0] > 10


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m"


@pytest.mark.parametrize("style", ["text", "json", "isolates"])
def test_what_a_process_wrote_reaches_no_output_as_it_is(style: str) -> None:
    program = (
        "import ctypes, os; c = ctypes.CDLL(None); c.prctl(15, b'\\x1b[31m,\\n\\x07\\xff x', 0, 0, 0)\n"
        f"for name in {HOSTILE!r}, '\\u202e', 'x\\x7f': c.unlink(os.fsencode('/x/' + name))"
    )
    run = log("--format", style, "--", sys.executable, "-c", program)
    assert "unlink" in run.file
    assert re.fullmatch(r"[ -~\n]*", run.file)
    assert re.fullmatch(r"[ -~\n]*", run.err)
    if style == "text":
        assert run.named("unlink")[0].args == r'"/x/\33]0;owned\7\33[2J\r\n\302\23331m"'
    elif style == "json":
        assert {entry["comm"] for entry in run.objects if entry.get("call") == "unlink"} == {r"\33[31m,\n\7\377 x"}
    else:
        assert {line.count(",") for line in run.file.splitlines()} == {3}


# ---- how it ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_the_status_is_that_of_the_command(command: str, status: int) -> None:
    assert log("--format", "none", "--", "sh", "-c", command).status == status


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    run = log("--", "no-such-command")
    assert (run.status, run.err.splitlines()[0]) == (127, "isotrace: cannot run 'no-such-command': no such command")
    (tmp_path / "text").write_text("no program")
    assert log("--", tmp_path / "text").status == 126


def test_the_command_runs_as_the_user_who_called_sudo() -> None:
    done = subprocess.run(
        argv("-q", "--format", "none", "--", "sh", "-c", "id -u; id -g; id -G"), capture_output=True, text=True, cwd="/",
        env=environment(SUDO_UID="65534", SUDO_GID="65534"), stdin=subprocess.DEVNULL, timeout=tracer.PATIENCE,
    )  # fmt: skip
    assert done.stdout.split() == ["65534"] * 3


def test_signals_are_passed_on_to_the_command() -> None:
    script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    command = argv("--format", "none", "--", "sh", "-c", script)
    with started(command, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=tracer.PATIENCE)
    assert (process.returncode, out) == (9, "got it\n")
    assert " 0 lost" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_a_signal_before_anything_has_begun_is_a_word_and_nothing_is_started(number: int, tmp_path: Path) -> None:
    """In the first half second, while isotrace imports what it needs and its programs are compiled."""
    done = signalled(tmp_path, "numpy", number, "isotrace", "log", "--", "touch", "started")
    word = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    assert (done.returncode, done.stdout, done.stderr.strip()) == (128 + number, "", f"isotrace: {word}")
    assert not (tmp_path / "started").exists()


def test_a_hangup_that_nohup_keeps_away_ends_nothing() -> None:
    with started(["sh", "-c", "while :; do cat /x/a; sleep 0.1; done"], stderr=subprocess.DEVNULL) as process:
        traced = shlex.join(argv("-f", "--calls", "openat", "--pid", process.pid))
        command = ["sh", "-c", f"trap '' HUP; exec {traced}"]
        with started(command, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as tracing:
            assert tracing.stdout and tracing.stdout.readline()
            tracing.send_signal(signal.SIGHUP)
            for _ in range(50):
                assert tracing.stdout.readline()
            tracing.send_signal(signal.SIGINT)
            _, err = tracing.communicate(timeout=tracer.PATIENCE)
    assert tracing.returncode == 0 and " 0 lost" in err


def test_standard_output_that_does_not_wait_gets_every_line(compiled: Compile) -> None:
    """Whoever has the other end of the same pipe or terminal may have made it non-blocking: node does."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with started(argv("--calls", "getpgid", "--", compiled("storm"), 3000, 8), stdout=write, stderr=subprocess.PIPE,
                 env=environment(), stdin=subprocess.DEVNULL) as process:  # fmt: skip
        os.close(write)
        select.select([read], [], [], tracer.PATIENCE)
        time.sleep(1)  # the pipe is full
        with os.fdopen(read) as stream:
            shown = sum(line.name == "getpgid" for line in tracer.parse(stream.read()))
        _, err = process.communicate(timeout=tracer.PATIENCE)
    assert (process.returncode, shown) == (0, 3000) and "3000 calls, 3000 delivered, 0 lost" in err


def test_for_ends_after_its_time() -> None:
    with started(["sleep", "1000"]) as process:
        run = log("--pid", process.pid, "--for", "500ms")
    assert run.status == 0
    assert run.counts == (0, 0, 0)


def test_ctrl_c_ends_with_the_counts_and_a_second_one_at_once() -> None:
    with started(["sh", "-c", "while :; do cat /x/a; done"], stdout=subprocess.DEVNULL) as process:
        with attached("-f", "--pid", process.pid, ready=lambda: None) as live:
            run = live.stop()
        assert run.status == 0
        assert run.counts[2] == 0
        reader, writer = os.pipe()
        stuck = subprocess.Popen(
            argv("-f", "--pid", process.pid),
            stdout=writer,
            stderr=subprocess.PIPE,
            env=environment(),
            stdin=subprocess.DEVNULL,
        )
        os.close(writer)
        try:
            until(lambda: _blocked_in_write(stuck.pid), "isotrace waits for the reader of its output")
            stuck.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert stuck.poll() is None
            stuck.send_signal(signal.SIGINT)
            _, err = stuck.communicate(timeout=tracer.PATIENCE)
        finally:
            stuck.kill()
            os.close(reader)
    assert stuck.returncode == 130
    assert b"interrupted again" in err


def _blocked_in_write(pid: int) -> bool:
    return any(task.read_text().startswith("1 0x1 ") for task in Path(f"/proc/{pid}/task").glob("*/syscall"))


def test_sigkill_leaves_nothing_in_the_kernel(backend: str) -> None:
    busy = started(["sh", "-c", "while :; do sleep 0.1; done"])
    with busy as process, attached("--pid", process.pid, ready=lambda: None) as live:
        ids = held_by(live.process.pid)
        assert still_there(ids) == ids
        in_use = kernel_module.module("status").stdout
        live.process.kill()
        live.process.wait()
    if backend == "lkm":
        assert f"in use by process {live.process.pid}\n" in in_use
        assert "not in use" in kernel_module.module("status").stdout
        return
    assert Counter(kind for kind, _ in ids).keys() == {"prog", "map"}
    assert min(Counter(kind for kind, _ in ids).values()) > 5
    until(lambda: not still_there(ids), "programs and maps are gone")


def test_a_closed_pipe_ends_it_with_a_line() -> None:
    line = "{} | head -1".format(" ".join(argv("--", "sh", "-c", "'for i in $(seq 500); do cat /x/a; done'")))
    done = subprocess.run(
        ["bash", "-c", line + "; exit ${PIPESTATUS[0]}"], capture_output=True, text=True, env=environment(),
        timeout=tracer.PATIENCE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stdout.count("\n") == 1
    assert "execve(" in done.stdout
    assert done.returncode == 1
    assert "isotrace: the reader of standard output is gone: tracing ends here" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_ends_it_with_a_line() -> None:
    done = subprocess.run(
        argv("-o", "/dev/full", "--", "true"),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=tracer.PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1
    assert "isotrace: cannot write '/dev/full': No space left on device\n  hint: free some space" in done.stderr
    assert "Traceback" not in done.stderr


def test_colours_on_a_terminal_only() -> None:
    master, slave = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            argv("-q", "--calls", "execve", "--", "true"),
            stdout=slave,
            stderr=slave,
            stdin=subprocess.DEVNULL,
            env=environment(TERM="xterm"),
        )
        os.close(slave)
        shown = terminal.read(65536)
        assert process.wait(tracer.PATIENCE) == 0
    assert b"\x1b[36mexecve" in shown
    assert "\x1b" not in log("--calls", "execve", "--", "true").file


def test_who_is_not_root_is_told_so_in_a_line() -> None:
    done = subprocess.run(
        argv("--", "true"), capture_output=True, text=True, env=environment(), timeout=tracer.PATIENCE,
        stdin=subprocess.DEVNULL, user=65534, cwd="/",
    )  # fmt: skip
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("needs readable: user 65534 cannot read this checkout or its Python")
    assert done.returncode == 3
    first, *rest = done.stderr.splitlines()
    assert first.startswith("isotrace: ")
    assert len(rest) <= 1
    assert "root" in done.stderr


def test_a_call_that_seccomp_refused_has_no_duration(compiled: Compile, backend: str) -> None:
    """It never begins. The time of what the thread did before is not its own."""
    if backend == "lkm":
        pytest.skip("needs btf: the kernel module times every call")
    for calls in ("mkdir,rmdir", "all"):
        run = log("-T", "--calls", calls, "--", compiled("seccomp"))
        refused, tried, again = run.named("mkdir", "rmdir")
        assert refused.result == again.result == "-1 EACCES (Permission denied) <?>"
        assert re.fullmatch(r"-1 ENOENT \(No such file or directory\) <\d\.\d{6}>", tried.result)


def test_the_execve_of_a_thread_is_timed_from_its_beginning(compiled: Compile, backend: str) -> None:
    """Its number is another when it returns: that of the process."""
    if backend == "lkm":
        pytest.skip("needs btf: the kernel module times a thread by its number")
    program = "import os, threading; threading.Thread(target=os.execv, args=('/bin/true', ['true'])).start()"
    run = log("-T", "--calls", "execve", "--", sys.executable, "-c", program)
    last = run.named("execve")[-1]
    assert last.args.startswith('"/bin/true", ["true"]')
    assert re.fullmatch(r"0 <\d+\.\d{6}>", last.result)


def test_an_execve_under_another_name_leaves_nothing_for_the_next(tmp_path: Path, backend: str) -> None:
    """Who leaves --comm by an execve and comes back by another is shown with the other's file and arguments."""
    if backend == "lkm":
        pytest.skip("needs btf: the kernel module joins them by the task alone")
    for name in ("isot-inside", "isot-outside"):
        (tmp_path / name).write_bytes(Path("/bin/sh").read_bytes())
        (tmp_path / name).chmod(0o755)
    inside, outside = tmp_path / "isot-inside", tmp_path / "isot-outside"
    script = f"exec {outside} -c 'exec {inside} -c true'"
    with (
        started(["bash", "--norc"]) as shell,
        attached("--comm", "isot-inside", ready=lambda: _type(shell, f"{inside} -c true")) as live,
    ):
        _type(shell, f"{inside} -c {shlex.quote(script)}")
        run = live.stop()
    last = [line for line in run.named("execve") if "outside" not in line.text or line.result == "0"][-1]
    assert f'"{inside}", ["{inside}", "-c", "true"]' in last.args
    assert not [line for line in run.named("execve") if f'"{outside}"' in line.args.split(",")[0]]


def _type(shell: subprocess.Popen[str], line: str) -> None:
    """A line for a shell of the test's own, which has run when this returns."""
    assert shell.stdin and shell.stdout
    shell.stdin.write(f"{line}; echo done\n")
    shell.stdin.flush()
    assert shell.stdout.readline() == "done\n"


def test_a_string_of_the_limit_s_length_is_whole() -> None:
    """No dots behind what was not cut: of 8 bytes, and of paths as long as one can be."""
    longest = "/" + "x/" * 2047
    program = f"""
import ctypes
libc = ctypes.CDLL(None)
for name in (b"1234567", b"12345678", b"123456789"):
    libc.syscall(319, name, 0)
libc.syscall(80, {longest!r}.encode())
"""
    run = log("--string-limit", 8, "--calls", "memfd_create,chdir", "--", sys.executable, "-c", program)
    assert [line.args for line in run.named("memfd_create")] == ['"1234567", 0', '"12345678", 0', '"12345678"..., 0']
    assert run.named("chdir")[-1].args == f'"{longest}"'


def test_a_leader_that_an_execve_of_a_thread_ends_is_superseded(backend: str) -> None:
    """The process goes on under its number: it has not exited."""
    if backend == "lkm":
        pytest.skip("needs btf: the kernel module does not tell")
    program = (
        "import os, threading, time\n"
        "threading.Thread(target=os.execv, args=('/bin/echo', ['echo', 'on'])).start()\n"
        "time.sleep(600)"
    )
    run = log("--calls", "execve,write", "--", sys.executable, "-c", program)
    leader = run.named("execve")[0].tid
    told = [
        line.text for line in run.lines if line.tid == leader and (line.text.startswith("+++") or "on\\n" in line.text)
    ]
    assert re.fullmatch(r"\+\+\+ superseded by execve in pid \d+ \+\+\+", told[0])
    assert told[1].startswith('write(1, "on\\n", 3)')
    assert told[2:] == ["+++ exited with 0 +++"]
