"""isotrace top --from and isotrace calls --from: counts of recorded calls, and the player that moves through them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import recorded
from recorded import CAT, SHELL
from records import batch, make
from test_top_app import names, text

from isotrace.recording.asked import Asked
from isotrace.recording.choose import Chosen
from isotrace.recording.reader import Recording
from isotrace.recording.schema import End, Head
from isotrace.recording.writer import Writer
from isotrace.top.model import Snapshot
from isotrace.top.player import Player, Tape
from isotrace.top.replay_app import ReplayApp
from isotrace.trace import events
from isotrace.trace.target import Target

ROOT = Path(__file__).parents[1]
SECOND = 1_000_000_000
LENGTH = 120  # seconds


def command(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "isotrace", *map(str, args)], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.fixture
def recording(tmp_path) -> Path:
    return recorded.record(tmp_path / "t.arrow")


def test_the_summary_counts_as_the_kernel_program_does(recording):
    found = json.loads(command("top", "--format", "json", "--from", recording).stdout)
    calls = {row["call"]: row for row in found["calls"]}
    assert sum(row["calls"] for row in calls.values()) == 21
    assert calls["openat"] | {"calls": 4, "errors": 2, "time_ns": 79_200, "max_ns": 70_000} == calls["openat"]
    assert calls["write"]["bytes"] == 10
    assert found["errors"] == [
        {"errno": "ENOENT", "call": "openat", "count": 2, "latest": found["errors"][0]["latest"]}
    ]
    assert found["errors"][0]["latest"].startswith('openat(AT_FDCWD, "/etc/late", O_WRONLY|O_CREAT|O_TRUNC')
    places = {row["place"]: (row["calls"], row["errors"]) for row in found["places"]}
    assert places == {
        "/bin/cat": (1, 0), "/usr/bin/curl": (1, 0), "/etc/late": (3, 2), "/tmp/o\\377t": (1, 0),
        "10.0.0.1:80": (1, 0), "/run/x\\33.sock": (1, 0), "/tmp/a": (1, 0),
    }  # fmt: skip
    ended = {row["process"]: row["total"] for row in found["processes"] if "ended" in row}
    assert ended == {"cat": 9, '"c\\33[31m"': 8}
    assert found["lost"]["calls"] == 2


def test_an_execve_that_fails_is_a_use_of_the_path_that_it_was_given(tmp_path):
    task = (1, 2, 3, 0, 0, 0xFF01)
    execve = recorded.SLOTS["execve"]
    out = Writer(Asked(str(tmp_path / "t")), Head())
    path = [recorded.string(0, b"/no/such")]
    out.write(batch(make(execve, task, kind=events.EXEC_ENTER, blobs=path), make(execve, task, -2)))
    out.close(End())
    done = command("top", "--format", "json", "--from", tmp_path / "t")
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert [(row["place"], row["calls"], row["errors"]) for row in found["places"]] == [("/no/such", 1, 1)]


def test_the_table_of_the_summary_and_its_conditions(recording):
    done = command("top", "--once", "--from", recording, "--pid", CAT, "--calls", "%desc")
    assert done.returncode == 0
    assert [line.split()[-1] for line in done.stdout.splitlines()[1:-1]] == ["openat", "write", "read"]
    assert done.stderr == "isotrace: 2 calls were lost when this was recorded\n"


# ---- the player ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def long(tmp_path) -> Path:
    """A recording of two minutes: every second process CAT reads once more than the second before."""
    out = Writer(Asked(str(tmp_path / "long")), Head())
    head = Recording(str(tmp_path / "long")).head
    for second in range(LENGTH):
        moment = head.monotonic + second * SECOND
        found = [make(recorded.SLOTS["read"], (3,), 1, pid=CAT, comm=b"cat", time=moment, duration=500)]
        found += [make(recorded.SLOTS["getppid"], pid=SHELL, comm=b"sh", time=moment, duration=50)]
        out.write(replace(batch(*found), wall=head.began - head.monotonic))
    out.close(End())
    return tmp_path / "long"


def player(path: Path, **target: int) -> Player:
    return Player(Tape([str(path)], lambda: Chosen(Target(**target))))


def calls(snapshot: Snapshot) -> int:
    return snapshot.calls


def test_it_plays_at_the_speed_that_it_was_recorded_at(long):
    found = player(long)
    assert found.length == pytest.approx(LENGTH - 1, abs=0.01)
    assert calls(found.step(0.5)) == 2
    assert calls(found.step(10)) == 22
    found.faster(2)
    assert found.speed == 5
    assert calls(found.step(2)) == 42


def test_it_stands_still_and_goes_on(long):
    found = player(long)
    found.step(1.5)
    found.pause()
    assert calls(found.step(50)) == 4
    found.pause()
    assert calls(found.step(1)) == 6


def test_it_jumps_on_and_back_and_counts_what_was_until_then(long):
    found = player(long)
    found.step(0.5)
    found.seek(100)
    ahead = found.step(0)
    assert calls(ahead) == 202
    assert ahead.history.total[-30:].sum() == pytest.approx(60)
    found.seek(-90)
    assert calls(found.step(0)) == 22
    found.seek(-1000)
    assert (calls(found.step(0)), found.at) == (2, 0)


def test_it_ends_and_begins_again(long):
    found = player(long)
    end = found.step(1000)
    assert (calls(end), end.ended, found.playing) == (2 * LENGTH, "end of the recording", False)
    found.pause()
    again = found.step(0)
    assert (calls(again), again.ended, found.playing) == (2, "", True)


def test_only_whom_the_conditions_name(long):
    assert calls(player(long, pid=CAT).step(1000)) == LENGTH


def test_the_speed_has_limits(long):
    found = player(long)
    found.faster(-100)
    assert found.speed == 0.1
    found.faster(100)
    assert found.speed == 100


# ---- the table ----------------------------------------------------------------------------------------------------------


def drive(path: Path, *keys: str, until) -> list[str]:
    """Press keys on the table of a recording that stands still; the screen once it is as it should be."""
    feed = player(path)
    feed.playing = False
    app = ReplayApp(feed, "t.arrow", "call")

    async def run() -> list[str]:
        async with app.run_test(size=(100, 24)) as pilot:
            await pilot.pause()
            await pilot.press(*keys)
            for _ in range(400):
                await pilot.pause(0.05)
                if until(text(app)):
                    return text(app)
            raise AssertionError("\n".join(text(app)))

    return asyncio.run(run())


def test_the_arrows_seek(long):
    screen = drive(long, "right", "right", "right", "left", until=lambda found: "42" in found[1].split())
    assert set(names(screen)) == {"read", "getppid"}
    assert "‖ 1×  of 1:59" in screen[0]
    assert "←→ seek" in screen[-1]


def test_the_end_is_the_whole_recording(long):
    assert "■" in drive(long, "end", until=lambda found: "240" in found[1].split())[0]


def test_faster_and_playing(long):
    screen = drive(long, *["plus"] * 9, "space", until=lambda found: "240" in found[1].split())
    assert "100×" in screen[0]


def test_nothing_can_be_refused(long):
    screen = drive(long, "end", "d", until=lambda found: "nothing of it can be denied" in found[-1])
    assert "this is a recording" in screen[-1]


def test_the_help_names_the_keys(long):
    assert any("ten seconds back" in line for line in drive(long, "question_mark", until=lambda s: "seek" in s[-1]))


# ---- requests that are invalid, and isotrace calls ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["top", "--from", "{}", "--once", "--interval", "1s"], "--interval is not for recordings"),
        (["top", "--from", "{}", "--record", "x"], "--record is not for recordings"),
        (["top", "--from", "/etc/passwd", "--once"], "is not a recording of isotrace"),
        (["calls", "--from", "{}", "%ipc"], "none of these calls was recorded"),
    ],
)
def test_bad_requests_are_a_line_and_a_hint(recording, arguments, message):
    done = command(*(word.format(recording) for word in arguments))
    assert done.returncode != 0
    assert message in done.stderr
    assert done.stderr.count("\n") == 2


def test_the_catalogue_of_what_was_recorded(recording):
    lines = command("calls", "--from", recording, "%file").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["NAME", "MADE"], ["openat", "4"], ["execve", "2"], ["rename", "1"]]
    row = json.loads(command("calls", "--from", recording, "openat", "--format", "json").stdout)
    assert row["recorded"] == 4


def test_what_a_recording_lacks_is_said_once_it_was_played_to_its_end(tmp_path):
    path = recorded.record(tmp_path / "t")
    path.write_bytes(path.read_bytes()[:-400])
    assert Tape([str(path)], lambda: Chosen(Target())).verdict().lines == ()
    tape = Tape([str(path)], lambda: Chosen(Target()))
    list(tape.until(tape.end))
    assert ["is cut within a batch" in line for line in tape.verdict().lines] == [True]
