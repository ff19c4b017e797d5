"""How far the reading of recordings is: shown on a terminal, after a while, and taken away again."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from learned import ROOT, Run

from isotrace.recording import progress, reader

#: isotrace, whose bars come at once.
EAGER = "import sys; from isotrace.recording import progress; progress.AFTER = 0.0; sys.argv[0] = 'isotrace'; "
START = "from isotrace.__main__ import main; main()"


@pytest.fixture
def recording(tmp_path):
    run = Run()
    run.open("/srv/x")
    return run.save(tmp_path / "t.arrow")


def on_terminal(*words, eager=True, stdout=subprocess.PIPE):
    """What isotrace writes to a terminal that is its standard error, and to its standard output."""
    ours, theirs = pty.openpty()
    variables = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", (EAGER if eager else "") + START, *map(str, words)]
    done = subprocess.run(
        command, stdout=theirs if stdout is None else stdout, stderr=theirs, env=variables, timeout=120
    )
    os.close(theirs)
    try:
        said = os.read(ours, 1 << 16).decode()
    except OSError:  # nothing was written, and nobody has the other end
        said = ""
    os.close(ours)
    assert done.returncode == 0, said
    return said, (done.stdout or b"").decode()


@pytest.mark.parametrize(
    "words",
    [("sql", "REC", "SELECT name FROM calls"), ("export", "REC", "--to", "csv"), ("learn", "REC")],
    ids=lambda w: w[0],
)
def test_it_is_shown_on_a_terminal_and_not_among_what_is_read(recording, words):
    words = [recording if word == "REC" else word for word in words]
    said, output = on_terminal(*words)
    assert "t.arrow" in said and "%" in said
    assert "\x1b[?25l" not in said  # the cursor stays: whatever ends isotrace meanwhile, the shell has one
    assert "openat" in output and "%" not in output


def test_what_is_quick_has_none(recording):
    said, output = on_terminal("export", recording, "--to", "csv", eager=False)
    assert "%" not in said and "openat" in output


def test_a_terminal_that_gets_the_rows_has_none(recording):
    said, _ = on_terminal("export", recording, "--to", "csv", stdout=None)
    assert "openat" in said and "%" not in said


def test_without_a_terminal_nobody_looks(recording, monkeypatch, capsys):
    monkeypatch.setattr(progress, "AFTER", 0.0)
    with progress.shown():
        assert reader._observers == []
        assert reader.counts(reader.open_all([str(recording)])) == {"openat": 1}
    assert capsys.readouterr() == ("", "")


def test_how_much_is_done_grows_to_all(recording):
    seen = []
    with reader.observed(lambda one: seen.append(one.done)):
        (one,) = reader.open_all([str(recording)])
        list(one.arrow())
    assert seen == sorted(seen) and 0 < seen[-1] <= 1
    assert reader._observers == []
