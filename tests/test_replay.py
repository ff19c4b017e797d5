"""isotrace log --from: which records are shown, what is said of them, and which requests are invalid."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import recorded
from recorded import CAT, CURL, SHELL
from records import batch, make

from isotrace.enforce import Enforced, Refused
from isotrace.policy.model import Action, CallRule
from isotrace.recording import parts, reader, refusals
from isotrace.recording.choose import Chosen
from isotrace.recording.frames import Frames
from isotrace.recording.reader import Recording
from isotrace.recording.rotate import Rotation
from isotrace.recording.schema import End
from isotrace.run import replay
from isotrace.sinks.refusals import Json, Lines
from isotrace.trace import clock, events, plan
from isotrace.trace.target import Target

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    return recorded.record(tmp_path_factory.mktemp("r") / "t.arrow")


def chosen(path: Path, calls=None, quiet=False, until=None, **target) -> list[np.void]:
    wanted = Chosen(Target(**target), calls, quiet=quiet, until=until)
    found = replay.chosen([Recording(str(path))], wanted)
    return [event for one in found if one is not None for event in one.events]


def pids(found: list[np.void]) -> set[int]:
    return {int(event["pid"]) for event in found}


def names(found: list[np.void]) -> set[str]:
    return {plan.all_calls()[int(event["slot"])].name for event in found if event["kind"] == events.CALL}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({}, {SHELL, CAT, CURL}),
        ({"pid": CAT}, {CAT}),
        ({"ppid": SHELL}, {CAT, CURL}),
        ({"uid": 1000}, {SHELL, CAT, CURL}),
        ({"uid": 1}, set()),
        ({"comm": "sh"}, {SHELL}),
        ({"comm": "sh", "follow": True}, {SHELL, CAT, CURL}),
        ({"pid": CURL, "follow": True}, {CURL}),
        ({"tree": SHELL}, {SHELL, CAT, CURL}),
        ({"tree": SHELL, "comm": "cat"}, {CAT}),
        ({"tree": SHELL, "comm": "cat", "follow": True}, {CAT}),
        ({"tree": 7}, set()),
    ],
    ids=str,
)
def test_who_is_shown(recording, target, expected):
    assert pids(chosen(recording, **target)) - {0} - ({CURL} if target.get("uid") == 0 else set()) == expected


def record(tmp_path: Path, *records: bytes) -> Path:
    out = recorded.Writer(recorded.Asked(str(tmp_path / "t")), recorded.Head())
    out.write(batch(*records))
    out.close(End())
    return tmp_path / "t"


def test_who_gets_another_parent_stays_in_the_tree(tmp_path):
    read = recorded.SLOTS["read"]
    path = record(
        tmp_path, make(read, pid=5, ppid=1), make(read, pid=6, ppid=5), make(read, pid=6, ppid=1, result=7),
        make(read, pid=8, ppid=1),
    )  # fmt: skip
    assert [(int(e["pid"]), int(e["result"])) for e in chosen(path, tree=5)] == [(5, 0), (6, 0), (6, 7)]


def test_a_child_whose_parent_is_gone_when_it_first_calls_is_known_by_its_birth(tmp_path):
    path = record(
        tmp_path, make(recorded.SLOTS["fork"], pid=5, ppid=1, result=6), make(recorded.SLOTS["read"], pid=6, ppid=1)
    )
    assert pids(chosen(path, tree=5)) == {5, 6}


def test_which_calls(recording):
    found = chosen(recording, calls=frozenset({"openat", "rename"}))
    assert names(found) == {"openat", "rename"}
    assert {int(event["kind"]) for event in found} >= {events.TASK_EXIT, events.SIGNAL}


def test_quiet_shows_no_signals(recording):
    assert events.SIGNAL not in {int(event["kind"]) for event in chosen(recording, quiet=True)}


def test_only_the_first_moments(recording):
    begin = recorded.BEGIN + recorded.WALL
    assert len(chosen(recording, until=begin + 4_000)) == 5


def isotrace(*args: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "isotrace", *map(str, args)],
        capture_output=True, text=True, check=False, cwd=ROOT, **options,
    )  # fmt: skip


def command(*args: object, **options) -> subprocess.CompletedProcess[str]:
    return isotrace("log", *args, **options)


def test_hostile_names_are_quoted(recording):
    text = command("--from", recording).stdout
    assert "\x1b" not in text
    assert '102 "c\\33[31m"  connect(6, {sa_family=AF_UNIX, sun_path="/run/x\\33.sock"}' in text


def test_the_counts_of_the_run_are_said_and_what_was_lost(recording):
    assert command("--from", recording, "--pid", CAT, "-o", "/dev/null").stderr == (
        "isotrace: 9 calls shown; recorded: 24 calls, 21 delivered, 3 lost\nisotrace: lost: read 2, close 1\n"
    )
    done = command("--from", recording, "--strict", "-q", "--format", "none")
    assert (done.returncode, "isotrace: 3 calls were lost and --strict asks for all" in done.stderr) == (1, True)


def test_several_a_pattern_and_standard_input(recording, tmp_path):
    one = command("--from", recording).stdout
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(recording.read_bytes())
    assert command("--from", tmp_path / "a", tmp_path / "b").stdout == one * 2
    assert command("--from", f"{tmp_path}/*").stdout == one * 2
    with recording.open("rb") as stream:
        assert command("--from", "-", stdin=stream).stdout == one
    with subprocess.Popen(["cat", recording], stdout=subprocess.PIPE) as cat:
        assert command("--from", "-", stdin=cat.stdout).stdout == one


def test_a_cut_file_is_shown_as_far_as_it_goes(recording, tmp_path):
    data = recording.read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) - 500])
    done = command("--from", tmp_path / "cut")
    assert done.returncode == 0
    assert "is cut within a batch: what came before is here, what came after is lost" in done.stderr
    assert command("--from", tmp_path / "cut", "--strict").returncode == 1


RULE = CallRule("open", frozenset({"openat"}), action=Action("kill"), group="g\x1b")
ENFORCED = Enforced(3, RULE, "lsm", recorded.Guarantees(True, "judged", True))
REFUSALS = [
    Refused(clock.offset() + 1_234_567_891, CAT, CAT + 1, b"cat", "openat", "x86_64", (), 3, "/etc/\udcff\x1b"),
    Refused(clock.offset() + 2_000_000_000, 7, 7, b"x\x1by", "unlink", "i386", (1, 2**64 - 1), 3),
]


@pytest.fixture
def refused(tmp_path) -> Path:
    """Calls of two processes, one of which was refused something, and so was a third."""
    out = recorded.Writer(recorded.Asked(str(tmp_path / "refused")), recorded.Head())
    out.write(batch(make(0, pid=CAT, ppid=SHELL, uid=1000), make(0, pid=SHELL, ppid=1, uid=0)))
    out.refused(REFUSALS, {3: ENFORCED})
    out.close(End(seen=2, delivered=2))
    return tmp_path / "refused"


def test_refusals_are_shown_as_block_shows_them(refused):
    for style, options in ((Lines(), ["-t"]), (Json(), ["--format", "json"])):
        expected = b"".join(style.line(record, ENFORCED, 1, False) for record in REFUSALS).decode()
        for more in ([], ["--failed"]):
            assert command("--from", refused, *options, *more).stdout.endswith(expected)
    assert [line[:4] for line in command("--from", refused).stdout.splitlines()[2:]] == ["102 ", '7 "x']


@pytest.mark.parametrize(
    ("conditions", "whose"),
    [
        (["--pid", str(CAT)], [CAT]),
        (["--uid", "1000"], [CAT]),
        (["--ppid", str(SHELL)], [CAT]),
        (["--tree", str(SHELL)], [CAT]),
        (["--uid", "0"], []),
        (["--calls", "unlink"], [7]),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else None,
)
def test_refusals_are_of_whom_they_are(refused, conditions, whose):
    lines = command("--from", refused, "--format", "json", *conditions).stdout.splitlines()
    assert [found["pid"] for line in lines if (found := json.loads(line))["type"] == "refused"] == whose


@pytest.mark.parametrize(
    "note", ["", "[]", "{}", '{"rule": 1}', json.dumps(dict.fromkeys(refusals._WORDS, "x") | {"rule": 1})]
)
def test_a_refusal_that_isotrace_cannot_have_written_is_corrupt(tmp_path, monkeypatch, note):
    out = recorded.Writer(recorded.Asked(str(tmp_path / "t")), recorded.Head())
    monkeypatch.setattr(refusals.json, "dumps", lambda _: note)
    out.refused(REFUSALS, {3: ENFORCED})
    monkeypatch.undo()
    out.close()
    done = command("--from", tmp_path / "t")
    assert (done.returncode, "1 corrupt batch skipped" in done.stderr) == (1, True), done.stderr


def quick(path: Path, **options) -> recorded.Writer:
    """A writer whose batches go into the file one by one."""
    return recorded.Writer(
        recorded.Asked(str(path), **options), recorded.Head(), now=iter(range(0, 10**9, 10)).__next__
    )  # fmt: skip


def test_a_moment_of_a_whole_file_is_no_cut_file(tmp_path):
    out = quick(tmp_path / "t")
    for seconds in (0, 100, 200):
        out.write(batch(make(0, time=time.monotonic_ns() + seconds * 10**9)))
        out.flush()
    out.close(End(seen=3, delivered=3))
    done = command("--from", tmp_path / "t", "--for", "50s", "--strict", "-o", "/dev/null")
    assert (done.returncode, done.stderr) == (0, "isotrace: 1 call shown\n")


def test_a_corrupt_batch_and_what_comes_after_the_end_are_errors(recording, tmp_path):
    data = recording.read_bytes()
    last = [frame for frame in Frames(str(recording)) if frame.rows][-1]
    corrupt = bytearray(data)
    corrupt[last.end - 300 : last.end - 100] = bytes(200)
    (tmp_path / "corrupt").write_bytes(corrupt)
    (tmp_path / "two").write_bytes(data + data)
    for name, said in (("corrupt", "1 corrupt batch skipped"), ("two", f"{len(data)} bytes after its end not read")):
        for verb in (
            ["log", "--from"], ["calls", "--from"], ["top", "--once", "--from"], ["export", "--to", "csv"],
        ):  # fmt: skip
            done = isotrace(*verb, tmp_path / name)
            assert (done.returncode, said in done.stderr) == (1, True), (verb, done.stderr)
        done = isotrace("sql", tmp_path / name, "SELECT count(name) FROM calls")
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def follow(first: Path) -> tuple[list[Recording], Iterator[list[int]]]:
    """What ``--follow-file`` shows of a file and of what comes after it: the results of calls, until nothing waits."""
    recordings = reader.open_all([str(first)])
    found = replay.chosen(recordings, Chosen(Target()), grow=True)

    def shown() -> Iterator[list[int]]:
        results: list[int] = []
        for one in found:
            if one is not None:
                results += one.events["result"].tolist()
            elif results:
                yield results
                results = []

    return recordings, shown()


def test_a_file_that_grows_is_followed_into_its_next_part(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "_LOOK", 0.001)
    path = tmp_path / "t"
    out = quick(path, rotation=Rotation(1 << 20))
    rng = np.random.default_rng(1)
    count = 0

    def parts_more(number: int) -> None:
        nonlocal count
        for _ in range(number):
            before = Recording(str(path)).head.part
            while Recording(str(path)).head.part == before:
                out.write(batch(*(make(0, rng.integers(0, 2**63, 6), count + i) for i in range(5000))))
                out.flush()
                count += 5000

    out.write(batch(make(0, (), -1)))
    out.flush()
    recordings, shown = follow(path)
    assert next(shown) == [-1]
    parts_more(1)  # while it is looked at
    out.write(batch(make(0, (), -2)))
    out.flush()
    seen: list[int] = []
    while -2 not in seen:
        seen += next(shown)
    parts_more(3)  # before it is looked at again
    out.close(End())
    for results in shown:
        seen += results
    assert seen == [*range(5000 * (seen.index(-2) // 5000)), -2, *range(seen.index(-2), count)]
    assert [one.head.part for one in recordings] == [0, 1, 2, 3, 4] and parts.lacks(recordings) == []


def test_nothing_is_said_twice_of_a_part(tmp_path):
    part = recorded.record(tmp_path / "p", end=End(continued=True))
    recordings = reader.open_all([str(part)])
    assert list(reader.batches(recordings))
    goes_on = f"{recordings[0].name}: the run goes on in a part that was not given"
    assert replay.summary(recordings, 5) == ["5 calls shown"] and parts.lacks(recordings) == [goes_on]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--from", "{}", "--ring", "1m"], 2, "--ring is not for recordings"),
        (["--from", "{}", "--cgroup", "/"], 2, "--cgroup is not for recordings"),
        (["--from", "{}", "-o", "{}"], 2, "is the recording itself"),
        (["--from", "{}", "--comm", "x" * 16], 2, "is longer than a process name can be"),
        (["--from", "/no/such"], 2, "no such recording: '/no/such'"),
        (["--from", "/etc/passwd"], 1, "'/etc/passwd' is not a recording of isotrace"),
        (["--follow-file"], 2, "--follow-file needs a recording"),
    ],
)
def test_what_cannot_be_meant_is_a_line_and_a_hint(recording, arguments, status, message):
    before = recording.read_bytes()
    done = command(*(word.format(recording) for word in arguments))
    assert done.returncode == status
    assert message in done.stderr
    assert done.stderr.count("\n") == 2
    assert recording.read_bytes() == before


def test_another_users_recording(recording):
    code = "import os, sys; os.setuid(65534); os.chdir('/'); from isotrace.__main__ import main; main()"
    if os.geteuid():
        pytest.skip("needs root: to be somebody else")
    recording.parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, "log", "--from", str(recording)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode != 0
    assert done.stderr.count("\n") == 2
    assert "cannot read" in done.stderr or "no such recording" in done.stderr
