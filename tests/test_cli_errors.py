"""What is wrong with a command line is said in one line, with a hint, and a status. No root needed."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from learned import Run
from signalled import signalled

ROOT = Path(__file__).parents[1]


def isotrace(*args):
    """Run it; returns (status, first line of standard error, the other lines)."""
    done = subprocess.run(
        [sys.executable, "-m", "isotrace", *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT), "LC_ALL": "C"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    first, *rest = done.stderr.splitlines() or [""]
    return done.returncode, first, rest


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "nothing to trace was named"),
        (["--calls", "opne", "--", "true"], "opne"),
        (["--calls", "%netwrk", "--", "true"], "netwrk"),
        (["--calls", "", "--", "true"], "empty term"),
        (["--uid", "no-such-user-here", "--", "true"], "no such user: 'no-such-user-here'"),
        (["--uid", "99999999999", "--", "true"], "no such user"),
        (["--tree", "1", "--", "true"], "--tree and a command to start exclude each other"),
        (["--pid", "0"], "--pid': 0 is not from 1 to 4194303"),
        (["--pid", "x"], "--pid"),
        (["--ppid", "4194304"], "--ppid"),
        (["--for", "soon", "--", "true"], "soon"),
        (["--for", "-1s", "--", "true"], "-1s"),
        (["--ring", "100", "--", "true"], "100"),
        (["--ring", "63k", "--", "true"], "no power of two"),
        (["--string-limit", "-1", "--", "true"], "string-limit': -1 is not from 0 to 4096"),
        (["--string-limit", "5000", "--", "true"], "string-limit"),
        (["--format", "xml", "--", "true"], "xml"),
        (["--nonsense", "--", "true"], "--nonsense"),
    ],
    ids=" ".join,
)
def test_a_command_line_that_makes_no_sense_is_status_2(args, message):
    status, first, rest = isotrace("log", *args)
    assert status == 2
    assert first.startswith("isotrace: ")
    assert message in first
    assert len(rest) <= 1


def test_an_unknown_call_names_those_that_are_near():
    _, first, rest = isotrace("log", "--calls", "opne", "--", "true")
    assert "open" in " ".join([first, *rest]).replace("opne", "")


def test_an_unknown_command():
    status, first, rest = isotrace("lgo")
    assert (status, first, rest) == (2, "isotrace: no such command: 'lgo'", ["  hint: did you mean log?"])
    assert isotrace("zzz")[2] == ["  hint: isotrace --help lists the commands"]


@pytest.mark.parametrize("option", ["--pid", "--ppid", "--tree"])
def test_a_process_that_does_not_exist(option):
    status, first, rest = isotrace("log", option, "4194303")
    assert (status, first) == (1, f"isotrace: {option} 4194303: no such process")
    assert len(rest) == 1


def test_a_cgroup_that_does_not_exist():
    status, first, rest = isotrace("log", "--cgroup", "/no/such/group")
    assert status in (1, 3)
    assert "cgroup" in first
    assert len(rest) <= 1


def test_an_output_that_cannot_be_opened(tmp_path):
    status, first, rest = isotrace("log", "-o", str(tmp_path / "missing" / "file"), "--", "true")
    assert status == 1
    assert first == f"isotrace: cannot write '{tmp_path}/missing/file': No such file or directory"
    assert rest == ["  hint: choose another file for -o"]
    assert isotrace("log", "-o", str(tmp_path), "--", "true")[0] == 1


def test_a_command_that_does_not_exist():
    status, first, _ = isotrace("log", "--", "no-such-command")
    assert (status, first) == (127, "isotrace: cannot run 'no-such-command': no such command")


def test_help_shows_examples():
    done = subprocess.run(
        [sys.executable, "-m", "isotrace", "log", "--help"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert "isotrace log --ppid $$" in done.stdout


ONE_FILE = ["--record", "{0}/t", "-o", "{0}/./t"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["log", *ONE_FILE], "the output and the recording are the same file"),
        (["block", "--deny", "open", *ONE_FILE], "the output and the recording are the same file"),
        (["log", "--record", "-"], "standard output is the command's"),
        (["top", "--once", "--record", "-"], "standard output is the table's"),
        (["block", "--deny", "open", "--record", "-"], "standard output is the command's"),
        (["record", "-o", "-"], "standard output is the command's"),
        *(
            ([verb, *more, *options], message)
            for verb, more in (("log", []), ("top", ["--once"]), ("block", ["--deny", "open"]))
            for options, message in (
                (["--redact", "data"], "--redact needs a recording"),
                (["--keep", "3"], "--keep needs a recording"),
                (["--record", "{0}/t", "--redact", "names"], "--redact names is not known"),
                (["--record", "{0}/t", "--redact", ""], "--redact '' is not known"),
                (["--record", "{0}/t", "--keep", "3"], "--keep needs --max-size"),
                (["--record", "{0}/t", "--max-size", "1k"], "--max-size 1024 is less than a part can have"),
                (["--record", "/dev/null", "--max-size", "1m"], "--max-size needs a file with a name"),
            )
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_recorded_so_is_said_before_anything_starts(tmp_path, args, message):
    status, first, rest = isotrace(*(word.format(tmp_path) for word in args), "--", "touch", str(tmp_path / "started"))
    assert (status, message in first, len(rest)) == (2, True, 1), (first, rest)
    assert not list(tmp_path.iterdir())


def test_a_recording_into_the_file_that_standard_output_is(tmp_path):
    with (tmp_path / "t").open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "isotrace", "log", "--record", tmp_path / "t", "--ppid", "1"],
            stdout=file, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 2
    assert "standard output is the log's" in done.stderr


@pytest.mark.parametrize("at", ["click", "isotrace.commands.calls"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_while_isotrace_is_imported_is_a_word(tmp_path, number, at):
    """Ctrl-C in the first moment had shown a traceback, another signal nothing."""
    done = signalled(tmp_path, at, number, "isotrace", "calls", "read")
    word = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    assert (done.returncode, done.stdout, done.stderr.strip()) == (128 + number, "", f"isotrace: {word}")


@pytest.mark.parametrize("at", ["click", "isotrace.commands.calls"])
def test_what_nohup_keeps_away_ends_nothing(tmp_path, at):
    done = signalled(tmp_path, at, signal.SIGHUP, "nohup", "isotrace", "calls", "read")
    assert done.returncode == 0 and done.stdout


def test_standard_output_that_does_not_wait_gets_all(tmp_path):
    """Whoever has the other end of the same pipe or terminal may have made it non-blocking: node does."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with subprocess.Popen(
        [sys.executable, "-m", "isotrace", "calls", "--format", "json"], stdout=write, cwd=ROOT
    ) as run:
        os.close(write)
        select.select([read], [], [], 60)
        time.sleep(0.5)  # it has filled the pipe
        with os.fdopen(read) as stream:
            assert "openat" in {json.loads(line)["name"] for line in stream}
    assert run.returncode == 0


def test_a_broken_pipe_is_only_of_the_output_where_that_is_broken(monkeypatch, capfd):
    """A part of isotrace that a signal ended is no reader of standard output that is gone."""
    from isotrace import __main__ as entry

    def broken(**_options):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(entry.cli, "main", broken)
    with pytest.raises(SystemExit):
        entry.main()
    assert "the reader of standard output" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        *(
            "--help",
            "--version",
            "calls",
            "calls openat",
            "doctor --json",
            "policy check p.toml",
            "policy explain p.toml",
        ),
        *("policy export p.toml --to seccomp", "policy import s.json", "policy diff p.toml q.toml", "learn t.arrow"),
        *("policy test q.toml t.arrow", "policy test p.toml t.arrow --format json", "diff t.arrow u.arrow"),
        *("export t.arrow --to csv", "export t.arrow --to json", "export t.arrow --to strace", "log --from t.arrow"),
        *("log --from t.arrow --format json", "top --once --from t.arrow", "calls --from t.arrow", "sql t.arrow"),
    ],
)
def test_a_result_for_a_closed_standard_output_is_one_line_and_no_success(tmp_path, words):
    (tmp_path / "p.toml").write_text('version = 1\n[groups.g]\ndeny = "kill"\n')
    (tmp_path / "q.toml").write_text('version = 1\n[groups.g]\ndeny = "open"\n')
    (tmp_path / "s.json").write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    for name, file in (("t.arrow", "/srv/a"), ("u.arrow", "/srv/b")):
        run = Run()
        run.open(file)
        run.save(tmp_path / name)
    command = [sys.executable, "-m", "isotrace", *words.split(), *(["SELECT 1 "] if words == "sql t.arrow" else [])]
    found = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert found.returncode == 1, found.stderr
    assert found.stderr.count("isotrace: cannot write standard output: it is not open for writing\n  hint: ") == 1
    assert "Traceback" not in found.stderr and "Exception" not in found.stderr
