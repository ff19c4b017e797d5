"""isotrace sql: the ten queries of docs/sql.md, what a query reads, what is wrong with one, and how answers look."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
import recorded
from learned import Run
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from isotrace.errors import UsageError
from isotrace.recording import friendly, prompt, results, sql
from isotrace.recording.reader import again
from isotrace.recording.sql import Database
from isotrace.stacks.frames import End, Frame, pack
from isotrace.trace import events
from isotrace.trace.events import Blob

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/sql.md").read_text()
QUERIES = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```sql\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Database:
    return Database([str(recorded.record(tmp_path_factory.mktemp("r") / "t.arrow"))])


def answer(database: Database, query: str) -> list[list[object]]:
    result = database.run(query)
    assert result is not None
    return list(results.rows(result))


EXPECTED: dict[str, list[list[object]]] = {
    "The slowest opens": [
        ["/tmp/o\\377t", "cat", None, 70.0],
        ["/etc/late", "cat", None, 9.0],
        ["/etc/late", "cat", "ENOENT", 0.1],
        ["/etc/late", "cat", "ENOENT", 0.1],
    ],
    "Files written, by whom, and how much": [["/tmp/o\\377t", "cat", 10]],
    "Bytes sent and received, by address": [["/run/x\\33.sock", 600, 7], ["10.0.0.1:80", 500, 7]],
    "Calls that failed, and then succeeded": [["openat", "/etc/late", "ENOENT", 2]],
    "The tree of processes, with times": [
        ["sh", 100, None, 5.0003, None],
        ["  cat", 101, "/bin/cat", 0.3796, 3],
        ["  c\\33[31m", 102, "/usr/bin/curl", 0.3007, None],
    ],
    "What fails most often": [
        ["openat", "ENOENT", 2,
         'openat(AT_FDCWD, "/etc/late", O_WRONLY|O_CREAT|O_TRUNC, 000) = -1 ENOENT (No such file or directory)'],
    ],
    "Files that were looked for in vain": [["/etc/late", 2, "cat"]],
    "Calls a second": [["2023-11-14 22:13:20.000000", 21, 2]],
    "What was lost, and what was denied": [
        ["denied", "unlink", 1, "deny unlink"],
        ["lost", "close", 1, None],
        ["lost", "read", 2, None],
    ],
}  # fmt: skip


def test_the_page_has_ten_queries():
    assert len(QUERIES) == 10
    assert set(QUERIES) - set(EXPECTED) == {"Where the time goes"}


@pytest.mark.parametrize("title", EXPECTED)
def test_a_query_of_the_page(database, title):
    assert answer(database, QUERIES[title]) == EXPECTED[title]


def test_where_the_time_goes(database):
    found = answer(database, QUERIES["Where the time goes"])
    assert found[0] == ["sh", "wait4", 1, 5_000_000, 5_000_000, 5_000_000]
    assert sum(row[2] for row in found) == 21


def test_every_column_of_the_tables_is_in_the_page(database):
    for table in sql.VIEWS:
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{table}`"))
        documented = set(re.findall(r"`(\w+)`", row)) | ({f"arg{i}" for i in range(6)} if table == "calls" else set())
        assert set(database.columns(table)) <= documented


def test_processes(database):
    found = answer(
        database, "SELECT pid, ppid, program, ran_before, calls, status, killed_by FROM processes ORDER BY pid"
    )
    assert found == [
        [100, 1, None, True, 4, None, None],
        [101, 100, "/bin/cat", False, 9, 3, None],
        [102, 100, "/usr/bin/curl", False, 8, None, 15],
    ]


def test_a_rename_has_two_paths(database):
    assert answer(database, "SELECT path, path2 FROM calls WHERE name = 'rename'") == [["/tmp/a", "/tmp/b"]]


def test_only_the_columns_that_a_query_needs_are_made(database, monkeypatch):
    made: list[str] = []

    def spied(rows, names, state, into):
        made.extend(names)
        return real(rows, names, state, into)

    real = friendly.made
    monkeypatch.setattr(friendly, "made", spied)
    answer(database, "SELECT name, count(*) FROM calls GROUP BY name")
    assert set(made) == {"kind", "name"}


@pytest.mark.parametrize(
    ("query", "message", "hint"),
    [
        ("SELECT nme FROM calls", 'Binder Error: Referenced column "nme" not found in FROM clause!', '"name"'),
        ("SELEC 1", 'Parser Error: syntax error at or near "SELEC"', "the tables are calls, processes"),
        ("SELECT * FROM call", "Catalog Error: Table with name call does not exist!", "calls"),
        ("SELECT 1 / 'x' FROM calls", "Conversion Error: Could not convert string 'x' to", "tables"),
    ],
)
def test_a_wrong_query_is_one_line(database, query, message, hint):
    with pytest.raises(UsageError) as caught:
        answer(database, query)
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message
    assert hint in caught.value.hint


def test_views_can_be_made_and_several_statements_run(database):
    assert answer(database, "CREATE TEMP VIEW slow AS SELECT * FROM calls WHERE duration_ns > 1000000; "
                            "SELECT name FROM slow") == [["wait4"]]  # fmt: skip


def test_several_hosts_are_one_table(tmp_path):
    paths = [str(recorded.record(tmp_path / host, host=host)) for host in ("a", "b")]
    assert answer(Database(paths), "SELECT host, count(*) FROM calls GROUP BY 1 ORDER BY 1") == [["a", 21], ["b", 21]]


def test_a_cut_recording_says_so(tmp_path):
    path = recorded.record(tmp_path / "t")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 300])
    database = Database([str(path)])
    answer(database, "SELECT count(*) FROM calls")
    assert database.verdict.lines == (
        f"'{path}' is cut within a batch: what came before is here, what came after is lost",
    )


# ---- how it looks -------------------------------------------------------------------------------------------------------


def reader(**columns) -> pa.RecordBatchReader:
    table = pa.table(columns)
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches())


def shown(form: str, **columns) -> str:
    out = io.StringIO()
    results.FORMATS[form](reader(**columns), out)
    return out.getvalue()


def test_csv_and_json():
    columns = {"name": ["a,b", None], "n": [1, 2]}
    assert shown("csv", **columns) == 'name,n\n"a,b",1\n,2\n'
    assert [json.loads(line) for line in shown("json", **columns).splitlines()] == [
        {"name": "a,b", "n": 1},
        {"name": None, "n": 2},
    ]


@pytest.mark.parametrize("count", [1, 60])
def test_nothing_hostile_reaches_a_terminal(count):
    text = shown("table", **{f"n\x1b{i}": ["\x1b[2J\u202e"] for i in range(count)})
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    assert "\\33[2J" in text


# ---- the command --------------------------------------------------------------------------------------------------------


def command(*args: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "isotrace", "sql", *args],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        **options,
    )


def test_the_command(tmp_path):
    path = str(recorded.record(tmp_path / "t.arrow"))
    done = command(path, "SELECT count(*) AS n FROM calls")
    assert (done.returncode, done.stdout, done.stderr) == (0, "n\n21\n", "")
    done = command("-", "SELECT count(*) AS n FROM calls c JOIN processes USING (pid)", "--format", "json",
                   stdin=open(path))  # fmt: skip  # noqa: SIM115
    assert (done.returncode, done.stdout) == (0, '{"n": 21}\n')
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
        done = command("-", "SELECT count(*) AS n FROM calls c JOIN processes USING (pid)", stdin=cat.stdout)
    assert (done.returncode, done.stdout) == (0, "n\n21\n")
    assert command(path, input="SELECT 1 AS one").stdout == "one\n1\n"


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["/nowhere", "SELECT 1 FROM calls"], 2, "isotrace: no such recording: '/nowhere'\n  hint: isotrace record"),
        (["SELECT 1 FROM calls"], 2, "isotrace: no recording was named\n  hint: isotrace sql FILE QUERY"),
        (["/nowhere", ""], 2, "isotrace: the query is empty\n  hint: begin with SELECT"),
        (["/nowhere", "SELECT 1", "SELECT 2"], 2, "isotrace: more than one query was given\n  hint: "),
        (["/etc/passwd", "SELECT 1 FROM calls"], 1, "isotrace: '/etc/passwd' is not a recording of isotrace\n  hint: "),
    ],
)
def test_bad_arguments_are_a_line_and_a_hint(args, status, message):
    done = command(*args)
    assert done.returncode == status
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 2


def test_the_prompt_asks_answers_and_remembers(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    database = Database(again([str(recorded.record(tmp_path / "t"))]))
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("SELECT count(*) AS n\rFROM calls;\rSELECT nme FROM calls;\r.tables\r.columns losses\r.quit\r")
        prompt.run(database, "csv")
    out, err = capfd.readouterr()
    assert out == "n\n21\n"
    assert 'isotrace: Binder Error: Referenced column "nme" not found' in err
    history = tmp_path / "isotrace" / "sql_history"
    assert "FROM calls;" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def test_what_goes_wrong_in_the_middle_of_an_answer_is_one_line_also_at_the_prompt(database, capfd):
    query = "SELECT CASE WHEN i = 200000 THEN error('boom') ELSE i END FROM range(300000) t(i)"
    prompt.answer(database, query, "csv")
    done = command(recorded.record(Path(database._paths[0]).parent / "boom"), query)
    for err in (capfd.readouterr().err, done.stderr):
        assert re.fullmatch(r"isotrace: .*boom\n  hint: .*\n", err), err
    assert done.returncode == 2


def test_ctrl_c_ends_a_long_query_and_not_the_prompt(database, capfd):
    def interrupt_once_it_runs():
        while all(thread.name != "query" for thread in threading.enumerate()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt_once_it_runs)
    thread.start()
    prompt.answer(database, "SELECT sum(a.range + b.range) FROM range(10000000) a, range(10000000) b", "csv")
    thread.join()
    assert capfd.readouterr().err == "isotrace: interrupted\n"
    prompt.answer(database, "SELECT 7 AS n", "csv")
    assert capfd.readouterr().out == "n\n7\n"


def test_ctrl_c_while_a_query_begins_ends_it(database, capfd, monkeypatch):
    start = threading.Thread.start

    def interrupted(thread):
        start(thread)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        prompt.answer(database, "SELECT sum(a.range + b.range) FROM range(10000000) a, range(10000000) b", "csv")
    assert capfd.readouterr().err == "isotrace: interrupted\n"


def test_tab_completes_tables_columns_and_words(database):
    assert {"calls", "refusals", "duration_ns", "what", "GROUP BY"} <= set(prompt.words(database))


def test_a_span_of_time_is_text(database):
    (span,), *_ = answer(database, "SELECT max(time) - min(time) FROM calls")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{9}", str(span))
    asked = "SELECT INTERVAL '1 month 2 days -3 seconds', INTERVAL '1 day', INTERVAL '0 days', NULL::INTERVAL"
    assert answer(database, asked) == [["1 months 2 days -00:00:03.000000000", "1 days", "00:00:00.000000000", None]]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY calls TO '{}/copied.csv'",
        "ATTACH '{}/other.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
    ],
)
def test_a_query_is_about_the_recordings_and_nothing_else(query, database, tmp_path):
    with pytest.raises(UsageError):
        database.run(query.format(tmp_path))
    assert not list(tmp_path.iterdir())


def test_of_several_statements_the_last_one_answers(database):
    assert answer(database, "SELECT count(*) FROM calls; SELECT 7") == [[7]]


def test_columns_of_one_name_are_all_there(database):
    out = io.StringIO()
    results.as_json(database.run("SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a"), out)
    assert sorted(json.loads(out.getvalue()).values()) == [1, 2, 3, 4]


def test_stacks_are_the_functions_that_led_to_a_call(tmp_path):
    run = Run()
    frames, end = pack(
        [Frame(b"/lib/libc.so.6", 7, "write", 1), Frame(b"/bin/a;b", 9), Frame(b"", 3, "main\n")], End.MEMORY
    )
    whole, ending = pack([Frame(b"/bin/x", 1, "main")], End.OUTERMOST)
    for data, why in ((frames, end), (whole, ending), (whole, ending)):
        run.call("getppid", blobs=[Blob(events.STACK_ARG, events.PART_FRAMES, events.WHOLE, why, data)])
    run.call("getppid")
    database = Database([str(run.save(tmp_path / "t.arrow"))])
    assert answer(database, "SELECT stack, count(*) FROM calls GROUP BY stack ORDER BY stack NULLS LAST") == [
        ["[...];main\\n;[a:b];write", 1],
        ["main", 2],
        [None, 1],
    ]
