"""Every format that there has been is read: tests/golden/recording has a recording of each, which is never made again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from isotrace.recording import schema
from isotrace.recording.reader import Recording

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden/recording"
FORMATS = sorted(GOLDEN.glob("v*.arrow"))

PROCESSES = "SELECT * EXCLUDE (first_seen, last_seen) FROM processes ORDER BY pid"
OTHERS = "SELECT name, what, rule FROM refusals UNION ALL SELECT name, count::VARCHAR, NULL FROM losses ORDER BY 1"


def isotrace(*args: object) -> str:
    command = [sys.executable, "-m", "isotrace", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_there_is_a_recording_of_every_format():
    """And of what was added within one."""
    assert [file.stem for file in FORMATS] == ["v1-checksums", "v1"] and schema.FORMAT == 1


@pytest.mark.parametrize("file", FORMATS, ids=lambda file: file.stem)
def test_it_says_its_format_and_is_complete(file):
    recording = Recording(str(file))
    assert f"v{recording.head.format}" == file.stem.partition("-")[0]
    assert sum(rows.num_rows for rows in recording.arrow()) > 25
    assert recording.problems() == []


@pytest.mark.parametrize("file", FORMATS, ids=lambda file: file.stem)
def test_it_is_shown_and_answers_as_ever(file):
    assert isotrace("log", "--from", file, "-T") == file.with_suffix(".txt").read_text()
    assert isotrace("sql", file, PROCESSES) == file.with_suffix(".processes.csv").read_text()
    assert isotrace("sql", file, OTHERS) == file.with_suffix(".others.csv").read_text()
