"""isotrace record, and --record beside log, top and block: what is in the file, and what becomes of the run."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter

import pytest
from terminal import Terminal
from tracer import PATIENCE, environment, log, started, until

from isotrace.enforce.calls import notify
from isotrace.recording.reader import Recording
from isotrace.recording.schema import KINDS
from isotrace.trace import events

WORK = ["sh", "-c", "cat /etc/hostname; cat /no/such/file; exit 3"]
listens = pytest.mark.skipif(notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}")


def isotrace(*args, **options):
    """Run isotrace to its end."""
    command = [sys.executable, "-m", "isotrace", *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment(),
        stdin=subprocess.DEVNULL, **options,
    )  # fmt: skip


def rows(path):
    """Kind → how many, and the recording, read to its end."""
    recording, found = Recording(str(path)), Counter()
    for batch in recording.arrow():
        found.update(batch.column("kind").to_pylist())
    return found, recording


def calls(path):
    """The calls of a recording, as the ring had them."""
    recording = Recording(str(path))
    found = [batch.events for batch in map(recording.batches_of, recording.arrow()) for batch in batch]
    return [event for batch in found for event in batch[batch["kind"] == events.CALL]]


def test_a_recording_has_every_call_and_its_counts(tmp_path):
    file = tmp_path / "t.arrow"
    run = isotrace("record", "-o", file, "--", *WORK)
    assert run.returncode == 3, run.stderr
    found, recording = rows(file)
    assert recording.complete and not recording.problems() and found["end"] == 1 and found["exit"] == 3
    assert f"{found['call']} calls, {found['call']} delivered, 0 lost" in run.stderr
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    assert all(int(event["duration"]) for event in calls(file) if event["slot"] == 257)  # openat
    assert found["process"] == 0, "nothing of the target ran before"


def test_log_shows_the_same_that_it_records(tmp_path):
    file = tmp_path / "t.arrow"
    run = log("--record", file, "--", *WORK)
    assert run.status == 3 and sum(bool(line.name) for line in run.lines) == rows(file)[0]["call"] == run.counts[1]


def test_failed_is_about_what_is_shown(tmp_path):
    file = tmp_path / "t.arrow"
    run = log("--failed", "--record", file, "--calls", "openat", "--", *WORK)
    assert len(run.lines) < rows(file)[0]["call"] == run.counts[1]


def test_processes_that_ran_before_are_rows(tmp_path):
    file = tmp_path / "t.arrow"
    with started(["sleep", "60"]) as sleeper:
        assert isotrace("record", "-o", file, "--pid", sleeper.pid, "--for", "300ms").returncode == 0
    found, recording = rows(file)
    assert (found["process"], found["unfinished"]) == (1, 2) and recording.complete


def test_a_file_that_is_killed_is_readable_and_says_that_it_is_cut(tmp_path):
    file = tmp_path / "t.arrow"
    with started(["sh", "-c", "while :; do /bin/true; done"]) as busy:
        command = [sys.executable, "-m", "isotrace", "record", "-o", str(file), "-f", "--pid", str(busy.pid)]
        run = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
        until(lambda: file.exists() and file.stat().st_size > 4096 and rows(file)[0]["call"] > 1000, "some batches")
        run.kill()
        run.wait()
    found, recording = rows(file)
    assert found["call"] > 1000 and not recording.complete and recording.problems()


def test_top_counts_and_records(tmp_path):
    file = tmp_path / "t.arrow"
    run = isotrace("top", "--once", "--format", "json", "--record", file, "--", *WORK)
    found, recording = rows(file)
    assert run.returncode == 3 and found["call"] > 50 and recording.complete and "lost" not in run.stderr


@pytest.mark.parametrize("verb", [["log", "--format", "none"], ["top", "--once"]], ids=" ".join)
def test_beside_other_verbs_a_recording_has_the_same_options(tmp_path, verb):
    file = tmp_path / "t.arrow"
    run = isotrace(
        *verb, "--record", file, "--redact", "argv", "--max-size", "1m", "--keep", "2", "--", "/bin/true", "SECRET"
    )
    assert run.returncode == 0, run.stderr
    assert Recording(str(file)).head.redacted == ("argv",) and b"SECRET" not in file.read_bytes()


@pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux for a terminal")
def test_the_live_table_records_beside_what_it_draws(tmp_path):
    file = tmp_path / "t.arrow"
    terminal = Terminal(tmp_path / "tmux")
    loop = 'sh -c "while :; do cat /no/such/file; done"'
    terminal.start(f"--record {file} -- {loop}")
    try:
        terminal.wait(r"^openat +")
        until(lambda: rows(file)[0]["call"] > 1000, "some batches")
        terminal.keys("q")
        assert "STATUS=0" in terminal.wait(r"^STATUS=")
    finally:
        terminal.close()
    assert rows(file)[1].complete


@listens
def test_block_refuses_and_records_both_the_calls_and_the_refusals(tmp_path):
    file = tmp_path / "t.arrow"
    script = f"mkdir {tmp_path}/a; mkdir {tmp_path}/b; exit 4"
    run = isotrace("block", "--backend", "seccomp", "--deny", "mkdir", "--record", file, "--", "sh", "-c", script)
    found, recording = rows(file)
    assert run.returncode == 4 and found["refused"] == 2 and recording.complete, run.stderr
    for style, lines in (("text", ["-t"]), ("json", ["--format", "json"])):
        script = f"mkdir {tmp_path}/c; exit 4"
        isotrace("block", "--backend", "seccomp", "--deny", "mkdir", "--format", style, "-o", tmp_path / "live",
                 "--record", tmp_path / style, "--", "sh", "-c", script)  # fmt: skip
        shown = isotrace("log", "--from", tmp_path / style, *lines).stdout.splitlines()
        assert (tmp_path / "live").read_text().splitlines()[0] in shown
    failed = [event for event in calls(file) if event["slot"] == 83 and event["result"] == -1]  # mkdir, EPERM
    assert len(failed) == 2


@listens
def test_a_disk_that_fills_ends_a_recording_beside_refusals_and_not_these(tmp_path):
    script = f"for i in 1 2 3 4; do mkdir {tmp_path}/$i; sleep 1; done; exit 4"
    run = isotrace(
        "block", "--backend", "seccomp", "--deny", "mkdir", "--record", "/dev/full", "--", "sh", "-c", script
    )
    assert run.returncode in (1, 4) and not list(tmp_path.iterdir()), run.stderr
    assert "no space left on device" in run.stderr and "Traceback" not in run.stderr


def test_a_disk_that_fills_ends_a_recording_with_the_reason():
    run = isotrace("record", "-o", "/dev/full", "--", "sh", "-c", "sleep 30")
    assert run.returncode == 1 and "no space left on device" in run.stderr and "Traceback" not in run.stderr


LOOP = [sys.executable, "-c", "import os\nfor _ in range(100000): os.getppid()"]


def full_beyond(size):
    """A disk that has room for so many bytes a file, as isotrace sees it."""
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}


def test_what_a_full_disk_kept_out_of_the_file_was_not_delivered(tmp_path):
    file = tmp_path / "t.arrow"
    run = isotrace("record", "-o", file, "--", *LOOP, **full_beyond(300_000))
    assert run.returncode == 1 and "file too large" in run.stderr
    delivered = re.search(r"\d+ calls, (\d+) delivered, [1-9]\d* lost", run.stderr)
    assert int(delivered[1]) == rows(file)[0]["call"] > 10_000, run.stderr


def test_an_output_whose_disk_is_full_ends_alone(tmp_path):
    file = tmp_path / "t.arrow"
    run = isotrace("log", "-o", tmp_path / "t.txt", "--record", file, "--", *LOOP, **full_beyond(2_000_000))
    found, recording = rows(file)
    assert run.returncode == 1 and recording.complete and found["call"] > 100_000, run.stderr
    assert f"{found['call']} calls, {found['call']} delivered, 0 lost" in run.stderr
    assert "t.txt': file too large: the recording goes on without it" in run.stderr.lower()
    assert "not everything was written" in run.stderr


@pytest.mark.parametrize("words", [["record", "-o"], ["log", "-o"], ["log", "--record"]], ids=" ".join)
def test_a_pipe_that_nobody_reads_is_waited_for_and_one_ctrl_c_ends_that(tmp_path, words):
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-m", "isotrace", *words, str(tmp_path / "pipe"), "--", "touch", str(tmp_path / "ran")]
    run = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert f"waiting for somebody to read '{tmp_path}/pipe'" in run.stderr.readline()
    run.send_signal(signal.SIGINT)
    assert "interrupted" in run.communicate(timeout=PATIENCE)[1]
    assert run.returncode == 130 and not (tmp_path / "ran").exists()


def test_a_pipe_that_somebody_reads_late_gets_all(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-m", "isotrace", "record", "-o", str(tmp_path / "pipe"), "--", "true"]
    run = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    assert "waiting for" in run.stderr.readline()
    (tmp_path / "t").write_bytes((tmp_path / "pipe").read_bytes())
    run.communicate(timeout=PATIENCE)
    assert run.returncode == 0 and rows(tmp_path / "t")[1].complete


def test_redacted_arguments_and_values_are_nowhere_in_the_file(tmp_path):
    file = tmp_path / "t.arrow"
    script = (
        "import ctypes, sys; c = ctypes.CDLL(None); "
        "c.mount(b'none', b'/nonexistent', b'cifs', 0, b'password=SECRETMOUNT'); "
        "c.syscall(249, b'user', b'x', b'SECRETCALLOUT', 0); "
        "c.syscall(431, -1, 1, b'source', b'SECRETVALUE', 0); "
        "c.setsockopt(-1, 1, 25, b'SECRETDEVICE', 12)"
    )
    assert (
        isotrace(
            "record", "-o", file, "--redact", "data,argv", "--", sys.executable, "-c", script, "SECRETARG"
        ).returncode
        == 0
    )
    whole = file.read_bytes() + b"".join(
        memory for batch in Recording(str(file)).arrow() for memory in batch.column("memory").to_pylist() if memory
    )
    assert b"cifs" in whole and b"SECRET" not in whole


def test_the_lines_and_the_recording_are_two_files(tmp_path):
    run = isotrace("log", "-o", tmp_path / "t", "--record", tmp_path / "." / "t", "--", "true")
    assert run.returncode == 2 and "the same file" in run.stderr and not (tmp_path / "t").exists()


def test_what_is_redacted_is_not_in_the_file(tmp_path):
    file = tmp_path / "t.arrow"
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery staple")
    assert isotrace("record", "-o", file, "--redact", "data", "--", "cat", secret).returncode == 0
    parts = [batch.column("memory").to_pylist() for batch in Recording(str(file)).arrow()]
    memory = b"".join(piece for part in parts for piece in part)
    assert b"correct horse" not in memory and str(secret).encode() in memory


def test_to_standard_output_and_ctrl_c_completes_it(tmp_path):
    file = tmp_path / "t.arrow"
    with started(["sh", "-c", "while :; do /bin/true; done"]) as busy, file.open("wb") as stream:
        command = [sys.executable, "-m", "isotrace", "record", "-o", "-", "-f", "--pid", str(busy.pid)]
        run = subprocess.Popen(command, env=environment(), stdout=stream, stderr=subprocess.DEVNULL)
        until(lambda: file.stat().st_size > 4096, "a batch")
        run.send_signal(signal.SIGINT)
        assert run.wait(PATIENCE) == 0
    assert rows(file)[1].complete


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--", "true"], 2, "Missing option '-o'"),
        (["-o", "-", "--", "true"], 2, "standard output is the command's"),
        (["-o", "/no/such/directory/x", "--", "true"], 1, "no such file or directory"),
        (["-o", "{}/x", "--keep", "3", "--", "true"], 2, "--keep needs --max-size"),
        (["-o", "{}/x", "--max-size", "1k", "--", "true"], 2, "--max-size 1024 is less"),
        (["-o", "{}/x", "--redact", "names", "--", "true"], 2, "--redact names is not known"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_a_hint(tmp_path, arguments, status, said):
    run = isotrace("record", *(word.format(tmp_path) for word in arguments))
    first, *hints = run.stderr.splitlines()
    assert run.returncode == status and said in first and len(hints) == 1 and "hint:" in hints[0]


def test_the_kinds_that_the_ring_and_the_recording_know_are_the_same():
    assert KINDS[events.LOST] == "lost" and KINDS[events.CALL] == "call"
