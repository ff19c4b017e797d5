"""isotrace as a library: what it reads of recordings, what a policy says of them, and its errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pyarrow as pa
import pytest
from learned import ROOT, Run

import isotrace
from isotrace import library
from isotrace.recording.reader import Recording
from isotrace.recording.sql import Database
from isotrace.units import duration


@pytest.fixture
def run(tmp_path):
    made = Run()
    for _ in range(2):
        made.open("/etc/shadow")
    made.open("/srv/missing", result=-2)
    made.connect("127.0.0.1", 80)
    return isotrace.open(made.save(tmp_path / "t.arrow"))


def test_calls_have_their_fields_and_come_by_a_condition(run):
    calls = list(run.calls())
    assert [call.name for call in calls] == ["openat", "openat", "openat", "connect"]
    first, *_, connect = calls
    assert (first.path, first.file, first.made, first.result) == ("/etc/shadow", "/home/ann/app", "/etc/shadow", 3)
    assert first.pid == 100 and first.comm == "app" and first.text.startswith("openat(AT_FDCWD")
    assert connect.address == "127.0.0.1:80" and connect.time_ns > first.time_ns
    (failed,) = run.calls("error IS NOT NULL")
    assert (failed.path, failed.error) == ("/srv/missing", "ENOENT")
    assert run.problems == ()


def test_a_question_in_sql_gives_a_table(run):
    found = run.table("SELECT name, count(*) AS n FROM calls GROUP BY name ORDER BY n DESC")
    assert isinstance(found, pa.Table)
    assert found.to_pylist() == [{"name": "openat", "n": 3}, {"name": "connect", "n": 1}]
    with pytest.raises(isotrace.UsageError, match="nothing"):
        run.table("SELECT nothing FROM calls")
    with pytest.raises(isotrace.UsageError):
        run.table("")
    with pytest.raises(isotrace.UsageError):
        list(run.calls("nothing = 1"))


def test_a_policy_is_tried(run, tmp_path):
    policy = tmp_path / "p.toml"
    policy.write_text('version = 1\n[groups.g]\naction = "EACCES"\ndeny-path = "r:/etc/**"\n')
    trial = run.try_policy(policy)
    (refusal,) = trial.refusals
    assert (trial.refused, trial.allowed, trial.incomplete) == (2, 2, False)
    assert (refusal.call, refusal.what, refusal.count) == ("openat", "r /etc/shadow", 2)
    assert (refusal.rule, refusal.group, refusal.action) == ("deny-path r:/etc/**", "g", "EACCES")
    assert len(refusal.rows) == 2 and '"/etc/shadow"' in refusal.rows[0]
    assert [one.call for one in run.try_policy("@build").refusals] == ["connect"]
    with pytest.raises(isotrace.IsotraceError, match="no preset"):
        run.try_policy("@biuld")


def test_what_is_no_recording_is_an_error_with_a_hint(tmp_path):
    with pytest.raises(isotrace.IsotraceError) as error:
        isotrace.open(tmp_path / "none.arrow")
    assert "none.arrow" in str(error.value) and error.value.hint
    (tmp_path / "text").write_text("text")
    with pytest.raises(isotrace.IsotraceError, match="not a recording"):
        isotrace.open(tmp_path / "text")
    with pytest.raises(isotrace.UsageError):
        isotrace.open()


def test_a_recording_without_its_end_has_a_problem(run, tmp_path):
    (whole,) = run.paths
    cut = tmp_path / "cut.arrow"
    with open(whole, "rb") as file:
        cut.write_bytes(file.read()[:-200])
    assert len(isotrace.open(cut).problems) == 1


def test_what_cannot_be_recorded_is_said_as_isotrace_says_it(tmp_path, capsys):
    old = tmp_path / "old.arrow"
    old.write_text("not to be taken for a recording")
    with pytest.raises(isotrace.IsotraceError) as error:
        isotrace.record(old, ["true"], calls="nosuchcall")
    assert "nosuchcall" in error.value.message and error.value.hint
    assert "nosuchcall" in capsys.readouterr().err
    with pytest.raises(isotrace.IsotraceError, match="no such command"):
        isotrace.record(tmp_path / "t.arrow", ["no-such-program"])


def test_the_command_line_starts_without_it():
    code = "import sys, isotrace.cli; sys.exit('isotrace.library' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert set(isotrace.__all__) - {"__version__", "IsotraceError", "UsageError"} <= vars(library).keys()
    with pytest.raises(AttributeError):
        isotrace.nothing  # noqa: B018


@pytest.mark.parametrize(
    "where",
    ["1=1; SELECT 1", "1=1; DROP VIEW calls", "true) SELECT (1", "1=1 GROUP BY ALL", "name = '\udc80'", "/* no end"],
)
def test_a_condition_is_one_condition_or_an_error(run, where):
    with pytest.raises(isotrace.UsageError):
        list(run.calls(where))
    assert len(list(run.calls("name = 'connect' OR false -- as written"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"command": "ls -l"}, "command: a string"),
        ({"command": ["true"], "options": "-y"}, "options: a string"),
        ({"command": ["true"], "options": ["-o", "other"]}, "'-o' is not for options"),
        ({"command": ["true"], "options": ["-yo"]}, "'-yo' is not for options"),
        ({"command": ["true"], "options": ["--", "x"]}, "'--' is not for options"),
        ({"command": ["true"], "options": ["--help"]}, "'--help' is not for options"),
        ({"command": ["true", "a\0b"]}, "cannot be a word"),
        ({"comm": "\ud800"}, "cannot be a word"),
    ],
)
def test_words_that_would_be_taken_for_others_start_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(library, "_run", lambda words: pytest.fail(f"started: {words}"))
    with pytest.raises(isotrace.UsageError, match=message):
        isotrace.record(tmp_path / "t.arrow", **arguments)
    with pytest.raises(isotrace.UsageError, match=r"^'/dev/null' is no regular file"):
        isotrace.record("/dev/null", ["true"])


def test_seconds_are_written_as_isotrace_reads_them(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(library, "_run", lambda words: (asked.append(words), (1, []))[1])
    for seconds in (0.00001, 1e17, 3):
        with pytest.raises(isotrace.IsotraceError):
            isotrace.record(tmp_path / "t.arrow", comm="x", seconds=seconds)
    assert [duration(words[words.index("--for") + 1]) for words in asked] == [0.00001, 1e17, 3]


def test_no_command_is_recorded_whose_status_nobody_would_get(tmp_path):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(isotrace.UsageError, match="SIGCHLD") as error:
            isotrace.record(tmp_path / "t.arrow", ["false"])
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert "SIG_DFL" in error.value.hint


def test_a_directory_that_is_gone_is_said(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(isotrace.IsotraceError, match="no working directory"):
        isotrace.record("t.arrow", ["true"])


_NOTEBOOK = """
import sys, types
sys.modules["ipywidgets"] = None
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython"].get_ipython = lambda: types.SimpleNamespace(config={"IPKernelApp": {}})
"""


@pytest.mark.parametrize("before", ["", _NOTEBOOK], ids=["prompt", "notebook"])
def test_a_question_draws_nothing_in_a_program_that_is_typed(run, before):
    """DuckDB takes a program without a file for somebody at a prompt, and sees a notebook by IPython; without ipywidgets it
    may not even be told to draw nothing there.
    """
    code = before + (
        "import sys, isotrace; table = isotrace.open(sys.argv[1]).table;"
        "print(table(\"SELECT current_setting('enable_progress_bar') AS bar\").to_pylist())"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, *run.paths], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert said.stdout == "[{'bar': False}]\n"


def test_what_goes_wrong_while_rows_are_made_is_an_error_of_isotrace(run):
    with pytest.raises(isotrace.UsageError, match="Could not convert"):
        run.table('SELECT CAST("text" AS INT) FROM calls')
    with pytest.raises(isotrace.UsageError, match="Could not convert"):
        list(run.calls('CAST("text" AS INT) = 1'))


@pytest.mark.parametrize(
    "ask",
    [
        lambda run, slow: run.table(f"SELECT {slow}"),
        lambda run, slow: list(run.calls(f"0 < {slow}")),
    ],
    ids=["table", "calls"],
)
def test_ctrl_c_ends_a_question(run, monkeypatch, ask):
    """DuckDB would go on for minutes, and then say something of its own."""
    begun = threading.Event()
    work = Database.run

    def slowly(self, query):
        begun.set()
        return work(self, query)

    def press():
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Database, "run", slowly)
    before = set(threading.enumerate())
    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ask(run, "(SELECT sum(a.range + b.range) FROM range(1000000) a, range(1000000) b)")
    thread.join()
    assert set(threading.enumerate()) <= before, "the query goes on"
    monkeypatch.undo()
    assert run.table("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_a_recording_that_fails_below_a_query_is_said_in_its_own_words(run, monkeypatch):
    read, times = Recording.arrow, 0

    def gone(self, needs):
        for rows in read(self, needs):
            yield from [rows] * times
        raise isotrace.IsotraceError("cannot read it", "look at it")

    monkeypatch.setattr(Recording, "arrow", gone)
    with pytest.raises(isotrace.IsotraceError, match=r"^cannot read it$"):
        run.table("SELECT max(pid) FROM calls")
    with pytest.raises(isotrace.IsotraceError, match=r"^cannot read it$"):
        list(run.calls())
    times, seen = 5000, 0
    with pytest.raises(isotrace.IsotraceError, match=r"^cannot read it$"):
        for _ in run.calls():
            seen += 1
    assert seen  # it failed among the rows
