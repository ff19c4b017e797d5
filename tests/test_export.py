"""isotrace export: each form is read back by what it is for, or by that's own definition of it."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import duckdb
import pytest
import recorded
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent
from recorded import CAT, CURL, SHELL
from signalled import signalled

from isotrace.errors import IsotraceError, UsageError
from isotrace.export import forms
from isotrace.recording import reader
from isotrace.recording.parts import Verdict

CALLS = 21
ROOT = Path(__file__).parents[1]


@pytest.fixture
def recording(tmp_path) -> Path:
    return recorded.record(tmp_path / "t.arrow")


def exported(recording: Path, form: str, name: str = "out") -> Path:
    to = recording.with_name(name)
    assert forms.export([str(recording)], form, str(to)) == (
        [f"{CALLS} calls written to {str(to)!r}"],
        Verdict(incomplete=True),
    )
    return to


# ---- lines and tables ---------------------------------------------------------------------------------------------------


def test_strace(recording):
    lines = exported(recording, "strace").read_text().splitlines()
    assert lines[0] == "100   1699999999.995013 wait4(101,  <unfinished ...>"
    assert "100   1699999999.999999 fork()          = 101 <0.000000>" in lines
    assert '102   1699999999.999717 execve("/usr/bin/curl", ["curl"], 0x3 <unfinished ...>' in lines
    failed = 'openat(AT_FDCWD, "/etc/late", O_WRONLY|O_CREAT|O_TRUNC, 000) = -1 ENOENT (No such file or directory)'
    assert f"101   1700000000.000003 {failed} <0.000000>" in lines
    assert "100   1700000000.000013 <... wait4 resumed>NULL, 0, NULL) = 101 <0.005000>" in lines
    assert "101   1700000000.000010 exit_group(3)   = ?" in lines
    assert "101   1700000000.000012 +++ exited with 3 +++" in lines
    assert "102   1700000000.000025 --- SIGTERM ---" in lines
    assert all(line.isascii() and line.isprintable() for line in lines)


@pytest.mark.parametrize("form", ["csv", "json", "strace", "chrome", "parquet"])
def test_only_calls_that_name_a_path(recording, form):
    to = recording.with_name("some")
    said, verdict = forms.export([str(recording)], form, str(to), patterns=["/etc/*", "/bin/c?t"])
    assert said == [f"4 calls written to {str(to)!r}"] and verdict == Verdict(incomplete=True), (
        "three opens and an execve"
    )
    if form == "csv":
        with to.open() as file:
            paths = [row["path"] for row in csv.DictReader(file)]
        assert paths == ["/bin/cat", *["/etc/late"] * 3]
    if form == "strace":
        assert [line.split()[2].partition("(")[0] for line in to.read_text().splitlines()][-3:] == ["openat"] * 3


def test_csv_has_the_columns_of_sql(recording):
    with exported(recording, "csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == CALLS
    assert rows[1] | {"name": "execve", "path": "/bin/cat", "pid": "101", "host": "web1"} == rows[1]
    assert [row["address"] for row in rows if row["name"] == "connect"] == ["10.0.0.1:80", "/run/x\\33.sock"]


def test_json_lines(recording):
    rows = [json.loads(line) for line in exported(recording, "json").read_text().splitlines()]
    assert len(rows) == CALLS
    assert rows[1] | {"name": "execve", "path": "/bin/cat", "pid": 101, "error": None} == rows[1]
    assert rows[0]["time"] == "2023-11-14 22:13:20.000000000"


DAY = 86_400_000_000_000


@pytest.fixture
def two_hosts(tmp_path) -> Path:
    """The Parquet of two hosts, one of which recorded on two days."""
    for host, offset in (("a", 0), ("b", 0), ("b", DAY)):
        path = recorded.record(tmp_path / f"{host}{offset}", host=host, offset=offset)
        assert forms.export([str(path)], "parquet", str(tmp_path / "all"))[0]
    return tmp_path / "all"


def test_parquet_of_two_hosts_is_one_table_by_host_and_date(two_hosts):
    places = {str(file.parent.relative_to(two_hosts)) for file in two_hosts.rglob("*.parquet")}
    assert places == {"host=a/date=2023-11-14", "host=b/date=2023-11-14", "host=b/date=2023-11-15"}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in two_hosts.rglob("*.parquet"))
    found = f"read_parquet('{two_hosts}/**/*.parquet')"
    query = f"SELECT host, date::VARCHAR, count(*) FROM {found} GROUP BY 1, 2 ORDER BY 1, 2"
    assert duckdb.sql(query).fetchall() == [
        ("a", "2023-11-14", CALLS), ("b", "2023-11-14", CALLS), ("b", "2023-11-15", CALLS),
    ]  # fmt: skip


def test_exporting_again_doubles_nothing(two_hosts, tmp_path):
    forms.export([str(tmp_path / "a0")], "parquet", str(two_hosts))
    assert duckdb.sql(f"SELECT count(*) FROM read_parquet('{two_hosts}/**/*.parquet')").fetchall() == [(3 * CALLS,)]


SPARK = """
import json, sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
spark.sparkContext.setLogLevel("OFF")
table = spark.read.parquet(sys.argv[1])
rows = table.groupBy("host", "name").count().orderBy("host", "name").collect()
first = table.where("name = 'execve' and host = 'a'").orderBy("time_ns").first()
print("RESULT", json.dumps([[list(row) for row in rows], first["path"], str(first["time"])]))
"""


def test_spark_and_duckdb_count_the_same(two_hosts):
    pytest.importorskip("pyspark", reason="needs pyspark: pip install --group spark")
    if not shutil.which("java"):
        pytest.skip("needs java: Spark runs on it")
    done = subprocess.run(
        [sys.executable, "-c", SPARK, str(two_hosts)], capture_output=True, text=True, check=True, cwd=two_hosts.parent
    )
    rows, path, _ = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))[7:])
    query = f"SELECT host, name, count(*) FROM read_parquet('{two_hosts}/**/*.parquet') GROUP BY 1, 2 ORDER BY 1, 2"
    assert [tuple(row) for row in rows] == duckdb.sql(query).fetchall()
    assert path == "/bin/cat"


# ---- traces -------------------------------------------------------------------------------------------------------------


def test_perfetto_has_a_track_a_thread_slices_names_and_flows(recording):
    trace = Trace.FromString(exported(recording, "perfetto").read_bytes())
    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")}
    threads = {uuid: track.thread for uuid, track in tracks.items() if track.HasField("thread")}
    processes = {t.process.pid: t.process.process_name for t in tracks.values() if t.HasField("process")}
    assert processes == {SHELL: "sh", CAT: "cat", CURL: '"c\\33[31m"'}
    assert {(thread.pid, thread.tid) for thread in threads.values()} == {(n, n) for n in (SHELL, CAT, CURL)}
    assert all(
        tracks[track.parent_uuid].process.pid == track.thread.pid for track in tracks.values() if track.parent_uuid
    )

    names = {entry.iid: entry.name for p in trace.packet for entry in p.interned_data.event_names}
    slices: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    open_slices: dict[int, tuple[str, int]] = {}
    starts, ends = {}, {}
    for packet in trace.packet:
        event = packet.track_event
        if not packet.HasField("track_event"):
            continue
        assert event.track_uuid in threads
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            assert event.track_uuid not in open_slices
            open_slices[event.track_uuid] = (names[event.name_iid], packet.timestamp)
            starts |= dict.fromkeys(event.flow_ids, event.track_uuid)
            ends |= dict.fromkeys(event.terminating_flow_ids, event.track_uuid)
        elif event.type == TrackEvent.TYPE_SLICE_END:
            name, began = open_slices.pop(event.track_uuid)
            slices[event.track_uuid].append((name, began, packet.timestamp - began))
    assert open_slices == {}
    assert sum(map(len, slices.values())) == CALLS
    assert ("openat", recorded.BEGIN + 7000 - 70_000, 70_000) in slices[CAT]
    assert (starts, ends) == ({CAT: SHELL, CURL: SHELL}, {CAT: CAT, CURL: CURL})


def test_perfetto_knows_its_clock_and_shows_the_decoded_call(recording):
    trace = Trace.FromString(exported(recording, "perfetto").read_bytes())
    clocks = {clock.clock_id: clock.timestamp for clock in trace.packet[0].clock_snapshot.clocks}
    assert trace.packet[0].trace_packet_defaults.timestamp_clock_id == 3
    assert clocks[1] - clocks[3] > 1_600_000_000_000_000_000
    notes = [{a.name: a.string_value for a in p.track_event.debug_annotations} for p in trace.packet]
    assert {"call": 'rename("/tmp/a", "/tmp/b")', "result": "0"} in notes


def test_chrome(recording):
    found = json.loads(exported(recording, "chrome").read_text())["traceEvents"]
    by_kind = defaultdict(list)
    for event in found:
        by_kind[event["ph"]].append(event)
    assert len(by_kind["X"]) == CALLS
    assert {(e["name"], e["pid"], e["args"]["name"]) for e in by_kind["M"]} >= {
        ("process_name", CAT, "cat"), ("thread_name", SHELL, "sh"),
    }  # fmt: skip
    assert {(e["pid"], e["id"]) for e in by_kind["s"]} == {(SHELL, CAT), (SHELL, CURL)}
    assert {(e["pid"], e["id"]) for e in by_kind["f"]} == {(CAT, CAT), (CURL, CURL)}
    assert {e["name"] for e in by_kind["i"]} == {"exit", "SIGTERM", "killed by SIGTERM", "2 read calls lost"}
    (slow,) = (e for e in by_kind["X"] if e["name"] == "wait4")
    assert slow["dur"] == 5000


# ---- what is wrong ------------------------------------------------------------------------------------------------------


def test_it_goes_beside_the_recording_where_it_is_a_file(recording, tmp_path):
    for form, name in (("perfetto", "t.perfetto-trace"), ("chrome", "t.trace.json"), ("parquet", "t.parquet")):
        assert forms.export([str(recording)], form, None)[0] == [f"{CALLS} calls written to {str(tmp_path / name)!r}"]
        assert (tmp_path / name).exists()


def test_the_recording_is_not_written_over(recording):
    with pytest.raises(UsageError, match="is the recording itself"):
        forms.export([str(recording)], "csv", str(recording))


def test_traces_of_two_hosts_are_not_one(recording, tmp_path):
    other = recorded.record(tmp_path / "other", host="b")
    with pytest.raises(UsageError, match="recordings of 2 hosts or boots cannot be one perfetto trace"):
        forms.export([str(recording), str(other)], "perfetto", str(tmp_path / "out"))


def test_several_recordings_want_a_place(recording, tmp_path):
    other = recorded.record(tmp_path / "other")
    with pytest.raises(UsageError, match="no output was named for the parquet"):
        forms.export([str(recording), str(other)], "parquet", None)


@pytest.mark.parametrize("form", ["csv", "json", "strace", "perfetto", "chrome"])
def test_a_full_disk(recording, form):
    with pytest.raises(IsotraceError, match="cannot write '/dev/full': no space left on device"):
        forms.export([str(recording)], form, "/dev/full")


FILES = ["csv", "json", "strace", "perfetto", "chrome"]


@pytest.mark.parametrize("form", [*FILES, "parquet"])
def test_what_is_interrupted_leaves_what_was_there(recording, tmp_path, form, monkeypatch):
    """Ctrl-C comes once something has been written."""
    out = tmp_path / "out"
    before = exported(recording, form, "before")
    kept = {file: file.read_bytes() for file in [before, *before.rglob("*")] if file.is_file()}
    real = reader.Recording.arrow

    def interrupted(self, columns=None):
        yield from real(self, columns)
        assert [file for file in tmp_path.rglob("*") if "unfinished" in file.name]
        raise KeyboardInterrupt

    monkeypatch.setattr(reader.Recording, "arrow", interrupted)
    for to in (before, out):
        with pytest.raises(KeyboardInterrupt):
            forms.export([str(recording)], form, str(to))
    assert not [file for file in out.rglob("*") if file.is_file()]
    assert {file for file in tmp_path.rglob("*") if file.is_file()} == {recording, *kept}
    assert all(file.read_bytes() == data for file, data in kept.items())


def test_a_signal_to_end_is_an_interruption(recording, tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-m", "isotrace", "export", "-", "--to", "csv", "-o", tmp_path / "out"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    run.stdin.write(recording.read_bytes()[:-100])
    run.stdin.flush()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    assert b"interrupted" in run.communicate()[1]
    assert run.returncode == 130 and not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("isotrace.export.forms", ("export", "{}", "--to", "csv", "-o", "out.csv")),
        ("isotrace.recording.results", ("sql", "{}", "SELECT count(*) AS n FROM calls")),
    ],
    ids=["export", "sql"],
)
def test_a_hangup_that_nohup_keeps_away_ends_nothing(recording, tmp_path, at, words):
    done = signalled(tmp_path, at, signal.SIGHUP, "nohup", "isotrace", *(word.format(recording) for word in words))
    assert done.returncode == 0, done.stderr


def test_a_link_stays_a_link(recording, tmp_path):
    (tmp_path / "link").symlink_to("file")
    exported(recording, "csv", "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text().count("\n") > CALLS


def test_parquet_of_hosts_whose_names_are_no_file_names(tmp_path):
    for host in ("a/../b", "", "100%"):
        path = recorded.record(tmp_path / "t", host=host)
        forms.export([str(path)], "parquet", str(tmp_path / "all"))
    found = f"read_parquet('{tmp_path}/all/**/*.parquet', hive_partitioning = true)"
    hosts = duckdb.sql(f"SELECT DISTINCT host FROM {found} ORDER BY host NULLS FIRST").fetchall()
    assert hosts == [(None,), ("100%",), ("a/../b",)]
    assert not list(tmp_path.glob("b*"))


def test_parquet_wants_a_directory(recording, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IsotraceError, match="it is no directory"):
        forms.export([str(recording)], "parquet", str(tmp_path / "file"))


def test_the_command(recording):
    done = subprocess.run(
        [sys.executable, "-m", "isotrace", "export", recording, "--to", "strace"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0 and "execve(" in done.stdout
    assert done.stderr.splitlines() == [
        "isotrace: 101 cat: 2 read calls lost here",
        'isotrace: 102 "c\\33[31m": unlink("/etc/passwd") = -1 EPERM  (g: deny unlink)',
    ]
    data = recording.read_bytes()
    recording.write_bytes(data[: len(data) - 400])
    done = subprocess.run(
        [sys.executable, "-m", "isotrace", "export", recording, "--to", "csv"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert "is cut within a batch: what came before is here" in done.stderr
