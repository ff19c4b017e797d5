"""Recordings: what goes in comes out, whatever becomes of the file in between."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import batch, make, string

from isotrace.enforce import Enforced, Guarantees, Refused
from isotrace.errors import IsotraceError, UsageError
from isotrace.kernel.procfs import Process
from isotrace.policy.model import CallRule
from isotrace.recording import parts, reader, schema
from isotrace.recording.asked import Asked
from isotrace.recording.frames import BATCH, Frames
from isotrace.recording.reader import Recording
from isotrace.recording.rotate import Rotation
from isotrace.recording.schema import End, Head
from isotrace.recording.writer import Writer
from isotrace.trace import clock, events, plan
from isotrace.trace.events import Batch, Blob

SLOTS = {(call.name, call.abi): slot for slot, call in plan.all_calls().items()}
READ, OPENAT, EXECVE = (SLOTS[name, "x86_64"] for name in ("read", "openat", "execve"))
FIELDS = [name for name in events.EVENT.names if name not in ("pad", "size", "unread")]


def written(path: Path, *batches: Batch, end: End | None = None, **options) -> Path:
    """A recording of these batches, each of them one of Arrow's."""
    out = Writer(Asked(str(path), **options), Head(target="test"), now=iter(range(0, 1000000, 10)).__next__)
    for one in batches:
        out.write(one)
        out.flush()
    out.close(end or End())
    return path


def contents(found: list[Batch]) -> list[tuple]:
    """Every field of every record, and its captures."""
    return [
        (*(one.events[name][i].tolist() for name in FIELDS), one.wall, list(one.blobs(i)))
        for one in found
        for i in range(len(one))
    ]


def read(path: Path) -> list[Batch]:
    return list(reader.batches([Recording(str(path))]))


def rows_of(path: Path, kind: str) -> list[dict]:
    """The rows of a kind, with their time in ns since the epoch: Python's own has no nanoseconds."""
    found = []
    for rows in Recording(str(path)).arrow():
        times = rows.column("time").view(pa.int64())
        found += rows.set_column(rows.schema.get_field_index("time"), "time", times).to_pylist()
    return [row for row in found if row["kind"] == kind]


def numbered(first: int, count: int = 100) -> Batch:
    """Records that are told apart by their first argument."""
    return batch(*(make(OPENAT, (first + i, 7), 3, blobs=[string(1, b"/etc/%d" % i)]) for i in range(count)))


def numbers(path: Path) -> list[int]:
    return [n for one in read(path) for n in one.events["args"][:, 0].tolist()]


# ---- in and out -----------------------------------------------------------------------------------------------------

U64, U32 = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)
BLOBS = st.builds(
    Blob, st.integers(0, 5), st.integers(0, 5), st.integers(0, 2), U64, st.binary(max_size=40)
)  # fmt: skip
RECORDS = st.builds(
    make,
    slot=st.integers(0, events.SLOTS - 1),
    args=st.tuples(U64, U64, U64, U64, U64, U64),
    result=st.integers(-(2**63), 2**63 - 1),
    kind=st.integers(0, events.UNFINISHED),
    blobs=st.lists(BLOBS, max_size=4),
    pid=U32,
    comm=st.binary(max_size=16),
    time=st.integers(0, 2**61),
    duration=U64,
    ppid=U32,
    uid=U32,
    number=U32,
    abi=st.integers(0, 2),
)
BATCHES = st.lists(
    st.tuples(st.lists(RECORDS, max_size=6), st.integers(0, 2**61)).map(
        lambda pair: replace(batch(*pair[0]), wall=pair[1])
    ),
    max_size=5,
)


@settings(max_examples=60)
@given(BATCHES)
def test_random_batches_are_read_as_they_were_written(tmp_path_factory, found):
    path = written(tmp_path_factory.mktemp("r") / "t.arrow", *found)
    assert contents(read(path)) == contents(found)


def test_some_records_of_a_batch(tmp_path):
    chosen = numbered(0).select(np.arange(100) % 3 == 0)
    assert contents(read(written(tmp_path / "t", chosen))) == contents([chosen])


def test_a_step_of_the_clock_is_a_row_and_times_keep_their_own_offset(tmp_path):
    early, late = replace(numbered(0), wall=10**18), replace(numbered(100), wall=2 * 10**18)
    path = written(tmp_path / "t", early, late)
    found = read(path)
    assert [one.wall for one in found] == [10**18, 2 * 10**18]
    assert [row["result"] for row in rows_of(path, "clock")][-1] == 10**18


def test_the_file_can_be_read_by_arrow_alone(tmp_path):
    path = written(tmp_path / "t", batch(make(OPENAT, (3,), -2, pid=5, blobs=[string(1, b"/nowhere")])))
    row = pa.ipc.open_stream(path.read_bytes()).read_all().slice(0, 1)
    values = [row.column(name)[0].as_py() for name in ("kind", "name", "abi", "result", "errno")]
    assert values == ["call", "openat", "x86_64", -2, 2]
    assert b"/nowhere\0" in row.column("memory")[0].as_py()
    assert row.column("comm")[0].as_py().rstrip(b"\0") == b"prog"


# ---- the file -------------------------------------------------------------------------------------------------------


def test_nobody_else_can_read_it_also_where_somebody_had_it_open(tmp_path):
    path = tmp_path / "t"
    path.write_text("old")
    path.chmod(0o666)
    with path.open() as before:
        written(path, numbered(0))
        assert before.read() == "old"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_a_link_leads_to_is_emptied_and_closed_to_others(tmp_path):
    (tmp_path / "file").write_bytes(bytes(100_000))
    (tmp_path / "file").chmod(0o644)
    (tmp_path / "link").symlink_to("file")
    assert numbers(written(tmp_path / "link", numbered(0))) == list(range(100))
    assert (tmp_path / "file").stat().st_size < 100_000
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_what_was_written_can_be_read_while_the_writer_goes_on(tmp_path):
    now = [0.0]
    out = Writer(Asked(str(tmp_path / "t")), Head(), now=lambda: now[0])
    out.write(numbered(0))
    out.flush()
    assert read(tmp_path / "t") == []
    now[0] = 1.5
    out.flush()
    assert numbers(tmp_path / "t") == list(range(100))
    out.close(End())


def test_a_command_that_is_not_utf_8_leaves_a_recording_that_can_be_read(tmp_path):
    out = Writer(Asked(str(tmp_path / "t")), Head("-- echo", command=("echo", os.fsdecode(b"a\x80"), "\u00e9")))
    out.write(numbered(0))
    out.close(End(seen=100, delivered=100, reason=os.fsdecode(b"\xff ended")))
    recording = Recording(str(tmp_path / "t"))
    assert recording.head.command == ("echo", "a?", "\u00e9")
    assert len(numbers(tmp_path / "t")) == 100
    assert sum(rows.num_rows for rows in recording.arrow()) == 101
    assert recording.end is not None and recording.end.reason == "? ended"


def test_the_end_has_the_counts(tmp_path):
    end = End(seen=7, delivered=5, lost=2, lost_by_call={"read": 2}, reason="it was long enough")
    recording = Recording(str(written(tmp_path / "t", numbered(0), end=end)))
    assert sum(rows.num_rows for rows in recording.arrow()) == 101
    assert recording.end == end
    assert recording.problems() == []


def test_a_file_cut_anywhere_is_read_up_to_its_last_whole_batch(tmp_path):
    whole = written(tmp_path / "t", *(numbered(100 * i) for i in range(4))).read_bytes()
    frames = Frames(str(tmp_path / "t"))
    ends = [frame.end for frame in frames if frame.kind == BATCH and frame.rows]
    begin = Frames(str(tmp_path / "t")).next()
    assert begin is not None
    rng = random.Random(1)
    for cut in sorted(rng.sample(range(begin.size, len(whole) - 8), 60)):
        (tmp_path / "cut").write_bytes(whole[:cut])
        recording = Recording(str(tmp_path / "cut"))
        found = [n for one in reader.batches([recording]) for n in one.events["args"][:, 0].tolist()]
        assert found == list(range(100 * min(4, sum(end <= cut for end in ends))))
        assert bool(recording.problems()) == (cut < ends[-1])


CHILD = """
    import os, sys, time
    sys.path.insert(0, "tests")
    import test_recording as t
    from isotrace.recording.writer import Writer
    from isotrace.recording.schema import Head

    def write(path, told):
        out = Writer(t.Asked(path), Head(), now=iter(range(0, 10**9, 10)).__next__)
        for i in range(10**6):
            out.write(BATCHES[i % 16] if i < 16 else t.numbered(100 * i))
            out.flush()
            os.write(told, b"x")

    BATCHES = [t.numbered(100 * i) for i in range(16)]
    directory, moments = sys.argv[1], [float(m) for m in sys.argv[2:]]
    for number, moment in enumerate(moments):
        told, tell = os.pipe()
        if not (pid := os.fork()):
            write(f"{directory}/{number}", tell)
        os.close(tell)
        os.read(told, 1)
        time.sleep(moment)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        count = 1
        while some := os.read(told, 65536):
            count += len(some)
        os.close(told)
        print(count)
"""


def test_killed_at_any_moment_it_leaves_all_but_the_last_batch(tmp_path):
    rng = random.Random(2)
    moments = [f"{rng.random() * 0.05:.4f}" for _ in range(50)]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path), *moments],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    counts = [int(line) for line in done.stdout.split()]
    assert len(counts) == 50
    for number, count in enumerate(counts):
        found = numbers(tmp_path / str(number))
        assert found == list(range(len(found)))
        assert len(found) >= 100 * count


def test_a_disk_that_fills_leaves_what_was_written(tmp_path):
    code = """
        import resource, signal, sys
        sys.path.insert(0, "tests")
        import test_recording as t
        from isotrace.errors import IsotraceError
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        out = t.Writer(t.Asked(sys.argv[1]), t.Head(), now=iter(range(0, 10**9, 10)).__next__)
        try:
            for i in range(1000):
                out.write(t.numbered(100 * i))
                out.flush()
        except IsotraceError as error:
            print(i, error.message)
        out.close(t.End())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "t"), "70000"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    fitted, _, message = done.stdout.partition(" ")
    assert message.strip() == f"cannot write '{tmp_path / 't'}': file too large"
    assert numbers(tmp_path / "t") == list(range(100 * int(fitted)))
    assert Recording(str(tmp_path / "t")).complete is False


def test_no_space_left(tmp_path):
    with pytest.raises(IsotraceError, match="cannot write '/dev/full': no space left on device") as caught:
        Writer(Asked("/dev/full"), Head())
    assert "can be read" in caught.value.hint


# ---- what is wrong with a file --------------------------------------------------------------------------------------


def test_a_corrupt_batch_is_skipped_and_counted(tmp_path):
    path = written(tmp_path / "t", *(numbered(100 * i) for i in range(4)))
    frames = [frame for frame in Frames(str(path)) if frame.kind == BATCH and frame.rows]
    data = bytearray(path.read_bytes())
    body = frames[1].end - 200
    data[body : body + 100] = bytes(100)
    path.write_bytes(data)
    recording = Recording(str(path))
    found = [n for one in reader.batches([recording]) for n in one.events["args"][:, 0].tolist()]
    assert found == [*range(100), *range(200, 400)]
    assert recording.problems() == [f"'{path}': 1 corrupt batch skipped, 100 rows lost"]


def test_after_bytes_that_make_no_sense_the_next_batch_is_found(tmp_path):
    path = written(tmp_path / "t", *(numbered(100 * i) for i in range(4)))
    frames = [frame for frame in Frames(str(path)) if frame.kind == BATCH and frame.rows]
    data = bytearray(path.read_bytes())
    data[frames[1].at : frames[1].at + 64] = b"\xff" * 64
    path.write_bytes(data)
    recording = Recording(str(path))
    found = [n for one in reader.batches([recording]) for n in one.events["args"][:, 0].tolist()]
    assert found == [*range(100), *range(200, 400)]
    assert recording.problems() == [f"'{path}': 1 corrupt batch skipped, an unknown number of rows lost"]


@settings(max_examples=150)
@given(st.data())
def test_a_bit_that_turns_is_found_wherever_it_is(tmp_path_factory, data):
    path = written(tmp_path_factory.mktemp("r") / "t", *(numbered(100 * i, 10) for i in range(3)))
    before = contents(read(path))
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * (len(content) - 8) - 1))  # the last eight bytes say only that nothing follows
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        recording = Recording(str(path))
    except IsotraceError:
        return
    found = contents(list(reader.batches([recording])))
    assert parts.verdict([recording]).damaged or not recording.complete
    assert recording.spoilt or [row for row in before if row in found] == found


def test_a_beginning_that_is_not_as_it_was_is_said(tmp_path):
    path = written(tmp_path / "t", numbered(0))
    path.write_bytes(path.read_bytes().replace(b'"test"', b'"tesu"', 1))
    recording = Recording(str(path))
    assert [n for one in reader.batches([recording]) for n in one.events["args"][:, 0].tolist()] == list(range(100))
    said = "its beginning is corrupt: what it says of itself and the names of calls may be wrong"
    assert parts.verdict([recording]) == parts.Verdict((f"'{path}': {said}",), True)


def test_a_recording_without_checksums_is_read(tmp_path):
    golden = Path(__file__).parent / "golden/recording/v1.arrow"
    assert Recording(str(golden)).head.checksums == "" != Recording(str(written(tmp_path / "t"))).head.checksums


@settings(max_examples=150)
@given(st.data())
def test_no_damage_is_a_traceback(tmp_path_factory, data):
    path = written(tmp_path_factory.mktemp("r") / "t", *(numbered(100 * i, 10) for i in range(3)))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        for one in read(path):
            contents([one])
    except IsotraceError as error:
        assert str(path) in error.message


def problem(path: Path) -> str:
    with pytest.raises(IsotraceError) as caught:
        Recording(str(path))
    assert caught.value.hint or "is a directory" in caught.value.message
    return caught.value.message


def test_what_is_no_recording(tmp_path):
    path = tmp_path / "t"
    path.write_bytes(b"")
    assert problem(path) == f"'{path}' is empty"
    path.write_bytes(b"#!/bin/sh\n" * 100)
    assert problem(path) == f"'{path}' is not a recording of isotrace"
    table = pa.table({"a": [1]})
    with pa.ipc.new_stream(str(path), table.schema) as out:
        out.write_table(table)
    assert problem(path) == f"'{path}' is not a recording of isotrace"
    assert problem(tmp_path) == f"cannot read '{tmp_path}': is a directory"
    with pytest.raises(UsageError, match="no such recording: 'nowhere\\*'"):
        reader.open_all(["nowhere*"])


def test_a_newer_format_says_so(tmp_path):
    head = json.loads(Head().pack()) | {"format": 99, "isotrace": "9.0"}
    with pa.ipc.new_stream(str(tmp_path / "t"), schema.arrow(json.dumps(head).encode())):
        pass
    assert "has format 99; this isotrace" in problem(tmp_path / "t")


@pytest.mark.parametrize("version", [0, -1, "x", None])
def test_a_format_that_there_never_was(tmp_path, version):
    head = json.loads(Head().pack()) | {"format": version}
    with pa.ipc.new_stream(str(tmp_path / "t"), schema.arrow(json.dumps(head).encode())):
        pass
    assert "its metadata cannot be read" in problem(tmp_path / "t")


def test_what_comes_after_the_end_is_not_read_and_said(tmp_path):
    path = written(tmp_path / "t", numbered(0))
    whole = path.read_bytes()
    path.write_bytes(whole + whole)
    recording = Recording(str(path))
    assert [n for one in reader.batches([recording]) for n in one.events["args"][:, 0].tolist()] == list(range(100))
    assert parts.verdict([recording]) == parts.Verdict((f"'{path}': {len(whole)} bytes after its end not read",), True)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/full"])
def test_a_device_is_no_recording(device):
    assert problem(Path(device)) == f"'{device}' is a device, not a recording"


@pytest.mark.parametrize("verb", ["log --from -", "top --once --from -", "export - --to csv", "sql -"])
@pytest.mark.parametrize("endless", [b"y\n", b"\0", b"\xff"], ids=repr)
def test_what_comes_without_end_and_is_no_recording(verb, endless):
    source = subprocess.Popen(
        [sys.executable, "-c", "import os, sys\nwhile True: os.write(1, eval(sys.argv[1]) * 4096)", repr(endless)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "isotrace", *verb.split()], stdin=source.stdout, capture_output=True, text=True,
        check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    source.kill()
    source.communicate()
    assert done.returncode == 1
    assert done.stderr.startswith("isotrace: standard input is not a recording of isotrace\n  hint: ")


def test_a_long_file_of_another_kind_is_not_searched_for_a_batch(tmp_path, monkeypatch):
    path = tmp_path / "t"
    path.write_bytes(bytes(1 << 20))
    read: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: read.append(size) or real(fd, size, at))
    assert problem(path) == f"'{path}' is not a recording of isotrace"
    assert sum(read) < 100


def test_an_empty_recording_is_one(tmp_path):
    recording = Recording(str(written(tmp_path / "t")))
    assert list(reader.batches([recording])) == []
    assert recording.problems() == []


# ---- parts, and what is left out ------------------------------------------------------------------------------------


def test_beyond_a_size_another_part_begins_and_all_are_read_in_order(tmp_path):
    rng = np.random.default_rng(1)
    noise = [batch(*(make(READ, rng.integers(0, 2**63, 6), 100 * i + j) for j in range(100))) for i in range(1200)]
    path = written(tmp_path / "t", *noise, rotation=Rotation(1 << 20, keep=2))
    names = sorted(os.listdir(tmp_path))
    assert names == ["t", "t.1", "t.2"]
    found = [
        n for one in reader.batches(reader.open_all([str(tmp_path / "t*")])) for n in one.events["result"].tolist()
    ]
    assert found == list(range(found[0], 120000))
    assert [one.head.part for one in reader.open_all([str(tmp_path / "t*")])] == [
        Recording(str(path)).head.part + n for n in (-2, -1, 0)
    ]


def test_parts_of_two_runs_are_not_mixed(tmp_path):
    for name in ("t", "t.1", "t.x", "t.1.bak"):
        written(tmp_path / name, numbered(0))
    with pytest.raises(UsageError, match=r"t.1' is there already: a part of an earlier run"):
        Rotation(1 << 20).begin(str(tmp_path / "t"))
    assert numbers(tmp_path / "t.1") == list(range(100))
    (tmp_path / "t.1").unlink()
    Rotation(1 << 20).begin(str(tmp_path / "t"))


def test_files_of_two_runs_under_the_names_of_parts_are_said(tmp_path):
    for name in ("t", "t.1", "u"):
        written(tmp_path / name)

    def said(*names):
        recordings = reader.open_all([str(tmp_path / name) for name in names])
        list(reader.batches(recordings))
        return parts.verdict(recordings)

    line = f"'{tmp_path}/t' and the files numbered after it are of 2 runs, the earliest came first"
    assert said("t", "t.1") == parts.Verdict((line,))
    assert said("t", "u") == parts.Verdict()


def test_rotation_wants_sizes_that_make_sense():
    for wrong in ((1000, 1), (1 << 20, 0)):
        with pytest.raises(UsageError):
            Rotation(*wrong)


def test_redacted_data_is_gone_and_names_stay(tmp_path):
    secret = Blob(1, events.PART_SELF, events.WHOLE, 6, b"secret")
    found = batch(
        make(READ, (3, 9, 6), 6, blobs=[secret]), make(OPENAT, blobs=[string(1, b"/etc/shadow")]),
        make(EXECVE, kind=events.EXEC_ENTER, blobs=[string(0, b"/bin/su"), string(1, b"su"), string(1, b"--password=x")]),
    )  # fmt: skip
    path = written(tmp_path / "t", found, redact=("data", "argv"))
    (back,) = read(path)
    assert list(back.blobs(0)) == [Blob(1, events.PART_SELF, events.CUT, 6, b"")]
    assert list(back.blobs(1)) == [string(1, b"/etc/shadow")]
    assert [blob.data for blob in back.blobs(2)] == [b"/bin/su\0", b"su\0", b""]
    assert Recording(str(path)).head.redacted == ("data", "argv")
    with pytest.raises(UsageError, match="--redact names is not known"):
        written(tmp_path / "t", redact=("names",))


# ---- rows that are no calls -----------------------------------------------------------------------------------------


def test_processes_and_losses_and_refusals_are_rows(tmp_path):
    out = Writer(Asked(str(tmp_path / "t")), Head())
    out.processes([(Process(7, 1, b"old\x1b[31m", "S"), 1000)])
    out.write(batch(make(OPENAT, result=12, pid=7, kind=events.LOST)))
    moment = clock.offset() + 10**9
    rule = CallRule("open", frozenset({"openat"}), group="g")
    enforced = Enforced(3, rule, "lsm", Guarantees(True, "judged", True))
    out.refused([Refused(moment, 7, 8, b"x", "openat", "x86_64", (1, 2), 3, "/etc/\udcff")], {3: enforced})
    out.close(End())
    (process,) = rows_of(tmp_path / "t", "process")
    assert (process["pid"], process["ppid"], process["uid"]) == (7, 1, 1000)
    assert process["comm"].rstrip(b"\0") == b"old\x1b[31m"
    (lost,) = rows_of(tmp_path / "t", "lost")
    assert (lost["pid"], lost["name"], lost["result"]) == (7, "openat", 12)
    (refused,) = rows_of(tmp_path / "t", "refused")
    assert refused["time"] == moment
    assert (refused["pid"], refused["tid"], refused["name"], refused["arg1"]) == (7, 8, "openat", 2)
    assert b"/etc/\xff\0" in refused["memory"]
    assert json.loads(refused["note"])["asked"] == "deny open"
    (back,) = read(tmp_path / "t")
    assert [row[FIELDS.index("kind")] for row in contents([back])] == [events.LOST, events.REFUSED]


@pytest.mark.parametrize("arguments", [["--help"], ["log", "--help"], ["calls", "openat"]])
def test_arrow_is_not_imported_where_it_is_not_used(arguments):
    code = (
        "import sys\nfrom isotrace.cli import cli\n"
        f"try:\n    cli.main({arguments!r}, standalone_mode=False)\nexcept SystemExit:\n    pass\n"
        "sys.exit('pyarrow' in sys.modules or 'duckdb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_a_large_file_is_read_batch_by_batch(tmp_path, monkeypatch):
    path = written(tmp_path / "t", *(numbered(100 * i) for i in range(200)))
    asked: list[int] = []
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, parts, at: asked.append(sum(map(len, parts))) or real(fd, parts, at))
    assert len(numbers(path)) == 20_000
    assert max(asked) < path.stat().st_size / 100
    assert len(asked) >= 200


def test_parts_that_are_not_there_and_recordings_that_are_there_twice_are_said(tmp_path):
    whole = written(tmp_path / "t")

    def read(*paths):
        recordings = reader.open_all([str(path) for path in paths])
        list(reader.batches(recordings))
        return recordings

    assert parts.lacks(read(whole)) == []
    head = Recording(str(whole)).head
    found = [
        SimpleNamespace(name=f"p{n}", head=replace(head, part=n), end=End(continued=n < 3), problems=list)
        for n in range(4)
    ]

    def said(*numbers):
        return parts.lacks([found[number] for number in numbers])

    assert said(0, 1, 2, 3) == []
    assert said(0, 1) == ["p1: the run goes on in a part that was not given"]
    assert said(3) == ["p3: 3 earlier parts of its run not given, or not kept"]
    assert said(0, 2, 3) == ["p3: 1 earlier part of its run not given, or not kept"]
    twice = str(tmp_path / "again")
    shutil.copy(whole, twice)
    (line,) = parts.lacks(read(whole, twice))
    assert "its calls count twice" in line
